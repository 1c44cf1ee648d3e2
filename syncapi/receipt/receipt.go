// Package receipt is the stream of read receipts: a [Stream] stores those of
// local users, follows those that other instances store, and keeps the receipts
// of rooms in use in memory. Through store it alone writes syncapi.receipts and
// syncapi.head; it announces and listens to syncapi/api.Receipts.
//
// Invariants: of each user, room, kind and thread there is one receipt and it
// only moves forwards; positions appear in commit order; a private receipt is
// handed to nobody but its user.
//
// spec: c-s §Receipts
package receipt

import (
	"context"
	"sync"
	"time"

	"allmende/internal/bus"
	"allmende/internal/obs"
	"allmende/roomserver/read"
	"allmende/syncapi/api"
	"allmende/syncapi/store"

	"golang.org/x/sync/errgroup"
)

// Receipt is one receipt as stored.
type Receipt = store.Receipt

const (
	pollEvery = time.Second
	page      = 1000
	// maxRooms is of how many rooms receipts are kept in memory.
	maxRooms = 5000
	// blurEvery is how often old times are made coarse.
	blurEvery = time.Hour
)

// Stream is the process's view of the receipts. Safe for concurrent use while
// Run runs.
type Stream struct {
	store *store.Store
	bus   *bus.Bus
	wake  func([]read.RoomNID)
	poke  chan struct{}
	write chan *request

	mu      sync.RWMutex
	started chan struct{}
	pos     int64
	latest  map[read.RoomNID]int64 // newest position of rooms with receipts since the start
	since   int64                  // latest is complete from here on
	rooms   map[read.RoomNID]*room
}

// room are a room's receipts, by position. The slice is replaced, not changed.
type room struct {
	list   []Receipt
	loaded bool
}

// New makes a stream. wake is told the rooms that have new receipts.
func New(s *store.Store, b *bus.Bus, wake func([]read.RoomNID)) *Stream {
	return &Stream{
		store: s, bus: b, wake: wake,
		poke: make(chan struct{}, 1), write: make(chan *request, maxBatch),
		started: make(chan struct{}),
		latest:  map[read.RoomNID]int64{}, rooms: map[read.RoomNID]*room{},
	}
}

// Run follows and writes until ctx ends.
func (s *Stream) Run(ctx context.Context) error {
	unsubscribe, err := bus.Subscribe(s.bus, api.Receipts, func(context.Context, api.ReceiptsAnn) { s.wakeUp() })
	if err != nil {
		return err
	}
	defer unsubscribe()
	defer s.bus.OnReconnect(s.wakeUp)()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.follow(ctx) })
	g.Go(func() error { return s.writeAll(ctx) })
	return g.Wait()
}

func (s *Stream) wakeUp() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

func (s *Stream) follow(ctx context.Context) error {
	poll, blur := time.NewTicker(pollEvery), time.NewTicker(blurEvery)
	defer poll.Stop()
	defer blur.Stop()
	failing := false
	for {
		err := s.catchUp(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			obs.Logger(ctx).Warn("receipts cannot be followed, trying again", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-s.poke:
		case <-poll.C:
		case now := <-blur.C:
			if err := s.store.BlurReceipts(ctx, now); err != nil && ctx.Err() == nil {
				obs.Logger(ctx).Warn("times of old receipts stay exact until the next attempt", "error", err)
			}
		}
	}
}

func (s *Stream) catchUp(ctx context.Context) error {
	select {
	case <-s.started:
	default:
		pos, err := s.store.ReceiptsPosition(ctx)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.pos, s.since = pos, pos
		s.mu.Unlock()
		close(s.started)
	}
	for {
		list, err := s.store.ReceiptsAfter(ctx, s.pos, page)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			s.wake(s.apply(list))
		}
		if len(list) < page {
			return nil
		}
	}
}

