package matrix

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"unicode/utf8"
)

// maxUntrustedBytes bounds what ParseUntrusted looks at: an event with white space, escapes and unsigned.
const maxUntrustedBytes = 1 << 20

// ParseTrusted reads an event whose hash and signatures have been checked before, and computes its id. The JSON may be in
// any form; an unsigned member is dropped.
//
// Errors: as CanonicalJSON; M_BAD_JSON when a field is missing or of a wrong type; M_UNSUPPORTED_ROOM_VERSION.
func ParseTrusted(v RoomVersion, json []byte) (*Event, error) {
	r, err := v.rules()
	if err != nil {
		return nil, err
	}
	obj, err := canonicalObject(json, tolerate)
	if err != nil {
		return nil, err
	}
	return r.parse(v, dropUnsigned(obj), "")
}

// ParseStored reads an event that this server has stored: canonical JSON without unsigned, together with its id, which
// spares computing it. The event keeps json.
//
// Errors: as ParseTrusted; M_BAD_JSON when json is not canonical.
func ParseStored(v RoomVersion, id EventID, json []byte) (*Event, error) {
	r, err := v.rules()
	if err != nil {
		return nil, err
	}
	s := scratches.Get().(*scratch)
	defer s.release()
	if s.plain, err = appendCanonical(s.plain[:0], json, tolerate); err != nil {
		return nil, err
	}
	if !bytes.Equal(s.plain, json) || json[0] != '{' {
		return nil, BadJSON("The stored event is not in canonical form.")
	}
	return r.parse(v, json, id)
}

// ParseUntrusted reads an event from another server. It checks form, sizes and the content hash; an event whose hash
// does not match is redacted, as the specification wants. Whether the signatures are right is for VerifySignature, by the
// keys of the RequiredSigners; whether the event is allowed is for CheckAuthEvents and Allowed.
//
// Errors: as ParseTrusted; M_BAD_JSON also for JSON not canonical in kind (since version 6) and for hashes or signatures
// of a wrong shape; M_TOO_LARGE as in Build.
// spec: s-s §Checks performed on receipt of a PDU 1 and 3
func ParseUntrusted(v RoomVersion, json []byte) (*Event, error) {
	r, err := v.rules()
	if err != nil {
		return nil, err
	}
	if len(json) > maxUntrustedBytes {
		return nil, TooLarge("The event is too large.")
	}
	obj, err := canonicalObject(json, r.numbers())
	if err != nil {
		return nil, err
	}
	if obj = dropUnsigned(obj); len(obj) > MaxEventBytes {
		return nil, TooLarge("The event is too large.")
	}
	want, err := decodeBase64(jsonString(memberOf(memberOf(obj, "hashes"), "sha256")))
	if err != nil || len(want) != sha256.Size {
		return nil, BadJSON("The event has no content hash.")
	}
	if !wellFormedSignatures(memberOf(obj, "signatures")) {
		return nil, BadJSON("The signatures of the event are not well formed.")
	}
	if got := sha256.Sum256(without(obj, "hashes", "signatures", "unsigned")); !bytes.Equal(got[:], want) {
		typ, err := eventType(obj)
		if err != nil {
			return nil, err
		}
		obj = r.redaction.appendEvent(make([]byte, 0, len(obj)), obj, typ, nil)
	}
	e, err := r.parse(v, obj, "")
	if err != nil {
		return nil, err
	}
	return e, r.checkFields(e)
}

func dropUnsigned(obj []byte) []byte {
	if memberOf(obj, "unsigned") == nil {
		return obj
	}
	return without(obj, "unsigned")
}

func wellFormedSignatures(sigs []byte) bool {
	some := false
	for _, keys := range members(sigs) {
		if keys[0] != '{' {
			return false
		}
		for _, sig := range members(keys) {
			if sig[0] != '"' {
				return false
			}
			some = true
		}
	}
	return some
}

