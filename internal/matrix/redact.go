package matrix

import (
	"slices"
)

// redaction is a redaction algorithm: what remains of an event.
type redaction struct {
	top              map[string]bool
	content          map[string][]string // by event type; a nil list keeps everything
	redactsInContent bool
	thirdPartySigned bool // of a membership's third_party_invite, signed remains
}

var (
	topFirst = set("event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth",
		"prev_events", "prev_state", "auth_events", "origin", "origin_server_ts", "membership")
	top11 = set("event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth",
		"prev_events", "auth_events", "origin_server_ts")

	levelKeys = []string{"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
)

// spec: rooms/v1, v6, v8, v9, v11 §Redactions
var (
	redaction1 = redaction{top: topFirst, content: map[string][]string{
		TypeMember: {"membership"}, TypeCreate: {"creator"}, TypeJoinRules: {"join_rule"}, TypePowerLevels: levelKeys,
		TypeHistory: {"history_visibility"}, TypeAliases: {"aliases"},
	}}
	redaction6 = redaction{top: topFirst, content: map[string][]string{
		TypeMember: {"membership"}, TypeCreate: {"creator"}, TypeJoinRules: {"join_rule"}, TypePowerLevels: levelKeys,
		TypeHistory: {"history_visibility"},
	}}
	redaction8 = redaction{top: topFirst, content: map[string][]string{
		TypeMember: {"membership"}, TypeCreate: {"creator"}, TypeJoinRules: {"join_rule", "allow"},
		TypePowerLevels: levelKeys, TypeHistory: {"history_visibility"},
	}}
	redaction9 = redaction{top: topFirst, content: map[string][]string{
		TypeMember: {"membership", "join_authorised_via_users_server"}, TypeCreate: {"creator"},
		TypeJoinRules: {"join_rule", "allow"}, TypePowerLevels: levelKeys, TypeHistory: {"history_visibility"},
	}}
	redaction11 = redaction{top: top11, content: map[string][]string{
		TypeMember: {"membership", "join_authorised_via_users_server"}, TypeCreate: nil,
		TypeJoinRules: {"join_rule", "allow"}, TypePowerLevels: append([]string{"invite"}, levelKeys...),
		TypeHistory: {"history_visibility"}, TypeRedaction: {"redacts"},
	}, redactsInContent: true, thirdPartySigned: true}
)

func set(keys ...string) map[string]bool {
	m := make(map[string]bool, len(keys))
	for _, k := range keys {
		m[k] = true
	}
	return m
}

// Redact applies the version's redaction algorithm and returns what remains, as canonical JSON. An unsigned member goes
// with the rest.
//
// Errors: as CanonicalJSON; M_BAD_JSON when json is no event at all; M_UNSUPPORTED_ROOM_VERSION.
// spec: c-s §Redactions
func Redact(v RoomVersion, json []byte) ([]byte, error) {
	r, err := v.rules()
	if err != nil {
		return nil, err
	}
	b, err := appendCanonical(make([]byte, 0, len(json)), json, r.numbers())
	if err != nil {
		return nil, err
	}
	typ, err := eventType(b)
	if err != nil {
		return nil, err
	}
	return r.redaction.appendEvent(make([]byte, 0, len(b)), b, typ, nil), nil
}

func eventType(canonical []byte) (string, error) {
	if canonical[0] != '{' {
		return "", BadJSON("An event must be a JSON object.")
	}
	for key, val := range members(canonical) {
		if string(key) == "type" && val[0] == '"' {
			return jsonString(val), nil
		}
	}
	return "", BadJSON("An event must have a type.")
}

// appendEvent appends what remains of a canonical event without its unsigned member and the members named in drop.
func (d *redaction) appendEvent(dst, canonical []byte, typ string, drop []string) []byte {
	dst = append(dst, '{')
	start := len(dst)
	for key, val := range members(canonical) {
		if !d.top[string(key)] || slices.Contains(drop, string(key)) {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), key...), '"', ':')
		if string(key) == "content" {
			dst = d.appendContent(dst, val, typ)
		} else {
			dst = append(dst, val...)
		}
	}
	return append(dst, '}')
}

// appendContent appends what remains of a canonical content.
func (d *redaction) appendContent(dst, content []byte, typ string) []byte {
	keep, known := d.content[typ]
	if known && keep == nil {
		return append(dst, content...)
	}
	dst = append(dst, '{')
	if known {
		start := len(dst)
		for key, val := range members(content) {
			signed := d.thirdPartySigned && typ == TypeMember && string(key) == "third_party_invite"
			if signed {
				if val = memberOf(val, "signed"); val == nil {
					continue
				}
			} else if !slices.Contains(keep, string(key)) {
				continue
			}
			if len(dst) > start {
				dst = append(dst, ',')
			}
			dst = append(append(append(dst, '"'), key...), '"', ':')
			if signed {
				dst = append(append(append(dst, `{"signed":`...), val...), '}')
			} else {
				dst = append(dst, val...)
			}
		}
	}
	return append(dst, '}')
}
