package clientapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"allmende/clientapi"
	"allmende/config"
	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/testkit"
)

// BenchmarkLogin measures what a login costs beyond the password's hash, which is made as cheap as it can be.
func BenchmarkLogin(b *testing.B) { benchmarkHTTP(b, "/_matrix/client/v3/login", loginBody) }

// BenchmarkRegister is the same for registering, authentication included.
func BenchmarkRegister(b *testing.B) { benchmarkHTTP(b, "/_matrix/client/v3/register", registerBody) }

func registerBody(n int) string {
	return fmt.Sprintf(`{"username":"user%d","password":"correct horse","auth":{"type":"m.login.dummy"}}`, n)
}

func loginBody(int) string {
	return `{"type":"m.login.password","user":"user0","password":"correct horse"}`
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

func benchmarkHTTP(b *testing.B, path string, body func(int) string) {
	cfg := config.Default("example.org")
	cfg.Registration.Policy = config.RegistrationOpen
	cfg.Auth.Argon2 = config.Argon2{Memory: 8 << 10, Iterations: 1, Parallelism: 1}
	sessions, err := auth.NewCache(testkit.Bus(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(sessions.Close)
	s := clientapi.New(clientapi.Deps{Config: cfg, DB: testkit.Migrated(b, clientapi.Migrate), Bus: testkit.Bus(b), Sessions: sessions})
	router, err := httpx.New(httpx.Options{Sessions: sessions}, s.Routes())
	if err != nil {
		b.Fatal(err)
	}
	post := func(path, body string) {
		r, err := http.NewRequestWithContext(b.Context(), "POST", path, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		w := &discard{header: http.Header{}}
		router.ServeHTTP(w, r)
		if w.status != 200 {
			b.Fatalf("%s: status %d", path, w.status)
		}
	}
	post("/_matrix/client/v3/register", registerBody(0))
	n := 0
	for b.Loop() {
		n++
		post(path, body(n))
	}
}
