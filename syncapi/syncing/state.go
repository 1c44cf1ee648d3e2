package syncing

import (
	"errors"
	"math"
	"slices"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
)

// states works out what of each room's state is sent: what has changed since
// the token, or all of it; up to the start of the timeline or, where the client
// asks for that, up to its end.
//
// spec: c-s §Syncing "state", "state_after"
func (a *assembly) states() error {
	if err := a.gaps(); err != nil {
		return err
	}
	for _, r := range a.rooms() {
		switch {
		case r.left && r.full:
			if err := a.stateOfLeft(r); err != nil {
				return err
			}
		case r.full:
			a.fullState(r)
		default:
			a.changedState(r)
		}
		a.summarise(r)
		a.filterState(r)
	}
	return nil
}

// gaps finds the state events behind the token. Where memory does not reach
// back that far they are read, of all rooms at once.
func (a *assembly) gaps() error {
	var nids []read.RoomNID
	for _, r := range a.rooms() {
		if r.full && !r.left {
			continue
		}
		if r.Floor > r.lower {
			nids = append(nids, r.RoomNID)
			continue
		}
		for _, e := range newest(r.Timeline, r.lower, r.upper) {
			if e.IsState() {
				r.changes = append(r.changes, e.Event)
			}
		}
	}
	if len(nids) == 0 || a.initial {
		return nil
	}
	found, err := a.Model.StateOfRoomsBetween(a.ctx, nids, a.since.Events, a.next.Events)
	if err != nil {
		return err
	}
	for _, r := range a.rooms() {
		for _, e := range found[r.RoomNID] {
			if e.Ord <= r.upper {
				r.changes = append(r.changes, clientevent.New(e))
			}
		}
	}
	return nil
}

// end is the ord up to which state is sent.
func (a *assembly) end(r *room) int64 {
	if a.stateAfter != "" {
		return math.MaxInt64
	}
	return r.start - 1
}

// changedState sends, of each state event that was set in the gap, the last. In
// rooms with few members that includes the members; with lazy loading too, as
// memberships that change in a gap would otherwise be lost.
func (a *assembly) changedState(r *room) {
	end := a.end(r)
	last := map[read.StateKey]*clientevent.Event{}
	var keys []read.StateKey
	for _, e := range r.changes {
		if e.Ord > end || (r.left && !r.showsChange(e)) {
			continue
		}
		k := keyOf(&e.Event)
		if last[k] == nil {
			keys = append(keys, k)
		}
		last[k] = e
	}
	for _, k := range keys {
		r.state = append(r.state, last[k])
	}
	if !r.left && a.lazy() {
		a.lazyMembers(r, last)
	}
}

// showsChange is shows for the state events of the gap. Where the state up to
// the end of the timeline is asked for, a client learns nowhere else that it was
// unbanned, or that it came and was sent away again.
func (r *room) showsChange(e *clientevent.Event) bool {
	return (r.wasJoined || r.aboutViewer(&e.Event)) && r.viewer.MaySee(&e.Event)
}

func keyOf(e *read.Event) read.StateKey {
	return read.StateKey{TypeNID: e.TypeNID, KeyNID: *e.KeyNID}
}

// before is what the state was before the events of the timeline, for the keys
// they change; nil: unset.
func (a *assembly) before(r *room) map[read.StateKey]*read.Event {
	if a.stateAfter != "" || r.start == math.MaxInt64 {
		return nil
	}
	out := map[read.StateKey]*read.Event{}
	for _, e := range r.scanned {
		if !e.IsState() || e.Ord < r.start {
			continue
		}
		if _, ok := out[keyOf(&e.Event.Event)]; !ok {
			out[keyOf(&e.Event.Event)] = e.Prev
		}
	}
	return out
}

// fullState sends the whole state.
func (a *assembly) fullState(r *room) {
	before := a.before(r)
	for k, e := range r.State {
		if prev, ok := before[k]; !ok {
			r.state = append(r.state, e)
		} else if prev != nil {
			r.state = append(r.state, clientevent.New(*prev))
		}
	}
	// In the order of events: a client that reads a list expects the creation
	// of the room first.
	slices.SortFunc(r.state, func(x, y *clientevent.Event) int { return int(x.NID - y.NID) })
	if a.lazy() {
		a.lazyMembers(r, nil)
		return
	}
	a.addMembers(r, a.Tail.Members(r.RoomNID, nil), before)
}

