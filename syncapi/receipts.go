package syncapi

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	capi "allmende/clientapi/api"
	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/roomserver/read"
	"allmende/syncapi/receipt"
	"allmende/syncapi/store"
)

// none is the empty object most writes answer.
type none struct{}

const (
	typeRead        = "m.read"
	typeReadPrivate = "m.read.private"
	typeFullyRead   = "m.fully_read"
)

// orElse is what a client is told when something it named is unknown here.
func orElse(err error, notFound error) error {
	if errors.Is(err, read.ErrNotFound) {
		return notFound
	}
	return pg.Error(err)
}

type receiptIn struct {
	RoomID  matrix.RoomID  `path:"roomId"`
	Type    string         `path:"receiptType"`
	EventID matrix.EventID `path:"eventId"`
	Body    receiptBody    `body:"optional"`
}

type receiptBody struct {
	ThreadID json.RawMessage `json:"thread_id"`
}

// spec: c-s §POST /rooms/{roomId}/receipt/{receiptType}/{eventId}
func (s *Service) setReceipt(ctx context.Context, session auth.Session, in receiptIn) (none, error) {
	thread, err := parseThread(in.Body.ThreadID)
	if err != nil {
		return none{}, err
	}
	switch in.Type {
	case typeRead, typeReadPrivate, typeFullyRead:
	default:
		return none{}, matrix.InvalidParam("Unknown receipt type")
	}
	if in.Type == typeFullyRead && thread != "" {
		return none{}, matrix.InvalidParam("thread_id cannot be used with m.fully_read")
	}
	at, err := s.joinedRoom(ctx, session, in.RoomID)
	if err != nil {
		return none{}, err
	}
	return none{}, s.mark(ctx, session, at, in.Type, in.EventID, thread)
}

func parseThread(raw json.RawMessage) (string, error) {
	if raw == nil {
		return "", nil
	}
	var thread string
	if json.Unmarshal(raw, &thread) != nil || thread == "" || string(raw) == "null" {
		return "", matrix.InvalidParam("thread_id must be a string that is not empty")
	}
	if thread != mainThread && len(thread) > matrix.MaxIDBytes {
		return "", matrix.InvalidParam("thread_id is too long")
	}
	return thread, nil
}

type markersIn struct {
	RoomID matrix.RoomID `path:"roomId"`
	Body   struct {
		FullyRead   matrix.EventID `json:"m.fully_read"`
		Read        matrix.EventID `json:"m.read"`
		ReadPrivate matrix.EventID `json:"m.read.private"`
	} `body:""`
}

// spec: c-s §POST /rooms/{roomId}/read_markers
func (s *Service) setReadMarkers(ctx context.Context, session auth.Session, in markersIn) (none, error) {
	at, err := s.joinedRoom(ctx, session, in.RoomID)
	if err != nil {
		return none{}, err
	}
	for _, m := range []struct {
		typ string
		id  matrix.EventID
	}{{typeFullyRead, in.Body.FullyRead}, {typeRead, in.Body.Read}, {typeReadPrivate, in.Body.ReadPrivate}} {
		if m.id == "" {
			continue
		}
		if err := s.mark(ctx, session, at, m.typ, m.id, ""); err != nil {
			return none{}, err
		}
	}
	return none{}, nil
}

// mark stores one receipt or the read marker.
func (s *Service) mark(ctx context.Context, session auth.Session, at joined, typ string, id matrix.EventID, thread string) error {
	e, err := s.eventIn(ctx, at.room.NID, id)
	if err != nil {
		return err
	}
	if typ == typeFullyRead {
		content, err := json.Marshal(map[string]string{"event_id": string(id)})
		if err != nil {
			return err
		}
		_, err = bus.Call(ctx, s.Bus, capi.SetRoomAccountData, capi.SetRoomAccountDataReq{
			AccountNID: session.Account, RoomID: at.room.ID, Type: typeFullyRead, Content: content,
		})
		return err
	}
	if err := s.checkThread(ctx, at.room.NID, &e, thread); err != nil {
		return err
	}
	r := receipt.Receipt{
		RoomNID: at.room.NID, UserNID: at.user, Kind: store.Read, ThreadID: thread, EventOrd: e.Ord, EventID: string(id),
		TS: s.now().UnixMilli(),
	}
	if typ == typeReadPrivate {
		r.Kind, r.TS = store.ReadPrivate, 0 // nobody else ever sees it, so nobody needs the time
	}
	return s.receipts.Set(ctx, r)
}

// eventIn finds an event of a room, in memory if it is new.
func (s *Service) eventIn(ctx context.Context, room read.RoomNID, id matrix.EventID) (read.Event, error) {
	if e := s.tail.Find(room, id); e != nil {
		return e.Event.Event, nil
	}
	unknown := matrix.NotFound("Unknown event")
	if strings.ContainsRune(string(id), 0) {
		return read.Event{}, unknown // no id, and nothing the database can be asked
	}
	e, err := s.model.EventByID(ctx, id)
	if err != nil {
		return e, orElse(err, unknown)
	}
	if e.RoomNID != room {
		return e, unknown
	}
	return e, nil
}

const (
	mainThread = "main"
	// maxHops is how far relations are followed to find an event's thread.
	maxHops = 3
)

// checkThread refuses a receipt for a thread to which the event does not belong.
// A root belongs to the main timeline, but clients may use it to say that they
// have seen nothing of its thread yet.
//
// spec: c-s §Threaded read receipts
func (s *Service) checkThread(ctx context.Context, room read.RoomNID, e *read.Event, thread string) error {
	if thread == "" || thread == string(e.ID) {
		return nil
	}
	root, err := s.threadOf(ctx, room, e)
	if err != nil {
		return err
	}
	if thread == mainThread && root == "" || thread == root {
		return nil
	}
	return matrix.InvalidParam("The event does not belong to the thread")
}

func (s *Service) threadOf(ctx context.Context, room read.RoomNID, e *read.Event) (string, error) {
	raw := e.JSON
	for range maxHops {
		rel := matrix.Member(raw, "content", "m.relates_to")
		to := matrix.Text(matrix.Member(rel, "event_id"))
		if to == "" || matrix.Text(matrix.Member(rel, "rel_type")) == "m.thread" {
			return to, nil
		}
		parent, err := s.eventIn(ctx, room, matrix.EventID(to))
		if errors.Is(err, matrix.NotFound("")) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		raw = parent.JSON
	}
	return "", nil
}
