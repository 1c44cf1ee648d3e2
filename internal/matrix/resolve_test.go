package matrix

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// at is the event a resolved state has in a place.
func (r *testRoom) at(state map[StateKey]EventID, typ, key string) *Event {
	return r.events[state[StateKey{typ, key}]]
}

// levelsOf is content for power levels; alice is named where creators may be.
func (r *testRoom) levelsOf(more string) string {
	if r.version.CreatorsPrivileged() {
		return `{"users":{` + more + `}}`
	}
	return `{"users":{"` + string(alice) + `":100,` + more + `}}`
}

var resolveVersions = []RoomVersion{"9", "11", "12"}

// resolveEach runs a scenario in versions with both algorithms.
func resolveEach(t *testing.T, f func(t *testing.T, r *testRoom)) {
	for _, v := range resolveVersions {
		t.Run(string(v), func(t *testing.T) { f(t, newOpenRoom(t, v)) })
	}
}

// The ban of somebody goes before what they did meanwhile.
func TestResolveBanAgainstPowerLevels(t *testing.T) {
	resolveEach(t, func(t *testing.T, r *testRoom) {
		a, b := r.branch(), r.branch()
		ban := a.member(alice, bob, Ban)
		b.set(TypePowerLevels, bob, "", r.levelsOf(`"@bob:one.example":50,"@carol:two.example":50`))
		b.set("m.room.topic", carol, "", `{"topic":"carol's"}`)
		got := r.resolve(a.ids(), b.ids())
		if e := r.at(got, TypeMember, string(bob)); e != ban {
			t.Errorf("bob: %s", e.Content)
		}
		if e := r.at(got, TypePowerLevels, ""); e != r.state[StateKey{TypePowerLevels, ""}] {
			t.Errorf("power levels: %s", e.Content)
		}
		if e := r.at(got, "m.room.topic", ""); e != nil {
			t.Errorf("topic of one who never had the power: %s", e.Content)
		}
	})
}

// One who lost the power to kick cannot have kicked meanwhile, whatever the clocks say.
func TestResolveDemotionAgainstKick(t *testing.T) {
	resolveEach(t, func(t *testing.T, r *testRoom) {
		a, b := r.branch(), r.branch()
		a.ts += 1_000_000
		demotion := a.set(TypePowerLevels, alice, "", r.levelsOf(`"@bob:one.example":0`))
		b.member(bob, carol, Leave)
		got := r.resolve(a.ids(), b.ids())
		if e := r.at(got, TypePowerLevels, ""); e != demotion {
			t.Errorf("power levels: %s", e.Content)
		}
		if e := r.at(got, TypeMember, string(carol)); e.Membership() != Join {
			t.Errorf("carol: %s", e.Content)
		}
	})
}

// Among equals the earlier power event goes first, and the later one is checked against it.
func TestResolveEqualsByTime(t *testing.T) {
	for _, first := range []string{"a", "b"} {
		resolveEach(t, func(t *testing.T, r *testRoom) {
			r.set(TypePowerLevels, alice, "", r.levelsOf(`"@bob:one.example":50,"@carol:two.example":49`))
			a, b := r.branch(), r.branch()
			if first == "b" {
				a.ts += 1_000_000
			} else {
				b.ts += 1_000_000
			}
			byA := a.set(TypePowerLevels, bob, "", r.levelsOf(`"@bob:one.example":50,"@carol:two.example":1`))
			byB := b.set(TypePowerLevels, bob, "", r.levelsOf(`"@bob:one.example":50,"@carol:two.example":2`))
			want := byB
			if first == "b" {
				want = byA
			}
			if e := r.at(r.resolve(a.ids(), b.ids()), TypePowerLevels, ""); e != want {
				t.Errorf("power levels: %s", e.Content)
			}
		})
	}
}

