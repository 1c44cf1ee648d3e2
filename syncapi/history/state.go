package history

import (
	"context"
	"errors"
	"slices"

	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
)

type roomIn struct {
	RoomID matrix.RoomID `path:"roomId"`
}

// state answers a room's whole state: of today, or of when the user left.
//
// spec: c-s §GET /rooms/{roomId}/state
func (s *Service) state(ctx context.Context, who auth.Session, in roomIn) (httpx.Raw, error) {
	v, err := s.open(ctx, who, in.RoomID)
	if err != nil {
		return httpx.Raw{}, err
	}
	list, err := s.stateOf(ctx, v)
	if err != nil {
		return httpx.Raw{}, err
	}
	events := encode(list)
	return httpx.Raw{Body: v.list(bufferFor(events), s.format(v.room.ID), events, nil)}, nil
}

func encode(list []read.Event) []*clientevent.Event {
	out := make([]*clientevent.Event, len(list))
	for i := range list {
		out[i] = clientevent.Once(list[i])
	}
	return out
}

// stateOf is the whole state the user may see.
func (s *Service) stateOf(ctx context.Context, v *view) ([]read.Event, error) {
	if v.live() {
		return s.model.CurrentState(ctx, v.room.NID)
	}
	return s.stateAt(ctx, v, v.upTo, nil)
}

// stateAt is the state after the event at a place of the timeline, of some
// types or, nil, of all.
func (s *Service) stateAt(ctx context.Context, v *view, ord int64, types []int64) ([]read.Event, error) {
	snapshot, err := s.model.SnapshotAt(ctx, v.room.NID, ord)
	if errors.Is(err, read.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	at, err := s.model.StateAt(ctx, snapshot, types)
	if err != nil {
		return nil, err
	}
	nids := make([]read.EventNID, 0, len(at))
	for _, nid := range at {
		nids = append(nids, nid)
	}
	slices.Sort(nids)
	return s.model.Events(ctx, nids)
}

type stateEventIn struct {
	RoomID   matrix.RoomID `path:"roomId"`
	Type     string        `path:"eventType"`
	StateKey string        `path:"stateKey"`
	Format   string        `query:"format"`
}

var errNoState = matrix.NotFound("The room has no such state.")

// stateEvent answers one event of the state, or its content.
//
// spec: c-s §GET /rooms/{roomId}/state/{eventType}/{stateKey}
func (s *Service) stateEvent(ctx context.Context, who auth.Session, in stateEventIn) (httpx.Raw, error) {
	whole := in.Format == "event"
	if !whole && in.Format != "" && in.Format != "content" {
		return httpx.Raw{}, matrix.InvalidParam("format must be content or event.")
	}
	v, err := s.open(ctx, who, in.RoomID)
	if err != nil {
		return httpx.Raw{}, err
	}
	e, err := s.oneState(ctx, v, in.Type, in.StateKey)
	if errors.Is(err, read.ErrNotFound) {
		return httpx.Raw{}, errNoState
	}
	if err != nil {
		return httpx.Raw{}, err
	}
	if !whole {
		return httpx.Raw{Body: matrix.Member(e.JSON, "content")}, nil
	}
	events := encode([]read.Event{e})
	if err := s.loader.Complete(ctx, events); err != nil {
		return httpx.Raw{}, err
	}
	return httpx.Raw{Body: events[0].Append(bufferFor(events), s.format(v.room.ID), &v.who, nil)}, nil
}

// oneState finds one event of the state the user may see. Errors: ErrNotFound.
func (s *Service) oneState(ctx context.Context, v *view, typ, key string) (read.Event, error) {
	typeNID, err := s.model.StringNID(ctx, typ)
	if err != nil {
		return read.Event{}, err
	}
	keyNID, err := s.model.StringNID(ctx, key)
	if err != nil {
		return read.Event{}, err
	}
	if v.live() {
		return s.model.CurrentStateEvent(ctx, v.room.NID, typeNID, keyNID)
	}
	if typeNID == read.TypeMember {
		return first(s.model.MembersAt(ctx, v.room.NID, []read.UserNID{keyNID}, v.upTo))
	}
	list, err := s.stateAt(ctx, v, v.upTo, []int64{typeNID})
	i := slices.IndexFunc(list, func(e read.Event) bool { return *e.KeyNID == keyNID })
	if i < 0 {
		return first(nil, err)
	}
	return list[i], err
}

func first(list []read.Event, err error) (read.Event, error) {
	if err == nil && len(list) == 0 {
		err = read.ErrNotFound
	}
	if err != nil {
		return read.Event{}, err
	}
	return list[0], nil
}

type aliasesOut struct {
	Aliases []string `json:"aliases"`
}

// aliases answers the room's local aliases, to who may read the room today.
//
// spec: c-s §GET /rooms/{roomId}/aliases
func (s *Service) aliases(ctx context.Context, who auth.Session, in roomIn) (aliasesOut, error) {
	v, err := s.open(ctx, who, in.RoomID)
	if err != nil {
		return aliasesOut{}, err
	}
	if !v.live() {
		return aliasesOut{}, errNotMember
	}
	list, err := s.model.Aliases(ctx, v.room.NID)
	if list == nil {
		list = []string{}
	}
	return aliasesOut{list}, err
}
