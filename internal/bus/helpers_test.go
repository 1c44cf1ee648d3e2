package bus_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"allmende/internal/bus"
	"allmende/internal/testkit"

	"github.com/nats-io/nats-server/v2/server"
)

type echo struct {
	Room string `json:"room,omitempty"`
	Text string `json:"text,omitempty"`
}

func (e echo) ShardKey() string { return e.Room }

func testLog(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// run starts the service and ends it with the test. The function stops it at once and waits.
func run(t testing.TB, s *bus.Service) (stop func()) {
	t.Helper()
	return runUntil(t, s, func() bool { return false })
}

// runUntil is run for a service that may end by itself with an error, once mayFail.
func runUntil(t testing.TB, s *bus.Service, mayFail func() bool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		cancel()
		if !stopped {
			stopped = true
			if err := <-done; err != nil && !mayFail() {
				t.Errorf("run: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	select {
	case <-s.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("service ended before it was ready: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("service is not ready")
	}
	return stop
}

// serve runs one endpoint on a bus of its own.
func serve[Req, Resp any](t testing.TB, e bus.Endpoint[Req, Resp], h func(context.Context, Req) (Resp, error)) *bus.Bus {
	t.Helper()
	b := testkit.Bus(t)
	s := b.Service(e.Service, bus.ServiceOptions{})
	bus.Handle(s, e, h)
	run(t, s)
	return b
}

// natsServer is a real server on loopback, as an installation of many machines has.
func natsServer(t testing.TB, port int, change func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true}
	if change != nil {
		change(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS server is not ready")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func connect(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	o.Log = testLog(t)
	b, err := bus.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// eventually waits until f holds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not come true: %s", what)
		}
	}
}
