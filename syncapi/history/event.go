package history

import (
	"context"
	"errors"
	"math"

	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
	"allmende/syncapi/filter"
	"allmende/syncapi/token"
)

// errNoEvent answers for events that do not exist and for those the user may
// not see.
var errNoEvent = matrix.NotFound("Event not found.")

// find is an event of the room that the user may see. Errors: M_NOT_FOUND.
func (s *Service) find(ctx context.Context, v *view, id matrix.EventID) (*clientevent.Event, error) {
	e, err := s.model.EventByID(ctx, id)
	if errors.Is(err, read.ErrNotFound) || err == nil && (e.RoomNID != v.room.NID || !v.who.MaySee(&e)) {
		return nil, errNoEvent
	}
	if err != nil {
		return nil, err
	}
	out := clientevent.Once(e)
	return out, s.loader.Complete(ctx, []*clientevent.Event{out})
}

// hideRoom answers, where the specification knows no 403, for rooms the user
// may not read as for events that do not exist.
func hideRoom(err error) error {
	if errors.Is(err, errNotMember) {
		return errNoEvent
	}
	return err
}

type eventIn struct {
	RoomID  matrix.RoomID  `path:"roomId"`
	EventID matrix.EventID `path:"eventId"`
}

// event answers one event.
//
// spec: c-s §GET /rooms/{roomId}/event/{eventId}
func (s *Service) event(ctx context.Context, who auth.Session, in eventIn) (httpx.Raw, error) {
	v, err := s.open(ctx, who, in.RoomID)
	if err != nil {
		return httpx.Raw{}, hideRoom(err)
	}
	e, err := s.find(ctx, v, in.EventID)
	if err != nil {
		return httpx.Raw{}, err
	}
	f := s.format(v.room.ID)
	events := []*clientevent.Event{e}
	relations, err := s.bundles(ctx, v, f, events)
	if err != nil {
		return httpx.Raw{}, err
	}
	return httpx.Raw{Body: e.Append(bufferFor(events), f, &v.who, relations[0])}, nil
}

type contextIn struct {
	RoomID  matrix.RoomID  `path:"roomId"`
	EventID matrix.EventID `path:"eventId"`
	Limit   *int           `query:"limit"`
	Filter  string         `query:"filter"`
}

// context answers an event with what was around it.
//
// spec: c-s §GET /rooms/{roomId}/context/{eventId}
func (s *Service) context(ctx context.Context, who auth.Session, in contextIn) (httpx.Raw, error) {
	f, err := filter.ParseRoomEvents([]byte(in.Filter))
	if err != nil {
		return httpx.Raw{}, err
	}
	limit, err := clampLimit(in.Limit, defaultLimit)
	if err != nil {
		return httpx.Raw{}, err
	}
	if f.Limit > 0 {
		limit = min(limit, f.Limit)
	}
	v, err := s.open(ctx, who, in.RoomID)
	if err != nil {
		return httpx.Raw{}, err
	}
	e, err := s.find(ctx, v, in.EventID)
	if err != nil {
		return httpx.Raw{}, err
	}
	if e.Ord == read.NoOrd { // not in the timeline: nothing is around it
		return httpx.Raw{}, errNoEvent
	}
	before := &walk{Service: s, v: v, filter: f, from: e.Ord - 1, to: math.MinInt64, limit: limit / 2}
	after := &walk{Service: s, v: v, filter: f, forwards: true, from: e.Ord, to: math.MaxInt64, limit: limit - limit/2}
	if !f.Rooms.Pass(string(in.RoomID)) {
		before.limit, after.limit = 0, 0
	}
	for _, w := range []*walk{before, after} {
		if err := w.run(ctx); err != nil {
			return httpx.Raw{}, err
		}
	}
	body, err := s.contextBody(ctx, e, before, after)
	return httpx.Raw{Body: body}, err
}

