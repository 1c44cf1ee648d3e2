package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"allmende/config"
	"allmende/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// world runs the command line in a folder of its own.
type world struct {
	t      *testing.T
	config string
}

func newWorld(t *testing.T, more ...string) *world {
	t.Helper()
	dir := testkit.Dir(t)
	w := &world{t, filepath.Join(dir, "allmende.yaml")}
	lines := append([]string{
		"server_name: example.org", "data_dir: " + dir, `listen: {client: ["127.0.0.1:0"]}`, "auth: {argon2: {memory: 8MiB}}",
		"database: {url: '" + testkit.DatabaseURL(t) + "'}",
	}, more...)
	if err := os.WriteFile(w.config, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// run is one call of the program; it wants the exit code and returns what was printed.
func (w *world) run(code int, stdin string, args ...string) (stdout, stderr string) {
	w.t.Helper()
	var out, errs bytes.Buffer
	e := &env{strings.NewReader(stdin), &out, &errs, false}
	if got := dispatch(w.t.Context(), e, commands, args, usage); got != code {
		w.t.Errorf("allmende %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, &out, &errs)
	}
	return out.String(), errs.String()
}

// admin is one admin command.
func (w *world) admin(code int, stdin string, args ...string) (stdout, stderr string) {
	w.t.Helper()
	return w.run(code, stdin, append([]string{"admin", "--config", w.config}, args...)...)
}

func wants(t *testing.T, what, text string, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(text) {
		t.Errorf("%s: %q does not match %q", what, text, pattern)
	}
}

func TestAccounts(t *testing.T) {
	w := newWorld(t)
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("correct horse battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := w.admin(exitOK, "", "create-user", "anna", "--admin", "--password-file", secret)
	wants(t, "create-user", out, `^@anna:example\.org can log in now\n$`)
	_, errs := w.admin(exitOK, "staple battery horse\n", "create-user", "berta")
	wants(t, "prompt", errs, `^Password: `)
	_, errs = w.admin(exitFailed, "staple battery horse\n", "create-user", "berta", "--password-file", "-")
	wants(t, "taken name", errs, `^allmende: .+ \(M_USER_IN_USE\)\n$`)
	_, errs = w.admin(exitFailed, "", "create-user", "carla", "--password-file", "-")
	wants(t, "no password", errs, `there is none`)

	out, _ = w.admin(exitOK, "", "lock", "berta")
	wants(t, "lock", out, `^@berta:example\.org is locked\n$`)
	out, _ = w.admin(exitOK, "", "users")
	wants(t, "users", out, `(?s)^USER .*@anna:example\.org +admin .*@berta:example\.org +locked `)
	w.admin(exitOK, "", "unlock", "@berta:example.org")
	out, _ = w.admin(exitOK, "another good one\n", "set-password", "berta", "--password-file", "-")
	wants(t, "set-password", out, `has a new password`)
	out, _ = w.admin(exitOK, "", "users")
	wants(t, "users", out, `@berta:example\.org +active `)
	_, errs = w.admin(exitFailed, "", "lock", "nobody")
	wants(t, "unknown user", errs, `M_NOT_FOUND`)
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	out, _ := w.admin(exitOK, "", "token", "create", "--uses", "0", "--valid=0", "--token", "friends")
	wants(t, "create", out, `^friends\n$`)
	out, errs := w.admin(exitOK, "", "token", "create", "--uses", "3")
	wants(t, "create", out, `^\S{8,}\n$`)
	wants(t, "create", errs, `only its hash is kept`)
	list, _ := w.admin(exitOK, "", "token", "list")
	wants(t, "list", list, `(?m)^\d+ +0 +0 +any +for ever$`)
	id := regexp.MustCompile(`(?m)^(\d+) +0 +0 +3 `).FindStringSubmatch(list)
	if id == nil {
		t.Fatalf("the second token is missing in\n%s", list)
	}
	w.admin(exitOK, "", "token", "revoke", id[1])
	w.admin(exitOK, "", "token", "revoke", "friends")
	if list, _ = w.admin(exitOK, "", "token", "list"); strings.Count(list, "\n") != 1 {
		t.Errorf("tokens are left:\n%s", list)
	}
	_, errs = w.admin(exitFailed, "", "token", "revoke", "friends")
	wants(t, "revoke again", errs, `M_NOT_FOUND`)
}

func TestWrongCommandLines(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		args string
		code int
		want string
	}{
		{"", exitUsage, "allmende serve"},
		{"help", exitOK, ""},
		{"dance", exitUsage, `there is no command "dance"`},
		{"serve now", exitUsage, `unexpected "now"`},
		{"serve --only", exitUsage, "flag needs an argument"},
		{"serve --config /nowhere/allmende.yaml", exitUsage, "there is no such file"},
		{"serve --config CONFIG --only federation", exitUsage, `no service "federation"`},
		{"serve --config CONFIG --only clientapi", exitUsage, "needs nats.url"},
		{"admin", exitUsage, "create-user"},
		{"admin dance", exitUsage, "there is no command"},
		{"admin token", exitUsage, "there is no command"},
		{"admin create-user", exitUsage, "wants NAME"},
		{"admin lock a b", exitUsage, "wants USER"},
		{"check --help", exitOK, "Usage: allmende check"},
		{"version -x", exitUsage, "not defined"},
	} {
		args := strings.Fields(strings.ReplaceAll(tc.args, "CONFIG", w.config))
		_, errs := w.run(tc.code, "", args...)
		if !strings.Contains(errs, tc.want) {
			t.Errorf("%s: %q lacks %q", tc.args, errs, tc.want)
		}
	}
}

func TestCheck(t *testing.T) {
	w := newWorld(t)
	out, _ := w.run(exitOK, "", "check", "--config", w.config, "--deep")
	wants(t, "check", out, `sent to https://example\.org`)
	bad := newWorld(t, "logg: {}", "presence: maybe")
	_, errs := bad.run(exitUsage, "", "check", "--config", bad.config)
	wants(t, "check", errs, `logg: is not an option; did you mean log\?`)
	wants(t, "check", errs, `presence: should hold options`)
}

func TestPrints(t *testing.T) {
	w := &world{t: t}
	out, _ := w.run(exitOK, "", "version")
	wants(t, "version", out, `^allmende \S+ go1\.\d+`)
	if out, _ = w.run(exitOK, "", "example"); out != string(config.Example()) {
		t.Error("the example is another")
	}
}

// screen is a terminal's output that can be waited for.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	grew chan struct{}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		select {
		case s.grew <- struct{}{}:
		default:
		}
	}()
	return s.text.Write(p)
}

func (s *screen) await(t *testing.T, pattern string) []string {
	t.Helper()
	for {
		s.mu.Lock()
		m := regexp.MustCompile(pattern).FindStringSubmatch(s.text.String())
		s.mu.Unlock()
		if m != nil {
			return m
		}
		if _, more := <-s.grew; !more {
			t.Fatalf("the command ended without printing %s", pattern)
		}
	}
}

// TestServe starts the server as a person does, asks it something, and stops it.
func TestServe(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	out := &screen{grew: make(chan struct{}, 1)}
	ended := make(chan int, 1)
	var log bytes.Buffer
	go func() {
		ended <- serve(ctx, &env{strings.NewReader(""), out, &log, true}, []string{"--config", w.config})
		close(out.grew)
	}()
	url := out.await(t, `answers on (http://\S+) as example\.org`)[1]
	resp, err := http.Get(url + "/.well-known/matrix/client")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "well-known", string(body), `https://example\.org`)
	users, _ := w.admin(exitOK, "", "users")
	wants(t, "users", users, `^USER`)
	stop()
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d\n%s", code, &log)
	}
	wants(t, "log", log.String(), `(?s)msg="server is up".*msg=stopped`)
}
