package syncing

import (
	"math"
	"slices"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
	"allmende/syncapi/filter"
	"allmende/syncapi/tail"
)

const (
	// defaultLimit is how many events a timeline has when the filter does not say.
	defaultLimit = 10
	// pageSize and maxPages bound how far events are sought that pass a
	// filter; the client can go on from there by itself.
	pageSize = 100
	maxPages = 5
)

// room is one room of the answer.
type room struct {
	*tail.View
	viewer clientevent.Viewer
	// News are events with lower < ord ≤ upper.
	lower, upper int64
	full         bool // all state is sent
	fresh        bool // the client does not know the room, or only as one it was not in
	left         bool
	wasJoined    bool // when the token was written
	needsHistory bool

	picked  []*tail.Event // the timeline, oldest first
	scanned []*tail.Event // all events that were looked at, oldest first
	limited bool
	prev    int64 // ord behind which the timeline begins
	start   int64 // ord of the first event of the timeline, or beyond the last

	changes   []*clientevent.Event // state events of the gap
	state     []*clientevent.Event // what is sent as state
	memberIDs []read.EventNID      // member events to be sent as state too
	needed    []read.UserNID       // whose member events were asked for
	summary   *summary

	receipts    []byte
	typing      []byte
	ownReceipts bool
	counts      *tally
	threads     map[string]tally
}

// joinedRoom prepares a room the user is in.
func (a *assembly) joinedRoom(v *tail.View) *room {
	r := &room{View: v, lower: a.since.Events, upper: math.MaxInt64, full: a.initial || a.full, fresh: a.initial, wasJoined: !a.initial}
	r.viewer = clientevent.Viewer{UserNID: a.me, DeviceID: a.session.DeviceID}
	if a.initial {
		r.lower = math.MinInt64
	}
	// The user's newest member event may be a change of profile only; what
	// the user was before it is not in memory.
	if a.initial {
		r.needsHistory = v.EventNID > a.oldestNeeded(v)
	} else {
		r.needsHistory = v.EventNID > a.since.Events
	}
	if !r.needsHistory {
		r.viewer.Viewer = v.Visibility.Member(a.me, v.EventNID, a.ignored)
	}
	return r
}

// oldestNeeded is the ord of the oldest event a first timeline may show, as far
// as that can be known before looking.
func (a *assembly) oldestNeeded(v *tail.View) int64 {
	limit := a.limit()
	if !a.request.filter.Room.Timeline.All() || len(v.Timeline) <= limit {
		limit = len(v.Timeline)
		if v.Floor > math.MinInt64 {
			return math.MinInt64 // events before those in memory may be needed
		}
	}
	if limit == 0 {
		return math.MaxInt64
	}
	return v.Timeline[len(v.Timeline)-limit].Ord
}

// leftRoom prepares a room the user has left or was banned from: what is shown
// of it ends with that.
func (a *assembly) leftRoom(v *tail.View) *room {
	r := &room{View: v, left: true, lower: a.since.Events, upper: v.EventNID, full: a.initial || a.full, needsHistory: true}
	r.viewer = clientevent.Viewer{UserNID: a.me, DeviceID: a.session.DeviceID}
	if a.initial {
		r.lower = math.MinInt64
	}
	return r
}

func (a *assembly) limit() int {
	if n := a.request.filter.Room.Timeline.Limit; n > 0 {
		return n
	}
	return defaultLimit
}

// timelines picks each room's newest events that the user may see and wants.
func (a *assembly) timelines() error {
	for _, r := range a.rooms() {
		if err := a.timeline(r); err != nil {
			return err
		}
	}
	return nil
}

func (a *assembly) timeline(r *room) error {
	p := &picker{r: r, f: &a.request.filter.Room.Timeline, limit: a.limit()}
	p.none = !p.f.Rooms.Pass(string(r.ID))
	r.scanned = newest(r.Timeline, r.lower, r.upper)
	p.take(r.scanned)
	if !p.full() && r.Floor > r.lower {
		if err := a.older(p); err != nil {
			return err
		}
	}
	if err := a.related(p); err != nil {
		return err
	}
	slices.Reverse(p.picked)
	r.picked, r.limited = p.picked, p.limited
	switch {
	case len(r.picked) > 0:
		r.start = r.picked[0].Ord
		r.prev = r.start - 1
	case p.limited:
		r.start = math.MaxInt64
		r.prev = a.next.Events
	default:
		r.start = math.MaxInt64
		r.prev = max(r.lower, 0)
	}
	return nil
}

