package read

import (
	"slices"
	"sync"
)

const (
	recentEvents = 1024
	recentBytes  = 2 << 20
)

// Recent holds the events that this process committed last, so that readers in
// the same process need not fetch from the database what was in memory a moment
// ago. It is a cache: what is missing from it is read from the database, and a
// reader elsewhere reads everything there. Safe for concurrent use.
//
// The positions it holds are one gapless run, so a run that reaches as far as a
// reader wants to go cannot lack an event, whoever committed what came after.
type Recent struct {
	mu    sync.Mutex
	list  []Event
	bytes int
}

// Add appends events committed with consecutive positions. It must be called
// before the commit is announced.
func (r *Recent) Add(list []Event) {
	if len(list) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.list); n > 0 && r.list[n-1].NID+1 != list[0].NID {
		r.clear()
	}
	for _, e := range list {
		r.bytes += len(e.JSON)
	}
	// Whoever holds an older slice does not see beyond its length.
	r.list = append(r.list, list...)
	if len(r.list) <= recentEvents && r.bytes <= recentBytes {
		return
	}
	r.list = slices.Clone(r.list[len(r.list)/2:])
	r.bytes = 0
	for _, e := range r.list {
		r.bytes += len(e.JSON)
	}
	if r.bytes > recentBytes {
		r.clear()
	}
}

// Clear forgets everything, because something in it may have been changed.
func (r *Recent) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
}

func (r *Recent) clear() { r.list, r.bytes = nil, 0 }

// After are the live events behind a position, if all up to at least upTo are
// here. What it answers must not be changed.
func (r *Recent) After(pos, upTo int64) ([]Event, bool) {
	if r == nil {
		return nil, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.list)
	if n == 0 || pos+1 < r.list[0].NID || pos >= r.list[n-1].NID || upTo > r.list[n-1].NID {
		return nil, false
	}
	return r.list[pos+1-r.list[0].NID : n : n], true
}
