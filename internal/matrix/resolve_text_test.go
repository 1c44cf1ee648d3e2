package matrix

import (
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// textResolver is state resolution word by word, without any thought of speed, to hold Resolve against. (The other
// implementation at hand is no measure: it offers an event itself where the event's auth events are meant, and takes only
// conflicted events, not the auth difference, along with power events.)
type textResolver struct {
	r      *testRoom
	chains map[EventID]map[EventID]bool
}

// chain is the auth chain of one event.
func (x *textResolver) chain(id EventID) map[EventID]bool {
	if c, ok := x.chains[id]; ok {
		return c
	}
	c := map[EventID]bool{}
	for _, a := range x.r.events[id].AuthEvents {
		c[a] = true
		maps.Copy(c, x.chain(a))
	}
	x.chains[id] = c
	return c
}

func (x *textResolver) resolve(sets []map[StateKey]EventID) map[StateKey]EventID {
	keys, conflicted, unconflicted := map[StateKey]bool{}, map[EventID]bool{}, map[StateKey]EventID{}
	for _, s := range sets {
		for k := range s {
			keys[k] = true
		}
	}
	for k := range keys {
		values := map[EventID]bool{}
		for _, s := range sets {
			values[s[k]] = true
		}
		for id := range values {
			if len(values) == 1 {
				unconflicted[k] = id
			} else if id != "" {
				conflicted[id] = true
			}
		}
	}
	full := maps.Clone(conflicted)
	in := map[EventID]int{}
	for _, s := range sets {
		all := map[EventID]bool{}
		for _, id := range s {
			maps.Copy(all, x.chain(id))
		}
		for id := range all {
			in[id]++
		}
	}
	for id, n := range in {
		if n < len(sets) {
			full[id] = true
		}
	}
	new := x.r.version == "12"
	if new {
		for from := range conflicted {
			for to := range conflicted {
				for mid := range x.chain(from) {
					if x.chain(mid)[to] {
						full[mid] = true
					}
				}
			}
		}
	}
	power := map[EventID]bool{}
	for id := range full {
		if isPower(x.r.events[id]) {
			power[id] = true
			for a := range x.chain(id) {
				if full[a] {
					power[a] = true
				}
			}
		}
	}
	state := map[StateKey]EventID{}
	if !new {
		state = maps.Clone(unconflicted)
	}
	x.apply(state, x.powerOrder(power))
	rest := map[EventID]bool{}
	for id := range full {
		if !power[id] {
			rest[id] = true
		}
	}
	x.apply(state, x.mainlineOrder(rest, state[StateKey{TypePowerLevels, ""}]))
	maps.Copy(state, unconflicted)
	return state
}

func (x *textResolver) power(e *Event) int64 {
	create, levels := x.r.create, (*Event)(nil)
	for _, a := range e.AuthEvents {
		if x.r.events[a].Is(TypePowerLevels, "") {
			levels = x.r.events[a]
		}
	}
	pl, err := ParsePowerLevels(e.Version, levels, create)
	if err != nil {
		x.r.t.Fatal(err)
	}
	return pl.User(e.Sender)
}

// powerOrder takes, again and again, the smallest event whose auth events in the set have all been taken.
func (x *textResolver) powerOrder(ids map[EventID]bool) (out []*Event) {
	left := maps.Clone(ids)
	for len(left) > 0 {
		var best *Event
		for id := range left {
			e := x.r.events[id]
			if slices.ContainsFunc(e.AuthEvents, func(a EventID) bool { return left[a] }) {
				continue
			}
			if best == nil || x.power(e) > x.power(best) || x.power(e) == x.power(best) && compareAge(e, best) < 0 {
				best = e
			}
		}
		out = append(out, best)
		delete(left, best.ID)
	}
	return out
}

func (x *textResolver) levelsOf(e *Event) *Event {
	for _, a := range e.AuthEvents {
		if x.r.events[a].Is(TypePowerLevels, "") {
			return x.r.events[a]
		}
	}
	return nil
}

func (x *textResolver) mainlineOrder(ids map[EventID]bool, p EventID) (out []*Event) {
	var mainline []*Event
	for e := x.r.events[p]; e != nil; e = x.levelsOf(e) {
		mainline = append(mainline, e)
	}
	position := func(e *Event) int {
		for e = x.levelsOf(e); e != nil; e = x.levelsOf(e) {
			if i := slices.Index(mainline, e); i >= 0 {
				return i
			}
		}
		return math.MaxInt
	}
	for id := range ids {
		out = append(out, x.r.events[id])
	}
	slices.SortFunc(out, func(a, b *Event) int {
		if pa, pb := position(a), position(b); pa != pb {
			if pa > pb {
				return -1
			}
			return 1
		}
		return compareAge(a, b)
	})
	return out
}

func (x *textResolver) apply(state map[StateKey]EventID, events []*Event) {
	for _, e := range events {
		view := StateMap{}
		for _, a := range e.AuthEvents {
			view[x.r.events[a].Key()] = x.r.events[a]
		}
		for k, id := range state {
			view[k] = x.r.events[id]
		}
		if x.r.version == "12" {
			view[StateKey{TypeCreate, ""}] = x.r.create
		}
		if e.IsState() && Allowed(e, view) == nil {
			state[e.Key()] = e.ID
		}
	}
}

// tangle lets branches forget some of what they know: they take up state that other branches had once, as after partial
// synchronisation, and go on from there.
func tangle(w *walker, branches []*testRoom) {
	all := slices.SortedFunc(maps.Values(w.events), func(a, b *Event) int { return compareAge(a, b) })
	for _, b := range branches {
		for range 3 {
			if e := pick(w, all...); e.IsState() && e.Type != TypeCreate {
				b.state[e.Key()] = e
			}
		}
		more := &walker{b, w.rnd}
		for range 10 {
			if e := more.next(); Allowed(e, b.state) == nil {
				more.put(e)
			}
		}
	}
}

func TestResolveByTheText(t *testing.T) {
	for _, v := range resolveVersions {
		t.Run(string(v), func(t *testing.T) {
			dull := 0
			for seed := range uint64(40) {
				r, branches := forks(t, v, seed+1000)
				if seed%2 == 1 {
					tangle(&walker{r, newRand(seed)}, branches)
				}
				var sets []map[StateKey]EventID
				for _, b := range branches {
					sets = append(sets, b.ids())
				}
				x := &textResolver{r, map[EventID]map[EventID]bool{}}
				got := r.resolve(sets...)
				if diff := cmp.Diff(x.resolve(sets), got); diff != "" {
					t.Fatalf("seed %d (-by the text +Resolve):\n%s", seed, diff)
				}
				if slices.ContainsFunc(sets, func(s map[StateKey]EventID) bool { return maps.Equal(s, got) }) {
					dull++
				}
			}
			if dull > 27 {
				t.Errorf("%d of 40 rooms were resolved to one of the sets", dull)
			}
		})
	}
}
