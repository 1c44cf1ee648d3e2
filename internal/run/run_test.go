package run

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"allmende/clientapi/api"
	"allmende/config"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/internal/testkit"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// local is the configuration of a server with everything inside, on free ports.
func local(t *testing.T) *config.Config {
	c := config.Default("localhost")
	c.DataDir = testkit.Dir(t)
	c.Listen = config.Listen{Client: []string{"127.0.0.1:0"}, Metrics: "127.0.0.1:0"}
	c.Auth.Argon2.Memory = 8 << 20
	return c
}

// clustered is the configuration of one process of a cluster.
func clustered(t *testing.T) *config.Config {
	c := local(t)
	c.NATS.URL = testkit.NATS(t)
	c.Database.URL = config.Secret(testkit.DatabaseURL(t))
	return c
}

func start(t *testing.T, c *config.Config, o Options) *Instance {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	o.Fast = true
	i, err := Start(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return i
}

func get(t *testing.T, client *http.Client, url string) (int, string, http.Header) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(body)), resp.Header
}

func TestSingleServer(t *testing.T) {
	c := local(t)
	var hello strings.Builder
	i := start(t, c, Options{Hello: &hello, Admin: "./allmende admin"})
	for _, tc := range []struct {
		path   string
		status int
		body   string
	}{
		{"/.well-known/matrix/client", 200, `{"m.homeserver":{"base_url":"` + i.URL() + `"}}`},
		{"/.well-known/matrix/server", 200, `{"m.server":"` + strings.TrimPrefix(i.URL(), "http://") + `"}`},
		{"/health/live", 200, `{"ok":true}`},
		{"/health/ready", 200, `{"ok":true}`},
		{"/metrics", 404, `{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}`},
	} {
		// The address told to clients of localhost is by name; requests here go by number.
		want := strings.ReplaceAll(tc.body, "127.0.0.1", "localhost")
		status, body, header := get(t, http.DefaultClient, i.URL()+tc.path)
		if status != tc.status || body != want {
			t.Errorf("%s: %d %s, want %d %s", tc.path, status, body, tc.status, want)
		}
		if header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s has no CORS headers", tc.path)
		}
	}
	if status, body, _ := get(t, http.DefaultClient, i.MetricsURL()+"/metrics"); status != 200 || !strings.Contains(body, "allmende_http_seconds") {
		t.Errorf("metrics: %d, %d bytes", status, len(body))
	}
	if !strings.Contains(hello.String(), "homeserver http://localhost:") || !strings.Contains(hello.String(), "./allmende admin token create") {
		t.Errorf("greeting: %s", &hello)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(i.URL(), "http://")); err == nil {
		t.Error("it still listens after the stop")
	}
	if _, err := os.Stat(c.Path("admin/socket")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the admin socket after the stop: %v", err)
	}
}

