// Package filter reads the filters of the Client-Server API and tells which
// events pass them. It owns no table and serves no subject; where filters are
// kept is clientapi's business.
//
// A filter is read once and then asked for many events, so its lists are made
// ready when it is read. The zero value of every filter lets everything pass.
//
// spec: c-s §Filtering
package filter

import (
	"slices"
	"strings"

	"allmende/syncapi/clientevent"
)

// Sync is the filter of /sync and of /user/{userId}/filter.
type Sync struct {
	Fields      clientevent.Fields // event_fields; nil: all
	Federation  bool               // event_format "federation"
	Presence    Events
	AccountData Events
	Room        Room
}

// Room is what a sync filter says of rooms.
type Room struct {
	Rooms        Rooms
	IncludeLeave bool
	Ephemeral    RoomEvents
	State        RoomEvents
	Timeline     RoomEvents
	AccountData  RoomEvents
}

// Events chooses among events by type and sender.
type Events struct {
	// Limit is how many events to return at most; 0: unsaid.
	Limit   int
	types   patterns
	senders names
}

// RoomEvents chooses among events of rooms.
type RoomEvents struct {
	Events
	Rooms                     Rooms
	ContainsURL               *bool // of content.url; nil: does not matter
	LazyLoadMembers           bool
	IncludeRedundantMembers   bool
	UnreadThreadNotifications bool
	// RelatedBy, if not empty, lets only those events pass that others relate
	// to in one of these ways.
	RelatedBy RelatedBy
}

// RelatedBy chooses events by what relates to them. Both lists must be met, by
// the same related event.
//
// spec: c-s §Filtering events by their relations
type RelatedBy struct {
	RelTypes []string
	Senders  []string
}

// Empty tells whether nothing is asked of related events.
func (r RelatedBy) Empty() bool { return r.RelTypes == nil && r.Senders == nil }

// Rooms chooses rooms.
type Rooms struct{ names }

// Pass tells whether the room passes.
func (r Rooms) Pass(room string) bool { return r.pass(room) }

// All tells whether every room passes.
func (r Rooms) All() bool { return r.in == nil && r.out == nil }

// Only is the list of rooms that can pass at all; nil: every room.
func (r Rooms) Only() []string { return r.in }

// All tells whether every event passes, so that nobody needs to look at one.
func (e *Events) All() bool { return e.types.all() && e.senders.in == nil && e.senders.out == nil }

// Pass tells whether an event of this type and sender passes.
func (e *Events) Pass(typ, sender string) bool { return e.types.pass(typ) && e.senders.pass(sender) }

// PassType tells whether events of the type can pass. It lets whole parts of an
// answer be left out.
func (e *Events) PassType(typ string) bool { return e.types.pass(typ) }

// All tells whether every event of every room passes. Limits and lazy loading
// do not count, they choose no events.
func (r *RoomEvents) All() bool {
	return r.Events.All() && r.Rooms.All() && r.ContainsURL == nil && r.RelatedBy.Empty()
}

// PassEvent tells whether an event passes that shows its type, sender and
// whether its content has a url. Rooms and relations are asked about elsewhere.
func (r *RoomEvents) PassEvent(typ, sender string, hasURL bool) bool {
	return r.Pass(typ, sender) && (r.ContainsURL == nil || *r.ContainsURL == hasURL)
}

// names is a pair of lists of exact names. A nil list says nothing; an empty
// one to include lets nothing pass.
type names struct{ in, out []string }

func (n names) pass(s string) bool {
	return (n.in == nil || slices.Contains(n.in, s)) && !slices.Contains(n.out, s)
}

// patterns is names with wildcards.
type patterns struct{ in, out []string }

func (p patterns) all() bool { return p.in == nil && p.out == nil }

func (p patterns) pass(s string) bool {
	return (p.in == nil || anyMatches(p.in, s)) && !anyMatches(p.out, s)
}

func anyMatches(list []string, s string) bool {
	for _, p := range list {
		if matches(p, s) {
			return true
		}
	}
	return false
}

// matches tells whether s fits the pattern, in which * stands for any sequence
// of characters. It takes the first place where each part fits: with no other
// wildcard, that finds a fit if there is one, in time |s|·|parts| at worst.
func matches(pattern, s string) bool {
	head, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, head)
	if !ok {
		return false
	}
	for {
		part, more, wild := strings.Cut(rest, "*")
		if !wild {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
}
