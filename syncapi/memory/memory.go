// Package memory holds what is never written down: who is typing and who is
// online. A [Stream] keeps what it hears from all instances and numbers the
// changes, so that a sync token can say which of them a client has seen. It owns
// no table; it listens to syncapi/api.Typing and PresenceChanged and announces
// both, and serves syncapi.SetPresence and syncapi.Presence on the bus.
//
// Invariants: a restart forgets everything, and tokens of another process or of
// a time before the restart are recognised; announcements carry numbers only;
// nobody types for longer than two minutes without saying so again.
package memory

import (
	"context"
	"sync"
	"time"

	"allmende/internal/bus"
	"allmende/roomserver/read"
	"allmende/syncapi/api"
	"allmende/syncapi/token"
)

// sweepEvery is how late an end by timeout may be noticed.
const sweepEvery = 500 * time.Millisecond

// Stream is the process's view. Safe for concurrent use while Run runs.
type Stream struct {
	bus       *bus.Bus
	wakeRooms func([]read.RoomNID)
	// wakePresence is told whose presence changed.
	wakePresence func(read.UserNID)
	presenceOn   bool
	now          func() time.Time

	epoch int64

	mu     sync.RWMutex
	serial int64
	typing map[read.RoomNID]*typingRoom
	// seen is what was announced of everybody; owned is what this instance was
	// told to keep.
	seen  map[read.UserNID]*seen
	owned map[read.UserNID]*owned
}

// New makes a stream. The functions are told whom to wake.
func New(b *bus.Bus, presence bool, wakeRooms func([]read.RoomNID), wakePresence func(read.UserNID)) *Stream {
	return &Stream{
		bus: b, wakeRooms: wakeRooms, wakePresence: wakePresence, presenceOn: presence, now: time.Now,
		epoch:  time.Now().UnixMilli(),
		typing: map[read.RoomNID]*typingRoom{}, seen: map[read.UserNID]*seen{}, owned: map[read.UserNID]*owned{},
	}
}

// Register adds the calls the stream answers to the instance's service.
func (s *Stream) Register(svc *bus.Service) {
	bus.Handle(svc, api.SetPresence, s.setPresence)
	bus.Handle(svc, api.Presence, s.presence)
}

// Run listens and lets things end until ctx ends.
func (s *Stream) Run(ctx context.Context) error {
	stopTyping, err := bus.Subscribe(s.bus, api.Typing, func(_ context.Context, a api.TypingAnn) { s.hearTyping(a) })
	if err != nil {
		return err
	}
	defer stopTyping()
	stopPresence, err := bus.Subscribe(s.bus, api.PresenceChanged, func(_ context.Context, a api.PresenceAnn) { s.hearPresence(a) })
	if err != nil {
		return err
	}
	defer stopPresence()
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.sweepTyping()
			s.sweepPresence(ctx)
		}
	}
}

// Position is where the stream stands.
func (s *Stream) Position() token.Memory {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return token.Memory{Epoch: s.epoch, Serial: s.serial}
}

// foreign tells that a token knows nothing of this process's memory.
func (s *Stream) foreign(since token.Memory) bool { return since.Epoch != s.epoch }
