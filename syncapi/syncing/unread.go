package syncing

import (
	"math"
	"slices"
	"sync"

	"allmende/internal/matrix"
	"allmende/internal/pushrules"
	"allmende/roomserver/read"
	"allmende/syncapi/receipt"
	"allmende/syncapi/tail"

	"github.com/maypok86/otter/v2"
)

const (
	// maxCounts is of how many users and rooms counts are remembered.
	maxCounts = 200_000
	// countPage and maxCountPages bound how far back unread events are counted
	// in the database: a room with more than that is simply full of them.
	countPage     = 250
	maxCountPages = 4
)

// tally is how many unread events notify, and how many of them highlight.
type tally struct {
	notify, highlight int
}

type countKey struct {
	user read.UserNID
	room read.RoomNID
}

// count is what has been counted for one user in one room: nothing of it is
// stored anywhere, there is no row for a member and a message.
//
// spec: c-s §Receiving notifications
type count struct {
	mu       sync.Mutex
	upTo     int64 // events up to here have been counted
	receipts int64 // position of the user's newest receipt then
	rules    int   // version of the push rules then
	counted  bool
	main     tally
	threads  map[matrix.EventID]tally
}

func newCountCache() *otter.Cache[countKey, *count] {
	return otter.Must(&otter.Options[countKey, *count]{MaximumSize: maxCounts})
}

// unread counts, in the rooms of the answer, what the user has not read.
func (a *assembly) unread() error {
	if len(a.joined) == 0 {
		return nil
	}
	own := make([]read.EventNID, len(a.joined))
	for i, r := range a.joined {
		own[i] = r.EventNID
	}
	members, err := a.Tail.MemberEvents(a.ctx, own)
	if err != nil {
		return err
	}
	for _, r := range a.joined {
		c, _ := a.counts.ComputeIfAbsent(countKey{a.me, r.RoomNID}, func() (*count, bool) { return &count{}, false })
		var name string
		if e := members[r.EventNID]; e != nil {
			name = matrix.Text(matrix.Member(e.JSON, "content", "displayname"))
		}
		if err := a.count(r, c, name); err != nil {
			return err
		}
	}
	return nil
}

// count brings one count up to date and copies it.
func (a *assembly) count(r *room, c *count, name string) error {
	receipts, newest := a.receipts.Own(r.RoomNID, a.me)
	rules, version := a.account.Rules()
	c.mu.Lock()
	defer c.mu.Unlock()
	marks := marksOf(receipts, r.EventNID)
	if !c.counted || c.receipts != newest || c.rules != version || redacted(r.Timeline, c.upTo) {
		c.upTo, c.receipts, c.rules = marks.all, newest, version
		c.main, c.threads = tally{}, nil
	}
	events, err := a.uncounted(r, c.upTo)
	if err != nil {
		return err
	}
	member := pushrules.Member{DisplayName: name}
	for _, e := range events {
		if e.SenderNID == a.me {
			c.read(e.Thread) // who writes has read
			continue
		}
		if e.Ord <= marks.of(e.Thread) || e.RedactedBy != nil || a.ignored[e.SenderNID] {
			continue
		}
		var res pushrules.Result
		e.Push(r.View, func(p *pushrules.Event) { res = rules.Evaluate(p, member) })
		c.add(e.Thread, res)
	}
	c.counted = true
	if n := len(r.Timeline); n > 0 {
		c.upTo = max(c.upTo, r.Timeline[n-1].Ord)
	}
	r.copyCounts(c, a.request.filter.Room.Timeline.UnreadThreadNotifications)
	return nil
}

// read marks a thread, or all outside threads, as read.
func (c *count) read(thread matrix.EventID) {
	if thread == "" {
		c.main = tally{}
		return
	}
	delete(c.threads, thread)
}

func (c *count) add(thread matrix.EventID, res pushrules.Result) {
	if !res.Notify {
		return
	}
	t := &c.main
	if thread != "" {
		if c.threads == nil {
			c.threads = map[matrix.EventID]tally{}
		}
		x := c.threads[thread]
		t = &x
		defer func() { c.threads[thread] = x }()
	}
	t.notify++
	if res.Highlight {
		t.highlight++
	}
}

// copyCounts takes the counts into the answer: of threads apart, if the client
// asks for that, else all together.
func (r *room) copyCounts(c *count, apart bool) {
	sum := c.main
	if apart {
		r.threads = make(map[string]tally, len(c.threads))
	}
	for id, t := range c.threads {
		if apart {
			r.threads[string(id)] = t
			continue
		}
		sum.notify += t.notify
		sum.highlight += t.highlight
	}
	r.counts = &sum
}

// marks is up to where a user has read.
type marks struct {
	all     int64
	threads map[string]int64
}

// marksOf takes the furthest receipt of each thread, public or private. Who
// never sent one has read everything before the join.
//
// spec: c-s §Private read receipts
func marksOf(list []receipt.Receipt, joined read.EventNID) marks {
	m := marks{all: math.MinInt64, threads: map[string]int64{}}
	for _, x := range list {
		if x.ThreadID == "" {
			m.all = max(m.all, x.EventOrd)
			continue
		}
		m.threads[x.ThreadID] = max(m.threads[x.ThreadID], x.EventOrd)
	}
	if len(list) == 0 {
		m.all = joined
	}
	if m.all == math.MinInt64 {
		m.all = 0 // only threads were read; what was backfilled is old
	}
	return m
}

const mainThread = "main"

func (m marks) of(thread matrix.EventID) int64 {
	if thread == "" {
		thread = mainThread
	}
	return max(m.all, m.threads[string(thread)])
}

// redacted tells whether something has been redacted since: what was counted
// may be gone.
func redacted(list []*tail.Event, since int64) bool {
	return slices.ContainsFunc(newest(list, since, math.MaxInt64), func(e *tail.Event) bool { return e.TypeNID == read.TypeRedaction })
}

// uncounted are the events behind a place, oldest first, from memory and, where
// that ends, from the database.
func (a *assembly) uncounted(r *room, from int64) ([]*tail.Event, error) {
	events := newest(r.Timeline, from, math.MaxInt64)
	upper := r.Floor
	for range maxCountPages {
		if upper <= from {
			break
		}
		list, err := a.Model.TimelineBack(a.ctx, r.RoomNID, upper, from, countPage)
		if err != nil {
			return nil, err
		}
		slices.Reverse(list)
		made, err := a.loader.Events(a.ctx, list)
		if err != nil {
			return nil, err
		}
		older := make([]*tail.Event, 0, len(made)+len(events))
		for _, e := range made {
			older = append(older, tail.Make(e))
		}
		events = append(older, events...)
		if len(list) < countPage {
			break
		}
		upper = list[0].Ord - 1
	}
	return events, nil
}
