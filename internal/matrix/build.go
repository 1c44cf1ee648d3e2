package matrix

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	maxFieldBytes = 255 // of type, state_key, sender, room_id
	maxPrevEvents = 20
	maxAuthEvents = 10
)

// scratch is the room Build works in: the event without hash and signature, and what gets signed.
type scratch struct{ plain, signed []byte }

var scratches = sync.Pool{New: func() any { return &scratch{make([]byte, 0, 2048), make([]byte, 0, 2048)} }}

func (s *scratch) release() {
	if cap(s.plain)+cap(s.signed) <= 4*MaxEventBytes {
		scratches.Put(s)
	}
}

// Build makes an event of a room: canonical JSON, content hash, signature and event id; and the room id when it is the
// create event of version 12. Nothing is authorised here.
//
// Errors: M_TOO_LARGE above 65,536 bytes, 255 bytes in a field, or 20 previous and 10 auth events; M_BAD_JSON for
// content that is no object, has a number that is no integer within ±(2^53−1), or for missing fields; as CheckJSON;
// M_UNSUPPORTED_ROOM_VERSION also for versions 1 and 2, whose events cannot be made any more.
// spec: s-s §Adding hashes and signatures to outgoing events
func Build(v RoomVersion, p Proto, signer Signer) (*Event, error) {
	r, err := v.rules()
	if err != nil {
		return nil, err
	}
	if r.eventRefs {
		return nil, UnsupportedRoomVersion("Events of such old rooms cannot be made.")
	}
	if err := r.checkProto(&p); err != nil {
		return nil, err
	}
	if len(signer.Key) != ed25519.PrivateKeySize {
		return nil, Unknown("The signing key is not usable.")
	}
	s := scratches.Get().(*scratch)
	defer s.release()
	return r.build(v, &p, signer, s)
}

// build writes the event once, without hash and signature, remembers the places where they and the redacted parts
// belong, and puts both the finished event and the signed form together from those pieces.
func (r *rules) build(v RoomVersion, p *Proto, signer Signer, s *scratch) (*Event, error) {
	b := appendIDs(append(s.plain[:0], `{"auth_events":`...), p.AuthEvents)
	b = append(b, `,"content":`...)
	content := len(b)
	b, err := r.appendContent(b, p)
	if err != nil {
		return nil, err
	}
	contentEnd := len(b)
	b = strconv.AppendInt(append(b, `,"depth":`...), p.Depth, 10)
	hashes := len(b)
	b = strconv.AppendInt(append(b, `,"origin_server_ts":`...), p.OriginServerTS, 10)
	b = appendIDs(append(b, `,"prev_events":`...), p.PrevEvents)
	redacts := len(b)
	if p.Redacts != "" && !r.redaction.redactsInContent {
		b = appendString(append(b, `,"redacts":`...), string(p.Redacts))
	}
	redactsEnd := len(b)
	if p.RoomID != "" {
		b = appendString(append(b, `,"room_id":`...), string(p.RoomID))
	}
	b = appendString(append(b, `,"sender":`...), string(p.Sender))
	signatures := len(b)
	if p.StateKey != nil {
		b = appendString(append(b, `,"state_key":`...), *p.StateKey)
	}
	b = append(appendString(append(b, `,"type":`...), p.Type), '}')
	s.plain = b

	hash := appendHashes(make([]byte, 0, 80), b)
	signed := append(s.signed[:0], b[:content]...)
	signed = r.redaction.appendContent(signed, b[content:contentEnd], p.Type)
	signed = append(append(signed, b[contentEnd:hashes]...), hash...)
	signed = append(append(signed, b[hashes:redacts]...), b[redactsEnd:]...)
	s.signed = signed
	sig := ed25519.Sign(signer.Key, signed)

	json := make([]byte, 0, len(b)+len(hash)+len(signer.Server)+len(signer.KeyID)+128)
	json = append(append(append(json, b[:hashes]...), hash...), b[hashes:signatures]...)
	json = appendString(append(json, `,"signatures":{`...), string(signer.Server))
	json = appendString(append(json, `:{`...), signer.KeyID)
	json = base64.RawStdEncoding.AppendEncode(append(json, `:"`...), sig)
	json = append(append(json, `"}}`...), b[signatures:]...)
	if len(json) > MaxEventBytes {
		return nil, TooLarge("The event is too large.")
	}

	e := &Event{
		ID: r.eventID(signed), RoomID: p.RoomID, Type: p.Type, Sender: p.Sender, Depth: p.Depth,
		OriginServerTS: p.OriginServerTS, PrevEvents: slices.Clone(p.PrevEvents), AuthEvents: slices.Clone(p.AuthEvents),
		Content: json[content:contentEnd:contentEnd], JSON: json, Version: v,
	}
	if p.StateKey != nil {
		key := *p.StateKey
		e.StateKey = &key
	}
	e.Redacts = p.Redacts
	r.complete(e)
	return e, nil
}

