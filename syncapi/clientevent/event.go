// Package clientevent writes stored events the way clients are shown them: the
// canonical bytes without what only servers need, with event id and unsigned
// data. It owns no table and serves no subject.
//
// What all viewers of an event have in common is encoded once ([New]) and may be
// shared, in a room's tail for example; what differs from viewer to viewer or
// with time is appended behind it ([Event.Append]). What an event needs from
// other events (the state it replaced, its redaction, its relations) is loaded
// page by page, never event by event ([Loader]).
//
// Whether an event may be shown is not decided here but by read.Viewer; of other
// events that are shown inside of an event, it is asked here.
package clientevent

import (
	"strconv"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

// Event is a stored event made ready for clients. It is not changed once it is
// shared.
type Event struct {
	read.Event
	// Prev is the state event this one replaced; nil if there was none.
	Prev *read.Event
	// Redaction is the event that redacted this one; nil if none did.
	Redaction *read.Event

	// base is the event's object without room_id and unsigned, still open; nil
	// if it is encoded each time it is shown.
	base []byte
}

// New encodes what all viewers share, in one pass over the canonical bytes.
func New(e read.Event) *Event {
	return &Event{Event: e, base: appendBase(make([]byte, 0, len(e.JSON)+64), &e)}
}

// Once is New for an event that is shown to one viewer only: nothing is encoded
// before it is appended.
func Once(e read.Event) *Event { return &Event{Event: e} }

// Viewer is whom an event is shown to. The zero value of its fields means a
// stranger looking into a world-readable room.
type Viewer struct {
	*read.Viewer
	UserNID  read.UserNID
	DeviceID string
}

// Format is what the request asks of all events of its answer.
type Format struct {
	// RoomID is written into the event; empty where the answer names the room
	// elsewhere.
	RoomID matrix.RoomID
	// Federation asks for the event as servers exchange it.
	// spec: c-s §Filtering "event_format"
	Federation bool
	// Fields, if any, limits what of the event is written.
	Fields Fields
	// Now is the time of the request, in ms, from which the age is reckoned.
	Now int64
}

// Append appends the event as the viewer sees it. relations is the event's
// bundle as [Loader.Relations] made it, or nil.
//
// spec: c-s §Room event format
func (e *Event) Append(dst []byte, f *Format, v *Viewer, relations []byte) []byte {
	start := len(dst)
	if f.Federation {
		dst = e.appendFederation(dst)
	} else {
		dst = e.appendBody(dst, f.RoomID)
	}
	dst = append(dst, `,"unsigned":{"age":`...)
	dst = strconv.AppendInt(dst, f.Now-e.OriginTS, 10)
	dst = e.appendUnsigned(dst, f, v)
	if len(relations) > 0 {
		dst = append(append(dst, `,"m.relations":`...), relations...)
	}
	dst = append(dst, '}', '}')
	if f.Fields != nil {
		return f.Fields.project(dst, start)
	}
	return dst
}

// AppendPlain appends the event without any unsigned data.
func (e *Event) AppendPlain(dst []byte, room matrix.RoomID) []byte {
	return append(e.appendBody(dst, room), '}')
}

func (e *Event) appendBody(dst []byte, room matrix.RoomID) []byte {
	if e.base != nil {
		dst = append(dst, e.base...)
	} else {
		dst = appendBase(dst, &e.Event)
	}
	if room != "" {
		dst = matrix.AppendText(append(dst, `,"room_id":`...), string(room))
	}
	return dst
}

func (e *Event) appendFederation(dst []byte) []byte {
	dst = append(dst, e.JSON[:len(e.JSON)-1]...)
	if matrix.Member(e.JSON, "event_id") == nil {
		dst = matrix.AppendText(append(dst, `,"event_id":`...), string(e.ID))
	}
	return dst
}

// appendBase copies the members clients are shown. An event may carry further
// members at its top level; they are for servers or for nobody.
func appendBase(dst []byte, e *read.Event) []byte {
	dst = matrix.AppendText(append(dst, `{"event_id":`...), string(e.ID))
	redaction := e.TypeNID == read.TypeRedaction
	var content, redacts []byte
	for key, val := range matrix.Members(e.JSON) {
		switch string(key) {
		case "content":
			if content = val; redaction {
				continue // written below, together with redacts
			}
		case "redacts":
			redacts = val
			continue
		case "origin_server_ts", "sender", "state_key", "type":
		default:
			continue
		}
		dst = append(append(append(append(dst, ',', '"'), key...), '"', ':'), val...)
	}
	if redaction {
		dst = appendRedacts(dst, content, redacts)
	}
	return dst
}

// appendRedacts names what a redaction redacts in both places, whichever the
// room version uses, because older clients look for it in the one and newer
// ones in the other.
//
// spec: rooms/v11 §Moving the redacts property
func appendRedacts(dst, content, redacts []byte) []byte {
	inside := matrix.Member(content, "redacts")
	if redacts == nil {
		redacts = inside
	}
	if redacts != nil {
		dst = append(append(dst, `,"redacts":`...), redacts...)
	}
	dst = append(dst, `,"content":`...)
	switch {
	case redacts == nil || inside != nil || len(content) < 2:
		return append(dst, content...)
	case len(content) == 2:
		dst = append(dst, `{"redacts":`...)
	default:
		dst = append(append(dst, content[:len(content)-1]...), `,"redacts":`...)
	}
	return append(append(dst, redacts...), '}')
}
