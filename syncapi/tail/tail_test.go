package tail

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/testkit"
	"allmende/internal/testkit/roomtest"
	rsapi "allmende/roomserver/api"
	"allmende/roomserver/read"

	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const alice, bob = matrix.UserID("@alice:test"), matrix.UserID("@bob:test")

// run starts a tail over a database of the test's own.
func run(t *testing.T) (*Tail, *roomtest.Rooms, *bus.Bus) {
	t.Helper()
	rooms, b := roomtest.Open(t), testkit.Bus(t)
	return start(t, rooms.Model, b), rooms, b
}

func start(t *testing.T, m *read.Model, b *bus.Bus) *Tail {
	t.Helper()
	tl := New(m, nil, b)
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return tl.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	return tl
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func user(t *testing.T, tl *Tail, id matrix.UserID) *User {
	t.Helper()
	u, err := tl.User(within(t), id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// view loads one room and waits until the tail has reached a position.
func view(t *testing.T, tl *Tail, u *User, room read.RoomNID, pos int64) View {
	t.Helper()
	if err := tl.Await(within(t), pos); err != nil {
		t.Fatal(err)
	}
	if err := tl.Load(within(t), []read.RoomNID{room}); err != nil {
		t.Fatal(err)
	}
	m := tl.At(u, 0, func(s Standing, _ int64) bool { return s.RoomNID == room })
	if len(m.Rooms) != 1 || !m.Rooms[0].Loaded {
		t.Fatalf("room is not there: %+v", m)
	}
	return m.Rooms[0]
}

func TestFollow(t *testing.T) {
	tl, rooms, b := run(t)
	room := rooms.Room(alice, roomtest.Options{Name: "one"})
	u := user(t, tl, alice)
	before := view(t, tl, u, room.NID, 0)
	changed := tl.Changed(u)
	e := room.Text(alice, "hello")
	if err := bus.Publish(b, rsapi.Committed, rsapi.CommittedAnn{From: e.NID, To: e.NID}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	case <-within(t).Done():
		t.Fatal("not woken")
	}
	after := view(t, tl, u, room.NID, e.NID)
	if got := after.Timeline[len(after.Timeline)-1]; got.ID != e.ID || got.Type != "m.room.message" || got.Sender != string(alice) {
		t.Errorf("newest event is %s", got.ID)
	}
	if len(after.Timeline) != len(before.Timeline)+1 || after.Latest != e.NID {
		t.Errorf("%d events after %d, latest %d", len(after.Timeline), len(before.Timeline), after.Latest)
	}
}

// TestLostAnnouncements: nobody announces, the tail looks by itself.
func TestLostAnnouncements(t *testing.T) {
	tl, rooms, _ := run(t)
	room := rooms.Room(alice, roomtest.Options{})
	u := user(t, tl, bob)
	changed := tl.Changed(u)
	join := room.Join(bob)
	select {
	case <-changed:
	case <-within(t).Done():
		t.Fatal("not woken")
	}
	if s := tl.Standing(u, room.NID); s.Membership != read.Join || s.EventNID != join.NID {
		t.Errorf("standing is %+v", s)
	}
}

func TestMembersAndState(t *testing.T) {
	tl, rooms, _ := run(t)
	room := rooms.Room(alice, roomtest.Options{Name: "old"})
	u := user(t, tl, alice)
	view(t, tl, u, room.NID, 0) // loaded before what follows
	room.Join(bob)
	room.Invite("@carol:test")
	room.Leave(bob)
	name := room.State(alice, "m.room.name", "", roomtest.C{"name": "new"})
	v := view(t, tl, u, room.NID, name.NID)
	if v.Joined != 1 || v.Invited != 1 {
		t.Errorf("%d joined, %d invited", v.Joined, v.Invited)
	}
	got := v.State[read.StateKey{TypeNID: read.TypeName, KeyNID: read.EmptyKey}]
	if got == nil || got.NID != name.NID || got.Prev == nil {
		t.Errorf("name is %+v", got)
	}
	if h := tl.Heroes(room.NID); len(h.Here) != 2 || len(h.Gone) != 1 {
		t.Errorf("heroes are %+v", h)
	}
	// A tail that loads the same room now sees the same.
	fresh := start(t, rooms.Model, testkit.Bus(t))
	w := view(t, fresh, user(t, fresh, alice), room.NID, name.NID)
	if w.Joined != v.Joined || w.Invited != v.Invited || len(w.State) != len(v.State) || len(w.Timeline) != len(v.Timeline) {
		t.Errorf("loaded later: %d/%d members, %d state, %d events; followed: %d/%d, %d, %d",
			w.Joined, w.Invited, len(w.State), len(w.Timeline), v.Joined, v.Invited, len(v.State), len(v.Timeline))
	}
}

func TestRedactionReachesMemory(t *testing.T) {
	rooms := roomtest.Open(t)
	room := rooms.Room(alice, roomtest.Options{})
	secret := room.Text(alice, "needle")
	// Not running: this test says when the tail looks, because here the
	// redaction and its effect are not written in one transaction.
	tl := New(rooms.Model, nil, testkit.Bus(t))
	if err := tl.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := user(t, tl, alice)
	if got := texts(view(t, tl, u, room.NID, 0)); !strings.Contains(got, "needle") {
		t.Fatalf("not loaded: %s", got)
	}
	room.Redact(alice, secret.ID, "")
	if err := tl.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := view(t, tl, u, room.NID, 0)
	if got := texts(v); strings.Contains(got, "needle") {
		t.Errorf("still in memory: %s", got)
	}
	if e := v.Timeline[len(v.Timeline)-2]; e.ID != secret.ID || e.Redaction == nil {
		t.Errorf("redaction is not shown with the event: %+v", e)
	}
}

func texts(v View) string {
	var b strings.Builder
	for _, e := range v.Timeline {
		b.Write(e.AppendPlain(nil, ""))
	}
	return b.String()
}

// TestConcurrentWriters: many transactions commit at once, in any order of
// their beginning; the tail sees every event of every room once and in order,
// and so does a second tail that starts and loads in the middle of it.
func TestConcurrentWriters(t *testing.T) {
	tl, rooms, b := run(t)
	const writers, each = 8, 40
	var made []*roomtest.Room
	for i := range writers {
		made = append(made, rooms.Room(alice, roomtest.Options{Name: fmt.Sprint(i)}))
	}
	u := user(t, tl, alice)
	got := map[read.RoomNID][]int64{}
	from := map[read.RoomNID]int64{}
	m := tl.At(u, 0, func(Standing, int64) bool { return true })
	if len(m.Rooms) != writers {
		t.Fatalf("%d rooms", len(m.Rooms))
	}
	nids := make([]read.RoomNID, 0, writers)
	for _, r := range made {
		nids = append(nids, r.NID)
		from[r.NID] = m.Position
	}
	var mu sync.Mutex
	var want = map[read.RoomNID][]int64{}
	g, ctx := errgroup.WithContext(within(t))
	for _, r := range made {
		g.Go(func() error {
			for range each {
				nid, err := commitText(ctx, rooms, r)
				if err != nil {
					return err
				}
				mu.Lock()
				want[r.NID] = append(want[r.NID], nid)
				mu.Unlock()
				if err := bus.Publish(b, rsapi.Committed, rsapi.CommittedAnn{From: nid, To: nid}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	done := make(chan error, 1)
	go func() { done <- g.Wait() }()
	var second *Tail
	total := func() (n int) {
		for _, l := range got {
			n += len(l)
		}
		return n
	}
	writing := true
	for {
		changed := tl.Changed(u)
		if err := tl.Load(within(t), nids); err != nil {
			t.Fatal(err)
		}
		m := tl.At(u, 0, func(Standing, int64) bool { return true })
		for _, v := range m.Rooms {
			for _, e := range v.Timeline {
				if e.Ord > from[v.RoomNID] {
					got[v.RoomNID] = append(got[v.RoomNID], e.Ord)
				}
			}
			if v.Floor > from[v.RoomNID] {
				t.Fatal("the reader was too slow for this test")
			}
			from[v.RoomNID] = m.Position
			if v.Latest > m.Position {
				t.Errorf("latest %d is beyond the position %d", v.Latest, m.Position)
			}
		}
		if second == nil && total() > writers {
			second = start(t, rooms.Model, testkit.Bus(t))
		}
		if !writing && total() >= writers*each {
			break
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			writing = false
		case <-changed:
		case <-within(t).Done():
			t.Fatalf("%d of %d events seen", total(), writers*each)
		}
	}
	var last int64
	for room, list := range want {
		if fmt.Sprint(got[room]) != fmt.Sprint(list) {
			t.Errorf("room %d: got %v, want %v", room, got[room], list)
		}
		last = max(last, list[len(list)-1])
	}
	w := user(t, second, alice)
	for _, r := range made {
		v := view(t, second, w, r.NID, last)
		if got := v.Timeline[len(v.Timeline)-1].NID; got != want[r.NID][each-1] {
			t.Errorf("second tail: newest of room is %d, want %d", got, want[r.NID][each-1])
		}
	}
}

// commitText writes one event as the room server does: the head row is locked
// to the end of the transaction, which may take a while.
func commitText(ctx context.Context, rooms *roomtest.Rooms, r *roomtest.Room) (nid int64, err error) {
	tx, err := rooms.DB.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := tx.QueryRow(ctx, `UPDATE roomserver.head SET pos = pos + 1 RETURNING pos`).Scan(&nid); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO roomserver.events (event_nid, room_nid, ord, snapshot, depth, origin_ts, received_ts, type_nid,
		sender_nid, prev_nids, auth_nids, event_id) SELECT $1::bigint, $2, $1::bigint, 0, 1, 1, 1, 7, nid, '{}', '{}', '$' || $1::bigint
		FROM roomserver.strings WHERE value = $3`, nid, r.NID, string(alice)); err != nil {
		return 0, err
	}
	if rand.IntN(4) == 0 {
		time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
	}
	if _, err := tx.Exec(ctx, `INSERT INTO roomserver.event_content (event_nid, json) VALUES ($1, $2)`, nid,
		[]byte(`{"content":{"body":"x"},"origin_server_ts":1,"sender":"@alice:test","type":"m.room.message"}`)); err != nil {
		return 0, err
	}
	if _, err := tx.Exec(ctx, `UPDATE roomserver.room_heads SET last_nid = $2 WHERE room_nid = $1`, r.NID, nid); err != nil {
		return 0, err
	}
	return nid, tx.Commit(ctx)
}
