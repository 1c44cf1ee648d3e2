package history

import (
	"context"
	"math"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
	"allmende/syncapi/filter"
)

const (
	defaultLimit = 10
	maxLimit     = 1000
	// maxScan is how many events one request looks at. Beyond it the client is
	// given a token to go on from: a filter that lets little pass must not make
	// one request read a whole room.
	maxScan = 10_000
	// minPage is how many events are read at once where some will not be shown.
	minPage = 100
)

// walk goes through a room's timeline and gathers the events that the viewer
// may see and the filter lets pass.
type walk struct {
	*Service
	v        *view
	filter   *filter.RoomEvents
	forwards bool
	from     int64 // a place between events, see token.Ord
	to       int64 // where to stop; math.MinInt64 or math.MaxInt64: nowhere
	limit    int

	events []*clientevent.Event
	first  int64 // place of the first event looked at; 0 until then
	pos    int64 // how far the walk has come: the next request's from
	ended  bool  // nothing more lies beyond pos that this viewer may see
	looked int
}

// run walks until limit events are found or there are no more. It reads pages
// and decides from what it read alone, so pos never lies beyond an event that it
// has not looked at.
func (w *walk) run(ctx context.Context) error {
	w.pos = w.from
	for !w.done() {
		if !w.skipHidden() {
			return nil
		}
		size := max(minPage, w.limit-len(w.events)+1)
		if w.filter.All() && w.looked == 0 {
			size = w.limit + 1 // one more tells whether this is the end
		}
		list, err := w.page(ctx, size)
		if err != nil {
			return err
		}
		taken, err := w.take(ctx, list)
		if err != nil {
			return err
		}
		if taken == len(list) && len(list) < size {
			w.end()
		}
	}
	return nil
}

func (w *walk) full() bool { return len(w.events) >= w.limit }

func (w *walk) done() bool { return w.ended || w.full() || w.looked >= maxScan }

// skipHidden moves pos over what is hidden from the viewer; false: nothing more
// is to be seen.
func (w *walk) skipHidden() bool {
	if w.forwards {
		next := w.v.who.SkipForth(inc(w.pos))
		if next > w.to || next == math.MaxInt64 {
			w.end()
			return false
		}
		w.pos = next - 1
		return true
	}
	next := w.v.who.SkipBack(w.pos)
	if next <= w.to || next == math.MinInt64 {
		w.end()
		return false
	}
	w.pos = next
	return true
}

func inc(n int64) int64 {
	if n == math.MaxInt64 {
		return n
	}
	return n + 1
}

// end marks that nothing is left to see, or only what lies beyond to.
func (w *walk) end() {
	if w.to == math.MinInt64 || w.to == math.MaxInt64 {
		w.ended = true
		return
	}
	w.pos, w.ended = w.to, true
}

// bounded tells whether the client said where to stop.
func (w *walk) bounded() bool { return w.to != math.MinInt64 && w.to != math.MaxInt64 }

func (w *walk) page(ctx context.Context, size int) ([]read.Event, error) {
	if w.forwards {
		return w.model.TimelineForth(ctx, w.v.room.NID, w.pos, w.to, size)
	}
	return w.model.TimelineBack(ctx, w.v.room.NID, w.pos, w.to, size)
}

// take looks at a page of events, in order, and stops when there are enough. It
// tells how many it looked at.
func (w *walk) take(ctx context.Context, list []read.Event) (int, error) {
	related, err := w.related(ctx, list)
	if err != nil {
		return 0, err
	}
	if w.first == 0 && len(list) > 0 {
		w.first = list[0].Ord
	}
	for i := range list {
		if w.full() {
			return i, nil
		}
		e := &list[i]
		w.looked++
		w.pos = e.Ord
		if !w.forwards {
			w.pos--
		}
		if w.v.who.MaySee(e) && passes(w.filter, e) && (related == nil || related[e.ID]) {
			w.events = append(w.events, clientevent.Once(*e))
		}
	}
	return len(list), nil
}

// related asks which events of the page others relate to, if the filter does.
func (w *walk) related(ctx context.Context, list []read.Event) (map[matrix.EventID]bool, error) {
	by := w.filter.RelatedBy
	if by.Empty() {
		return nil, nil
	}
	ids := make([]matrix.EventID, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	var senders []read.UserNID
	if by.Senders != nil {
		known, err := w.model.StringNIDs(ctx, by.Senders)
		if err != nil {
			return nil, err
		}
		senders = make([]read.UserNID, 0, len(known))
		for _, nid := range known {
			senders = append(senders, nid)
		}
	}
	return w.model.RelatedTo(ctx, w.v.room.NID, ids, by.RelTypes, senders)
}

// passes tells whether the filter lets the event pass by what it says itself.
func passes(f *filter.RoomEvents, e *read.Event) bool {
	if f.Events.All() && f.ContainsURL == nil {
		return true
	}
	return f.PassEvent(clientevent.Type(e), clientevent.Sender(e), f.ContainsURL != nil && clientevent.HasURL(e))
}

// clampLimit bounds a limit that a client sent. Errors: M_INVALID_PARAM.
func clampLimit(sent *int, def int) (int, error) {
	if sent == nil {
		return def, nil
	}
	if *sent < 0 {
		return 0, matrix.InvalidParam("limit must not be negative.")
	}
	return min(*sent, maxLimit), nil
}

// parseDir reads a direction. Errors: M_INVALID_PARAM.
func parseDir(dir string) (forwards bool, err error) {
	switch dir {
	case "f":
		return true, nil
	case "b":
		return false, nil
	}
	return false, matrix.InvalidParam("dir must be b or f.")
}
