package clientevent

import (
	"strconv"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

// appendUnsigned appends the members of unsigned that follow age, each with its
// comma.
func (e *Event) appendUnsigned(dst []byte, f *Format, v *Viewer) []byte {
	dst = append(append(append(dst, `,"membership":"`...), membership(v, &e.Event)...), '"')
	if e.TxnID != "" && v.UserNID != 0 && e.SenderNID == v.UserNID && e.DeviceID == v.DeviceID {
		dst = matrix.AppendText(append(dst, `,"transaction_id":`...), e.TxnID)
	}
	if e.Prev != nil {
		dst = e.appendPrev(dst, v)
	}
	if e.Redaction != nil {
		dst = e.appendRedactedBecause(dst, f, v)
	}
	return dst
}

// membership is the viewer's membership once the event has happened.
//
// spec: c-s §Room event format, unsigned.membership (MSC4115)
func membership(v *Viewer, e *read.Event) string {
	if v.Viewer == nil {
		return read.Leave.String()
	}
	if m := v.MembershipAfter(e); m != read.None {
		return m.String()
	}
	return read.Leave.String()
}

// appendPrev says what the state was before, if the viewer may know.
//
// spec: c-s §Room event format, "replaces_state … regardless of history visibility"
func (e *Event) appendPrev(dst []byte, v *Viewer) []byte {
	dst = matrix.AppendText(append(dst, `,"replaces_state":`...), string(e.Prev.ID))
	if v.Viewer == nil || !v.MaySee(e.Prev) {
		return dst
	}
	if c := matrix.Member(e.Prev.JSON, "content"); c != nil {
		dst = append(append(dst, `,"prev_content":`...), c...)
	}
	return dst
}

// appendRedactedBecause shows the redaction. A viewer who has left before it
// must learn that the event is redacted, or the client shows an empty message,
// but not what was said about it.
func (e *Event) appendRedactedBecause(dst []byte, f *Format, v *Viewer) []byte {
	r := e.Redaction
	dst = append(dst, `,"redacted_because":`...)
	if v.Viewer != nil && v.MaySee(r) {
		dst = appendBase(dst, r)
	} else {
		dst = appendWithoutContent(dst, r, e.ID)
	}
	if f.RoomID != "" {
		dst = matrix.AppendText(append(dst, `,"room_id":`...), string(f.RoomID))
	}
	dst = append(dst, `,"unsigned":{"age":`...)
	dst = strconv.AppendInt(dst, f.Now-r.OriginTS, 10)
	return append(dst, '}', '}')
}

func appendWithoutContent(dst []byte, r *read.Event, target matrix.EventID) []byte {
	dst = matrix.AppendText(append(dst, `{"event_id":`...), string(r.ID))
	for key, val := range matrix.Members(r.JSON) {
		switch string(key) {
		case "origin_server_ts", "sender", "type":
			dst = append(append(append(append(dst, ',', '"'), key...), '"', ':'), val...)
		}
	}
	dst = matrix.AppendText(append(dst, `,"redacts":`...), string(target))
	dst = matrix.AppendText(append(dst, `,"content":{"redacts":`...), string(target))
	return append(dst, '}')
}
