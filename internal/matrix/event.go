package matrix

import (
	"crypto/ed25519"
	"encoding/json"
	"sync/atomic"
)

// The types of state events that the rules of the room look at.
const (
	TypeCreate           = "m.room.create"
	TypeMember           = "m.room.member"
	TypeJoinRules        = "m.room.join_rules"
	TypePowerLevels      = "m.room.power_levels"
	TypeThirdPartyInvite = "m.room.third_party_invite"
	TypeRedaction        = "m.room.redaction"
	TypeHistory          = "m.room.history_visibility"
	TypeAliases          = "m.room.aliases"
)

// The values of membership in m.room.member.
const (
	Join   = "join"
	Invite = "invite"
	Leave  = "leave"
	Ban    = "ban"
	Knock  = "knock"
)

// MaxEventBytes is the size of the largest event, as canonical JSON with signatures and without unsigned.
// spec: c-s §Size limits
const MaxEventBytes = 65536

// StateKey names a place in the state of a room.
type StateKey struct{ Type, Key string }

// AuthState answers which event holds a place in the state an event is checked against, nil for none. It must know the
// create event in every room version, although version 12 does not list it among auth_events.
type AuthState interface {
	State(typ, key string) *Event
}

// StateMap is an AuthState in memory.
type StateMap map[StateKey]*Event

// State implements AuthState.
func (m StateMap) State(typ, key string) *Event { return m[StateKey{typ, key}] }

// Event is a persistent event of a room, read-only once made by Build or a parser, and safe to share.
type Event struct {
	ID             EventID
	RoomID         RoomID // also set on the create event of version 12, whose JSON has none
	Type           string
	Sender         UserID
	StateKey       *string // nil: not a state event
	Depth          int64
	OriginServerTS int64 // milliseconds since 1970
	PrevEvents     []EventID
	AuthEvents     []EventID
	Content        json.RawMessage // canonical, part of JSON
	Redacts        EventID         // of m.room.redaction, wherever the version keeps it
	JSON           []byte          // canonical PDU without unsigned
	Version        RoomVersion

	// Rejected says that this server refused the event by its auth rules; whoever loads it from storage sets it, before
	// sharing it. State resolution takes nothing from rejected auth events.
	Rejected bool

	membership string
	levels     atomic.Pointer[Levels]   // of m.room.power_levels, or the initial ones of m.room.create
	creators   atomic.Pointer[[]UserID] // of m.room.create
}

// IsState reports whether the event is a state event.
func (e *Event) IsState() bool { return e.StateKey != nil }

// Key is the event's place in the state; only for state events.
func (e *Event) Key() StateKey {
	if e.StateKey == nil {
		return StateKey{Type: e.Type}
	}
	return StateKey{e.Type, *e.StateKey}
}

// Is reports whether the event is the state event of that type and key.
func (e *Event) Is(typ, key string) bool {
	return e.StateKey != nil && e.Type == typ && *e.StateKey == key
}

// Membership is content.membership of an m.room.member event, empty for other events or when it is no string.
func (e *Event) Membership() string { return e.membership }

// Proto is an event to be built.
type Proto struct {
	RoomID         RoomID // empty for the create event of version 12
	Type           string
	Sender         UserID
	StateKey       *string
	Content        json.RawMessage // any valid JSON object
	Redacts        EventID         // put where the version wants it
	Depth          int64
	OriginServerTS int64 // milliseconds since 1970
	PrevEvents     []EventID
	AuthEvents     []EventID
}

// Signer is a server with one of its signing keys.
type Signer struct {
	Server ServerName
	KeyID  string // "ed25519:…"
	Key    ed25519.PrivateKey
}
