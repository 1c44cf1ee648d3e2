package matrix

import (
	"errors"
	"maps"
	"slices"
)

// Resolve merges the states of several branches of a room into one: state resolution 2, or 2.1 for rooms of version 12.
// load finds events by id; it must find every event of the sets and of their auth chains, and may be called often, each
// time for events not asked for before. The result does not depend on the order of the sets or on what load does.
//
// Errors: those of load; a plain error when load leaves out an event; M_UNSUPPORTED_ROOM_VERSION.
// spec: rooms/v2 §State resolution, rooms/v12 §State resolution
func Resolve(v RoomVersion, sets []map[StateKey]EventID, load func([]EventID) (map[EventID]*Event, error)) (map[StateKey]EventID, error) {
	r, err := v.rules()
	if err != nil {
		return nil, err
	}
	g := &graph{load: load, events: map[EventID]*Event{}}
	if r.resolution == resolution1 {
		return resolve1(v, sets, g)
	}
	unconflicted, conflicted := partition(sets)
	if len(conflicted) == 0 {
		return unconflicted, nil
	}
	if err := g.fetch(slices.Collect(maps.Keys(conflicted))); err != nil {
		return nil, err
	}
	res := &resolver{rules: r, graph: g, unconflicted: unconflicted, powers: map[EventID]int64{}}
	full, err := res.fullConflicted(sets, conflicted)
	if err != nil {
		return nil, err
	}
	return res.resolve(full)
}

// partition separates the places on which all sets agree from the events of the others.
func partition(sets []map[StateKey]EventID) (unconflicted map[StateKey]EventID, conflicted map[EventID]bool) {
	unconflicted, conflicted = map[StateKey]EventID{}, map[EventID]bool{}
	if len(sets) == 0 {
		return unconflicted, conflicted
	}
	for k, id := range sets[0] {
		agreed := true
		for _, s := range sets[1:] {
			agreed = agreed && s[k] == id
		}
		if agreed {
			unconflicted[k] = id
		}
	}
	for _, s := range sets {
		for k, id := range s {
			if unconflicted[k] != id {
				conflicted[id] = true
			}
		}
	}
	return unconflicted, conflicted
}

// resolver is one run of the algorithm.
type resolver struct {
	*rules
	*graph
	unconflicted map[StateKey]EventID
	powers       map[EventID]int64 // of the senders, by their auth events
}

// resolve is the algorithm proper, steps 1 to 5.
func (res *resolver) resolve(full map[EventID]bool) (map[StateKey]EventID, error) {
	power, rest := res.split(full)
	if err := res.fetchPowers(power); err != nil {
		return nil, err
	}
	state := map[StateKey]EventID{}
	if res.resolution == resolution2 {
		maps.Copy(state, res.unconflicted)
	}
	if err := res.authorise(state, res.byPower(power)); err != nil {
		return nil, err
	}
	ordered, err := res.byMainline(state[StateKey{TypePowerLevels, ""}], rest)
	if err != nil {
		return nil, err
	}
	if err := res.authorise(state, ordered); err != nil {
		return nil, err
	}
	maps.Copy(state, res.unconflicted)
	return state, nil
}

// isPower says whether an event might take away somebody's ability to do something.
// spec: rooms/v2 §Definitions "Power events"
func isPower(e *Event) bool {
	switch e.Type {
	case TypePowerLevels, TypeJoinRules:
		return e.Is(e.Type, "")
	case TypeMember:
		return e.StateKey != nil && *e.StateKey != string(e.Sender) && (e.membership == Leave || e.membership == Ban)
	}
	return false
}

// split is the selection of step 1: the power events, and of their auth chains what is conflicted too.
func (res *resolver) split(full map[EventID]bool) (power, rest map[EventID]bool) {
	power, rest = map[EventID]bool{}, map[EventID]bool{}
	var pending []EventID
	for id := range full {
		if isPower(res.events[id]) {
			power[id] = true
			pending = append(pending, id)
		}
	}
	// The chain may leave the conflicted set and come back, so that the walk goes through all of it.
	walked := maps.Clone(power)
	for len(pending) > 0 {
		id := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		e := res.events[id]
		if e == nil {
			continue // below everything conflicted
		}
		if full[id] {
			power[id] = true
		}
		for _, a := range e.AuthEvents {
			if !walked[a] {
				walked[a] = true
				pending = append(pending, a)
			}
		}
	}
	for id := range full {
		if !power[id] {
			rest[id] = true
		}
	}
	return power, rest
}

// authorise applies the events in order, each if the state so far allows it.
// spec: rooms/v2 §Definitions "Iterative auth checks"
func (res *resolver) authorise(state map[StateKey]EventID, ordered []*Event) error {
	for _, e := range ordered {
		if !e.IsState() {
			continue
		}
		view, err := res.stateFor(e, state)
		if err != nil {
			return err
		}
		err = Allowed(e, view)
		switch {
		case err == nil:
			state[e.Key()] = e.ID
		case !errors.Is(err, Forbidden("")):
			return err
		}
	}
	return nil
}

// stateFor gathers the state an event is checked against: from the state so far, else from its own auth events. The
// create event of version 12 follows from the room id.
func (res *resolver) stateFor(e *Event, state map[StateKey]EventID) (StateMap, error) {
	view := StateMap{}
	want := e.AuthTypes()
	ids := make([]EventID, 0, len(want)+len(e.AuthEvents)+1)
	for _, k := range want {
		if id, ok := state[k]; ok {
			ids = append(ids, id)
		}
	}
	ids = append(ids, e.AuthEvents...)
	if res.roomIDHash && e.Type != TypeCreate {
		ids = append(ids, e.RoomID.CreateEventID())
	}
	if err := res.fetch(ids); err != nil {
		return nil, err
	}
	for _, id := range e.AuthEvents {
		if a := res.events[id]; a.IsState() && !a.Rejected && a.RoomID == e.RoomID {
			view[a.Key()] = a
		}
	}
	for _, k := range want {
		if id, ok := state[k]; ok {
			view[k] = res.events[id]
		}
	}
	if res.roomIDHash && e.Type != TypeCreate {
		view[StateKey{TypeCreate, ""}] = res.events[e.RoomID.CreateEventID()]
	}
	return view, nil
}
