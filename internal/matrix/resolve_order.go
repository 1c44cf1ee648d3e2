package matrix

import (
	"cmp"
	"container/heap"
	"maps"
	"math"
	"slices"
)

// fetchPowers works out the power of the sender of each event, by the power levels and the create event among its own
// auth events.
func (res *resolver) fetchPowers(ids map[EventID]bool) error {
	var needed []EventID
	for id := range ids {
		needed = append(needed, res.events[id].AuthEvents...)
		if res.roomIDHash {
			needed = append(needed, res.events[id].RoomID.CreateEventID())
		}
	}
	if err := res.fetch(needed); err != nil {
		return err
	}
	for id := range ids {
		e := res.events[id]
		var levels, create *Event
		if res.roomIDHash {
			create = res.events[e.RoomID.CreateEventID()]
		}
		for _, a := range e.AuthEvents {
			switch a := res.events[a]; {
			case a.Is(TypePowerLevels, ""):
				levels = a
			case a.Is(TypeCreate, "") && !res.roomIDHash:
				create = a
			}
		}
		if e.Type == TypeCreate {
			create = e
		}
		// Levels that cannot be read count as none: such an event could not have been accepted.
		if pl, err := res.powerLevels(levels, create); err == nil {
			res.powers[id] = pl.User(e.Sender)
		}
	}
	return nil
}

// byPower is the reverse topological power ordering: auth events first, and where that leaves a choice the greater power,
// then the earlier, then the smaller id.
// spec: rooms/v2 §Definitions "Reverse topological power ordering"
func (res *resolver) byPower(ids map[EventID]bool) []*Event {
	waits := make(map[EventID]int, len(ids))
	before := map[EventID][]EventID{} // auth event to those that name it
	for id := range ids {
		named := slices.Clone(res.events[id].AuthEvents)
		slices.Sort(named)
		for _, a := range slices.Compact(named) {
			if ids[a] && a != id {
				waits[id]++
				before[a] = append(before[a], id)
			}
		}
	}
	ready := &powerHeap{powers: res.powers}
	for id := range ids {
		if waits[id] == 0 {
			heap.Push(ready, res.events[id])
		}
	}
	ordered := make([]*Event, 0, len(ids))
	for ready.Len() > 0 {
		e := heap.Pop(ready).(*Event)
		ordered = append(ordered, e)
		for _, id := range before[e.ID] {
			if waits[id]--; waits[id] == 0 {
				heap.Push(ready, res.events[id])
			}
		}
	}
	return ordered // events in a cycle, possible only in version 2 and by forgery, are left out
}

// powerHeap is the events that could come next.
type powerHeap struct {
	events []*Event
	powers map[EventID]int64
}

func (h *powerHeap) Len() int      { return len(h.events) }
func (h *powerHeap) Swap(i, j int) { h.events[i], h.events[j] = h.events[j], h.events[i] }
func (h *powerHeap) Push(x any)    { h.events = append(h.events, x.(*Event)) }

func (h *powerHeap) Less(i, j int) bool {
	x, y := h.events[i], h.events[j]
	if px, py := h.powers[x.ID], h.powers[y.ID]; px != py {
		return px > py
	}
	return compareAge(x, y) < 0
}

func (h *powerHeap) Pop() any {
	last := len(h.events) - 1
	e := h.events[last]
	h.events = h.events[:last]
	return e
}

func compareAge(x, y *Event) int {
	return cmp.Or(cmp.Compare(x.OriginServerTS, y.OriginServerTS), cmp.Compare(x.ID, y.ID))
}

// byMainline is the mainline ordering based on the resolved power levels, none when empty.
// spec: rooms/v2 §Definitions "Mainline ordering"
func (res *resolver) byMainline(levels EventID, ids map[EventID]bool) ([]*Event, error) {
	mainline := map[EventID]int{}
	for i := 0; levels != ""; i++ {
		if _, again := mainline[levels]; again {
			break
		}
		mainline[levels] = i
		if err := res.fetch([]EventID{levels}); err != nil {
			return nil, err
		}
		var err error
		if levels, err = res.levelsBefore(res.events[levels]); err != nil {
			return nil, err
		}
	}
	positions := make(map[EventID]int, len(ids))
	for id := range ids {
		pos, err := res.position(id, mainline)
		if err != nil {
			return nil, err
		}
		positions[id] = pos
	}
	ordered := make([]*Event, 0, len(ids))
	for id := range maps.Keys(ids) {
		ordered = append(ordered, res.events[id])
	}
	slices.SortFunc(ordered, func(x, y *Event) int {
		return cmp.Or(cmp.Compare(positions[y.ID], positions[x.ID]), compareAge(x, y))
	})
	return ordered, nil
}

// position is where the power levels an event rests on meet the mainline; beyond everything when they do not.
func (res *resolver) position(id EventID, mainline map[EventID]int) (int, error) {
	seen := map[EventID]bool{}
	for {
		next, err := res.levelsBefore(res.events[id])
		if err != nil || next == "" || seen[next] {
			return math.MaxInt, err
		}
		if pos, ok := mainline[next]; ok {
			return pos, nil
		}
		seen[next] = true
		id = next
	}
}

// levelsBefore is the power levels event among the auth events.
func (res *resolver) levelsBefore(e *Event) (EventID, error) {
	if err := res.fetch(e.AuthEvents); err != nil {
		return "", err
	}
	for _, a := range e.AuthEvents {
		if res.events[a].Is(TypePowerLevels, "") {
			return a, nil
		}
	}
	return "", nil
}
