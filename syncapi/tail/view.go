package tail

import (
	"encoding/json"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"allmende/internal/matrix"
	"allmende/internal/pushrules"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
)

// View is a room at one moment. What its fields point at does not change.
type View struct {
	read.Room
	Standing // the user's whom the view was made for
	// Latest is the position of the room's newest event.
	Latest int64
	// Timeline are the newest events, oldest first; every event with an ord
	// greater than Floor is among them.
	Timeline []*Event
	Floor    int64
	// State is the current state without members.
	State      map[read.StateKey]*clientevent.Event
	Visibility *read.Visibility
	// Parents are those events of the timeline, and perhaps others, with which
	// relations are shown.
	Parents         map[matrix.EventID]bool
	Joined, Invited int
	// Levels are the power levels needed to notify, by what is notified of.
	Levels map[string]int64
	// Loaded is false for a room whose content is not in memory: then only
	// Standing and Latest say anything.
	Loaded bool
}

// Moment is the tail at one moment, as far as one user is concerned.
type Moment struct {
	Position int64
	User     read.UserNID // 0: no event names the user
	// Nothing tells that none of the user's rooms has an event behind the
	// position that was asked about; Rooms is empty then.
	Nothing bool
	Rooms   []View
}

// At takes a view of those of the user's rooms that pick chooses by the user's
// standing and the position of the room's newest event (0: not known, for rooms
// the user is not joined to). Nothing behind since: no room is looked at.
func (t *Tail) At(u *User, since int64, pick func(Standing, int64) bool) Moment {
	t.mu.RLock()
	defer t.mu.RUnlock()
	m := Moment{Position: t.pos, User: u.nid}
	if since >= u.latest {
		m.Nothing = true
		return m
	}
	now := time.Now().UnixNano()
	for _, s := range u.rooms {
		r := t.rooms[s.RoomNID]
		latest := int64(0)
		if r != nil {
			latest = r.latest
		}
		if pick(s, latest) {
			m.Rooms = append(m.Rooms, t.view(r, s, latest, now))
		}
	}
	return m
}

func (t *Tail) view(r *Room, s Standing, latest int64, now int64) View {
	if r == nil || r.content == nil {
		return View{Standing: s, Latest: latest}
	}
	c := r.content
	atomic.StoreInt64(&c.used, now)
	return View{
		Room: c.Room, Standing: s, Latest: latest,
		Timeline: c.timeline, Floor: c.floor, State: c.state, Visibility: c.visibility, Parents: c.parents,
		Joined: c.joined, Invited: c.invited, Levels: c.levels, Loaded: true,
	}
}

// Standings are the user's memberships as they are now.
func (t *Tail) Standings(u *User) []Standing {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]Standing, 0, len(u.rooms))
	for _, s := range u.rooms {
		out = append(out, s)
	}
	return out
}

// Standing is the user's membership in one room as it is now.
func (t *Tail) Standing(u *User, room read.RoomNID) Standing {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return u.rooms[room]
}

// Members are the current member events of some users of a room; nil users asks
// for all. Users the room never heard of are absent, and so is everybody if the
// room is not in memory.
func (t *Tail) Members(room read.RoomNID, users []read.UserNID) []read.Member {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r := t.rooms[room]
	if r == nil || r.content == nil {
		return nil
	}
	var out []read.Member
	if users == nil {
		out = make([]read.Member, 0, len(r.content.members))
		for _, m := range r.content.members {
			out = append(out, m)
		}
		slices.SortFunc(out, func(a, b read.Member) int { return int(a.EventNID - b.EventNID) })
		return out
	}
	for _, u := range users {
		if m, ok := r.content.members[u]; ok {
			out = append(out, m)
		}
	}
	return out
}

// Heroes are the first members of a room; nil if it is not in memory.
func (t *Tail) Heroes(room read.RoomNID) *Heroes {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if r := t.rooms[room]; r != nil && r.content != nil {
		return r.content.heroList()
	}
	return nil
}

// pushContext is what push rules ask of the room.
func (v *View) pushContext(e *Event) pushrules.RoomContext {
	ctx := pushrules.RoomContext{Members: v.Joined, Levels: v.Levels}
	create := v.State[read.StateKey{TypeNID: read.TypeCreate, KeyNID: read.EmptyKey}]
	power := v.State[read.StateKey{TypeNID: read.TypePowerLevels, KeyNID: read.EmptyKey}]
	ctx.SenderLevel = senderLevel(v.Version, e, power, create)
	return ctx
}

// notificationLevels are the "notifications" of power levels; what is malformed
// counts as unsaid.
func notificationLevels(power *clientevent.Event) map[string]int64 {
	if power == nil {
		return nil
	}
	out := map[string]int64{}
	for key, raw := range matrix.Members(matrix.Member(power.JSON, "content", "notifications")) {
		var n int64
		if json.Unmarshal(raw, &n) == nil {
			out[string(key)] = n
		}
	}
	return out
}

func senderLevel(version matrix.RoomVersion, e *Event, power, create *clientevent.Event) int64 {
	if create == nil {
		return 0
	}
	if version.CreatorsPrivileged() && isCreator(create, e.Sender) {
		return math.MaxInt64
	}
	if power == nil {
		if clientevent.Sender(&create.Event) == e.Sender {
			return 100
		}
		return 0
	}
	content := matrix.Member(power.JSON, "content")
	level := matrix.Member(content, "users", e.Sender)
	if level == nil {
		level = matrix.Member(content, "users_default")
	}
	var n int64
	if json.Unmarshal(level, &n) != nil {
		return 0
	}
	return n
}

// isCreator: in such rooms the creators stand above all power levels.
//
// spec: rooms/v12 §Room creators
func isCreator(create *clientevent.Event, user string) bool {
	if clientevent.Sender(&create.Event) == user {
		return true
	}
	for c := range matrix.Elements(matrix.Member(create.JSON, "content", "additional_creators")) {
		if matrix.Text(c) == user {
			return true
		}
	}
	return false
}

// Find looks an event up among the newest of a room, in memory only.
func (t *Tail) Find(room read.RoomNID, id matrix.EventID) *Event {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if r := t.rooms[room]; r != nil && r.content != nil {
		return r.content.find(id)
	}
	return nil
}