// A room that is closed lets nobody in any more, not even those who came in meanwhile.
func TestResolveJoinRulesAgainstJoin(t *testing.T) {
	resolveEach(t, func(t *testing.T, r *testRoom) {
		a, b := r.branch(), r.branch()
		rules := a.set(TypeJoinRules, alice, "", `{"join_rule":"invite"}`)
		b.join(dave)
		got := r.resolve(a.ids(), b.ids())
		if e := r.at(got, TypeJoinRules, ""); e != rules {
			t.Errorf("join rules: %s", e.Content)
		}
		if e := r.at(got, TypeMember, string(dave)); e != nil {
			t.Errorf("dave: %s", e.Content)
		}
		if e := r.at(got, TypeMember, string(carol)); e == nil || e.Membership() != Join {
			t.Errorf("carol, in before, is gone")
		}
	})
}

// Of two topics the one wins that rests on the later power levels, even if its clock is behind; on the same levels the
// later clock wins, then the greater id.
func TestResolveTopicsByMainline(t *testing.T) {
	resolveEach(t, func(t *testing.T, r *testRoom) {
		a, b := r.branch(), r.branch()
		a.ts += 1_000_000
		a.set("m.room.topic", bob, "", `{"topic":"on the old levels"}`)
		b.set(TypePowerLevels, alice, "", r.levelsOf(`"@bob:one.example":50,"@dave:two.example":1`))
		want := b.set("m.room.topic", bob, "", `{"topic":"on the new levels"}`)
		if e := r.at(r.resolve(a.ids(), b.ids()), "m.room.topic", ""); e != want {
			t.Errorf("topic %s", e.Content)
		}

		a, b = r.branch(), r.branch()
		b.ts += 1_000
		a.set("m.room.topic", alice, "", `{"topic":"earlier"}`)
		want = b.set("m.room.topic", bob, "", `{"topic":"later"}`)
		if e := r.at(r.resolve(a.ids(), b.ids()), "m.room.topic", ""); e != want {
			t.Errorf("topic %s", e.Content)
		}

		a, b = r.branch(), r.branch()
		x, y := a.set("m.room.topic", alice, "", `{"topic":"x"}`), b.set("m.room.topic", bob, "", `{"topic":"y"}`)
		want = x
		if y.ID > x.ID {
			want = y
		}
		if e := r.at(r.resolve(a.ids(), b.ids()), "m.room.topic", ""); e != want {
			t.Errorf("topic %s", e.Content)
		}
	})
}

// A place that only some branches have is conflicted, and resolved to the event if it is allowed.
func TestResolveOneSided(t *testing.T) {
	resolveEach(t, func(t *testing.T, r *testRoom) {
		a, b := r.branch(), r.branch()
		name := a.set("m.room.name", alice, "", `{"name":"n"}`)
		b.put(b.build("m.room.message", alice, nil, `{}`, nil))
		if e := r.at(r.resolve(a.ids(), b.ids()), "m.room.name", ""); e != name {
			t.Errorf("name: %v", e)
		}
	})
}

// MSC4297 §Problem A: both branches know that the one who set the join rules has left, and one has kept old join rules by
// mistake. Algorithm 2 forgets the join rules altogether.
func TestResolveProblemA(t *testing.T) {
	for v, keeps := range map[RoomVersion]bool{"11": false, "12": true} {
		t.Run(string(v), func(t *testing.T) {
			r := newOpenRoom(t, v)
			old := r.set(TypeJoinRules, bob, "", `{"join_rule":"invite"}`)
			rules := r.set(TypeJoinRules, bob, "", `{"join_rule":"public"}`)
			r.join(dave)
			r.member(bob, bob, Leave)
			a, b := r.branch(), r.branch()
			a.set("m.room.topic", alice, "", `{"topic":"a"}`)
			b.set("m.room.name", alice, "", `{"name":"b"}`)
			b.state[StateKey{TypeJoinRules, ""}] = old
			var want *Event
			if keeps {
				want = rules
			}
			got := r.resolve(a.ids(), b.ids())
			if e := r.at(got, TypeJoinRules, ""); e != want {
				t.Errorf("join rules: %v, want %v", e, want)
			}
			if e := r.at(got, TypeMember, string(bob)); e.Membership() != Leave {
				t.Errorf("bob is back: %s", e.Content)
			}
		})
	}
}

