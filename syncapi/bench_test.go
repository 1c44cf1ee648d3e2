package syncapi_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"allmende/config"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/testkit/roomtest"
	rsapi "allmende/roomserver/api"
)

// BenchmarkNothingNew is an incremental sync of a user of 50 rooms, over HTTP.
func BenchmarkNothingNew(b *testing.B) {
	w := fifty(b)
	since := w.sync(alice).Next
	path := "/_matrix/client/v3/sync?since=" + since
	b.ReportAllocs()
	for b.Loop() {
		if a := w.Do("GET", alice, path, ""); a.Status != 200 {
			b.Fatalf("%d %s", a.Status, a.Body)
		}
	}
}

// BenchmarkInitial is a first sync of 50 rooms with 20 messages each.
func BenchmarkInitial(b *testing.B) {
	w := fifty(b)
	const path = `/_matrix/client/v3/sync?filter=%7B%22room%22:%7B%22timeline%22:%7B%22limit%22:20%7D%7D%7D`
	b.Run("warm", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			n = len(w.Do("GET", alice, path, "").Body)
		}
		b.ReportMetric(float64(n)/1024, "KiB")
	})
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			n := *w
			n.Edge = roomtest.Serve(b, w.Bus, everybody, start(b, w.Rooms, w.Bus, config.Default("example.org")).Routes())
			n.sync(dave) // so that it follows
			b.StartTimer()
			n.Do("GET", alice, path, "")
		}
	})
}

func fifty(b *testing.B) *world {
	w := open(b)
	for i := range 50 {
		r := w.Room(alice, roomtest.Options{Name: fmt.Sprint("room ", i)})
		r.Join(bob)
		for j := range 20 {
			r.Text(bob, fmt.Sprint("message number ", j, " which says a little more than that, as people do"))
		}
	}
	return w
}

// BenchmarkFanOut is one message arriving at 100 members who wait for it.
func BenchmarkFanOut(b *testing.B) {
	everybody = everybody[:4:4]
	members := make([]matrix.UserID, 100)
	for i := range members {
		members[i] = matrix.UserID(fmt.Sprintf("@m%d:example.org", i))
	}
	everybody = append(everybody, members...)
	defer func() { everybody = everybody[:4] }()
	w := open(b)
	room := w.Room(alice, roomtest.Options{Name: "all"})
	tokens := make([]string, len(members))
	for _, m := range members {
		room.Join(m)
	}
	for i, m := range members {
		tokens[i] = w.sync(m).Next
	}
	var took time.Duration
	for b.Loop() {
		b.StopTimer()
		var g sync.WaitGroup
		for i, m := range members {
			g.Go(func() {
				a := w.Do("GET", m, "/_matrix/client/v3/sync?timeout=30000&since="+tokens[i], "")
				tokens[i] = string(a.Body[15:])[:indexQuote(a.Body[15:])]
			})
		}
		time.Sleep(20 * time.Millisecond) // so that they wait
		e := room.Text(alice, "hello")
		b.StartTimer()
		at := time.Now()
		if err := bus.Publish(w.Bus, rsapi.Committed, rsapi.CommittedAnn{From: e.NID, To: e.NID}); err != nil {
			b.Fatal(err)
		}
		g.Wait()
		took += time.Since(at)
	}
	b.ReportMetric(float64(took.Microseconds())/float64(b.N), "µs/message")
}

func indexQuote(b []byte) int {
	for i, c := range b {
		if c == '"' {
			return i
		}
	}
	return len(b)
}
