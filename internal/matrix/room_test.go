package matrix

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
)

// testRoom makes events for tests: it keeps the state as the events come, and fills in what a server would.
type testRoom struct {
	t       testing.TB
	version RoomVersion
	id      RoomID
	create  *Event
	state   StateMap
	events  map[EventID]*Event
	last    *Event
	ts      int64
}

const alice, bob, carol, dave UserID = "@alice:one.example", "@bob:one.example", "@carol:two.example", "@dave:two.example"

var signers sync.Map // ServerName to Signer; making keys is slow under the race detector

func testSigner(server ServerName) Signer {
	if s, ok := signers.Load(server); ok {
		return s.(Signer)
	}
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, server)
	s := Signer{Server: server, KeyID: "ed25519:test", Key: ed25519.NewKeyFromSeed(seed)}
	signers.Store(server, s)
	return s
}

// newTestRoom has a create event by alice, with more members of content.
func newTestRoom(t testing.TB, v RoomVersion, content string) *testRoom {
	t.Helper()
	r := &testRoom{t: t, version: v, state: StateMap{}, events: map[EventID]*Event{}, ts: 1_700_000_000_000}
	if !v.RoomIDFromCreate() {
		r.id = "!room:one.example"
	}
	if v.CreatorInContent() {
		content = strings.Replace(content, "{", `{"creator":"`+string(alice)+`",`, 1)
		content = strings.Replace(content, ",}", "}", 1)
	}
	r.create = r.put(r.build(TypeCreate, alice, key(""), content, nil))
	r.id = r.create.RoomID
	return r
}

// newOpenRoom has alice (100), bob (50) and carol (0) in it.
func newOpenRoom(t testing.TB, v RoomVersion) *testRoom {
	t.Helper()
	r := newTestRoom(t, v, `{}`)
	r.join(alice)
	if v.CreatorsPrivileged() {
		r.set(TypePowerLevels, alice, "", `{"users":{"`+string(bob)+`":50}}`)
	} else {
		r.set(TypePowerLevels, alice, "", `{"users":{"`+string(alice)+`":100,"`+string(bob)+`":50}}`)
	}
	r.set(TypeJoinRules, alice, "", `{"join_rule":"public"}`)
	r.join(bob)
	r.join(carol)
	return r
}

func key(s string) *string { return &s }

// build makes an event after the last one, in the current state, without taking it in.
func (r *testRoom) build(typ string, sender UserID, stateKey *string, content string, change func(*Proto)) *Event {
	r.t.Helper()
	r.ts += 1000
	p := Proto{RoomID: r.id, Type: typ, Sender: sender, StateKey: stateKey, Content: json.RawMessage(content), OriginServerTS: r.ts}
	if r.last != nil {
		p.PrevEvents, p.Depth = []EventID{r.last.ID}, r.last.Depth+1
	}
	for _, k := range AuthTypes(r.version, &p) {
		if e := r.state[k]; e != nil {
			p.AuthEvents = append(p.AuthEvents, e.ID)
		}
	}
	if change != nil {
		change(&p)
	}
	e, err := Build(r.version, p, testSigner(sender.Server()))
	if err != nil {
		r.t.Fatalf("build %s: %v", typ, err)
	}
	return e
}

// put takes an event in without asking.
func (r *testRoom) put(e *Event) *Event {
	r.events[e.ID] = e
	r.last = e
	if e.IsState() {
		r.state[e.Key()] = e
	}
	return e
}

// set makes a state event that must be allowed, and takes it in.
func (r *testRoom) set(typ string, sender UserID, stateKey, content string) *Event {
	r.t.Helper()
	e := r.build(typ, sender, &stateKey, content, nil)
	if err := Allowed(e, r.state); err != nil {
		r.t.Fatalf("%s %q by %s: %v", typ, stateKey, sender, err)
	}
	return r.put(e)
}

func (r *testRoom) member(sender, target UserID, membership string) *Event {
	r.t.Helper()
	return r.set(TypeMember, sender, string(target), `{"membership":"`+membership+`"}`)
}

func (r *testRoom) join(u UserID) *Event { return r.member(u, u, Join) }

// branch is a copy that goes on by itself; events are shared.
func (r *testRoom) branch() *testRoom {
	c := *r
	c.state = maps.Clone(r.state)
	return &c
}

// ids is the state as a resolution wants it.
func (r *testRoom) ids() map[StateKey]EventID {
	out := map[StateKey]EventID{}
	for k, e := range r.state {
		out[k] = e.ID
	}
	return out
}

func (r *testRoom) load(ids []EventID) (map[EventID]*Event, error) {
	out := map[EventID]*Event{}
	for _, id := range ids {
		e := r.events[id]
		if e == nil {
			return nil, fmt.Errorf("no event %s", id)
		}
		out[id] = e
	}
	return out, nil
}

func (r *testRoom) resolve(sets ...map[StateKey]EventID) map[StateKey]EventID {
	r.t.Helper()
	out, err := Resolve(r.version, sets, r.load)
	if err != nil {
		r.t.Fatalf("resolve: %v", err)
	}
	return out
}

// strictVersions are those with rules of their own in the tables of these tests.
var strictVersions = []RoomVersion{"10", "11", "12"}