// checkFields is what only strangers get wrong.
func (r *rules) checkFields(e *Event) error {
	fields := []string{e.Type, string(e.Sender), string(e.RoomID), string(e.Redacts)}
	if e.StateKey != nil {
		fields = append(fields, *e.StateKey)
	}
	for _, f := range fields {
		n := len(f)
		if !r.redaction.redactsInContent {
			n = utf8.RuneCountInString(f) // rooms before version 11 have events measured in characters
		}
		if n > maxFieldBytes {
			return TooLarge("A field of the event is longer than 255 bytes.")
		}
		if strings.IndexByte(f, 0) >= 0 {
			return BadJSON("A field of the event has characters that are not allowed.")
		}
	}
	if len(e.PrevEvents) > maxPrevEvents || len(e.AuthEvents) > maxAuthEvents {
		return TooLarge("The event names too many previous or auth events.")
	}
	return nil
}

// parse reads the fields of a canonical event; an empty id is computed. The event keeps obj.
func (r *rules) parse(v RoomVersion, obj []byte, id EventID) (*Event, error) {
	e := &Event{ID: id, JSON: obj, Version: v}
	seen := 0
	for key, val := range members(obj) {
		field, ok := fieldOf(e, r, string(key), val)
		if !ok {
			return nil, BadJSON("The event has a " + string(key) + " of a wrong type.")
		}
		seen += field
	}
	if seen < requiredFields {
		return nil, BadJSON("The event lacks a required field.")
	}
	if e.RoomID == "" && !(r.roomIDHash && e.Type == TypeCreate) {
		return nil, BadJSON("The event lacks a room ID.")
	}
	switch {
	case r.eventRefs:
		own, err := ParseEventID(jsonString(memberOf(obj, "event_id")))
		if err != nil {
			return nil, err
		}
		e.ID = own
	case id == "":
		e.ID = r.eventID(r.signedBytes(obj, e.Type))
	}
	if e.ID == "" || e.ID[0] != '$' {
		return nil, BadJSON("The event has no event ID.")
	}
	r.complete(e)
	return e, nil
}

const requiredFields = 7

// fieldOf sets one field of the event; it returns 1 for those that every event must have.
func fieldOf(e *Event, r *rules, key string, val []byte) (required int, ok bool) {
	switch key {
	case "auth_events":
		e.AuthEvents, ok = parseIDs(val, r.eventRefs)
		return 1, ok
	case "content":
		e.Content = val
		return 1, val[0] == '{'
	case "depth":
		e.Depth, ok = jsonInt(val)
		return 1, ok && e.Depth >= 0
	case "origin_server_ts":
		e.OriginServerTS, ok = jsonInt(val)
		return 1, ok
	case "prev_events":
		e.PrevEvents, ok = parseIDs(val, r.eventRefs)
		return 1, ok
	case "redacts":
		if !r.redaction.redactsInContent {
			e.Redacts = EventID(jsonString(val))
		}
	case "room_id":
		id, err := ParseRoomID(jsonString(val))
		e.RoomID = id
		return 0, err == nil
	case "sender":
		id, err := ParseUserID(jsonString(val))
		e.Sender = id
		return 1, err == nil
	case "state_key":
		s := jsonString(val)
		e.StateKey = &s
		return 0, val[0] == '"'
	case "type":
		e.Type = jsonString(val)
		return 1, e.Type != ""
	}
	return 0, true
}

// parseIDs reads prev_events or auth_events: event ids, or in versions 1 and 2 pairs of id and hash.
func parseIDs(val []byte, refs bool) ([]EventID, bool) {
	if val[0] != '[' {
		return nil, false
	}
	ids := make([]EventID, 0, 4)
	for el := range elements(val) {
		if refs {
			for first := range elements(el) {
				el = first
				break
			}
		}
		id, err := ParseEventID(jsonString(el))
		if err != nil {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}
