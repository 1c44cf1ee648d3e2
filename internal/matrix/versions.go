package matrix

import "slices"

// DefaultVersion is the version of new rooms.
// spec: rooms §Complete list of room versions, "12 is the default"
const DefaultVersion RoomVersion = "12"

// rules is what distinguishes one room version from another.
type rules struct {
	eventRefs     bool // prev_events and auth_events are pairs of id and hash; the event says its own id (1, 2)
	urlSafeIDs    bool // event ids in URL-safe base64 (4)
	keyValidity   bool // signing keys must have been valid at origin_server_ts (5)
	strictJSON    bool // canonical JSON is enforced (6)
	aliasRule     bool // m.room.aliases may be sent by any server for its own state key (1 to 5)
	redactRule    bool // redactions are authorised by event auth (1, 2)
	notifications bool // power level rules look at notifications (6)
	knock         bool // join rule knock (7)
	restricted    bool // join rule restricted (8)
	knockOrRestr  bool // join rule knock_restricted (10)
	integerPL     bool // power levels are integers, never strings (10)
	creatorField  bool // create names its creator in content (1 to 10)
	roomIDHash    bool // the room id is the create event's hash; create is not among auth_events (12)
	creatorsRule  bool // creators have unlimited power (12)
	redaction     redaction
	resolution    resolution
}

type resolution int

const (
	resolution1 resolution = iota + 1
	resolution2
	resolution21
)

var versions = map[RoomVersion]*rules{}

func init() {
	r := rules{eventRefs: true, aliasRule: true, redactRule: true, creatorField: true, redaction: redaction1, resolution: resolution1}
	add := func(v RoomVersion, change func()) {
		change()
		c := r
		versions[v] = &c
	}
	add("1", func() {})
	add("2", func() { r.resolution = resolution2 })
	add("3", func() { r.eventRefs, r.redactRule = false, false })
	add("4", func() { r.urlSafeIDs = true })
	add("5", func() { r.keyValidity = true })
	add("6", func() { r.strictJSON, r.notifications, r.aliasRule, r.redaction = true, true, false, redaction6 })
	add("7", func() { r.knock = true })
	add("8", func() { r.restricted, r.redaction = true, redaction8 })
	add("9", func() { r.redaction = redaction9 })
	add("10", func() { r.knockOrRestr, r.integerPL = true, true })
	add("11", func() { r.creatorField, r.redaction = false, redaction11 })
	add("12", func() { r.roomIDHash, r.creatorsRule, r.resolution = true, true, resolution21 })
}

// Versions lists the versions rooms may be created in, oldest first. More are Known, so that old rooms can be joined.
func Versions() []RoomVersion { return []RoomVersion{"10", "11", "12"} }

// Known reports whether rooms of this version can be read and joined: "1" to "12".
func (v RoomVersion) Known() bool { return versions[v] != nil }

// Creatable reports whether v is one of Versions.
func (v RoomVersion) Creatable() bool { return slices.Contains(Versions(), v) }

// rules returns the rules of a version; an unknown one is M_UNSUPPORTED_ROOM_VERSION.
func (v RoomVersion) rules() (*rules, error) {
	if r := versions[v]; r != nil {
		return r, nil
	}
	return nil, UnsupportedRoomVersion("This server does not know the room version.")
}

// is answers a predicate about v; false for unknown versions.
func (v RoomVersion) is(pred func(*rules) bool) bool {
	r := versions[v]
	return r != nil && pred(r)
}

// CreatorsPrivileged: creators have unlimited power and cannot be named in power levels. spec: rooms/v12
func (v RoomVersion) CreatorsPrivileged() bool {
	return v.is(func(r *rules) bool { return r.creatorsRule })
}

// RoomIDFromCreate: the room id is the create event's id with another sigil. spec: rooms/v12 §Event format
func (v RoomVersion) RoomIDFromCreate() bool {
	return v.is(func(r *rules) bool { return r.roomIDHash })
}

// CreatorInContent: the create event must have a creator in its content. spec: rooms/v11 §Event format
func (v RoomVersion) CreatorInContent() bool {
	return v.is(func(r *rules) bool { return r.creatorField })
}

// RedactsInContent: a redaction names its target in content, not at the top level. spec: rooms/v11 §Event format
func (v RoomVersion) RedactsInContent() bool {
	return v.is(func(r *rules) bool { return r.redaction.redactsInContent })
}

// Knock: the join rule knock exists. spec: rooms/v7
func (v RoomVersion) Knock() bool { return v.is(func(r *rules) bool { return r.knock }) }

// Restricted: the join rule restricted exists. spec: rooms/v8
func (v RoomVersion) Restricted() bool { return v.is(func(r *rules) bool { return r.restricted }) }

// KnockRestricted: the join rule knock_restricted exists. spec: rooms/v10
func (v RoomVersion) KnockRestricted() bool {
	return v.is(func(r *rules) bool { return r.knockOrRestr })
}

// IntegerPowerLevels: power levels given as strings are refused. spec: rooms/v10
func (v RoomVersion) IntegerPowerLevels() bool {
	return v.is(func(r *rules) bool { return r.integerPL })
}

// KeyValidity: signatures count only from keys valid at the event's origin_server_ts. spec: rooms/v5
func (v RoomVersion) KeyValidity() bool { return v.is(func(r *rules) bool { return r.keyValidity }) }
