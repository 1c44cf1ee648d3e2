package timeline

import (
	"maps"
	"math/rand/v2"
	"testing"

	"allmende/roomserver/store"

	"github.com/google/go-cmp/cmp"
)

// ledger is what a database would know of the snapshots of a room.
type ledger struct {
	snapshots map[int64]store.LoadedSnapshot
	keys      map[int64]store.LoadedKey
}

// state walks from a snapshot to the empty state, as readers do.
func (l ledger) state(snapshot int64) (state map[stateKey]int64, steps int) {
	state = map[stateKey]int64{}
	for snapshot != 0 {
		s := l.snapshots[snapshot]
		for _, nid := range s.Added {
			k := stateKey{l.keys[nid].TypeNID, l.keys[nid].KeyNID}
			if _, newer := state[k]; !newer {
				state[k] = nid
			}
		}
		snapshot = s.Parent
		steps++
	}
	return state, steps
}

func (l ledger) links(snapshot int64) (out []store.LoadedSnapshot) {
	for snapshot != 0 {
		out = append(out, l.snapshots[snapshot])
		snapshot = l.snapshots[snapshot].Parent
	}
	return out
}

// TestChainKeepsEveryState makes random changes, gives some of them up, loses
// the chain from memory now and then, and compares every snapshot with a model.
func TestChainKeepsEveryState(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		places := []int{1, 3, 20, 150}[rnd.IntN(4)]
		l := ledger{map[int64]store.LoadedSnapshot{}, map[int64]store.LoadedKey{}}
		var c chain
		model, nid := map[stateKey]int64{}, int64(0)
		models := map[int64]map[stateKey]int64{}
		for range 500 {
			was, next := c, maps.Clone(model)
			var unit []store.Snapshot
			var made []int64
			number := nid
			for range 1 + rnd.IntN(5) {
				number++
				k := stateKey{int64(rnd.IntN(2)), int64(rnd.IntN(places))}
				// Only a number is needed of the row, which the ledger gives at once.
				row := store.NewNumberedRow(number)
				unit = append(unit, c.add(k, row))
				l.keys[number] = store.LoadedKey{NID: number, TypeNID: k.typeNID, KeyNID: k.keyNID}
				next[k] = number
				made = append(made, number)
				if rnd.IntN(4) > 0 {
					models[number] = maps.Clone(next)
				}
			}
			if rnd.IntN(3) == 0 { // given up
				c = was
				for _, n := range made {
					delete(models, n)
				}
				continue
			}
			nid, model = number, next
			for _, s := range unit {
				l.snapshots[s.After.Ref().NID()] = loaded(s)
			}
			if rnd.IntN(50) == 0 {
				c = restoreChain(l.links(c.current().NID()), l.keys)
			}
		}
		for snapshot, want := range models {
			got, steps := l.state(snapshot)
			if !maps.Equal(want, got) {
				t.Fatalf("seed %d, state after %d (-want +got):\n%s", seed, snapshot, cmp.Diff(want, got, cmp.AllowUnexported(stateKey{})))
			}
			if limit := 15*levels + int(l.snapshots[snapshot].Seq>>16); steps > limit {
				t.Fatalf("seed %d: %d steps from snapshot %d to the empty state, more than %d", seed, steps, snapshot, limit)
			}
		}
	}
}

func loaded(s store.Snapshot) store.LoadedSnapshot {
	out := store.LoadedSnapshot{Snapshot: s.After.Ref().NID(), Parent: s.Parent.NID(), Seq: s.Seq}
	for _, a := range s.Added {
		out.Added = append(out.Added, a.NID())
	}
	return out
}

func TestChainOfManyChanges(t *testing.T) {
	l := ledger{map[int64]store.LoadedSnapshot{}, map[int64]store.LoadedKey{}}
	var c chain
	model := map[stateKey]int64{}
	const last = 140_000 // passes the largest step twice
	for nid := int64(1); nid <= last; nid++ {
		k := stateKey{1, nid % 97}
		s := c.add(k, store.NewNumberedRow(nid))
		l.snapshots[nid], l.keys[nid] = loaded(s), store.LoadedKey{NID: nid, TypeNID: 1, KeyNID: nid % 97}
		model[k] = nid
	}
	got, steps := l.state(last)
	if diff := cmp.Diff(model, got, cmp.AllowUnexported(stateKey{})); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if limit := 15*levels + last>>16; steps > limit {
		t.Errorf("%d steps to the empty state, more than %d", steps, limit)
	}
}
