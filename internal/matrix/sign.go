package matrix

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
)

// decodeBase64 takes standard or URL-safe base64, with or without padding.
// spec: appendices §Unpadded Base64
func decodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if strings.ContainsAny(s, "-_") {
		return base64.RawURLEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}

// without copies a canonical object, leaving members out.
func without(obj []byte, drop ...string) []byte {
	out := append(make([]byte, 0, len(obj)), '{')
	for key, val := range members(obj) {
		if slices.Contains(drop, string(key)) {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(append(out, '"'), key...), '"', ':'), val...)
	}
	return append(out, '}')
}

// withSignature copies a canonical object and adds a signature to its signatures.
func withSignature(obj []byte, server ServerName, keyID string, sig []byte) []byte {
	sigs := memberOf(obj, "signatures")
	own := putMember(memberOf(sigs, string(server)), keyID, appendString(nil, base64.RawStdEncoding.EncodeToString(sig)))
	return putMember(obj, "signatures", putMember(sigs, string(server), own))
}

// putMember copies a canonical object with one member set, in its place. A nil object is an empty one.
func putMember(obj []byte, key string, val []byte) []byte {
	raw := string(appendString(nil, key))
	out, done := append(make([]byte, 0, len(obj)+len(raw)+len(val)+4), '{'), false
	put := func(k string, v []byte) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, k...), ':'), v...)
	}
	for k, v := range members(obj) {
		have := `"` + string(k) + `"`
		if have == raw {
			continue
		}
		if !done && string(unescape(k)) > key {
			put(raw, val)
			done = true
		}
		put(have, v)
	}
	if !done {
		put(raw, val)
	}
	return append(out, '}')
}

// SignJSON signs a JSON object and returns it in canonical form with the signature added to those it has; unsigned is
// kept.
//
// Errors: as CanonicalJSON; M_BAD_JSON when it is not an object.
// spec: appendices §Signing JSON
func SignJSON(b []byte, s Signer) ([]byte, error) {
	obj, err := canonicalObject(b, normalise)
	if err != nil {
		return nil, err
	}
	return withSignature(obj, s.Server, s.KeyID, ed25519.Sign(s.Key, without(obj, "signatures", "unsigned"))), nil
}

// VerifyJSON reports whether a JSON object is signed by the server with the key of that id.
//
// Errors: M_UNAUTHORIZED when it is not; as CanonicalJSON.
// spec: appendices §Checking for a Signature
func VerifyJSON(b []byte, server ServerName, keyID string, key ed25519.PublicKey) error {
	obj, err := canonicalObject(b, normalise)
	if err != nil {
		return err
	}
	return verify(memberOf(obj, "signatures"), without(obj, "signatures", "unsigned"), server, keyID, key)
}

func canonicalObject(b []byte, n numbers) ([]byte, error) {
	obj, err := appendCanonical(make([]byte, 0, len(b)), b, n)
	if err != nil {
		return nil, err
	}
	if obj[0] != '{' {
		return nil, BadJSON("Content is not a JSON object.")
	}
	return obj, nil
}

func verify(sigs, message []byte, server ServerName, keyID string, key ed25519.PublicKey) error {
	sig, err := decodeBase64(jsonString(memberOf(memberOf(sigs, string(server)), keyID)))
	if err != nil || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, message, sig) {
		return Unauthorized("The signature of " + string(server) + " is missing or wrong.")
	}
	return nil
}

// SignatureKeys lists the ids of the ed25519 keys that a server claims to have signed the event with.
func (e *Event) SignatureKeys(server ServerName) []string {
	return SignatureKeys(e.JSON, server)
}

// SignatureKeys lists the ids of the ed25519 keys that a server claims to have signed a canonical JSON object with.
func SignatureKeys(canonical []byte, server ServerName) (ids []string) {
	for key := range members(memberOf(memberOf(canonical, "signatures"), string(server))) {
		if strings.HasPrefix(string(key), "ed25519:") {
			ids = append(ids, string(key))
		}
	}
	return ids
}

// VerifySignature checks one signature of an event; it covers what redaction leaves.
//
// Errors: M_UNAUTHORIZED.
// spec: s-s §Validating hashes and signatures on received events
func VerifySignature(e *Event, server ServerName, keyID string, key ed25519.PublicKey) error {
	r, err := e.Version.rules()
	if err != nil {
		return err
	}
	return verify(memberOf(e.JSON, "signatures"), r.signedBytes(e.JSON, e.Type), server, keyID, key)
}

// AddSignature returns the event with one more signature of ours, as a server does that lets somebody into a restricted
// room or relays an invite.
func AddSignature(e *Event, s Signer) (*Event, error) {
	r, err := e.Version.rules()
	if err != nil {
		return nil, err
	}
	return ParseTrusted(e.Version, withSignature(e.JSON, s.Server, s.KeyID, ed25519.Sign(s.Key, r.signedBytes(e.JSON, e.Type))))
}

// RequiredSigners lists the servers whose signatures an event needs: the sender's, except on an invite that carries out
// a third-party invite; the one that made the event id in versions 1 and 2; and the one that let somebody into a
// restricted room.
// spec: s-s §Validating hashes and signatures on received events
func RequiredSigners(e *Event) []ServerName {
	var out []ServerName
	add := func(s ServerName) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	var m membershipContent
	if e.Type == TypeMember {
		m = canonicalMembership(e.Content)
	}
	if m.membership != Invite || m.thirdParty == nil {
		add(e.Sender.Server())
	}
	if e.Version.is(func(r *rules) bool { return r.eventRefs }) {
		add(domain(string(e.ID)))
	}
	if m.authorisedVia != nil && e.Version.Restricted() {
		add(domain(jsonString(m.authorisedVia)))
	}
	return out
}

// signedBytes is what the signatures cover, and what the reference hash is taken of: the redacted event without
// signatures and unsigned.
func (r *rules) signedBytes(canonical []byte, typ string) []byte {
	return r.redaction.appendEvent(make([]byte, 0, len(canonical)), canonical, typ, []string{"signatures"})
}

// eventID makes an event id from what signedBytes returns, for version 3 and later.
// spec: rooms/v4 §Event IDs
func (r *rules) eventID(signed []byte) EventID {
	sum := sha256.Sum256(signed)
	var buf [44]byte
	buf[0] = '$'
	if r.urlSafeIDs {
		base64.RawURLEncoding.Encode(buf[1:], sum[:])
	} else {
		base64.RawStdEncoding.Encode(buf[1:], sum[:])
	}
	return EventID(buf[:])
}

// NewEventIDOf computes the id of an event given as any JSON; in versions 1 and 2 it is the one the event says.
//
// Errors: as CanonicalJSON; M_BAD_JSON when it is no event.
func NewEventIDOf(v RoomVersion, json []byte) (EventID, error) {
	r, err := v.rules()
	if err != nil {
		return "", err
	}
	obj, err := canonicalObject(json, r.numbers())
	if err != nil {
		return "", err
	}
	if r.eventRefs {
		return ParseEventID(jsonString(memberOf(obj, "event_id")))
	}
	typ, err := eventType(obj)
	if err != nil {
		return "", err
	}
	return r.eventID(r.signedBytes(obj, typ)), nil
}
