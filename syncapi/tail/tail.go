// Package tail follows the room server's events, once for the whole process: a
// [Tail] reads what lies behind its position as soon as a commit is announced
// (and every second in any case), keeps of the rooms in use the newest events,
// encoded for clients once and shared by all members, their current state and
// members, and wakes exactly those users whose rooms changed.
//
// It owns no table; it listens to roomserver/api.Committed. Every process that
// runs syncapi has a Tail of its own and none depends on another's.
//
// Invariants: events are applied in order of position, each once; a room or
// user read from the database becomes visible only when the tail has reached
// the moment it was read at, so what one request sees is one moment of all
// rooms. What is in memory can be dropped at any time and is loaded again.
package tail

import (
	"context"
	"fmt"
	"sync"
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/obs"
	rsapi "allmende/roomserver/api"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"

	"github.com/maypok86/otter/v2"
)

const (
	// pollEvery heals lost announcements.
	pollEvery = time.Second
	// page is how many events are read at once.
	page = 500
	// budget is what rooms' contents may take in memory, roughly, in bytes.
	budget = 32 << 20
	// keepUser is how long after their last request a user's rooms are known.
	keepUser = 10 * time.Minute
	// keepRoom is how long a room that was just used is safe from being dropped.
	keepRoom = 10 * time.Second
)

// Tail is the process's view of the newest events. Safe for concurrent use
// while Run runs.
type Tail struct {
	model  *read.Model
	loader clientevent.Loader
	recent *read.Recent
	bus    *bus.Bus
	poke   chan struct{}

	memberEvents *otter.Cache[read.EventNID, *clientevent.Event]

	mu        sync.RWMutex
	started   chan struct{} // closed when pos is known
	pos       int64
	announced int64         // newest position heard of
	moved     chan struct{} // closed and replaced when pos advances
	rooms     map[read.RoomNID]*Room
	users     map[matrix.UserID]*User
	numbered  map[read.UserNID]*User
	weight    int64
}

// New makes a tail; it is of use once Run runs. recent is what this process
// committed last, nil if the room server runs elsewhere.
func New(model *read.Model, recent *read.Recent, b *bus.Bus) *Tail {
	return &Tail{
		model: model, loader: clientevent.Loader{Model: model}, recent: recent, bus: b,
		poke: make(chan struct{}, 1), memberEvents: newMemberCache(),
		started:  make(chan struct{}),
		moved:    make(chan struct{}),
		rooms:    map[read.RoomNID]*Room{},
		users:    map[matrix.UserID]*User{},
		numbered: map[read.UserNID]*User{},
	}
}

// Run follows the events until ctx ends.
func (t *Tail) Run(ctx context.Context) error {
	unsubscribe, err := bus.Subscribe(t.bus, rsapi.Committed, func(_ context.Context, a rsapi.CommittedAnn) { t.hear(a.To) })
	if err != nil {
		return err
	}
	defer unsubscribe()
	defer t.bus.OnReconnect(t.wakeUp)()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	failing := false
	for {
		if err := t.catchUp(ctx); err != nil && ctx.Err() == nil {
			// The database is away: whoever waits goes on waiting, and the
			// next attempt takes up where this one ended.
			if !failing {
				obs.Logger(ctx).Warn("events cannot be followed, trying again", "error", err)
			}
			failing = true
		} else {
			failing = false
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.poke:
		case <-ticker.C:
			t.forgetIdle(time.Now())
			t.mu.Lock()
			t.evict(time.Now())
			t.mu.Unlock()
		}
	}
}

func (t *Tail) hear(to int64) {
	t.mu.Lock()
	t.announced = max(t.announced, to)
	news := to > t.pos
	t.mu.Unlock()
	if news {
		t.wakeUp()
	}
}

func (t *Tail) wakeUp() {
	select {
	case t.poke <- struct{}{}:
	default: // a look is due already
	}
}

// catchUp reads and applies everything behind the position.
func (t *Tail) catchUp(ctx context.Context) error {
	if err := t.start(ctx); err != nil {
		return err
	}
	for {
		t.mu.RLock()
		pos, announced := t.pos, t.announced
		t.mu.RUnlock()
		list, all := t.recent.After(pos, announced)
		if !all {
			var err error
			if list, err = t.model.EventsAfter(ctx, pos, page); err != nil {
				return fmt.Errorf("follow events: %w", err)
			}
			all = len(list) < page
		}
		b, err := t.prepare(ctx, list)
		if err != nil {
			return fmt.Errorf("prepare new events: %w", err)
		}
		if all {
			// Positions between the last live event and what was announced
			// before we looked belong to events outside of timelines.
			b.upTo = max(b.upTo, announced)
		}
		t.apply(b)
		if all {
			return nil
		}
	}
}

// start takes the position from which the tail follows.
func (t *Tail) start(ctx context.Context) error {
	select {
	case <-t.started:
		return nil
	default:
	}
	pos, err := t.model.Position(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pos = pos
	close(t.started)
	return nil
}

// Await waits until the tail has reached a position that was read from the
// database, and asks for a look there if it has not. It answers early with
// ctx's error.
func (t *Tail) Await(ctx context.Context, pos int64) error {
	select {
	case <-t.started:
	case <-ctx.Done():
		return ctx.Err()
	}
	for asked := false; ; asked = true {
		t.mu.Lock()
		reached, moved := t.pos >= pos, t.moved
		if !reached {
			// Somebody has read that position in the database.
			t.announced = max(t.announced, pos)
		}
		t.mu.Unlock()
		if reached {
			return nil
		}
		if !asked {
			t.wakeUp()
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Position is how far the tail has come. Errors: ctx's, while it has not begun.
func (t *Tail) Position(ctx context.Context) (int64, error) {
	select {
	case <-t.started:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.pos, nil
}