// wayOf checks that an admin command reaches accounts, and undoes nothing: names differ.
func wayOf(t *testing.T, c *config.Config, name string) *Admin {
	t.Helper()
	a, err := OpenAdmin(t.Context(), c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	made, err := AdminCall(t.Context(), a, api.AdminCreateUser, api.AdminCreateUserReq{Localpart: name, Password: "correct horse battery"})
	if err != nil {
		t.Fatal(err)
	}
	if want := matrix.UserID("@" + name + ":" + c.ServerName); made.UserID != want {
		t.Errorf("made %s, want %s", made.UserID, want)
	}
	_, err = AdminCall(t.Context(), a, api.AdminCreateUser, api.AdminCreateUserReq{Localpart: name, Password: "correct horse battery"})
	var m *matrix.Error
	if !errors.As(err, &m) || m.Code != "M_USER_IN_USE" || m.Msg == "" || m.Status != 400 {
		t.Errorf("a second account of the name: %#v", err)
	}
	return a
}

func users(t *testing.T, a *Admin) (out []string) {
	t.Helper()
	page, err := AdminCall(t.Context(), a, api.AdminListUsers, api.AdminListUsersReq{})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range page.Users {
		out = append(out, u.UserID.Localpart())
	}
	return out
}

// TestAdminWays takes each of the ways an admin command can take.
func TestAdminWays(t *testing.T) {
	c := local(t)
	offline := wayOf(t, c, "anna")
	if offline.door != nil {
		t.Error("there is a door and no server")
	}
	if err := offline.Close(); err != nil {
		t.Fatal(err)
	}
	i := start(t, c, Options{})
	running := wayOf(t, c, "berta")
	if running.door == nil {
		t.Error("the running server's door was not taken")
	}
	if diff := cmp.Diff([]string{"anna", "berta"}, users(t, running)); diff != "" {
		t.Error(diff)
	}
	for _, path := range []string{"admin", "admin/socket"} {
		st, err := os.Stat(c.Path(path))
		if err != nil {
			t.Fatal(err)
		}
		if path == "admin" && st.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v", path, st.Mode())
		}
	}
	if _, _, err := running.post(t.Context(), "Authenticate", []byte("{}")); err != nil {
		t.Error(err)
	}
	if body, status, err := running.post(t.Context(), "Authenticate", []byte("{}")); status != 404 || err != nil {
		t.Errorf("a call that is not for admins: %d %s, %v", status, body, err)
	}
	if body, status, err := running.post(t.Context(), "AdminListUsers", []byte("[")); status != 400 || err != nil {
		t.Errorf("broken JSON: %d %s, %v", status, body, err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAdminOfACluster(t *testing.T) {
	c := clustered(t)
	start(t, c, Options{})
	elsewhere := *c
	elsewhere.DataDir = testkit.Dir(t)
	a := wayOf(t, &elsewhere, "anna")
	if a.bus == nil {
		t.Error("the bus was not taken")
	}
}

func TestLongDataDir(t *testing.T) {
	c := local(t)
	c.DataDir = filepath.Join(c.DataDir, strings.Repeat("long", 20), strings.Repeat("path", 20))
	if err := os.MkdirAll(c.DataDir, 0o711); err != nil {
		t.Fatal(err)
	}
	start(t, c, Options{})
	if a := wayOf(t, c, "anna"); a.door == nil {
		t.Error("the running server's door was not taken")
	}
}

// TestDeadServersSocket starts where a killed server left its socket behind.
func TestDeadServersSocket(t *testing.T) {
	c := clustered(t)
	if err := os.MkdirAll(c.Path(doorFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", c.Path("admin/socket"))
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	start(t, c, Options{})
	if a := wayOf(t, c, "anna"); a.door == nil {
		t.Error("the running server's door was not taken")
	}
}

func TestTLS(t *testing.T) {
	c := clustered(t)
	c.TLS.CertFile, c.TLS.KeyFile = c.Path("cert"), c.Path("key")
	writePair(t, c.TLS.CertFile, c.TLS.KeyFile, "localhost", time.Now())
	pem, err := os.ReadFile(c.TLS.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}}}
	defer client.CloseIdleConnections()
	i := start(t, c, Options{})
	resp, err := client.Get(i.URL() + "/health/live")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.Proto != "HTTP/2.0" {
		t.Errorf("%d over %s", resp.StatusCode, resp.Proto)
	}
}

// TestFailedStartLeavesNothing fails after some parts are up, and then starts on the same folder and ports.
func TestFailedStartLeavesNothing(t *testing.T) {
	c := local(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Listen.Metrics = taken.Addr().String()
	_, err = Start(t.Context(), c, Options{Fast: true})
	if err == nil || !strings.Contains(err.Error(), "listen.metrics") {
		t.Fatalf("a taken port: %v", err)
	}
	if _, err := os.Stat(c.Path("postgres")); err == nil {
		t.Error("a database was made before the ports were tried")
	}
	taken.Close()

	bad := *c
	bad.NATS.TLS.CAFile = "/nowhere"
	if _, err = Start(t.Context(), &bad, Options{Fast: true}); err == nil || !strings.Contains(err.Error(), "ca_file") {
		t.Fatalf("a missing authority: %v", err)
	}
	start(t, c, Options{}) // the private database is free again, and so is the port
}

// TestPartThatEnds takes the process with it.
func TestPartThatEnds(t *testing.T) {
	i := start(t, clustered(t), Options{})
	broken := errors.New("broken")
	i.keep("a part", func(context.Context) error { return broken })
	if err := <-i.Failed(); !errors.Is(err, broken) || !strings.Contains(err.Error(), "a part") {
		t.Errorf("cause: %v", err)
	}
}

func TestChoice(t *testing.T) {
	c := config.Default("example.org")
	if err := CheckServices(c, nil); err != nil {
		t.Errorf("all: %v", err)
	}
	if err := CheckServices(c, []string{"federation"}); err == nil || !strings.Contains(err.Error(), `no service "federation"`) {
		t.Errorf("unknown: %v", err)
	}
	if err := CheckServices(c, []string{"clientapi"}); err == nil || !strings.Contains(err.Error(), "nats.url") {
		t.Errorf("a part of a single server: %v", err)
	}
	c.NATS.URL, c.Database.URL = "nats://h", "postgres://h"
	if err := CheckServices(c, []string{"clientapi"}); err != nil {
		t.Errorf("a part of a cluster: %v", err)
	}
	if _, err := Start(t.Context(), c, Options{Only: []string{"x"}}); err == nil {
		t.Error("an unknown service is started")
	}
}

func TestLimits(t *testing.T) {
	r := config.Default("example.org").RateLimits
	r.Read.PerSecond = 0
	got := limits(r)
	if _, ok := got[httpx.RateRead]; ok {
		t.Error("a limit of 0 per second is a limit")
	}
	if got[httpx.RateLogin] != (httpx.Limit{PerSecond: r.Login.PerSecond, Burst: r.Login.Burst}) {
		t.Errorf("login: %+v", got[httpx.RateLogin])
	}
}

func TestCheck(t *testing.T) {
	c := local(t)
	if p := Check(t.Context(), c); len(p) > 0 {
		t.Errorf("problems of a good configuration: %v", p)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c.Listen.Client = []string{taken.Addr().String()}
	c.Listen.Metrics = ""
	c.DataDir = "/dev/null/data"
	c.Database.URL = config.Secret("postgres://nobody@127.0.0.1:" + closedPort(t) + "/x")
	var paths []string
	for _, p := range Check(t.Context(), c) {
		paths = append(paths, p.Path)
		if p.Mend == "" || p.Text == "" {
			t.Errorf("no mend: %+v", p)
		}
	}
	if diff := cmp.Diff([]string{"data_dir", "listen.client", "database.url"}, paths); diff != "" {
		t.Error(diff)
	}
}

// TestCheckReadsTheRooms damages a database and asks, with the server running and without.
func TestCheckReadsTheRooms(t *testing.T) {
	c := local(t)
	i := start(t, c, Options{})
	if p := Check(t.Context(), c); len(p) > 0 {
		t.Errorf("problems of a sound database: %v", p)
	}
	const damage = `INSERT INTO roomserver.relations (room_nid, parent_id, child_nid, rel_type) VALUES (1, '$lost', 99, 'm.thread')`
	if _, err := i.db.Exec(t.Context(), damage); err != nil {
		t.Fatal(err)
	}
	if p := Check(t.Context(), c); len(p) != 1 || p[0].Path != "database" || !strings.Contains(p[0].Text, "99") {
		t.Errorf("a running server with a damaged database: %v", p)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if p := Check(t.Context(), c); len(p) != 1 || p[0].Path != "database" || !strings.Contains(p[0].Text, "99") {
		t.Errorf("a stopped server with a damaged database: %v", p)
	}
}

func closedPort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
