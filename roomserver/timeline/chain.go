package timeline

import (
	"allmende/roomserver/store"
)

// chain builds the snapshots of a room's state as deltas. Snapshots are counted
// (seq). The parent of number n is n − 16^k, where 16^k is the largest power of
// sixteen that divides n: most snapshots hold one change, every sixteenth holds
// sixteen, and so on. A walk from any snapshot to the empty state then takes at
// most 15 steps a level, and each change is written once a level at most.
type chain struct {
	seq int64
	// base[k] is the snapshot at the last multiple of 16^k.
	base [levels]store.Ref
	// changes are those since base[levels-1]; mark[k] is where those since
	// base[k] begin.
	changes []change
	mark    [levels]int
}

const levels = 5

// stateKey is a place in the state by numbers.
type stateKey struct{ typeNID, keyNID int64 }

type change struct {
	key   stateKey
	event store.Ref
}

// current is the snapshot of the state as it is now.
func (c *chain) current() store.Ref { return c.base[0] }

// add takes one more state event and answers the snapshot after it.
func (c *chain) add(key stateKey, row *store.Row) store.Snapshot {
	c.seq++
	c.changes = append(c.changes, change{key, row.Ref()})
	k := level(c.seq)
	s := store.Snapshot{After: row, Parent: c.base[k], Seq: c.seq, Added: latest(c.changes[c.mark[k]:])}
	for j := 0; j <= k; j++ {
		c.base[j] = row.Ref()
		c.mark[j] = len(c.changes)
	}
	if k == levels-1 {
		c.changes = nil
		c.mark = [levels]int{}
	}
	return s
}

// level is the largest k with 16^k dividing seq, at most levels−1.
func level(seq int64) int {
	k := 0
	for k < levels-1 && seq%16 == 0 {
		seq /= 16
		k++
	}
	return k
}

// latest keeps the newest event of each place.
func latest(changes []change) []store.Ref {
	at := make(map[stateKey]int, len(changes))
	var out []store.Ref
	for _, c := range changes {
		if i, ok := at[c.key]; ok {
			out[i] = c.event
			continue
		}
		at[c.key] = len(out)
		out = append(out, c.event)
	}
	return out
}

// restoreChain rebuilds a chain from its links, newest first. keys tells the
// places of the events the links add.
func restoreChain(links []store.LoadedSnapshot, keys map[int64]store.LoadedKey) chain {
	var c chain
	if len(links) == 0 {
		return c
	}
	c.seq = links[0].Seq
	for i := len(links) - 1; i >= 0; i-- {
		l := links[i]
		k := level(l.Seq)
		for _, nid := range l.Added {
			key := keys[nid]
			c.changes = append(c.changes, change{stateKey{key.TypeNID, key.KeyNID}, store.Stored(nid)})
		}
		for j := 0; j <= k; j++ {
			c.base[j] = store.Stored(l.Snapshot)
			c.mark[j] = len(c.changes)
		}
		if k == levels-1 {
			c.changes = nil
			c.mark = [levels]int{}
		}
	}
	return c
}
