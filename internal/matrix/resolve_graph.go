package matrix

import (
	"fmt"
	"maps"
	"slices"
)

// graph is the part of a room's auth graph that a resolution has seen.
type graph struct {
	load   func([]EventID) (map[EventID]*Event, error)
	events map[EventID]*Event
}

// fetch makes sure that the events are there.
func (g *graph) fetch(ids []EventID) error {
	missing := make([]EventID, 0, len(ids))
	for _, id := range ids {
		if g.events[id] == nil && id != "" {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	missing = slices.Compact(missing)
	found, err := g.load(missing)
	if err != nil {
		return fmt.Errorf("load events to resolve state: %w", err)
	}
	for _, id := range missing {
		if found[id] == nil {
			return fmt.Errorf("load events to resolve state: some of %d are missing", len(missing))
		}
		g.events[id] = found[id]
	}
	return nil
}

// chain returns the auth chains of the events, without the events themselves unless one is in the chain of another. It
// loads level by level.
func (g *graph) chain(ids map[EventID]bool) (map[EventID]bool, error) {
	chain := map[EventID]bool{}
	level := slices.Collect(maps.Keys(ids))
	for len(level) > 0 {
		if err := g.fetch(level); err != nil {
			return nil, err
		}
		var next []EventID
		for _, id := range level {
			for _, a := range g.events[id].AuthEvents {
				if !chain[a] {
					chain[a] = true
					if !ids[a] {
						next = append(next, a)
					}
				}
			}
		}
		level = next
	}
	return chain, nil
}

// fullConflicted is the conflicted events, the auth difference and, in version 2.1, the conflicted state subgraph.
func (res *resolver) fullConflicted(sets []map[StateKey]EventID, conflicted map[EventID]bool) (map[EventID]bool, error) {
	full := maps.Clone(conflicted)
	diff, err := res.authDifference(sets, conflicted)
	if err != nil {
		return nil, err
	}
	maps.Copy(full, diff)
	if res.resolution == resolution21 {
		maps.Copy(full, res.subgraph(conflicted))
	}
	return full, nil
}

// authDifference is what is in the auth chain of some set, but not of every one. The chains of the events all sets agree
// on are in every set's chain: they are walked only while something is left that they could take away.
func (res *resolver) authDifference(sets []map[StateKey]EventID, conflicted map[EventID]bool) (map[EventID]bool, error) {
	count := map[EventID]int{}
	for _, s := range sets {
		own := map[EventID]bool{}
		for _, id := range s {
			if conflicted[id] {
				own[id] = true
			}
		}
		chain, err := res.chain(own)
		if err != nil {
			return nil, err
		}
		for id := range chain {
			count[id]++
		}
	}
	diff := map[EventID]bool{}
	for id, n := range count {
		if n < len(sets) {
			diff[id] = true
		}
	}
	return diff, res.removeAgreed(diff)
}

// removeAgreed takes out of diff what is in the auth chain of an event on which all sets agree.
func (res *resolver) removeAgreed(diff map[EventID]bool) error {
	seen := map[EventID]bool{}
	level := make([]EventID, 0, len(res.unconflicted))
	for _, id := range res.unconflicted {
		seen[id] = true
		level = append(level, id)
	}
	for len(level) > 0 && len(diff) > 0 {
		if err := res.fetch(level); err != nil {
			return err
		}
		var next []EventID
		for _, id := range level {
			for _, a := range res.events[id].AuthEvents {
				delete(diff, a)
				if !seen[a] {
					seen[a] = true
					next = append(next, a)
				}
			}
		}
		level = next
	}
	return nil
}

// subgraph is every event on a path along auth_events from one conflicted event to another.
// spec: rooms/v12 §Definitions "Conflicted state subgraph"
func (res *resolver) subgraph(conflicted map[EventID]bool) map[EventID]bool {
	// All of the chains are loaded: authDifference has walked them.
	const open, leads, ends = 1, 2, 3 // being looked at; leads to a conflicted event; does not
	mark := map[EventID]int{}
	stack := slices.Collect(maps.Keys(conflicted))
	for len(stack) > 0 {
		id := stack[len(stack)-1]
		e := res.events[id]
		if mark[id] > open || e == nil {
			stack = stack[:len(stack)-1]
			continue
		}
		if mark[id] == 0 { // first what it rests on
			mark[id] = open
			for _, a := range e.AuthEvents {
				if mark[a] == 0 {
					stack = append(stack, a)
				}
			}
			continue
		}
		stack = stack[:len(stack)-1]
		mark[id] = ends
		for _, a := range e.AuthEvents {
			if conflicted[a] || mark[a] == leads {
				mark[id] = leads
			}
		}
	}
	sub := map[EventID]bool{}
	for id, m := range mark {
		if m == leads || conflicted[id] {
			sub[id] = true
		}
	}
	return sub
}
