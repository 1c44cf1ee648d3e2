package bus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/testkit"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

var roomEndpoint = bus.PerRoom[echo, echo]("room", "Who", 10*time.Second)

// instance is one process of the service room, with a connection of its own.
type instance struct {
	*bus.Service
	bus  *bus.Bus
	stop func()
	die  func() // unannounced
}

func startInstance(t *testing.T, url, name string) instance {
	t.Helper()
	b := connect(t, bus.Options{URL: url, Name: name})
	s := b.Service("room", bus.ServiceOptions{})
	bus.Handle(s, roomEndpoint, func(context.Context, echo) (echo, error) { return echo{Text: name}, nil })
	var dead atomic.Bool
	stop := runUntil(t, s, dead.Load)
	return instance{s, b, stop, func() { dead.Store(true); b.Close() }}
}

// split reports whether the instances share all shards without overlap, each having some.
func split(is ...instance) bool {
	seen := map[int]bool{}
	for _, i := range is {
		owned := i.Owned()
		if len(owned) == 0 {
			return false
		}
		for _, shard := range owned {
			if seen[shard] {
				return false
			}
			seen[shard] = true
		}
	}
	return len(seen) == bus.Shards
}

// askAll calls every shard and returns who answered.
func askAll(t *testing.T, b *bus.Bus) map[string]int {
	t.Helper()
	answers := map[string]int{}
	asked := map[int]bool{}
	for n := 0; len(asked) < bus.Shards; n++ {
		key := fmt.Sprintf("!room%d", n)
		if asked[bus.Shard(key)] {
			continue
		}
		asked[bus.Shard(key)] = true
		got, err := bus.Call(t.Context(), b, roomEndpoint, echo{Room: key})
		if err != nil {
			t.Fatalf("shard %d: %v", bus.Shard(key), err)
		}
		answers[got.Text]++
	}
	return answers
}

func TestShardsMoveWithTheLiving(t *testing.T) {
	s := natsServer(t, -1, nil)
	caller := connect(t, bus.Options{URL: s.ClientURL()})
	a := startInstance(t, s.ClientURL(), "a")
	if got := askAll(t, caller); got["a"] != bus.Shards {
		t.Errorf("one instance: %v", got)
	}
	b := startInstance(t, s.ClientURL(), "b")
	eventually(t, "two instances share", func() bool { return split(a, b) })
	if got := askAll(t, caller); got["a"] == 0 || got["b"] == 0 || got["a"]+got["b"] != bus.Shards {
		t.Errorf("two instances: %v", got)
	}
	a.stop() // says goodbye
	if got := askAll(t, caller); got["b"] != bus.Shards {
		t.Errorf("after a has gone: %v", got)
	}
	c := startInstance(t, s.ClientURL(), "c")
	eventually(t, "b and c share", func() bool { return split(b, c) })
	b.die()
	eventually(t, "c has noticed", func() bool { return split(c) })
	if got := askAll(t, caller); got["c"] != bus.Shards {
		t.Errorf("after b has died: %v", got)
	}
}

func TestCallsDuringHandOver(t *testing.T) {
	s := natsServer(t, -1, nil)
	caller := connect(t, bus.Options{URL: s.ClientURL()})
	a := startInstance(t, s.ClientURL(), "a")
	done := make(chan struct{})
	result := make(chan error, 4)
	for worker := range cap(result) {
		go func() {
			var err error
			for n := 0; err == nil; n++ {
				select {
				case <-done:
					result <- nil
					return
				default:
				}
				_, err = bus.Call(context.Background(), caller, roomEndpoint, echo{Room: fmt.Sprintf("!%d.%d", worker, n)})
			}
			result <- err
		}()
	}
	b := startInstance(t, s.ClientURL(), "b")
	eventually(t, "two share", func() bool { return split(a, b) })
	a.stop()
	eventually(t, "b has all", func() bool { return split(b) })
	close(done)
	for range cap(result) {
		if err := <-result; err != nil {
			t.Errorf("a call failed during the hand-over: %v", err)
		}
	}
}