// addMembers sends member events as they were before the timeline.
func (a *assembly) addMembers(r *room, members []read.Member, before map[read.StateKey]*read.Event) {
	for _, m := range members {
		prev, ok := before[read.StateKey{TypeNID: read.TypeMember, KeyNID: m.UserNID}]
		switch {
		case !ok:
			r.memberIDs = append(r.memberIDs, m.EventNID)
		case prev != nil:
			r.state = append(r.state, clientevent.New(*prev))
		}
	}
}

// stateOfLeft reads the whole state as it was when the user left.
func (a *assembly) stateOfLeft(r *room) error {
	if r.viewer.MembershipAtPosition(r.EventNID-1) != read.Join {
		return nil // never was in it: the timeline's own event is all there is
	}
	at := r.upper
	if a.stateAfter == "" {
		at = min(at, r.start-1)
	}
	snapshot, err := a.Model.SnapshotAt(a.ctx, r.RoomNID, at)
	if errors.Is(err, read.ErrNotFound) {
		return nil // nothing lies before the timeline
	}
	if err != nil {
		return err
	}
	state, err := a.Model.StateAt(a.ctx, snapshot, nil)
	if err != nil {
		return err
	}
	nids := make([]read.EventNID, 0, len(state))
	for _, nid := range state {
		nids = append(nids, nid)
	}
	list, err := a.Model.Events(a.ctx, nids)
	if err != nil {
		return err
	}
	for _, e := range list {
		r.state = append(r.state, clientevent.New(e))
	}
	return nil
}

// filterState drops what the filter does not want. Member events that are
// still to be loaded are all of one type; their senders are looked at later.
func (a *assembly) filterState(r *room) {
	f := &a.request.filter.Room.State
	if f.All() {
		return
	}
	if !f.Rooms.Pass(string(r.ID)) {
		r.state, r.memberIDs = nil, nil
		return
	}
	r.state = slices.DeleteFunc(r.state, func(e *clientevent.Event) bool { return !a.wantsState(e) })
	if !f.PassType("m.room.member") {
		r.memberIDs = nil
	}
}

func (a *assembly) wantsState(e *clientevent.Event) bool {
	f := &a.request.filter.Room.State
	return f.All() || f.PassEvent(clientevent.Type(&e.Event), clientevent.Sender(&e.Event), f.ContainsURL != nil && clientevent.HasURL(&e.Event))
}

// summary is what a client needs to name a room and to count its members.
type summary struct {
	heroes          []read.UserNID
	named           bool
	joined, invited int
}

// summarise fills the summary if the client cannot know it yet.
//
// spec: c-s §Syncing "RoomSummary"
func (a *assembly) summarise(r *room) {
	if r.left || (!r.full && !slices.ContainsFunc(r.changes, summarised)) {
		return
	}
	r.summary = &summary{joined: r.Joined, invited: r.Invited, named: r.named()}
	if r.summary.named {
		return
	}
	r.summary.heroes = a.heroes(r)
	if a.lazy() {
		a.needMembers(r, r.summary.heroes, nil)
	}
}

func summarised(e *clientevent.Event) bool {
	switch e.TypeNID {
	case read.TypeMember, read.TypeName, read.TypeCanonicalAlias:
		return true
	}
	return false
}

func (r *room) named() bool {
	for typ, field := range map[int64]string{read.TypeName: "name", read.TypeCanonicalAlias: "alias"} {
		e := r.State[read.StateKey{TypeNID: typ, KeyNID: read.EmptyKey}]
		if e != nil && matrix.Text(matrix.Member(e.JSON, "content", field)) != "" {
			return true
		}
	}
	return false
}

// maxHeroes is how many members name a room.
const maxHeroes = 5

func (a *assembly) heroes(r *room) []read.UserNID {
	h := a.Tail.Heroes(r.RoomNID)
	if h == nil {
		return nil
	}
	for _, list := range [][]read.UserNID{h.Here, h.Gone} {
		others := slices.DeleteFunc(slices.Clone(list), func(u read.UserNID) bool { return u == a.me })
		if len(others) > 0 {
			return others[:min(len(others), maxHeroes)]
		}
	}
	return nil
}
