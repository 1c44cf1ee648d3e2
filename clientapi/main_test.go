package clientapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"allmende/clientapi"
	"allmende/config"
	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/internal/testkit"
	rooms "allmende/roomserver/api"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// env is clientapi as it runs in production, over a database, a bus and an HTTP server of the test's own.
type env struct {
	t        *testing.T
	url      string
	db       *pg.DB
	bus      *bus.Bus
	sessions *auth.Cache
	cfg      *config.Config
}

const password = "correct horse"

// start runs the service with open registration and cheap password hashes; changes are made to the configuration first.
func start(t *testing.T, changes ...func(*config.Config)) *env {
	t.Helper()
	cfg := config.Default("example.org")
	cfg.Registration.Policy = config.RegistrationOpen
	cfg.Auth.Argon2 = config.Argon2{Memory: 64 << 10, Iterations: 1, Parallelism: 1}
	cfg.RateLimits.Login = config.Rate{PerSecond: 1000, Burst: 1000}
	for _, change := range changes {
		change(cfg)
	}
	e := &env{t: t, cfg: cfg, db: testkit.Migrated(t, clientapi.Migrate), bus: testkit.Bus(t)}
	e.url = e.instance()
	return e
}

// instance runs one more instance of the service on the same database and bus, and returns its address.
func (e *env) instance() string {
	e.t.Helper()
	sessions, err := auth.NewCache(e.bus)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(sessions.Close)
	e.sessions = sessions
	s := clientapi.New(clientapi.Deps{Config: e.cfg, DB: e.db, Bus: e.bus, Sessions: sessions})
	router, err := httpx.New(httpx.Options{Sessions: sessions}, s.Routes())
	if err != nil {
		e.t.Fatal(err)
	}
	run(e.t, s.Run)
	web := httptest.NewServer(router)
	e.t.Cleanup(web.Close)
	return web.URL
}

// run runs f until the test ends.
func run(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// reply is an answer with its body decoded.
type reply struct {
	t      *testing.T
	req    string
	status int
	header http.Header
	body   map[string]any
	raw    []byte
}

// do sends a request; body nil sends none, a string is sent as it is, anything else as JSON.
func (e *env) do(method, path, token string, body any) *reply {
	e.t.Helper()
	return e.at(e.url, method, path, token, body)
}

func (e *env) at(url, method, path, token string, body any) *reply {
	e.t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		enc, err := json.Marshal(b)
		if err != nil {
			e.t.Fatal(err)
		}
		in = bytes.NewReader(enc)
	}
	if !strings.HasPrefix(path, "/") {
		path = "/_matrix/client/v3/" + path
	}
	req, err := http.NewRequestWithContext(e.t.Context(), method, url+path, in)
	if err != nil {
		e.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	r := &reply{t: e.t, req: method + " " + path, status: resp.StatusCode, header: resp.Header}
	if r.raw, err = io.ReadAll(resp.Body); err != nil {
		e.t.Fatal(err)
	}
	if resp.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(r.raw, &r.body); err != nil {
			e.t.Fatalf("%s: not a JSON object: %s", r.req, r.raw)
		}
	}
	return r
}

// ok checks for 200 and returns the reply.
func (r *reply) ok() *reply {
	r.t.Helper()
	if r.status != 200 {
		r.t.Fatalf("%s: status %d, want 200: %s", r.req, r.status, r.raw)
	}
	return r
}

// fails checks for a status and error code; an empty code means that there must be none.
func (r *reply) fails(status int, code string) *reply {
	r.t.Helper()
	got, _ := r.body["errcode"].(string)
	if r.status != status || got != code {
		r.t.Fatalf("%s: status %d, code %q, want %d, %q: %s", r.req, r.status, got, status, code, r.raw)
	}
	return r
}

// str is a string member of the body, which must be there.
func (r *reply) str(key string) string {
	r.t.Helper()
	s, ok := r.body[key].(string)
	if !ok || s == "" {
		r.t.Fatalf("%s: no %q in %s", r.req, key, r.raw)
	}
	return s
}

type m = map[string]any

// user is somebody who is logged in.
type user struct {
	name, id, token, device, refresh string
}

func newUser(r *reply) user {
	id := r.str("user_id")
	u := user{name: string(matrix.UserID(id).Localpart()), id: id, token: r.str("access_token"), device: r.str("device_id")}
	u.refresh, _ = r.body["refresh_token"].(string)
	return u
}

// register makes an account with open registration.
func (e *env) register(name string) user {
	e.t.Helper()
	return newUser(e.do("POST", "register", "", m{"username": name, "password": password, "auth": m{"type": "m.login.dummy"}}).ok())
}

// login makes a session; more are further members of the request.
func (e *env) login(name string, more m) *reply {
	e.t.Helper()
	body := m{"type": "m.login.password", "identifier": m{"type": "m.id.user", "user": name}, "password": password}
	for k, v := range more {
		body[k] = v
	}
	return e.do("POST", "login", "", body)
}

// passwordAuth is the auth of somebody who gives their password.
func passwordAuth(u user, session string) m {
	a := m{"type": "m.login.password", "identifier": m{"type": "m.id.user", "user": u.id}, "password": password}
	if session != "" {
		a["session"] = session
	}
	return a
}

// valid checks that a token works; gone that it does not any more, and that the client is told to forget everything.
func (e *env) valid(token string) {
	e.t.Helper()
	e.do("GET", "account/whoami", token, nil).ok()
}

func (e *env) gone(token string) {
	e.t.Helper()
	r := e.do("GET", "account/whoami", token, nil).fails(401, "M_UNKNOWN_TOKEN")
	if r.body["soft_logout"] != false {
		e.t.Fatalf("soft_logout is %v, want false", r.body["soft_logout"])
	}
}

// exec changes the database behind the service's back: it lets time pass.
func (e *env) exec(sql string, args ...any) int64 {
	e.t.Helper()
	tag, err := e.db.Exec(e.t.Context(), sql, args...)
	if err != nil {
		e.t.Fatal(err)
	}
	return tag.RowsAffected()
}

func query[T any](e *env, sql string, args ...any) T {
	e.t.Helper()
	var v T
	if err := e.db.QueryRow(e.t.Context(), sql, args...).Scan(&v); err != nil {
		e.t.Fatal(err)
	}
	return v
}

// leaver answers LeaveAll, after refusing a number of times.
type leaver struct {
	mu     sync.Mutex
	refuse int
	left   []matrix.UserID
}

func (r *leaver) leaveAll(_ context.Context, in rooms.LeaveAllReq) (struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse > 0 {
		r.refuse--
		return struct{}{}, matrix.Unavailable(time.Second)
	}
	r.left = append(r.left, in.UserID)
	return struct{}{}, nil
}

func (r *leaver) hasLeft(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range r.left {
		if string(u) == id {
			return true
		}
	}
	return false
}

func (e *env) roomserver() *leaver {
	r := &leaver{}
	s := e.bus.Service(rooms.Service, bus.ServiceOptions{})
	bus.Handle(s, rooms.LeaveAll, r.leaveAll)
	run(e.t, s.Run)
	<-s.Ready()
	return r
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatal(fmt.Sprint("waited in vain: ", what))
}