func (s *Service) contextBody(ctx context.Context, e *clientevent.Event, before, after *walk) ([]byte, error) {
	v, f := before.v, s.format(before.v.room.ID)
	all := append(append([]*clientevent.Event{e}, before.events...), after.events...)
	if err := s.loader.Complete(ctx, all[1:]); err != nil {
		return nil, err
	}
	relations, err := s.bundles(ctx, v, f, all)
	if err != nil {
		return nil, err
	}
	state, err := s.contextState(ctx, v, before.filter, all)
	if err != nil {
		return nil, err
	}
	n := 1 + len(before.events)
	dst := bufferFor(all, state)
	dst = e.Append(append(dst, `{"event":`...), f, &v.who, relations[0])
	dst = v.list(append(dst, `,"events_before":`...), f, before.events, relations[1:n])
	dst = v.list(append(dst, `,"events_after":`...), f, after.events, relations[n:])
	dst = v.list(append(dst, `,"state":`...), f, state, nil)
	dst = append(append(append(dst, `,"start":"`...), token.Ord(edge(before)).String()...), '"')
	dst = append(append(append(dst, `,"end":"`...), token.Ord(edge(after)).String()...), '"')
	return append(dst, '}'), nil
}

// edge is where to go on from. Where the walk saw the end of what there is,
// that is where it started or the last event it took.
func edge(w *walk) int64 {
	if w.pos == math.MinInt64 || w.pos == math.MaxInt64 {
		return w.from
	}
	return w.pos
}

// contextState is the state after the last of the events; with lazy loading
// only those members that sent one of them.
func (s *Service) contextState(ctx context.Context, v *view, f *filter.RoomEvents, events []*clientevent.Event) ([]*clientevent.Event, error) {
	last := int64(math.MinInt64)
	for _, e := range events {
		last = max(last, e.Ord)
	}
	list, err := s.stateAt(ctx, v, last, nil)
	if err != nil {
		return nil, err
	}
	sent := map[read.UserNID]bool{}
	for _, e := range events {
		sent[e.SenderNID] = true
	}
	out := []*clientevent.Event{}
	for i := range list {
		e := &list[i]
		if f.LazyLoadMembers && e.TypeNID == read.TypeMember && !sent[*e.KeyNID] || !passes(f, e) {
			continue
		}
		out = append(out, clientevent.Once(*e))
	}
	return out, nil
}

const defaultInitial = 20

type initialSyncIn struct {
	RoomID matrix.RoomID `path:"roomId"`
	Limit  *int          `query:"limit"`
}

// initialSync answers a room's state and newest events at once, which is how
// clients look into rooms that they have not joined.
//
// spec: c-s §Room Previews
func (s *Service) initialSync(ctx context.Context, who auth.Session, in initialSyncIn) (httpx.Raw, error) {
	limit, err := clampLimit(in.Limit, defaultInitial)
	if err != nil {
		return httpx.Raw{}, err
	}
	v, err := s.open(ctx, who, in.RoomID)
	if err != nil {
		return httpx.Raw{}, err
	}
	w := &walk{Service: s, v: v, filter: &filter.RoomEvents{}, from: math.MaxInt64, to: math.MinInt64, limit: limit}
	if err := w.run(ctx); err != nil {
		return httpx.Raw{}, err
	}
	if err := s.loader.Complete(ctx, w.events); err != nil {
		return httpx.Raw{}, err
	}
	list, err := s.stateOf(ctx, v)
	if err != nil {
		return httpx.Raw{}, err
	}
	published, err := s.model.Published(ctx, v.room.NID)
	if err != nil {
		return httpx.Raw{}, err
	}
	f, state := s.format(v.room.ID), encode(list)
	relations, err := s.bundles(ctx, v, f, w.events)
	if err != nil {
		return httpx.Raw{}, err
	}
	dst := matrix.AppendText(append(bufferFor(w.events, state), `{"room_id":`...), string(v.room.ID))
	if m := v.who.Membership(); m != read.None {
		dst = append(append(append(dst, `,"membership":"`...), m.String()...), '"')
	}
	if published {
		dst = append(dst, `,"visibility":"public"`...)
	} else {
		dst = append(dst, `,"visibility":"private"`...)
	}
	dst = v.list(append(dst, `,"state":`...), f, state, nil)
	dst = append(dst, `,"messages":{"chunk":`...)
	dst = v.list(dst, f, reverse(w.events), reverse(relations))
	dst = append(append(append(dst, `,"end":"`...), w.start().String()...), '"')
	if start, more := w.next(); more {
		dst = append(append(append(dst, `,"start":"`...), start.String()...), '"')
	}
	return httpx.Raw{Body: append(dst, '}', '}')}, nil
}

func reverse[T any](list []T) []T {
	out := make([]T, len(list))
	for i, e := range list {
		out[len(list)-1-i] = e
	}
	return out
}
