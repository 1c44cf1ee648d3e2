package matrix

import (
	"bytes"
	"math"
	"strconv"
	"strings"
)

// Unlimited is the power of a room's creators since version 12; no level in an event reaches it.
const Unlimited int64 = math.MaxInt64

// Levels is the content of an m.room.power_levels event with the defaults filled in. Read-only.
// spec: c-s §m.room.power_levels
type Levels struct {
	Ban, Kick, Redact, Invite                 int64
	UsersDefault, EventsDefault, StateDefault int64
	Users                                     map[UserID]int64
	Events                                    map[string]int64
	Notifications                             map[string]int64

	given map[string]int64 // the plain levels that the content has, for the rules about changes
}

// PowerLevels is who may do what in a room: the current levels, and the creators where they stand above them.
type PowerLevels struct {
	*Levels
	creators []UserID
}

// ParsePowerLevels reads the levels of a room from its m.room.power_levels event, nil when it has none, and its create
// event. The reading is kept on the events, so that asking again costs nothing.
//
// Errors: M_FORBIDDEN when the content of the event is not as the version demands.
func ParsePowerLevels(v RoomVersion, e, create *Event) (PowerLevels, error) {
	r, err := v.rules()
	if err != nil {
		return PowerLevels{}, err
	}
	return r.powerLevels(e, create)
}

func (r *rules) powerLevels(e, create *Event) (pl PowerLevels, err error) {
	if r.creatorsRule && create != nil {
		pl.creators = create.Creators()
	}
	switch {
	case e != nil:
		pl.Levels, err = e.parsedLevels(r)
	case create != nil:
		pl.Levels = create.initialLevels(r)
	default:
		pl.Levels = &Levels{Ban: 50, Kick: 50, Redact: 50, StateDefault: 50}
	}
	return pl, err
}

// User is a user's power; Unlimited for the creators of version 12.
func (p PowerLevels) User(u UserID) int64 {
	for _, c := range p.creators {
		if c == u {
			return Unlimited
		}
	}
	if l, ok := p.Users[u]; ok {
		return l
	}
	return p.UsersDefault
}

// State is the level needed to send state events of a type.
func (l *Levels) State(typ string) int64 {
	if n, ok := l.Events[typ]; ok {
		return n
	}
	return l.StateDefault
}

// Event is the level needed to send events of a type that are no state events.
func (l *Levels) Event(typ string) int64 {
	if n, ok := l.Events[typ]; ok {
		return n
	}
	return l.EventsDefault
}

// Notification is the level needed to set off a kind of notification, such as "room"; 50 when unsaid.
func (l *Levels) Notification(kind string) int64 {
	if n, ok := l.Notifications[kind]; ok {
		return n
	}
	return 50
}

// Creators are the users with unlimited power, named by a create event of version 12: its sender and the additional
// creators. For older versions it is the one creator, who has no lasting privilege.
func (e *Event) Creators() []UserID {
	if c := e.creators.Load(); c != nil {
		return *c
	}
	creators := []UserID{e.Sender}
	switch {
	case e.Version.CreatorsPrivileged():
		for u := range elements(memberOf(e.Content, "additional_creators")) {
			creators = append(creators, UserID(jsonString(u)))
		}
	case e.Version.CreatorInContent():
		creators[0] = UserID(jsonString(memberOf(e.Content, "creator")))
	}
	e.creators.Store(&creators)
	return creators
}

// initialLevels is what a room without m.room.power_levels has.
func (e *Event) initialLevels(r *rules) *Levels {
	if l := e.levels.Load(); l != nil {
		return l
	}
	l := &Levels{Ban: 50, Kick: 50, Redact: 50, StateDefault: 50}
	if !r.creatorsRule {
		l.Users = map[UserID]int64{e.Creators()[0]: 100}
	}
	e.levels.Store(l)
	return l
}

func (e *Event) parsedLevels(r *rules) (*Levels, error) {
	if l := e.levels.Load(); l != nil {
		return l, nil
	}
	l, err := r.parseLevels(e.Content)
	if err != nil {
		return nil, err
	}
	e.levels.Store(l)
	return l, nil
}

// parseLevels is rules 10.1 to 10.3 of version 12 and their like.
func (r *rules) parseLevels(content []byte) (*Levels, error) {
	l := &Levels{Ban: 50, Kick: 50, Redact: 50, StateDefault: 50, given: map[string]int64{}}
	plain := map[string]*int64{
		"ban": &l.Ban, "kick": &l.Kick, "redact": &l.Redact, "invite": &l.Invite,
		"users_default": &l.UsersDefault, "events_default": &l.EventsDefault, "state_default": &l.StateDefault,
	}
	for key, val := range members(content) {
		k := string(key)
		var err error
		switch k {
		case "users":
			l.Users, err = parseLevelMap(r, k, val, func(s string) (UserID, error) { return ParseUserID(s) })
		case "events":
			l.Events, err = parseLevelMap(r, k, val, func(s string) (string, error) { return s, nil })
		case "notifications":
			l.Notifications, err = parseLevelMap(r, k, val, func(s string) (string, error) { return s, nil })
		default:
			if plain[k] == nil {
				continue
			}
			n, ok := r.level(val)
			if !ok {
				return nil, Forbidden("Power levels: " + k + " is not an integer.")
			}
			*plain[k], l.given[k] = n, n
		}
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

func parseLevelMap[K ~string](r *rules, name string, val []byte, parse func(string) (K, error)) (map[K]int64, error) {
	if val[0] != '{' {
		return nil, Forbidden("Power levels: " + name + " is not an object.")
	}
	out := map[K]int64{}
	for key, val := range members(val) {
		if bytes.IndexByte(key, '\\') >= 0 {
			key = unescape(key)
		}
		k, err := parse(string(key))
		if err != nil {
			return nil, Forbidden("Power levels: " + name + " has a key that is not a user ID.")
		}
		n, ok := r.level(val)
		if !ok {
			return nil, Forbidden("Power levels: " + name + " has a value that is not an integer.")
		}
		out[k] = n
	}
	return out, nil
}

// level reads one power level; up to version 9 strings with an integer count too, up to version 5 fractions are cut.
// spec: rooms/v9 §Event format "values as strings"
func (r *rules) level(val []byte) (int64, bool) {
	n, ok := jsonInt(val)
	if ok || r.integerPL {
		return n, ok
	}
	if val[0] == '"' {
		n, err := strconv.ParseInt(strings.TrimSpace(jsonString(val)), 10, 64)
		return n, err == nil
	}
	f, err := strconv.ParseFloat(string(val), 64)
	if err != nil || f > maxInt || f < -maxInt {
		return 0, false
	}
	return int64(f), true
}