// apply takes newer receipts into account and answers their rooms.
func (s *Stream) apply(list []Receipt) []read.RoomNID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var nids []read.RoomNID
	for _, r := range list {
		if s.latest[r.RoomNID] <= s.pos {
			nids = append(nids, r.RoomNID)
		}
		s.latest[r.RoomNID] = r.Pos
		if room := s.rooms[r.RoomNID]; room != nil {
			room.add(r)
		}
	}
	s.pos = list[len(list)-1].Pos
	return nids
}

// add puts a receipt in the place of the older one of its kind.
func (r *room) add(n Receipt) {
	next := make([]Receipt, 0, len(r.list)+1)
	for _, old := range r.list {
		if old.UserNID == n.UserNID && old.Kind == n.Kind && old.ThreadID == n.ThreadID {
			if old.Pos >= n.Pos {
				return
			}
			continue
		}
		next = append(next, old)
	}
	r.list = append(next, n)
}

// Position is how far the stream has come.
func (s *Stream) Position(ctx context.Context) (int64, error) {
	select {
	case <-s.started:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.pos, nil
}

// Quiet tells whether a room certainly has no receipt behind a position. It
// answers from memory alone.
func (s *Stream) Quiet(nid read.RoomNID, pos int64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if latest, ok := s.latest[nid]; ok {
		return latest <= pos
	}
	if r := s.rooms[nid]; r != nil && r.loaded {
		return len(r.list) == 0 || r.list[len(r.list)-1].Pos <= pos
	}
	return pos >= s.since
}

// Loaded are the receipts of some rooms, by position, as they were at one
// moment. They stay what they are.
type Loaded map[read.RoomNID][]Receipt

// Load answers the receipts of rooms: every one up to the stream's position, and
// perhaps newer ones. Rooms in use cost no query, the others one together.
func (s *Stream) Load(ctx context.Context, nids []read.RoomNID) (Loaded, error) {
	out := make(Loaded, len(nids))
	missing := s.claim(nids, out)
	if len(missing) == 0 {
		return out, nil
	}
	list, err := s.store.ReceiptsOfRooms(ctx, missing)
	if err != nil {
		return nil, err
	}
	byRoom := make(map[read.RoomNID][]Receipt, len(missing))
	for _, r := range list {
		byRoom[r.RoomNID] = append(byRoom[r.RoomNID], r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, nid := range missing {
		r := s.rooms[nid]
		switch {
		case r == nil: // dropped meanwhile
			out[nid] = byRoom[nid]
			continue
		case !r.loaded:
			*r = merged(byRoom[nid], r.list)
		}
		out[nid] = r.list
	}
	return out, nil
}

// claim takes what is in memory and prepares the other rooms: from here on, new
// receipts are applied to them.
func (s *Stream) claim(nids []read.RoomNID, out Loaded) (missing []read.RoomNID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rooms)+len(nids) > maxRooms {
		clear(s.rooms) // whoever needs them loads them again, all in one query
	}
	for _, nid := range nids {
		r := s.rooms[nid]
		if r == nil {
			r = &room{}
			s.rooms[nid] = r
		}
		if r.loaded {
			out[nid] = r.list
		} else {
			missing = append(missing, nid)
		}
	}
	return missing
}

// merged is what was read, with what was applied while it was read.
func merged(stored, applied []Receipt) room {
	r := room{list: stored, loaded: true}
	for _, x := range applied {
		r.add(x)
	}
	return r
}

// Since are a room's receipts behind a position as one user may see them, newest
// first.
func (l Loaded) Since(nid read.RoomNID, pos int64, viewer read.UserNID) []Receipt {
	var out []Receipt
	list := l[nid]
	for i := len(list) - 1; i >= 0 && list[i].Pos > pos; i-- {
		if list[i].Kind == store.Read || list[i].UserNID == viewer {
			out = append(out, list[i])
		}
	}
	return out
}

// Own are a user's receipts in a room, and the position of the newest.
func (l Loaded) Own(nid read.RoomNID, user read.UserNID) (list []Receipt, newest int64) {
	for _, x := range l[nid] {
		if x.UserNID == user {
			list = append(list, x)
			newest = max(newest, x.Pos)
		}
	}
	return list, newest
}