// MSC4297 §Problem B: alice promotes bob, bob promotes carol, and one branch has kept the first levels by mistake,
// although what else it has rests on the last ones. Algorithm 2 does not see bob's promotion and resets the levels.
func TestResolveProblemB(t *testing.T) {
	for v, keeps := range map[RoomVersion]bool{"11": false, "12": true} {
		t.Run(string(v), func(t *testing.T) {
			r := newTestRoom(t, v, `{}`)
			r.join(alice)
			first := r.set(TypePowerLevels, alice, "", r.levelsOf(`"@x:y":0`))
			r.set(TypeJoinRules, alice, "", `{"join_rule":"public"}`)
			r.join(bob)
			r.join(carol)
			r.set(TypePowerLevels, alice, "", r.levelsOf(`"@bob:one.example":60`))
			last := r.set(TypePowerLevels, bob, "", r.levelsOf(`"@bob:one.example":60,"@carol:two.example":50`))
			r.join(dave) // rests on the last levels, in both branches
			a, b := r.branch(), r.branch()
			a.set("m.room.topic", carol, "", `{"topic":"a"}`)
			b.state[StateKey{TypePowerLevels, ""}] = first
			want := first
			if keeps {
				want = last
			}
			if e := r.at(r.resolve(a.ids(), b.ids()), TypePowerLevels, ""); e != want {
				t.Errorf("power levels %s, want %s", e.Content, want.Content)
			}
		})
	}
}

