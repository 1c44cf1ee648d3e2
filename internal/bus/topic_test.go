package bus_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"allmende/internal/bus"
	"allmende/internal/testkit"
)

type position struct{ From, To int64 }

var committed = bus.NewTopic[position]("test.committed")

func TestTopic(t *testing.T) {
	b := testkit.Bus(t)
	got := make(chan position, 100)
	unsubscribe, err := bus.Subscribe(b, committed, func(_ context.Context, p position) {
		if p.From == 13 {
			panic("unlucky")
		}
		got <- p
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(20) {
		if err := bus.Publish(b, committed, position{i, i + 1}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range int64(20) {
		if i == 13 {
			continue // the panic harms one announcement
		}
		if p := <-got; p.From != i {
			t.Fatalf("got %d, want %d: order is lost", p.From, i)
		}
	}
	unsubscribe()
	if err := bus.Publish(b, committed, position{99, 100}); err != nil {
		t.Fatal(err)
	}
	select {
	case p := <-got:
		t.Errorf("got %v after the end", p)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestTopicReachesEveryConnection(t *testing.T) {
	s := natsServer(t, -1, nil)
	a, b := connect(t, bus.Options{URL: s.ClientURL()}), connect(t, bus.Options{URL: s.ClientURL()})
	var n atomic.Int32
	for _, c := range []*bus.Bus{a, b, b} {
		if _, err := bus.Subscribe(c, committed, func(context.Context, position) { n.Add(1) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := bus.Publish(a, committed, position{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all three subscribers were told", func() bool { return n.Load() == 3 })
}
