// Package scenario holds what members do with a server, written once and run on
// every topology: one process with everything inside, and a cluster of one
// process a service (two of some) around an external NATS and PostgreSQL. A
// scenario gets a [Home] and speaks to it over real HTTP, as a client does.
//
// Every answer is checked against the Matrix specification's OpenAPI files when
// they are at hand (see contract.go).
package scenario

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"allmende/config"
	"allmende/internal/run"
	"allmende/internal/testkit"
)

// Home is a running installation.
type Home struct {
	// ServerName is what stands behind the colon in its ids.
	ServerName string
	// OneProcess tells that every request meets the same instance of each
	// service, which then may remember what it has sent to whom.
	OneProcess bool

	config    *config.Config // for admin calls
	url       func() string
	restart   func(t testing.TB)
	transport http.RoundTripper
}

// URL is the address clients use.
func (h *Home) URL() string { return h.url() }

// Restart stops all processes in order and starts them again on the same data.
func (h *Home) Restart(t testing.TB) {
	t.Helper()
	h.restart(t)
}

// Topology starts an installation of some shape for a test.
type Topology struct {
	Name  string
	Start func(t testing.TB) *Home
}

// Topologies are the shapes every scenario runs on.
var Topologies = []Topology{{"single", Single}, {"split", Split}}

// serverName is the name of all installations: they never meet.
const serverName = "example.org"

// Config is the configuration of the scenarios: open registration, no rate
// limits (a scenario of their own turns them on), cheap password hashes.
func Config(t testing.TB) *config.Config {
	c := config.Default(serverName)
	c.DataDir = testkit.Dir(t)
	c.Listen = config.Listen{Client: []string{"127.0.0.1:0"}}
	c.Registration.Policy = config.RegistrationOpen
	c.RateLimits = config.RateLimits{}
	c.Auth.Argon2 = config.Argon2{Memory: 8 << 20, Iterations: 1, Parallelism: 1}
	c.Presence.Enabled = true
	return c
}

const startTimeout = 2 * time.Minute

// Single starts one process with everything inside: its bus, its services and,
// as one would run it, its private PostgreSQL.
func Single(t testing.TB) *Home {
	t.Helper()
	return SingleWith(t, Config(t))
}

// SingleWith is Single with a configuration of the test's own.
func SingleWith(t testing.TB, c *config.Config) *Home {
	t.Helper()
	return SingleLogged(t, c, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
}

// SingleLogged is SingleWith with a logger of the test's own.
func SingleLogged(t testing.TB, c *config.Config, log *slog.Logger) *Home {
	t.Helper()
	var inst *run.Instance
	begin := func(t testing.TB) {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		var err error
		if inst, err = run.Start(ctx, c, run.Options{Log: log, Fast: true}); err != nil {
			t.Fatalf("start: %v", err)
		}
	}
	end := func(t testing.TB) {
		if err := inst.Close(); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	begin(t)
	t.Cleanup(func() { end(t) })
	return &Home{
		ServerName: c.ServerName,
		OneProcess: true,
		config:     c,
		url:        func() string { return inst.URL() },
		restart:    func(t testing.TB) { end(t); begin(t) },
		transport:  newTransport(t),
	}
}
