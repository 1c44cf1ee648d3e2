package history_test

import (
	"fmt"
	"testing"

	"allmende/internal/matrix"
	"allmende/internal/testkit/roomtest"
	"allmende/syncapi/history"
)

// fill puts n messages into a room in one statement.
func fill(b *testing.B, w *roomtest.Rooms, r *roomtest.Room, n int) {
	b.Helper()
	first := r.Text(alice, "a message of ordinary length, as people write them to each other every day")
	for _, sql := range []string{
		`INSERT INTO roomserver.events SELECT event_nid + i, room_nid, ord + i, snapshot, depth + i, origin_ts + i, received_ts, type_nid, key_nid,
			sender_nid, redacted_by, prev_nids, auth_nids, event_id || i FROM roomserver.events, generate_series(1, $2) i WHERE event_nid = $1`,
		`INSERT INTO roomserver.event_content SELECT event_nid + i, json FROM roomserver.event_content, generate_series(1, $2) i WHERE event_nid = $1`,
		`UPDATE roomserver.head SET pos = $1::bigint + $2::bigint`,
	} {
		if _, err := w.DB.Exec(b.Context(), sql, first.NID, n); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := w.DB.Exec(b.Context(), `ANALYZE`); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkMessages walks back through 10,000 events over HTTP.
func BenchmarkMessages(b *testing.B) {
	w := roomtest.Open(b)
	r := w.Room(alice, roomtest.Options{Visibility: "shared"})
	for i := range 20 {
		r.Join(matrix.UserID(fmt.Sprintf("@u%d:example.org", i)))
	}
	fill(b, w, r, 10_000)
	edge := roomtest.ServeOnBus(b, []matrix.UserID{alice}, history.New(history.Deps{Model: w.Model}).Routes())
	for _, limit := range []int{20, 100, 1000} {
		b.Run(fmt.Sprint("by", limit), func(b *testing.B) {
			events := 0
			for b.Loop() {
				from := ""
				for {
					var p struct {
						Chunk []struct{} `json:"chunk"`
						End   string     `json:"end"`
					}
					edge.Get(alice, fmt.Sprintf("%s%s/messages?dir=b&limit=%d%s", v3, esc(r.ID), limit, from), &p)
					events += len(p.Chunk)
					if p.End == "" {
						break
					}
					from = "&from=" + p.End
				}
			}
			b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkMembers asks for the members of a room of 500.
func BenchmarkMembers(b *testing.B) {
	w := roomtest.Open(b)
	r := w.Room(alice, roomtest.Options{})
	for i := range 500 {
		r.Join(matrix.UserID(fmt.Sprintf("@u%d:example.org", i)))
	}
	edge := roomtest.ServeOnBus(b, []matrix.UserID{alice}, history.New(history.Deps{Model: w.Model}).Routes())
	for b.Loop() {
		if a := edge.Do("GET", alice, v3+esc(r.ID)+"/members", ""); a.Status != 200 {
			b.Fatalf("%d %s", a.Status, a.Body)
		}
	}
}
