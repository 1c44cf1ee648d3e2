// Package timeline is the heart of the room server: rooms held in memory, the
// decisions made on them, and the one writer that commits those decisions.
//
// A room is held (its lock taken) while a decision is built: events are built,
// signed and checked in memory against the room's current state, which already
// contains decisions that are still on their way to the database. Decisions are
// queued in the order they were made; the committer writes those of many rooms
// in one transaction. Whoever asked is answered after the commit.
//
// Invariants:
//   - Only [Tx.Append] adds events to a room, and only inside [Rooms.Update] or
//     [Rooms.Create].
//   - A decision is committed only if everything it was built on is: when one
//     fails, the room is dropped from memory, and later decisions of that room
//     fail with it and are made again on what the database says.
//   - A room another instance wrote to is recognised by its fence (see package
//     store) and reloaded. Sharing out rooms by shard saves reloads, no more.
//   - Refusals and decisions without events count only if the room was not
//     written to by others, too: the fence is asked for them alone.
//   - Of several copies of a room in one process only the newest is written: a
//     copy is marked as gone before another can be made, and a new copy is
//     compared with the database before its first decision is committed.
package timeline

import (
	"container/list"
	"context"
	"crypto/rand"
	"errors"
	"math/big"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/roomserver/read"
	"allmende/roomserver/store"

	"github.com/maypok86/otter/v2"
)

// Options are what Rooms needs.
type Options struct {
	Store  *store.Store
	Signer matrix.Signer
	// Recent is given what was committed; may be nil.
	Recent *read.Recent
	// Announce is told of every commit; it must not block.
	Announce func(store.Committed)
	// MaxBytes bounds, roughly, the memory that rooms may take; 0 means a
	// default.
	MaxBytes int
	// Now is the clock; nil means the system's.
	Now func() time.Time
}

// Rooms are the rooms held in memory. Run must be running for Update and Create
// to return.
type Rooms struct {
	store    *store.Store
	signer   matrix.Signer
	announce func(store.Committed)
	fresh    *read.Recent // what was committed last; may be nil
	now      clock
	max      int
	queue    chan *job
	own      store.Span   // used by the committer alone
	created  atomic.Int64 // origin_server_ts of the newest create event
	// sent remembers the transaction ids used last, so that the repetition of
	// a request costs nothing; the database knows those of the last day.
	sent *otter.Cache[[16]byte, matrix.EventID]

	mu     sync.Mutex
	rooms  map[matrix.RoomID]*list.Element // of *Room
	recent *list.List                      // most recently used first
	weight int
}

const (
	defaultMaxBytes = 128 << 20
	queued          = 4096
	rememberedTxns  = 20_000
	// retries bounds how often a decision is made anew because the room
	// changed under it. When several instances write to a room at once, each
	// round one of them gets ahead, so somebody always does.
	retries  = 100
	maxPause = 20 * time.Millisecond
)

// New makes an empty set of rooms.
func New(o Options) *Rooms {
	rs := &Rooms{
		store: o.Store, signer: o.Signer, announce: o.Announce, fresh: o.Recent, now: o.Now, max: o.MaxBytes,
		queue: make(chan *job, queued),
		sent:  otter.Must(&otter.Options[[16]byte, matrix.EventID]{MaximumSize: rememberedTxns}),
		rooms: map[matrix.RoomID]*list.Element{}, recent: list.New(),
	}
	if rs.now == nil {
		rs.now = time.Now
	}
	if rs.max == 0 {
		rs.max = defaultMaxBytes
	}
	if rs.announce == nil {
		rs.announce = func(store.Committed) {}
	}
	return rs
}

// Server is the name of the server the rooms are held for.
func (rs *Rooms) Server() matrix.ServerName { return rs.signer.Server }

// Sent answers the event that a recent request with this scope made.
func (rs *Rooms) Sent(scope [16]byte) (matrix.EventID, bool) { return rs.sent.GetIfPresent(scope) }

// Update holds a room, lets decide make a decision on it, and commits what was
// decided. decide may be called again when the room changed meanwhile. An error
// of decide gives the decision up and is returned.
//
// Errors: M_NOT_FOUND for an unknown room, store.ErrTxnTaken, store.ErrAliasTaken,
// matrix.Unavailable while the database is away.
func (rs *Rooms) Update(ctx context.Context, id matrix.RoomID, decide func(*Tx) error) error {
	return again(ctx, func() error { return rs.update(ctx, id, decide) })
}

