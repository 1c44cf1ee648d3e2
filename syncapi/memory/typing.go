package memory

import (
	"slices"
	"time"

	"allmende/internal/bus"
	"allmende/roomserver/read"
	"allmende/syncapi/api"
	"allmende/syncapi/token"
)

const (
	// defaultTyping and maxTyping bound how long somebody types without saying
	// so again.
	defaultTyping = 30 * time.Second
	maxTyping     = 2 * time.Minute
	// keepQuiet is how long a room is remembered in which nobody types any
	// more, so that a client that comes from another instance is told.
	keepQuiet = maxTyping
)

type typingRoom struct {
	until   map[read.UserNID]time.Time
	serial  int64 // of the last change of who types
	changed time.Time
}

// SetTyping announces that a user types in a room for a while, or, for 0, has
// stopped. An error means that nobody was told, which is harmless.
func (s *Stream) SetTyping(room read.RoomNID, user read.UserNID, timeout time.Duration) error {
	return bus.Publish(s.bus, api.Typing, api.TypingAnn{
		RoomNID: room, UserNID: user, TimeoutMS: min(timeout, maxTyping).Milliseconds(),
	})
}

// TypingTimeout is how long a user types who names no time, or any time.
func TypingTimeout(ms *int64) time.Duration {
	switch {
	case ms == nil:
		return defaultTyping
	case *ms <= 0:
		return 0
	case *ms > maxTyping.Milliseconds():
		return maxTyping
	}
	return time.Duration(*ms) * time.Millisecond
}

func (s *Stream) hearTyping(a api.TypingAnn) {
	if s.noteTyping(a) {
		s.wakeRooms([]read.RoomNID{a.RoomNID})
	}
}

// noteTyping answers whether who types has changed.
func (s *Stream) noteTyping(a api.TypingAnn) bool {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.typing[a.RoomNID]
	if r == nil {
		r = &typingRoom{until: map[read.UserNID]time.Time{}}
		s.typing[a.RoomNID] = r
	}
	_, was := r.until[a.UserNID]
	if a.TimeoutMS > 0 {
		r.until[a.UserNID] = now.Add(min(time.Duration(a.TimeoutMS)*time.Millisecond, maxTyping))
	} else {
		delete(r.until, a.UserNID)
	}
	if was == (a.TimeoutMS > 0) {
		return false
	}
	s.touch(r, now)
	return true
}

func (s *Stream) touch(r *typingRoom, now time.Time) {
	s.serial++
	r.serial, r.changed = s.serial, now
}

// sweepTyping ends what nobody has said again.
func (s *Stream) sweepTyping() {
	now := s.now()
	var ended []read.RoomNID
	s.mu.Lock()
	for nid, r := range s.typing {
		before := len(r.until)
		for u, until := range r.until {
			if now.After(until) {
				delete(r.until, u)
			}
		}
		if len(r.until) != before {
			s.touch(r, now)
			ended = append(ended, nid)
		}
		if len(r.until) == 0 && now.Sub(r.changed) > keepQuiet {
			delete(s.typing, nid)
		}
	}
	s.mu.Unlock()
	if len(ended) > 0 {
		s.wakeRooms(ended)
	}
}

// TypingSince is who types in a room, if that has changed since the token. To a
// client of another process everything is news.
func (s *Stream) TypingSince(room read.RoomNID, since token.Memory) (users []read.UserNID, changed bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.typing[room]
	if r == nil || (!s.foreign(since) && r.serial <= since.Serial) {
		return nil, false
	}
	for u := range r.until {
		users = append(users, u)
	}
	slices.Sort(users)
	return users, true
}
