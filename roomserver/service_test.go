package roomserver_test

import (
	"context"
	"encoding/json"
	"testing"

	"allmende/config"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/internal/testkit"
	"allmende/roomserver"
	"allmende/roomserver/api"

	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	anna matrix.UserID = "@anna:example.org"
	bert matrix.UserID = "@bert:example.org"
)

// start runs a room server on a database and answers the bus to call it by.
func start(t *testing.T, db *pg.DB) *bus.Bus {
	t.Helper()
	b := testkit.Bus(t)
	run(t, db, b)
	return b
}

// run adds an instance to a bus; it stops with the test.
func run(t *testing.T, db *pg.DB, b *bus.Bus) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cfg := config.Default("example.org")
	s, err := roomserver.New(ctx, roomserver.Deps{Config: cfg, DB: db, Bus: b})
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.Go(func() error { return s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func call[Req, Resp any](t *testing.T, b *bus.Bus, e bus.Endpoint[Req, Resp], req Req) Resp {
	t.Helper()
	resp, err := bus.Call(context.Background(), b, e, req)
	if err != nil {
		t.Fatalf("%s: %v", e.Method, err)
	}
	return resp
}

func message(room matrix.RoomID, who matrix.UserID, txn, body string) api.SendEventReq {
	content, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": body})
	return api.SendEventReq{
		RoomID: room, Sender: who, Type: "m.room.message", Content: content,
		Txn: api.Transaction{DeviceID: "D", ID: txn, Endpoint: "/send/m.room.message"},
	}
}

func TestRoomOutlivesItsServer(t *testing.T) {
	db := testkit.Migrated(t, roomserver.Migrate)
	b := start(t, db)
	room := call(t, b, api.CreateRoom, api.CreateRoomReq{Creator: anna, Name: "Group", Invite: []api.Invitee{{UserID: bert}}}).RoomID
	call(t, b, api.SetMembership, api.SetMembershipReq{RoomID: room, Sender: bert, Target: bert, Action: api.Join})
	first := call(t, b, api.SendEvent, message(room, bert, "1", "hello")).EventID
	if again := call(t, b, api.SendEvent, message(room, bert, "1", "hello")).EventID; again != first {
		t.Errorf("a repeated request made a second event: %s, then %s", first, again)
	}

	second := start(t, db)
	if again := call(t, second, api.SendEvent, message(room, bert, "1", "hello")).EventID; again != first {
		t.Errorf("a request repeated at another instance made a second event: %s, then %s", first, again)
	}
	call(t, second, api.SendEvent, message(room, anna, "2", "still here"))
	// The first instance has old state in memory now; its next decision must
	// stand on what the second one wrote.
	call(t, b, api.SendEvent, message(room, bert, "3", "welcome back"))
	assertSound(t, db)
}

// assertSound checks everything that always holds, and what holds as long as
// nothing was ever purged: no forks, no gaps between positions.
func assertSound(t *testing.T, db *pg.DB) {
	t.Helper()
	found, err := roomserver.Check(context.Background(), db)
	if err != nil {
		t.Errorf("check: %v", err)
	}
	for _, v := range found {
		t.Errorf("violated: %s", v)
	}
	if n := count(t, db, `SELECT count(*) FROM roomserver.room_heads WHERE cardinality(extremities) <> 1`); n != 0 {
		t.Errorf("%d rooms with forked timelines", n)
	}
	forks := count(t, db, `SELECT count(*) FROM (SELECT 1 FROM roomserver.events, unnest(prev_nids) AS p(nid) GROUP BY nid HAVING count(*) > 1) f`)
	if forks != 0 {
		t.Errorf("%d events are followed by more than one", forks)
	}
	if gaps := count(t, db, `SELECT (SELECT pos FROM roomserver.head) - count(*) FROM roomserver.events`); gaps != 0 {
		t.Errorf("%d positions without an event", gaps)
	}
}

func count(t *testing.T, db *pg.DB, sql string, args ...any) (n int64) {
	t.Helper()
	if err := db.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func BenchmarkSend(b *testing.B) {
	db := testkit.Migrated(b, roomserver.Migrate)
	bs := testkit.Bus(b)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cfg := config.Default("example.org")
	s, err := roomserver.New(ctx, roomserver.Deps{Config: cfg, DB: db, Bus: bs})
	if err != nil {
		b.Fatal(err)
	}
	go s.Run(ctx)
	cr, err := bus.Call(ctx, bs, api.CreateRoom, api.CreateRoomReq{Creator: anna, Name: "Group"})
	if err != nil {
		b.Fatal(err)
	}
	for _, par := range []int{1, 16} {
		b.Run(map[int]string{1: "one", 16: "sixteen"}[par], func(b *testing.B) {
			b.SetParallelism(par)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					req := message(cr.RoomID, anna, "", "hello")
					if _, err := bus.Call(ctx, bs, api.SendEvent, req); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
