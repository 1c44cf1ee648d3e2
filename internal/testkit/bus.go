package testkit

import (
	"log/slog"
	"testing"

	"allmende/internal/bus"
	"allmende/internal/natsd"
)

// Bus returns a bus on an embedded NATS server of the test's own. Both end with the test.
func Bus(t testing.TB) *bus.Bus {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := natsd.Start(t.Context(), natsd.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	b, err := bus.Connect(t.Context(), bus.Options{Server: s, Name: t.Name(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}
