package timeline_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/internal/testkit"
	"allmende/roomserver/read"
	"allmende/roomserver/store"
	"allmende/roomserver/timeline"

	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const anna matrix.UserID = "@anna:example.org"

// deadline of a test's calls: far above what they take.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// open starts an instance on a database; it stops with the test.
func open(t *testing.T, db *pg.DB, change ...func(*timeline.Options)) *timeline.Rooms {
	t.Helper()
	o := timeline.Options{
		Store:  store.New(db),
		Signer: matrix.Signer{Server: "example.org", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(make([]byte, 32))},
	}
	for _, c := range change {
		c(&o)
	}
	rs := timeline.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return rs.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	return rs
}

func create(t *testing.T, rs *timeline.Rooms) matrix.RoomID {
	t.Helper()
	id, err := rs.Create(within(t), "12", false, anna, []byte(`{"room_version":"12"}`), func(tx *timeline.Tx) error {
		return state(tx, "m.room.member", string(anna), `{"membership":"join"}`)
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func state(tx *timeline.Tx, typ, key, content string) error {
	_, err := tx.Append(timeline.Proto{Type: typ, StateKey: &key, Sender: anna, Content: []byte(content)})
	return err
}

// say sends a message and answers its id.
func say(ctx context.Context, rs *timeline.Rooms, room matrix.RoomID, body string, scope ...[16]byte) (matrix.EventID, error) {
	var id matrix.EventID
	err := rs.Update(ctx, room, func(tx *timeline.Tx) error {
		ev, err := tx.Append(timeline.Proto{Type: "m.room.message", Sender: anna, Content: fmt.Appendf(nil, `{"body":%q}`, body)})
		if err != nil {
			return err
		}
		id = ev.ID
		for _, s := range scope {
			tx.Claim(s, "D", body)
		}
		return nil
	})
	return id, err
}

func assertSound(t *testing.T, db *pg.DB) {
	t.Helper()
	found, err := store.New(db).Check(within(t))
	if err != nil {
		t.Errorf("check: %v", err)
	}
	for _, v := range found {
		t.Errorf("violated: %s", v)
	}
	if n := number(t, db, `SELECT count(*) FROM (SELECT 1 FROM roomserver.events, unnest(prev_nids) AS p(nid) GROUP BY nid HAVING count(*) > 1) f`); n != 0 {
		t.Errorf("%d events are followed by more than one", n)
	}
	if n := number(t, db, `SELECT (SELECT pos FROM roomserver.head) - count(*) FROM roomserver.events`); n != 0 {
		t.Errorf("%d positions without an event", n)
	}
}

func number(t *testing.T, db *pg.DB, sql string, args ...any) (n int64) {
	t.Helper()
	if err := db.QueryRow(within(t), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// TestReadersNeverSkip proves the positions: a reader that asks for what lies
// behind the last position it saw gets every event once, in order, while two
// instances write to the same rooms at once.
func TestReadersNeverSkip(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	instances := []*timeline.Rooms{open(t, db), open(t, db)}
	var rooms []matrix.RoomID
	for range 6 {
		rooms = append(rooms, create(t, instances[0]))
	}
	const writers, each = 16, 25
	ctx := within(t)
	var writing, reading errgroup.Group
	var sent atomic.Int64
	for w := range writers {
		writing.Go(func() error {
			for i := range each {
				if _, err := say(ctx, instances[w%2], rooms[(w/2+i)%len(rooms)], fmt.Sprint(w, i)); err != nil {
					return err
				}
				sent.Add(1)
			}
			return nil
		})
	}
	total := int64(len(rooms)*2 + writers*each)
	reading.Go(func() error {
		m := read.New(db)
		for last := int64(0); last < total; {
			list, err := m.EventsAfter(ctx, last, 50)
			if err != nil {
				return err
			}
			for _, e := range list {
				if e.NID != last+1 {
					return fmt.Errorf("position %d follows %d", e.NID, last)
				}
				last = e.NID
			}
		}
		return nil
	})
	if err := errors.Join(writing.Wait(), reading.Wait()); err != nil {
		t.Fatal(err)
	}
	if n := number(t, db, `SELECT count(*) FROM roomserver.events WHERE type_nid = 7`); n != sent.Load() {
		t.Errorf("%d messages stored, %d acknowledged", n, sent.Load())
	}
	assertSound(t, db)
}

func TestInstancesTakeTurns(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	instances := []*timeline.Rooms{open(t, db), open(t, db)}
	room := create(t, instances[0])
	for i := range 20 {
		if _, err := say(within(t), instances[i%2], room, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	assertSound(t, db)
}

// TestTransactionsHappenOnce sends each transaction id from many goroutines and
// both instances at once, so that repetitions meet in one batch, too.
func TestTransactionsHappenOnce(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	instances := []*timeline.Rooms{open(t, db), open(t, db)}
	rooms := []matrix.RoomID{create(t, instances[0]), create(t, instances[0])}
	ctx := within(t)
	var g errgroup.Group
	var made atomic.Int64
	const requests = 40
	for i := range requests {
		for r := range 6 {
			g.Go(func() error {
				scope := [16]byte{byte(i)}
				_, err := say(ctx, instances[r%2], rooms[i%2], fmt.Sprint(i), scope)
				switch {
				case err == nil:
					made.Add(1)
				case !errors.Is(err, store.ErrTxnTaken):
					return err
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	stored := number(t, db, `SELECT count(*) FROM roomserver.events WHERE type_nid = 7`)
	if made.Load() != requests || stored != requests {
		t.Errorf("%d requests, each six times, made %d events, of which %d are stored", requests, made.Load(), stored)
	}
	assertSound(t, db)
}

// TestDroppingRoomsForksNothing drops rooms from memory all the time, by hand
// and for want of memory, while they are written to.
func TestDroppingRoomsForksNothing(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	rs := open(t, db, func(o *timeline.Options) { o.MaxBytes = 16 << 10 })
	var rooms []matrix.RoomID
	for range 8 {
		rooms = append(rooms, create(t, rs))
	}
	ctx, stop := context.WithCancel(within(t))
	var dropping, g errgroup.Group
	dropping.Go(func() error {
		for ctx.Err() == nil {
			rs.Forget(func(id matrix.RoomID) bool { return id < rooms[4] })
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	})
	for w := range 12 {
		g.Go(func() error {
			for i := range 25 {
				if _, err := say(ctx, rs, rooms[(w+i)%len(rooms)], "x"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	stop()
	if err := errors.Join(err, dropping.Wait()); err != nil {
		t.Fatal(err)
	}
	if n := number(t, db, `SELECT count(*) FROM roomserver.events WHERE type_nid = 7`); n != 300 {
		t.Errorf("300 messages were acknowledged, %d are stored", n)
	}
	if held := rs.Held(); held > 8 {
		t.Errorf("%d rooms are held in memory for eight", held)
	}
	assertSound(t, db)
}

// TestRoomsLeaveMemory makes more rooms than memory is allowed for.
func TestRoomsLeaveMemory(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	rs := open(t, db, func(o *timeline.Options) { o.MaxBytes = 40 << 10 })
	var rooms []matrix.RoomID
	for range 30 {
		rooms = append(rooms, create(t, rs))
	}
	if held := rs.Held(); held < 2 || held > 9 {
		t.Errorf("%d rooms are held, of which each weighs above 4 KiB, although 40 KiB are allowed", held)
	}
	for _, r := range rooms {
		if _, err := say(within(t), rs, r, "back again"); err != nil {
			t.Fatal(err)
		}
	}
	assertSound(t, db)
}

// TestDecisionsWithoutEventsAreOnNewState asks an instance whose memory is old
// for decisions that write nothing.
func TestDecisionsWithoutEventsAreOnNewState(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	old, other := open(t, db), open(t, db)
	room := create(t, old)
	ctx := within(t)
	err := other.Update(ctx, room, func(tx *timeline.Tx) error { return state(tx, "m.room.name", "", `{"name":"N"}`) })
	if err != nil {
		t.Fatal(err)
	}
	var name *matrix.Event
	look := func(tx *timeline.Tx) (err error) {
		name, err = tx.State("m.room.name", "")
		return err
	}
	if err := old.Update(ctx, room, look); err != nil || name == nil {
		t.Errorf("the instance answers from memory: name %v, error %v", name, err)
	}
	err = other.Update(ctx, room, func(tx *timeline.Tx) error { return state(tx, "m.room.topic", "", `{"topic":"T"}`) })
	if err != nil {
		t.Fatal(err)
	}
	err = old.Update(ctx, room, func(tx *timeline.Tx) error {
		if ev, err := tx.State("m.room.topic", ""); err != nil || ev == nil {
			return matrix.Forbidden("no topic")
		}
		return nil
	})
	if err != nil {
		t.Errorf("the instance refuses by what it remembers: %v", err)
	}
}

// TestGivenUpDecisionsLeaveNothing appends events of all kinds and then refuses.
func TestGivenUpDecisionsLeaveNothing(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	rs := open(t, db)
	room := create(t, rs)
	before := number(t, db, `SELECT pos FROM roomserver.head`)
	for _, refusal := range []error{matrix.Forbidden("no"), errors.New("accident")} {
		err := rs.Update(within(t), room, func(tx *timeline.Tx) error {
			for _, typ := range []string{"m.room.name", "m.room.topic", "m.room.name"} {
				if err := state(tx, typ, "", `{}`); err != nil {
					return err
				}
			}
			if err := state(tx, "m.room.member", string(anna), `{"membership":"leave"}`); err != nil {
				return err
			}
			return refusal
		})
		if !errors.Is(err, refusal) {
			t.Errorf("got %v, want %v", err, refusal)
		}
	}
	if pos := number(t, db, `SELECT pos FROM roomserver.head`); pos != before {
		t.Errorf("position moved from %d to %d", before, pos)
	}
	err := rs.Update(within(t), room, func(tx *timeline.Tx) error {
		if ev, _ := tx.State("m.room.name", ""); ev != nil || tx.Joined() != 1 || tx.Membership(anna) != read.Join {
			t.Errorf("name %v, %d joined, membership %s", ev, tx.Joined(), tx.Membership(anna))
		}
		return state(tx, "m.room.name", "", `{}`)
	})
	if err != nil {
		t.Fatal(err)
	}
	assertSound(t, db)
}

// TestStrangersDoNotSpoilABatch queues an event that the database refuses
// together with good ones.
func TestStrangersDoNotSpoilABatch(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	rs := open(t, db)
	good, bad := create(t, rs), create(t, rs)
	_, err := db.Exec(within(t), `ALTER TABLE roomserver.event_txns ADD CHECK (txn_id <> 'poison')`)
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t)
	var g errgroup.Group
	var refused atomic.Int64
	for i := range 60 {
		g.Go(func() error {
			if i%6 == 0 {
				if _, err := say(ctx, rs, bad, "poison", [16]byte{byte(i)}); err != nil {
					refused.Add(1)
				}
				return nil
			}
			_, err := say(ctx, rs, []matrix.RoomID{good, bad}[i%2], fmt.Sprint(i), [16]byte{byte(i)})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Errorf("a good event failed: %v", err)
	}
	if refused.Load() != 10 {
		t.Errorf("%d of 10 bad events were refused", refused.Load())
	}
	assertSound(t, db)
}

// TestEqualRoomsOfOneMoment makes rooms whose create events differ in nothing
// but the time, by a clock that stands still.
func TestEqualRoomsOfOneMoment(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	still := func(o *timeline.Options) { o.Now = func() time.Time { return time.UnixMilli(1_790_000_000_000) } }
	instances := []*timeline.Rooms{open(t, db, still), open(t, db, still)}
	made := map[matrix.RoomID]bool{}
	for i := range 6 {
		made[create(t, instances[i%2])] = true
	}
	if len(made) != 6 {
		t.Errorf("six rooms have %d ids", len(made))
	}
	assertSound(t, db)
}

func TestUnknownRoomIsUnknownToEverybody(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	rs := open(t, db)
	ctx := within(t)
	var g errgroup.Group
	for range 50 {
		g.Go(func() error {
			_, err := say(ctx, rs, "!nowhere:example.org", "x")
			if !errors.Is(err, matrix.NotFound("")) {
				return fmt.Errorf("want not found, got %w", err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if held := rs.Held(); held != 0 {
		t.Errorf("%d rooms are held", held)
	}
}

// TestCancelledRequests gives up waiting at random moments: what was answered
// is stored, and the room goes on.
func TestCancelledRequests(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	rs := open(t, db)
	room := create(t, rs)
	var g errgroup.Group
	var acknowledged atomic.Int64
	for i := range 80 {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*100*time.Microsecond)
			defer cancel()
			_, err := say(ctx, rs, room, fmt.Sprint(i))
			switch {
			case err == nil:
				acknowledged.Add(1)
			case !errors.Is(err, context.DeadlineExceeded):
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := say(within(t), rs, room, "last"); err != nil {
		t.Error(err)
	}
	if stored := number(t, db, `SELECT count(*) FROM roomserver.events WHERE type_nid = 7`); stored < acknowledged.Load()+1 {
		t.Errorf("%d messages stored, %d acknowledged", stored, acknowledged.Load()+1)
	}
	assertSound(t, db)
}
