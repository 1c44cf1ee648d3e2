package pushrules

import (
	"encoding/json"
	"strconv"
	"strings"
)

// condition is a compiled condition.
type condition struct {
	test    func(*Event, Member) bool
	perUser bool // depends on the Member
}

// compileCondition gives conditions this server does not know a test that never holds.
//
// spec: c-s §Push Rules "Conditions"
func compileCondition(raw json.RawMessage) condition {
	var c struct {
		Kind    string          `json:"kind"`
		Key     *string         `json:"key"`
		Pattern *string         `json:"pattern"`
		Is      string          `json:"is"`
		Value   json.RawMessage `json:"value"`
	}
	if json.Unmarshal(raw, &c) != nil {
		return never
	}
	switch c.Kind {
	case "contains_display_name":
		return condition{containsDisplayName, true}
	case "room_member_count":
		return memberCount(c.Is)
	}
	if c.Key == nil {
		return never
	}
	key := normalPath(*c.Key)
	switch {
	case c.Kind == "event_match" && c.Pattern != nil:
		return eventMatch(key, *c.Pattern)
	case c.Kind == "event_property_is":
		return propertyIs(key, parseScalar(c.Value))
	case c.Kind == "event_property_contains":
		return propertyContains(key, parseScalar(c.Value))
	case c.Kind == "sender_notification_permission":
		return condition{test: func(e *Event, _ Member) bool { return e.Context.mayNotify(*c.Key) }}
	}
	return never
}

var never = condition{test: func(*Event, Member) bool { return false }}

func eventMatch(key, pattern string) condition {
	g := compileGlob(pattern)
	match := g.matchAll
	if key == "content.body" {
		match = g.matchWords
	}
	return condition{test: func(e *Event, _ Member) bool {
		p, ok := e.find(key)
		return ok && p.scalar.kind == 's' && match(p.folded)
	}}
}

func propertyIs(key string, want scalar) condition {
	return condition{test: func(e *Event, _ Member) bool {
		p, ok := e.find(key)
		return ok && p.scalar.equal(want)
	}}
}

func propertyContains(key string, want scalar) condition {
	return condition{test: func(e *Event, _ Member) bool {
		p, _ := e.find(key)
		for _, element := range p.list {
			if element.equal(want) {
				return true
			}
		}
		return false
	}}
}

func containsDisplayName(e *Event, m Member) bool {
	if m.DisplayName == "" {
		return false
	}
	p, ok := e.find("content.body")
	g := literal(fold(m.DisplayName))
	return ok && p.scalar.kind == 's' && g.matchWords(p.folded)
}

// memberCount compiles "2", "==2", "<2", ">2", ">=2" and "<=2".
func memberCount(is string) condition {
	digits := strings.TrimLeft(is, "=<>")
	n, err := strconv.Atoi(digits)
	if err != nil || digits[0] < '0' || digits[0] > '9' {
		return never
	}
	var holds func(members int) bool
	switch is[:len(is)-len(digits)] {
	case "", "==":
		holds = func(m int) bool { return m == n }
	case "<":
		holds = func(m int) bool { return m < n }
	case ">":
		holds = func(m int) bool { return m > n }
	case "<=":
		holds = func(m int) bool { return m <= n }
	case ">=":
		holds = func(m int) bool { return m >= n }
	default:
		return never
	}
	return condition{test: func(e *Event, _ Member) bool { return holds(e.Context.Members) }}
}
