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
package timeline

import (
	"container/list"
	"context"
	"crypto/rand"
	"errors"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/roomserver/store"

	"github.com/maypok86/otter/v2"
)

// Options are what Rooms needs.
type Options struct {
	Store  *store.Store
	Signer matrix.Signer
	// Announce is told of every commit; it must not block.
	Announce func(store.Committed)
	// MaxEntries bounds the state entries kept in memory; 0 means a default.
	MaxEntries int
	// Now is the clock; nil means the system's.
	Now func() time.Time
}

// Rooms are the rooms held in memory. Run must be running for Update and Create
// to return.
type Rooms struct {
	store    *store.Store
	signer   matrix.Signer
	announce func(store.Committed)
	now      clock
	max      int
	queue    chan *job
	lastPos  atomic.Int64
	// sent remembers the transaction ids used last, so that the repetition of
	// a request costs nothing; the database knows those of the last day.
	sent *otter.Cache[[16]byte, matrix.EventID]

	mu     sync.Mutex
	rooms  map[matrix.RoomID]*list.Element // of *Room
	recent *list.List                      // most recently used first
	weight int
}

const (
	defaultMaxEntries = 400_000
	queued            = 4096
	rememberedTxns    = 20_000
	// retries bounds how often a decision is made anew because the room
	// changed under it.
	retries = 5
)

// New makes an empty set of rooms.
func New(o Options) *Rooms {
	rs := &Rooms{
		store: o.Store, signer: o.Signer, announce: o.Announce, now: o.Now, max: o.MaxEntries,
		queue: make(chan *job, queued),
		sent:  otter.Must(&otter.Options[[16]byte, matrix.EventID]{MaximumSize: rememberedTxns}),
		rooms: map[matrix.RoomID]*list.Element{}, recent: list.New(),
	}
	if rs.now == nil {
		rs.now = time.Now
	}
	if rs.max == 0 {
		rs.max = defaultMaxEntries
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
	for i := 0; ; i++ {
		err := rs.update(ctx, id, decide)
		if !errors.Is(err, errGone) && !errors.Is(err, store.ErrFenced) {
			return err
		}
		if i == retries {
			return matrix.Unavailable(time.Second).Wrap(err)
		}
	}
}

func (rs *Rooms) update(ctx context.Context, id matrix.RoomID, decide func(*Tx) error) error {
	r := rs.find(id)
	done, err := rs.decide(ctx, r, decide)
	if err != nil || done == nil {
		return err
	}
	return wait(ctx, done)
}

// decide makes the decision while the room is held. A nil channel means there
// is nothing to wait for.
func (rs *Rooms) decide(ctx context.Context, r *Room, decide func(*Tx) error) (<-chan error, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone.Load() {
		return nil, errGone
	}
	if !r.loaded {
		if err := r.load(ctx, rs.store); err != nil {
			rs.drop(r)
			return nil, pg.Error(err)
		}
		rs.weigh(r.weight())
	}
	tx := newTx(ctx, rs, r)
	if err := decide(tx); err != nil {
		tx.giveUp()
		return nil, err
	}
	if len(tx.unit.Rows) == 0 && r.pending.Load() == 0 {
		return nil, nil
	}
	// A decision without events still rests on those under way: it is queued
	// behind them, so that nothing is answered that may yet be undone.
	tx.finish()
	return rs.enqueue(ctx, r, tx.unit)
}

// Create makes a room. first is its create event's content; decide appends what
// follows. The room exists once Create returns without error.
func (rs *Rooms) Create(ctx context.Context, version matrix.RoomVersion, published bool, creator matrix.UserID, first []byte, decide func(*Tx) error) (matrix.RoomID, error) {
	nid, err := rs.store.NextRoomNID(ctx)
	if err != nil {
		return "", pg.Error(err)
	}
	r := &Room{nid: nid, version: version, loaded: true, state: map[matrix.StateKey]*entry{}}
	if !version.RoomIDFromCreate() {
		r.id = matrix.RoomID("!" + randomName(18) + ":" + string(rs.signer.Server))
	}
	done, err := rs.create(ctx, r, published, creator, first, decide)
	if err != nil {
		return "", err
	}
	if err := wait(ctx, done); err != nil {
		return "", err
	}
	rs.keep(r)
	return r.id, nil
}

// keep puts a room that was just made into memory.
func (rs *Rooms) keep(r *Room) {
	rs.mu.Lock()
	if _, ok := rs.rooms[r.id]; !ok && !r.gone.Load() {
		rs.rooms[r.id] = rs.recent.PushFront(r)
	}
	rs.mu.Unlock()
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
	return rs.enqueue(ctx, r, tx.unit)
}

// Forget drops every room from memory, because what is in the database may have
// changed without this instance. Decisions under way are not disturbed: their
// fence tells.
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

// drop takes a room out of memory; whoever waits for its lock starts over.
func (rs *Rooms) drop(r *Room) {
	r.gone.Store(true)
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if el, ok := rs.rooms[r.id]; ok && el.Value.(*Room) == r {
		delete(rs.rooms, r.id)
		rs.recent.Remove(el)
	}
}

// weigh accounts for a loaded room and drops the ones used least recently. A
// room somebody holds or waits for is passed over.
func (rs *Rooms) weigh(w int) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.weight += w
	if rs.weight <= rs.max {
		return
	}
	rs.weight = 0
	for el := rs.recent.Front(); el != nil; {
		next := el.Next()
		r := el.Value.(*Room)
		if r.mu.TryLock() {
			full := rs.weight + r.weight()
			if full > rs.max && r.pending.Load() == 0 {
				r.gone.Store(true)
				delete(rs.rooms, r.id)
				rs.recent.Remove(el)
			} else {
				rs.weight = full
			}
			r.mu.Unlock()
		}
		el = next
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
