package timeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/roomserver/store"
)

// Room is a room held in memory: its current state, including what is decided
// but not committed yet. Everything but the atomics is guarded by mu.
type Room struct {
	id      matrix.RoomID
	nid     int64
	version matrix.RoomVersion

	mu     sync.Mutex
	loaded bool
	failed error // why the room could not be loaded, for those who waited for it
	state  map[matrix.StateKey]*entry
	joined int
	depth  int64
	tips   []tip // forward extremities
	chain  chain
	weight int // memory taken, in bytes, about
	told   int // the weight that Rooms was last told

	// pending counts the units queued or being committed.
	pending atomic.Int32
	// gone says that the room was dropped from memory because something it
	// rests on was not committed: whoever still holds it starts over.
	gone atomic.Bool
	// lastNID is the newest committed event: the fence.
	lastNID atomic.Int64
	// checked is the position at which the fence was last seen to hold;
	// negative: never, so an older copy may still have been written to after
	// this one was read.
	checked atomic.Int64

	charged int // part of Rooms.weight, guarded by Rooms.mu
}

// tip is a forward extremity.
type tip struct {
	ref store.Ref
	id  matrix.EventID
}

// entry is one place of the state. Member events are kept without their JSON
// until somebody needs it.
type entry struct {
	ref        store.Ref
	id         matrix.EventID
	membership read.Membership
	event      *matrix.Event
	stored     int64 // number to load the event by, if event is not set
}

// What things take in memory, in bytes, about: measured on rooms of a thousand
// members. An event is held as its JSON and what was parsed of it.
const (
	roomWeight  = 4 << 10
	entryWeight = 300
	eventWeight = 400
)

func (e *entry) weight() int {
	if e == nil {
		return 0
	}
	if e.event == nil {
		return entryWeight
	}
	return entryWeight + eventWeight + len(e.event.JSON)
}

// load fills the room from the database.
func (r *Room) load(ctx context.Context, st *store.Store) error {
	l, err := st.Load(ctx, r.id)
	if errors.Is(err, store.ErrNotFound) {
		return matrix.NotFound("This server does not know the room.").Wrap(err)
	}
	if err != nil {
		return err
	}
	r.nid, r.version, r.depth = l.NID, l.Version, l.Depth
	r.lastNID.Store(l.LastNID)
	r.checked.Store(-1)
	r.tips = nil
	for _, e := range l.Extremities {
		r.tips = append(r.tips, tip{store.Stored(e.NID), e.ID})
	}
	if err := r.loadState(l.State); err != nil {
		return err
	}
	var added []int64
	for _, s := range l.Chain {
		added = append(added, s.Added...)
	}
	keys, err := st.Keys(ctx, added)
	if err != nil {
		return err
	}
	r.chain = restoreChain(l.Chain, keys)
	r.loaded = true
	return nil
}

func (r *Room) loadState(state []store.LoadedState) error {
	r.state = make(map[matrix.StateKey]*entry, len(state))
	r.joined = 0
	r.weight = roomWeight
	for _, s := range state {
		e := &entry{ref: store.Stored(s.NID), id: s.ID, membership: s.Membership, stored: s.NID}
		if s.Membership == read.Join {
			r.joined++
		}
		if len(s.JSON) > 0 {
			ev, err := matrix.ParseStored(r.version, s.ID, s.JSON)
			if err != nil {
				return fmt.Errorf("parse state event %d: %w", s.NID, err)
			}
			e.event, e.stored = ev, 0
		}
		r.state[matrix.StateKey{Type: s.Type, Key: s.Key}] = e
		r.weight += e.weight()
	}
	return nil
}

// set puts an entry into a place of the state, nil for none.
func (r *Room) set(k matrix.StateKey, e *entry) {
	r.weight += e.weight() - r.state[k].weight()
	if e == nil {
		delete(r.state, k)
	} else {
		r.state[k] = e
	}
}