// spec: rooms/v12 §Definitions "Conflicted state subgraph"
func TestSubgraph(t *testing.T) {
	r := newTestRoom(t, "12", `{}`)
	ev := func(auth ...*Event) *Event {
		return r.put(r.build("m.x", alice, key(fmt.Sprint(len(r.events))), `{}`, func(p *Proto) {
			p.AuthEvents = nil
			for _, a := range auth {
				p.AuthEvents = append(p.AuthEvents, a.ID)
			}
		}))
	}
	root := ev()
	low := ev(root)                // conflicted
	mid1, mid2 := ev(low), ev(low) // between
	side := ev(low)                // rests on a conflicted one, but nothing conflicted rests on it
	high := ev(mid1, mid2, root)   // conflicted
	alone := ev(root)              // conflicted, without a path to another
	_ = side
	res := &resolver{graph: &graph{load: r.load, events: r.events}}
	got := res.subgraph(map[EventID]bool{low.ID: true, high.ID: true, alone.ID: true})
	want := map[EventID]bool{low.ID: true, mid1.ID: true, mid2.ID: true, high.ID: true, alone.ID: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Rejected auth events give nobody power.
func TestResolveIgnoresRejectedAuthEvents(t *testing.T) {
	resolveEach(t, func(t *testing.T, r *testRoom) {
		delete(r.state, StateKey{TypePowerLevels, ""})
		forged := r.build(TypePowerLevels, carol, key(""), r.levelsOf(`"@carol:two.example":90`), nil)
		forged.Rejected = true
		r.events[forged.ID] = forged
		a, b := r.branch(), r.branch()
		topic := b.build("m.room.topic", carol, key(""), `{"topic":"carol's"}`, func(p *Proto) { p.AuthEvents = append(p.AuthEvents, forged.ID) })
		b.put(topic)
		if e := r.at(r.resolve(a.ids(), b.ids()), "m.room.topic", ""); e != nil {
			t.Errorf("topic by forged power: %s", e.Content)
		}
		forged.Rejected = false
		if e := r.at(r.resolve(a.ids(), b.ids()), "m.room.topic", ""); e != topic {
			t.Error("the same with accepted levels is refused: the case shows nothing")
		}
	})
}

func TestResolveTrivial(t *testing.T) {
	r := newOpenRoom(t, "12")
	if got := r.resolve(); len(got) != 0 {
		t.Errorf("no sets: %v", got)
	}
	for _, sets := range [][]map[StateKey]EventID{{r.ids()}, {r.ids(), r.ids(), r.ids()}} {
		if diff := cmp.Diff(r.ids(), r.resolve(sets...)); diff != "" {
			t.Errorf("%d equal sets (-want +got):\n%s", len(sets), diff)
		}
	}
	other := r.ids()
	other[StateKey{"m.room.topic", ""}] = "$unknown"
	broken := errors.New("broken")
	for name, load := range map[string]func([]EventID) (map[EventID]*Event, error){
		"missing": func([]EventID) (map[EventID]*Event, error) { return nil, nil },
		"broken":  func([]EventID) (map[EventID]*Event, error) { return nil, broken },
	} {
		if _, err := Resolve("12", []map[StateKey]EventID{r.ids(), other}, load); err == nil || name == "broken" && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Resolve("13", nil, nil); !errors.Is(err, UnsupportedRoomVersion("")) {
		t.Errorf("unknown version: %v", err)
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 2)) }

// forks makes a random room with branches that know nothing of each other.
func forks(t testing.TB, v RoomVersion, seed uint64) (*testRoom, []*testRoom) {
	w := &walker{newTestRoom(t, v, `{}`), newRand(seed)}
	w.join(alice)
	w.set(TypeJoinRules, alice, "", `{"join_rule":"public"}`)
	for w.state[StateKey{TypePowerLevels, ""}] == nil { // in version 12 some of the first ones name a creator
		if e := w.build(TypePowerLevels, alice, key(""), w.levels(), nil); Allowed(e, w.state) == nil {
			w.put(e)
		}
	}
	w.join(bob)
	w.join(carol)
	walk := func(w *walker, steps int) {
		for range steps {
			if e := w.next(); Allowed(e, w.state) == nil {
				w.put(e)
			}
		}
	}
	walk(w, w.rnd.IntN(40))
	var branches []*testRoom
	for range 2 + w.rnd.IntN(3) {
		b := &walker{w.branch(), w.rnd}
		b.ts += int64(w.rnd.IntN(20)) * 1000
		walk(b, 10+w.rnd.IntN(50))
		branches = append(branches, b.testRoom)
	}
	return w.testRoom, branches
}

// The result depends neither on the order of the sets, nor on sets that come twice, nor on chance.
func TestResolveOrderIndependent(t *testing.T) {
	for _, v := range resolveVersions {
		t.Run(string(v), func(t *testing.T) {
			changed := 0
			for seed := range uint64(20) {
				r, branches := forks(t, v, seed)
				var sets []map[StateKey]EventID
				for _, b := range branches {
					sets = append(sets, b.ids())
				}
				want := r.resolve(sets...)
				rnd := newRand(seed)
				for range 5 {
					shuffled := slices.Clone(sets)
					rnd.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
					if diff := cmp.Diff(want, r.resolve(append(shuffled, shuffled[0])...)); diff != "" {
						t.Fatalf("seed %d (-first +then):\n%s", seed, diff)
					}
				}
				if !maps.Equal(want, sets[0]) {
					changed++
				}
				checkResolved(t, r, want, sets)
			}
			if changed < 10 {
				t.Errorf("only %d of 20 rooms had something to resolve", changed)
			}
		})
	}
}

// checkResolved holds every resolved event to be state of its place, and those all sets agree on to be unchanged.
func checkResolved(t *testing.T, r *testRoom, got map[StateKey]EventID, sets []map[StateKey]EventID) {
	t.Helper()
	for k, id := range got {
		if e := r.events[id]; e == nil || e.Key() != k {
			t.Errorf("%v holds %v", k, e)
		}
	}
	unconflicted, _ := partition(sets)
	for k, id := range unconflicted {
		if got[k] != id {
			t.Errorf("%v was agreed on, and is changed", k)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	for _, v := range []RoomVersion{"11", "12"} {
		r := newOpenRoom(b, v)
		for i := range 1000 {
			r.join(UserID(fmt.Sprintf("@user%d:one.example", i)))
		}
		x, y := r.branch(), r.branch()
		x.set("m.room.topic", bob, "", `{"topic":"x"}`)
		y.member(bob, carol, Ban)
		y.set("m.room.topic", alice, "", `{"topic":"y"}`)
		sets := []map[StateKey]EventID{x.ids(), y.ids()}
		b.Run(string(v), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.resolve(sets...)
			}
		})
	}
}