func TestNATSGoesAndComes(t *testing.T) {
	first := natsServer(t, -1, nil)
	url, port := first.ClientURL(), clientPort(t, first.ClientURL())
	i := startInstance(t, url, "a")
	caller := connect(t, bus.Options{URL: url})
	var hooks, told atomic.Int32
	caller.OnReconnect(func() { hooks.Add(1) })
	removed := caller.OnReconnect(func() { t.Error("a removed hook was called") })
	removed()
	if _, err := bus.Subscribe(caller, committed, func(context.Context, position) { told.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Call(t.Context(), caller, roomEndpoint, echo{}); err != nil {
		t.Fatal(err)
	}

	first.Shutdown()
	first.WaitForShutdown()
	eventually(t, "the loss is seen", func() bool { return caller.Check(t.Context()) != nil })
	if err := bus.Publish(caller, committed, position{}); err == nil {
		t.Error("publishing without a connection is no error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := bus.Call(ctx, caller, roomEndpoint, echo{}); matrix.AsError(err).Status != 503 {
		t.Errorf("a call without a connection: %v", err)
	}

	natsServer(t, port, nil)
	eventually(t, "the hook was called", func() bool { return hooks.Load() == 1 })
	if err := caller.Check(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "calls work again", func() bool {
		_, err := bus.Call(t.Context(), caller, roomEndpoint, echo{})
		return err == nil
	})
	eventually(t, "announcements work again", func() bool {
		return bus.Publish(i.bus, committed, position{}) == nil && told.Load() > 0
	})
}

// A call whose connection is lost in the middle ends at once, or is made again if it may be.
func TestConnectionLostDuringCall(t *testing.T) {
	for _, idempotent := range []bool{false, true} {
		t.Run(fmt.Sprint("idempotent=", idempotent), func(t *testing.T) {
			e := bus.New[echo, echo]("lost", "Wait", time.Minute)
			if idempotent {
				e = e.Retry()
			}
			server := natsServer(t, -1, nil)
			url, port := server.ClientURL(), clientPort(t, server.ClientURL())
			sb := connect(t, bus.Options{URL: url})
			s := sb.Service("lost", bus.ServiceOptions{})
			begun := make(chan struct{}, 2)
			var calls atomic.Int32
			bus.Handle(s, e, func(ctx context.Context, in echo) (echo, error) {
				begun <- struct{}{}
				if calls.Add(1) == 1 {
					select {
					case <-ctx.Done():
					case <-time.After(300 * time.Millisecond):
					}
				}
				return in, nil
			})
			run(t, s)
			caller := connect(t, bus.Options{URL: url})
			result := make(chan error, 1)
			go func() {
				_, err := bus.Call(context.Background(), caller, e, echo{})
				result <- err
			}()
			<-begun
			server.Shutdown()
			server.WaitForShutdown()
			natsServer(t, port, nil)
			err := <-result
			if idempotent && (err != nil || calls.Load() != 2) {
				t.Errorf("the call was not repeated: %v, %d calls", err, calls.Load())
			}
			if !idempotent && (matrix.AsError(err).Status != 503 || calls.Load() != 1) {
				t.Errorf("got %v after %d calls", err, calls.Load())
			}
		})
	}
}

func TestMicroDiscovery(t *testing.T) {
	s := natsServer(t, -1, nil)
	i := startInstance(t, s.ClientURL(), "a")
	if _, err := bus.Call(t.Context(), i.bus, roomEndpoint, echo{}); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, subject := range []string{"$SRV.STATS", "$SRV.STATS.room"} {
		m, err := nc.Request(subject, nil, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var st micro.Stats
		if err := json.Unmarshal(m.Data, &st); err != nil {
			t.Fatal(err)
		}
		if st.Name != "room" || st.Type != micro.StatsResponseType || len(st.Endpoints) != 1 ||
			st.Endpoints[0].Name != "Who" || st.Endpoints[0].NumRequests != 1 {
			t.Errorf("%s: %s", subject, m.Data)
		}
	}
	for subject, want := range map[string]string{"$SRV.PING": micro.PingResponseType, "$SRV.INFO.room": micro.InfoResponseType} {
		m, err := nc.Request(subject, nil, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ Type string }
		if err := json.Unmarshal(m.Data, &got); err != nil || got.Type != want {
			t.Errorf("%s: %s", subject, m.Data)
		}
	}
}

func TestUnknownShardedMethod(t *testing.T) {
	b := testkit.Bus(t)
	s := b.Service("room", bus.ServiceOptions{})
	bus.Handle(s, roomEndpoint, func(_ context.Context, in echo) (echo, error) { return in, nil })
	run(t, s)
	newer := bus.PerRoom[echo, echo]("room", "Newer", time.Second)
	if _, err := bus.Call(t.Context(), b, newer, echo{}); matrix.AsError(err).Status != 503 {
		t.Errorf("got %v", err)
	}
}