func ids(events []*tail.Event) []matrix.EventID {
	out := make([]matrix.EventID, len(events))
	for i, e := range events {
		out[i] = e.ID
	}
	return out
}

// newest are the events with lower < ord ≤ upper.
func newest(list []*tail.Event, lower, upper int64) []*tail.Event {
	byOrd := func(e *tail.Event, ord int64) int {
		if e.Ord <= ord {
			return -1
		}
		return 1
	}
	from, _ := slices.BinarySearchFunc(list, lower, byOrd)
	to, _ := slices.BinarySearchFunc(list, upper, byOrd)
	return list[from:max(from, to)]
}

// picker chooses events, newest first.
type picker struct {
	r       *room
	f       *filter.RoomEvents
	limit   int
	none    bool // the filter wants no timeline of this room
	picked  []*tail.Event
	limited bool
}

func (p *picker) full() bool { return p.limited || p.none }

// take looks at older events, given oldest first.
func (p *picker) take(list []*tail.Event) {
	if p.none {
		return
	}
	all := p.f.All()
	for _, e := range slices.Backward(list) {
		if !all && !p.f.PassEvent(e.Type, e.Sender, p.f.ContainsURL != nil && clientevent.HasURL(&e.Event.Event)) {
			continue
		}
		if !p.r.shows(e) {
			continue
		}
		if len(p.picked) == p.limit {
			p.limited = true
			return
		}
		p.picked = append(p.picked, e)
	}
}

// shows tells whether the user may see the event here. Of a room one was not
// in, one sees only what happened to oneself.
func (r *room) shows(e *tail.Event) bool {
	if r.left && !r.full && !r.wasJoined && !r.aboutViewer(&e.Event.Event) {
		return false
	}
	return r.viewer.MaySee(&e.Event.Event)
}

// aboutViewer tells whether an event is the membership of the user that asks.
func (r *room) aboutViewer(e *read.Event) bool {
	return e.TypeNID == read.TypeMember && e.IsState() && *e.KeyNID == r.viewer.UserNID
}

// older goes on in the database where memory ends.
func (a *assembly) older(p *picker) error {
	r := p.r
	from := min(r.Floor, r.upper)
	for range maxPages {
		list, err := a.Model.TimelineBack(a.ctx, r.RoomNID, from, r.lower, pageSize)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return nil
		}
		slices.Reverse(list)
		made, err := a.loader.Events(a.ctx, list)
		if err != nil {
			return err
		}
		events := make([]*tail.Event, len(made))
		for i, e := range made {
			events[i] = tail.Make(e)
		}
		r.scanned = append(events[:len(events):len(events)], r.scanned...)
		p.take(events)
		if p.full() || len(list) < pageSize {
			return nil
		}
		from = list[0].Ord - 1
	}
	p.limited = true
	return nil
}

// related drops the events that nothing relates to in the way the filter asks
// for.
//
// spec: c-s §Filtering events by their relations
func (a *assembly) related(p *picker) error {
	by := p.f.RelatedBy
	if by.Empty() || len(p.picked) == 0 {
		return nil
	}
	var senders []read.UserNID
	if by.Senders != nil {
		nids, err := a.Model.StringNIDs(a.ctx, by.Senders)
		if err != nil {
			return err
		}
		senders = make([]read.UserNID, 0, len(nids))
		for _, n := range nids {
			senders = append(senders, n)
		}
	}
	found, err := a.Model.RelatedTo(a.ctx, p.r.RoomNID, ids(p.picked), by.RelTypes, senders)
	if err != nil {
		return err
	}
	p.picked = slices.DeleteFunc(p.picked, func(e *tail.Event) bool { return !found[e.ID] })
	return nil
}
