package tail

import (
	"slices"
	"sync"
	"sync/atomic"

	"allmende/internal/matrix"
	"allmende/internal/pushrules"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
)

const (
	// keepEvents is how many of a room's newest events stay in memory; trimming
	// begins at twice as many, so that it is rare.
	keepEvents = 100
	// heroes is how many members name a room; one more is kept, because the
	// one who looks does not count.
	heroes = 5
	// overhead is what an event takes in memory beside its text, in bytes.
	overhead = 600
)

// Event is an event of a timeline, shared by everybody who is shown it.
type Event struct {
	*clientevent.Event
	Type   string
	Sender string
	// Thread is the root of the thread the event belongs to; empty: the main
	// timeline.
	Thread matrix.EventID

	pushMu sync.Mutex
	push   *pushrules.Event
}

// Push runs f with the event as push rules see it. What one user's evaluation
// has found out is there for the next user.
func (e *Event) Push(room *View, f func(*pushrules.Event)) {
	e.pushMu.Lock()
	defer e.pushMu.Unlock()
	if e.push == nil {
		e.push = &pushrules.Event{
			ID: e.ID, RoomID: room.ID, Type: e.Type, Sender: matrix.UserID(e.Sender),
			Content: matrix.Member(e.JSON, "content"), Redacts: redacts(e.JSON), Context: room.pushContext(e),
		}
		if key := matrix.Member(e.JSON, "state_key"); key != nil {
			text := matrix.Text(key)
			e.push.StateKey = &text
		}
	}
	f(e.push)
}

// Room is what the tail knows of one room. Fields are guarded by the tail's lock.
type Room struct {
	nid     read.RoomNID
	latest  int64 // position of the newest event
	users   map[*User]struct{}
	content *content
	loading *loading
}

// loading is a read of a room that is under way.
type loading struct {
	done    chan struct{} // closed when it has ended, well or not
	pending []*Event      // what was applied meanwhile
}

// content is what is loaded on demand. Slices and maps that are handed out are
// never changed but replaced; members alone is read under the lock.
type content struct {
	read.Room
	timeline   []*Event // oldest first
	floor      int64    // every event of the timeline with ord > floor is in memory
	state      map[read.StateKey]*clientevent.Event
	members    map[read.UserNID]read.Member
	joined     int
	invited    int
	visibility *read.Visibility
	parents    map[matrix.EventID]bool
	levels     map[string]int64 // to notify
	heroes     atomic.Pointer[Heroes]
	weight     int64
	used       int64 // ns; written by readers too
}

// Heroes are the first members of a room by the order in which they came.
type Heroes struct {
	Here []read.UserNID // joined or invited
	Gone []read.UserNID // left or banned
}

// apply takes a newer event into account.
func (c *content) apply(e *Event) {
	c.append(e)
	if e.IsState() {
		c.setState(e)
	}
	if parent := bundledParent(e.JSON); parent != "" && !c.parents[parent] {
		next := make(map[matrix.EventID]bool, len(c.parents)+1)
		for k := range c.parents {
			next[k] = true
		}
		next[parent] = true
		c.parents = next
	}
	if e.Thread == "" {
		e.Thread = threadOf(e.JSON, c.find)
	}
}

func (c *content) append(e *Event) {
	// Whoever holds an older slice does not see beyond its length.
	c.timeline = append(c.timeline, e)
	c.weight += weigh(e)
	if len(c.timeline) < 2*keepEvents {
		return
	}
	cut := len(c.timeline) - keepEvents
	for _, old := range c.timeline[:cut] {
		c.weight -= weigh(old)
	}
	c.floor = c.timeline[cut-1].Ord
	c.timeline = slices.Clone(c.timeline[cut:])
}

func (c *content) setState(e *Event) {
	if e.TypeNID == read.TypeMember {
		c.setMember(read.Member{UserNID: *e.KeyNID, EventNID: e.NID, Membership: read.MembershipOf(e.JSON)})
		return
	}
	next := make(map[read.StateKey]*clientevent.Event, len(c.state)+1)
	for k, v := range c.state {
		next[k] = v
	}
	next[read.StateKey{TypeNID: e.TypeNID, KeyNID: *e.KeyNID}] = e.Event
	c.state = next
	if *e.KeyNID != read.EmptyKey {
		return
	}
	switch e.TypeNID {
	case read.TypeHistoryVisibility:
		c.visibility = c.visibility.After(&e.Event.Event)
	case read.TypePowerLevels:
		c.levels = notificationLevels(e.Event)
	}
}

