// Package history serves what clients read of a room apart from /sync: its
// timeline page by page, single events and their surroundings, state, members,
// relations and threads. It owns no table and serves no subject; it reads the
// room server's events through roomserver/read.
//
// Invariants: whether somebody may read a room at all is decided in one place
// ([Service.open]), whether an event may be shown by read.Viewer alone. A room
// that does not exist and a room the user may not read are answered exactly
// alike. Who has left a room sees it as it was then. A pagination token is a
// place between two events, so walking from token to token shows every event
// once, whatever is sent meanwhile.
package history

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
)

// Deps is what the service needs.
type Deps struct {
	Model *read.Model
	// Ignored tells whom a user ignores; nil if that cannot be known here.
	Ignored func(context.Context, auth.Session) (map[read.UserNID]bool, error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Service answers reads of rooms. Safe for concurrent use.
type Service struct {
	model   *read.Model
	loader  clientevent.Loader
	ignored func(context.Context, auth.Session) (map[read.UserNID]bool, error)
	now     func() time.Time
}

// New makes the service.
func New(d Deps) *Service {
	s := &Service{model: d.Model, loader: clientevent.Loader{Model: d.Model}, ignored: d.Ignored, now: d.Now}
	if s.ignored == nil {
		s.ignored = func(context.Context, auth.Session) (map[read.UserNID]bool, error) { return nil, nil }
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Routes is the service's table.
func (s *Service) Routes() []httpx.Route {
	const v1, v3 = "/_matrix/client/v1", "/_matrix/client/v3"
	get := func(path string, h httpx.Handler) httpx.Route {
		return httpx.Route{Method: "GET", Path: path, Auth: httpx.Required, Rate: httpx.RateRead, Handler: h}
	}
	return []httpx.Route{
		get(v3+"/joined_rooms", httpx.Handle(s.joinedRooms)),
		get(v3+"/rooms/{roomId}/messages", httpx.Handle(s.messages)),
		get(v3+"/rooms/{roomId}/context/{eventId}", httpx.Handle(s.context)),
		get(v3+"/rooms/{roomId}/event/{eventId}", httpx.Handle(s.event)),
		get(v3+"/rooms/{roomId}/state", httpx.Handle(s.state)),
		get(v3+"/rooms/{roomId}/state/{eventType}/{stateKey?}", httpx.Handle(s.stateEvent)),
		get(v3+"/rooms/{roomId}/members", httpx.Handle(s.members)),
		get(v3+"/rooms/{roomId}/joined_members", httpx.Handle(s.joinedMembers)),
		get(v3+"/rooms/{roomId}/aliases", httpx.Handle(s.aliases)),
		get(v3+"/rooms/{roomId}/initialSync", httpx.Handle(s.initialSync)),
		get(v1+"/rooms/{roomId}/relations/{eventId}", httpx.Handle(s.relations)),
		get(v1+"/rooms/{roomId}/relations/{eventId}/{relType}", httpx.Handle(s.relationsOfType)),
		get(v1+"/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}", httpx.Handle(s.relationsOfEventType)),
		get(v1+"/rooms/{roomId}/threads", httpx.Handle(s.threads)),
		get(v1+"/rooms/{roomId}/timestamp_to_event", httpx.Handle(s.timestampToEvent)),
		get("/_matrix/client/unstable/org.matrix.msc3030/rooms/{roomId}/timestamp_to_event", httpx.Handle(s.timestampToEvent)),
	}
}

// view is a room as one user may read it.
type view struct {
	room    read.Room
	who     clientevent.Viewer
	ignored map[read.UserNID]bool
	// upTo is the last place the user may know of: math.MaxInt64, or that of
	// the event by which the user left.
	upTo int64
}

// live tells whether the user sees the room as it is now.
func (v *view) live() bool { return v.upTo == math.MaxInt64 }

// errNotMember answers for rooms the user may not read and for rooms that do
// not exist; nothing may tell the two apart.
var errNotMember = matrix.Forbidden("You are not a member of this room.")

// open decides whether and how the user may read the room: members see it as it
// is, everybody does if it is world-readable, former members see it as they left
// it unless they forgot it. Errors: M_FORBIDDEN.
func (s *Service) open(ctx context.Context, who auth.Session, id matrix.RoomID) (*view, error) {
	room, err := s.model.Room(ctx, id)
	if errors.Is(err, read.ErrNotFound) {
		return nil, errNotMember
	}
	if err != nil {
		return nil, err
	}
	v := &view{room: room, upTo: math.MaxInt64, who: clientevent.Viewer{DeviceID: who.DeviceID}}
	if v.who.UserNID, err = s.model.UserNID(ctx, who.UserID); err != nil && !errors.Is(err, read.ErrNotFound) {
		return nil, err
	}
	if v.ignored, err = s.ignored(ctx, who); err != nil {
		return nil, fmt.Errorf("load ignored users: %w", err)
	}
	if v.who.Viewer, err = s.model.Viewer(ctx, v.who.UserNID, room.NID, v.ignored); err != nil {
		return nil, err
	}
	if v.who.Membership() == read.Join || v.who.WorldReadable() {
		return v, nil
	}
	if !v.who.EverJoined() {
		return nil, errNotMember
	}
	now, err := s.model.UserRoom(ctx, v.who.UserNID, room.NID)
	if err != nil {
		return nil, err
	}
	if now.Forgotten {
		return nil, errNotMember
	}
	v.upTo = v.who.LastLeave()
	return v, nil
}

// format is how the events of an answer about the room are written.
func (s *Service) format(room matrix.RoomID) *clientevent.Format {
	return &clientevent.Format{RoomID: room, Now: s.now().UnixMilli()}
}

// list appends events as a JSON array, each with its relations.
func (v *view) list(dst []byte, f *clientevent.Format, events []*clientevent.Event, relations [][]byte) []byte {
	dst = append(dst, '[')
	for i, e := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		var rel []byte
		if relations != nil {
			rel = relations[i]
		}
		dst = e.Append(dst, f, &v.who, rel)
	}
	return append(dst, ']')
}

// bundles loads the relations of a page of events.
func (s *Service) bundles(ctx context.Context, v *view, f *clientevent.Format, events []*clientevent.Event) ([][]byte, error) {
	return s.loader.Relations(ctx, clientevent.Relations{
		Room: v.room.NID, Viewer: &v.who, Ignored: v.ignored, UpTo: v.upTo,
	}, f, events)
}

// bufferFor is a buffer that an answer with these events fits into, as a rule.
func bufferFor(lists ...[]*clientevent.Event) []byte {
	n := 256
	for _, l := range lists {
		for _, e := range l {
			n += len(e.JSON) + 192
		}
	}
	return make([]byte, 0, n)
}

type joinedRoomsOut struct {
	Rooms []matrix.RoomID `json:"joined_rooms"`
}

func (s *Service) joinedRooms(ctx context.Context, who auth.Session, _ struct{}) (joinedRoomsOut, error) {
	ids, err := s.model.JoinedRoomIDs(ctx, who.UserID)
	if ids == nil {
		ids = []matrix.RoomID{}
	}
	return joinedRoomsOut{ids}, err
}
