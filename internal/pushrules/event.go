package pushrules

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"allmende/internal/matrix"
)

// Event is an event about to be evaluated for many users. Fill the exported fields and pass the pointer on; it caches
// what it has parsed and must not be copied after first use, nor used by two goroutines at once.
type Event struct {
	ID       matrix.EventID
	RoomID   matrix.RoomID
	Type     string
	Sender   matrix.UserID
	StateKey *string
	Content  json.RawMessage // an object; anything else has no properties
	Redacts  matrix.EventID
	Context  RoomContext

	flat   map[string]property // nil: not parsed yet
	shared []verdict           // outcome of each shared default rule
}

// RoomContext is the room as it is when the event arrives.
type RoomContext struct {
	Members     int              // joined members
	SenderLevel int64            // power level of the event's sender; creators of version 12: math.MaxInt64
	Levels      map[string]int64 // "notifications" of the power levels
}

// defaultNotificationLevel is needed where the power levels do not say.
//
// spec: c-s §m.room.power_levels "notifications"
const defaultNotificationLevel = 50

func (c *RoomContext) mayNotify(key string) bool {
	need, ok := c.Levels[key]
	if !ok {
		need = defaultNotificationLevel
	}
	return c.SenderLevel >= need
}

// property is the value at one path of the event.
type property struct {
	scalar scalar
	folded string   // lower case of a string
	list   []scalar // elements of an array that are scalars
}

// scalar is a non-compound JSON value. The zero value equals nothing.
type scalar struct {
	kind byte // 's', 'i', 't', 'f', 'n'
	s    string
	i    int64
}

func (s scalar) equal(t scalar) bool { return s.kind != 0 && s == t }

const maxSafeInteger = 1<<53 - 1

// parseScalar returns the zero scalar for objects, arrays and numbers that canonical JSON does not know.
func parseScalar(raw json.RawMessage) scalar {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return scalar{}
	}
	return scalarOf(v)
}

func scalarOf(v any) scalar {
	switch v := v.(type) {
	case string:
		return scalar{kind: 's', s: v}
	case bool:
		if v {
			return scalar{kind: 't'}
		}
		return scalar{kind: 'f'}
	case nil:
		return scalar{kind: 'n'}
	case json.Number:
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil && -maxSafeInteger <= i && i <= maxSafeInteger {
			return scalar{kind: 'i', i: i}
		}
	}
	return scalar{}
}

// find looks a property up by its dot-separated path. The envelope is answered without parsing the content.
func (e *Event) find(key string) (property, bool) {
	switch key {
	case "type":
		return text(e.Type), true
	case "sender":
		return text(string(e.Sender)), true
	case "room_id":
		return text(string(e.RoomID)), true
	case "event_id":
		return text(string(e.ID)), true
	case "redacts":
		return text(string(e.Redacts)), e.Redacts != ""
	case "state_key":
		if e.StateKey == nil {
			return property{}, false
		}
		return text(*e.StateKey), true
	}
	p, ok := e.properties()[key]
	return p, ok
}

func text(s string) property {
	return property{scalar: scalar{kind: 's', s: s}, folded: fold(s)}
}

func (e *Event) properties() map[string]property {
	if e.flat == nil {
		e.flat = map[string]property{}
		var content map[string]any
		d := json.NewDecoder(bytes.NewReader(e.Content))
		d.UseNumber()
		if d.Decode(&content) == nil {
			flatten(e.flat, "content", content)
		}
	}
	return e.flat
}

// pathEscaper writes a property's name as one segment of a path.
//
// spec: appendices §Dot-separated property paths
var pathEscaper = strings.NewReplacer(`\`, `\\`, `.`, `\.`)

func flatten(into map[string]property, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		into[path] = property{}
		for name, member := range v {
			flatten(into, path+"."+pathEscaper.Replace(name), member)
		}
	case []any:
		list := make([]scalar, 0, len(v))
		for _, element := range v {
			list = append(list, scalarOf(element))
		}
		into[path] = property{list: list}
	case string:
		into[path] = text(v)
	default:
		into[path] = property{scalar: scalarOf(v)}
	}
}

// normalPath rewrites a path as clients may write it into the form flatten produces: backslashes that escape nothing
// stand for themselves.
func normalPath(key string) string {
	if !strings.Contains(key, `\`) {
		return key
	}
	var b strings.Builder
	for i := 0; i < len(key); i++ {
		b.WriteByte(key[i])
		if key[i] != '\\' {
			continue
		}
		if i+1 < len(key) && (key[i+1] == '.' || key[i+1] == '\\') {
			i++
			b.WriteByte(key[i])
		} else {
			b.WriteByte('\\')
		}
	}
	return b.String()
}

// mentions reports whether the event says itself whom it mentions, which turns the rules that guess off.
//
// spec: c-s §User and room mentions
func (e *Event) mentions() bool {
	_, ok := e.properties()[`content.m\.mentions`]
	return ok
}