// again tries what may have to be made anew on what the database says.
func again(ctx context.Context, try func() error) error {
	for i := 0; ; i++ {
		err := try()
		if !errors.Is(err, errGone) && !errors.Is(err, store.ErrFenced) && !errors.Is(err, store.ErrRoomTaken) {
			return err
		}
		if i == retries {
			return matrix.Unavailable(time.Second).Wrap(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(mathrand.N(min(time.Duration(i)*time.Millisecond, maxPause) + 1)):
		}
	}
}

// update makes a decision once. A refusal, like any decision without events,
// counts only if what it was decided on is what the database says.
func (rs *Rooms) update(ctx context.Context, id matrix.RoomID, decide func(*Tx) error) error {
	r := rs.find(id)
	v, err := rs.decide(ctx, r, decide)
	if err != nil {
		return err
	}
	if v.done != nil {
		err = wait(ctx, v.done)
	} else {
		err = rs.confirm(ctx, r, v.last)
	}
	if err != nil {
		return err
	}
	return v.refusal
}

// verdict is what came out of a decision.
type verdict struct {
	refusal error
	done    <-chan error // tells the fate of the events that it rests on; nil if all are committed
	last    int64        // newest event that it rests on, when done is nil
}

// decide makes the decision while the room is held.
func (rs *Rooms) decide(ctx context.Context, r *Room, decide func(*Tx) error) (verdict, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := rs.ensureLoaded(ctx, r); err != nil {
		return verdict{}, err
	}
	defer rs.weigh(r)
	tx := newTx(ctx, rs, r)
	refusal := decide(tx)
	if refusal != nil {
		tx.giveUp()
		var me *matrix.Error
		if !errors.As(refusal, &me) {
			return verdict{}, refusal // nobody's decision, but an accident
		}
	}
	if len(tx.unit.Rows) == 0 && r.pending.Load() == 0 {
		return verdict{refusal: refusal, last: r.lastNID.Load()}, nil
	}
	// A decision without events still rests on those under way: it is queued
	// behind them, so that nothing is answered that may yet be undone.
	tx.finish()
	done, err := rs.enqueue(ctx, r, tx.unit)
	if err != nil {
		tx.giveUp()
	}
	return verdict{refusal: refusal, done: done}, err
}

// ensureLoaded fills a room that is held. Those who waited while it could not
// be loaded get the same answer.
func (rs *Rooms) ensureLoaded(ctx context.Context, r *Room) error {
	if err := ctx.Err(); err != nil {
		return err // it waited too long for its turn
	}
	switch {
	case r.failed != nil:
		return r.failed
	case r.gone.Load():
		return errGone
	case r.loaded:
		return nil
	}
	err := r.load(ctx, rs.store)
	if err == nil {
		return nil
	}
	if err = pg.Error(err); ctx.Err() == nil {
		r.failed = err
	}
	rs.drop(r)
	return err
}

// confirm makes sure that nobody else wrote to the room before a decision that
// wrote nothing itself.
func (rs *Rooms) confirm(ctx context.Context, r *Room, last int64) error {
	now, err := rs.store.LastNID(ctx, r.nid)
	if err != nil {
		return pg.Error(err)
	}
	if now == last {
		return nil
	}
	if now != r.lastNID.Load() {
		rs.drop(r)
	}
	return errGone
}

// Create makes a room. first is its create event's content; decide appends what
// follows. The room exists once Create returns without error.
func (rs *Rooms) Create(ctx context.Context, version matrix.RoomVersion, published bool, creator matrix.UserID, first []byte, decide func(*Tx) error) (id matrix.RoomID, err error) {
	err = again(ctx, func() error {
		nid, err := rs.store.NextRoomNID(ctx)
		if err != nil {
			return pg.Error(err)
		}
		r := &Room{nid: nid, version: version, loaded: true, state: map[matrix.StateKey]*entry{}, weight: roomWeight}
		if !version.RoomIDFromCreate() {
			r.id = matrix.RoomID("!" + randomName(18) + ":" + string(rs.signer.Server))
		}
		done, err := rs.create(ctx, r, published, creator, first, decide)
		if err != nil {
			return err
		}
		id = r.id
		return wait(ctx, done)
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

func (rs *Rooms) create(ctx context.Context, r *Room, published bool, creator matrix.UserID, first []byte, decide func(*Tx) error) (<-chan error, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	tx := newTx(ctx, rs, r)
	empty := ""
	ev, err := tx.Append(Proto{Type: matrix.TypeCreate, StateKey: &empty, Sender: creator, Content: first})
	if err != nil {
		return nil, err
	}
	r.id = ev.RoomID
	tx.unit.New = &store.NewRoom{ID: r.id, Version: r.version, Published: published}
	if err := decide(tx); err != nil {
		return nil, err
	}
	tx.finish()
	// From here on the room can be found. Whoever knows its id so soon waits
	// until it is queued, and shares its fate.
	if !rs.keep(r) {
		return nil, store.ErrRoomTaken
	}
	rs.weigh(r)
	done, err := rs.enqueue(ctx, r, tx.unit)
	if err != nil {
		rs.drop(r)
	}
	return done, err
}

// creationTime is the time for a create event, later than that of any made
// here before: in room version 12, equal create events would be the same room.
func (rs *Rooms) creationTime() int64 {
	for {
		last := rs.created.Load()
		now := max(rs.now().UnixMilli(), last+1)
		if rs.created.CompareAndSwap(last, now) {
			return now
		}
	}
}

// keep puts a room that is being made into memory, unless there is one already.
func (rs *Rooms) keep(r *Room) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if _, ok := rs.rooms[r.id]; ok {
		return false
	}
	rs.rooms[r.id] = rs.recent.PushFront(r)
	return true
}

// Forget drops rooms from memory, because what is in the database may have
// changed without this instance. Decisions that are queued are made again.
func (rs *Rooms) Forget(which func(matrix.RoomID) bool) {
	rs.mu.Lock()
	var drop []*Room
	for id, el := range rs.rooms {
		if which(id) {
			drop = append(drop, el.Value.(*Room))
		}
	}
	rs.mu.Unlock()
	for _, r := range drop {
		rs.drop(r)
	}
}

// Held is how many rooms are in memory.
func (rs *Rooms) Held() int {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return len(rs.rooms)
}

// find answers the room in memory, making an empty one to be loaded.
func (rs *Rooms) find(id matrix.RoomID) *Room {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if el, ok := rs.rooms[id]; ok {
		rs.recent.MoveToFront(el)
		return el.Value.(*Room)
	}
	r := &Room{id: id}
	rs.rooms[id] = rs.recent.PushFront(r)
	return r
}

// drop takes a room out of memory; whoever waits for its lock starts over. It
// is marked before another copy can be made, so that of the two only the new
// one is ever written.
func (rs *Rooms) drop(r *Room) {
	r.gone.Store(true)
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if el, ok := rs.rooms[r.id]; ok && el.Value.(*Room) == r {
		rs.remove(el)
	}
}

// remove takes a room off the books. rs.mu is held.
func (rs *Rooms) remove(el *list.Element) {
	r := rs.recent.Remove(el).(*Room)
	delete(rs.rooms, r.id)
	rs.weight -= r.charged
	r.charged = 0
}

// weigh accounts for what a room that is held takes now, and drops the rooms
// used least recently when all take too much. A room that somebody holds, or
// of which something is under way, is passed over.
//
// Lock order: a room's mu before Rooms.mu. Here it is the other way round, so
// it only tries.
func (rs *Rooms) weigh(r *Room) {
	if r.told == r.weight {
		return
	}
	r.told = r.weight
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if el, ok := rs.rooms[r.id]; !ok || el.Value.(*Room) != r {
		return
	}
	rs.weight += r.weight - r.charged
	r.charged = r.weight
	for el := rs.recent.Back(); el != nil && rs.weight > rs.max; {
		prev := el.Prev()
		if old := el.Value.(*Room); old.mu.TryLock() {
			if old.pending.Load() == 0 {
				old.gone.Store(true)
				rs.remove(el)
			}
			old.mu.Unlock()
		}
		el = prev
	}
}

func randomName(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	out := make([]byte, n)
	for i := range out {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			panic(err) // crypto/rand never fails on the platforms Go supports
		}
		out[i] = letters[k.Int64()]
	}
	return string(out)
}