// complete sets what follows from the rest of the event.
func (r *rules) complete(e *Event) {
	if r.roomIDHash && e.Type == TypeCreate {
		e.RoomID = RoomID("!" + e.ID[1:])
	}
	switch e.Type {
	case TypeMember:
		e.membership = jsonString(memberOf(e.Content, "membership"))
	case TypeRedaction:
		if r.redaction.redactsInContent {
			e.Redacts = EventID(jsonString(memberOf(e.Content, "redacts")))
		}
	}
}

func (r *rules) appendContent(b []byte, p *Proto) ([]byte, error) {
	start := len(b)
	b, err := appendCanonical(b, p.Content, r.numbers())
	if err != nil {
		return nil, err
	}
	if b[start] != '{' {
		return nil, BadJSON("The content of an event must be an object.")
	}
	if p.Redacts != "" && r.redaction.redactsInContent {
		b = append(b[:start], putMember(slices.Clone(b[start:]), "redacts", appendString(nil, string(p.Redacts)))...)
	}
	return b, nil
}

func (r *rules) checkProto(p *Proto) error {
	if p.Type == "" {
		return BadJSON("An event must have a type.")
	}
	if r.roomIDHash && p.Type == TypeCreate {
		if p.RoomID != "" {
			return BadJSON("The room ID follows from the create event.")
		}
	} else if _, err := ParseRoomID(string(p.RoomID)); err != nil {
		return err
	}
	if _, err := ParseUserID(string(p.Sender)); err != nil {
		return err
	}
	fields := []string{p.Type, string(p.Sender), string(p.RoomID), string(p.Redacts)}
	if p.StateKey != nil {
		fields = append(fields, *p.StateKey)
	}
	for _, f := range fields {
		if len(f) > maxFieldBytes {
			return TooLarge("A field of the event is longer than 255 bytes.")
		}
		if !utf8.ValidString(f) || strings.IndexByte(f, 0) >= 0 {
			return BadJSON("A field of the event has characters that are not allowed.")
		}
	}
	for _, n := range []int64{p.Depth, p.OriginServerTS} {
		if n < 0 || n > maxInt {
			return BadJSON("A number of the event is out of range.")
		}
	}
	if len(p.PrevEvents) > maxPrevEvents || len(p.AuthEvents) > maxAuthEvents {
		return TooLarge("The event names too many previous or auth events.")
	}
	for _, ids := range [][]EventID{p.PrevEvents, p.AuthEvents} {
		for _, id := range ids {
			if _, err := ParseEventID(string(id)); err != nil {
				return err
			}
		}
	}
	return nil
}

func appendIDs(b []byte, ids []EventID) []byte {
	b = append(b, '[')
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, string(id))
	}
	return append(b, ']')
}

// appendHashes appends the hashes member for an event given without hashes, signatures and unsigned.
// spec: s-s §Calculating the content hash for an event
func appendHashes(dst, plain []byte) []byte {
	sum := sha256.Sum256(plain)
	dst = base64.RawStdEncoding.AppendEncode(append(dst, `,"hashes":{"sha256":"`...), sum[:])
	return append(dst, `"}`...)
}