func (c *content) setMember(m read.Member) {
	c.count(c.members[m.UserNID].Membership, -1)
	c.count(m.Membership, 1)
	c.members[m.UserNID] = m
	c.heroes.Store(nil)
}

func (c *content) count(m read.Membership, n int) {
	switch m {
	case read.Join:
		c.joined += n
	case read.Invite:
		c.invited += n
	}
}

// find looks an event up among those in memory, newest first.
func (c *content) find(id matrix.EventID) *Event {
	for _, e := range slices.Backward(c.timeline) {
		if e.ID == id {
			return e
		}
	}
	return nil
}

// replace puts a newer version of an event (its content was taken away) into
// the places where the old one was.
func (c *content) replace(e *Event) {
	for i, old := range c.timeline {
		if old.NID == e.NID {
			e.Thread = old.Thread
			c.timeline = slices.Clone(c.timeline)
			c.timeline[i] = e
			break
		}
	}
	if !e.IsState() {
		return
	}
	key := read.StateKey{TypeNID: e.TypeNID, KeyNID: *e.KeyNID}
	if old := c.state[key]; old != nil && old.NID == e.NID {
		c.setState(e)
	}
}

// heroList finds the first members; the result is shared until a member changes.
func (c *content) heroList() *Heroes {
	if h := c.heroes.Load(); h != nil {
		return h
	}
	h := &Heroes{}
	var here, gone []read.Member
	for _, m := range c.members {
		switch m.Membership {
		case read.Join, read.Invite:
			here = firsts(here, m)
		case read.Leave, read.Ban:
			gone = firsts(gone, m)
		}
	}
	for _, m := range here {
		h.Here = append(h.Here, m.UserNID)
	}
	for _, m := range gone {
		h.Gone = append(h.Gone, m.UserNID)
	}
	c.heroes.Store(h)
	return h
}

// firsts keeps the few members with the lowest positions, sorted.
func firsts(list []read.Member, m read.Member) []read.Member {
	at, _ := slices.BinarySearchFunc(list, m, func(a, b read.Member) int { return int(a.EventNID - b.EventNID) })
	if at > heroes {
		return list
	}
	list = slices.Insert(list, at, m)
	return list[:min(len(list), heroes+1)]
}

func weigh(e *Event) int64 {
	w := int64(2*len(e.JSON) + overhead)
	if e.Prev != nil {
		w += int64(len(e.Prev.JSON))
	}
	return w
}

// Make reads of an event what everybody asks for.
func Make(e *clientevent.Event) *Event {
	made := newEvent(e)
	made.Thread = threadOf(e.JSON, func(matrix.EventID) *Event { return nil })
	return made
}

func newEvent(e *clientevent.Event) *Event {
	return &Event{Event: e, Type: clientevent.Type(&e.Event), Sender: clientevent.Sender(&e.Event)}
}

func redacts(raw []byte) matrix.EventID {
	r := matrix.Member(raw, "redacts")
	if r == nil {
		r = matrix.Member(raw, "content", "redacts")
	}
	return matrix.EventID(matrix.Text(r))
}

// bundledParent is the event a new one relates to in a way that is shown with
// the parent.
func bundledParent(raw []byte) matrix.EventID {
	rel := matrix.Member(raw, "content", "m.relates_to")
	switch matrix.Text(matrix.Member(rel, "rel_type")) {
	case "", "m.annotation":
		return ""
	}
	return matrix.EventID(matrix.Text(matrix.Member(rel, "event_id")))
}

// maxHops is how far relations are followed to find an event's thread.
//
// spec: c-s §Threaded read receipts "a maximum of 3 hops"
const maxHops = 3

// threadOf finds the thread of an event: its own, or that of what it relates to.
func threadOf(raw []byte, find func(matrix.EventID) *Event) matrix.EventID {
	for range maxHops {
		rel := matrix.Member(raw, "content", "m.relates_to")
		if rel == nil {
			return ""
		}
		to := matrix.EventID(matrix.Text(matrix.Member(rel, "event_id")))
		if matrix.Text(matrix.Member(rel, "rel_type")) == "m.thread" || to == "" {
			return to
		}
		parent := find(to)
		if parent == nil {
			return ""
		}
		raw = parent.JSON
	}
	return ""
}
