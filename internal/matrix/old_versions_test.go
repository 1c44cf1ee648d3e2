package matrix

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// oldRoom makes events of versions 1 and 2 as other servers once did; we only read them.
type oldRoom struct {
	t       *testing.T
	version RoomVersion
	events  map[EventID]*Event
	n       int
}

func (r *oldRoom) event(typ string, sender UserID, stateKey *string, content string, depth int, auth ...*Event) *Event {
	r.t.Helper()
	r.n++
	var refs []string
	for _, a := range auth {
		refs = append(refs, fmt.Sprintf(`["%s",{"sha256":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}]`, a.ID))
	}
	state := ""
	if stateKey != nil {
		state = fmt.Sprintf(`"state_key":%q,`, *stateKey)
	}
	json := fmt.Sprintf(`{"auth_events":[%s],"content":%s,"depth":%d,"event_id":"$e%d:%s","hashes":{"sha256":"x"},"origin_server_ts":%d,`+
		`"prev_events":[],"room_id":"!r:one.example","sender":%q,%s"signatures":{},"type":%q}`,
		strings.Join(refs, ","), content, depth, r.n, sender.Server(), 1000+r.n, sender, state, typ)
	e, err := ParseTrusted(r.version, []byte(json))
	if err != nil {
		r.t.Fatalf("%s: %v", json, err)
	}
	r.events[e.ID] = e
	return e
}

func (r *oldRoom) load(ids []EventID) (map[EventID]*Event, error) {
	out := map[EventID]*Event{}
	for _, id := range ids {
		if e := r.events[id]; e != nil {
			out[id] = e
		}
	}
	return out, nil
}

func idsOf(events ...*Event) map[StateKey]EventID {
	m := map[StateKey]EventID{}
	for _, e := range events {
		m[e.Key()] = e.ID
	}
	return m
}

func TestOldEventFormat(t *testing.T) {
	r := &oldRoom{t, "1", map[EventID]*Event{}, 0}
	create := r.event(TypeCreate, alice, key(""), `{"creator":"@alice:one.example"}`, 1)
	e := r.event("m.room.message", bob, nil, `{"body":"x"}`, 2, create)
	if diff := cmp.Diff([]EventID{create.ID}, e.AuthEvents); diff != "" || e.ID != "$e2:one.example" {
		t.Errorf("id %s, auth events (-want +got):\n%s", e.ID, diff)
	}
	if id, err := NewEventIDOf("2", e.JSON); err != nil || id != e.ID {
		t.Errorf("NewEventIDOf = %s, %v", id, err)
	}
	if _, err := ParseTrusted("3", e.JSON); !errors.Is(err, BadJSON("")) {
		t.Errorf("pairs as auth events in version 3: %v", err)
	}
	if _, err := ParseTrusted("1", without(e.JSON, "event_id")); err == nil {
		t.Error("no event id")
	}
	relayed := r.event(TypeMember, carol, user(dave), `{"membership":"invite","third_party_invite":{}}`, 2, create)
	if diff := cmp.Diff([]ServerName{"two.example"}, RequiredSigners(relayed)); diff != "" {
		t.Errorf("signers of a third-party invite (-want +got):\n%s", diff)
	}
}

// State resolution 1: power levels first, then by depth and id. spec: rooms/v1 §State resolution
func TestResolveVersion1(t *testing.T) {
	r := &oldRoom{t, "1", map[EventID]*Event{}, 0}
	create := r.event(TypeCreate, alice, key(""), `{"creator":"@alice:one.example"}`, 1)
	join := r.event(TypeMember, alice, user(alice), membership(Join), 2, create)
	levels := r.event(TypePowerLevels, alice, key(""), `{"users":{"@alice:one.example":100}}`, 3, create, join)
	shallow := r.event("m.room.topic", alice, key(""), `{"topic":"shallow"}`, 4, create, join, levels)
	deep := r.event("m.room.topic", alice, key(""), `{"topic":"deep"}`, 9, create, join, levels)
	name := r.event("m.room.name", alice, key(""), `{}`, 5, create, join, levels)
	a, b := idsOf(create, join, levels, shallow), idsOf(create, join, levels, deep, name)
	want := idsOf(create, join, levels, deep, name)
	for _, sets := range [][]map[StateKey]EventID{{a, b}, {b, a}, {b, a, b}} {
		got, err := Resolve("1", sets, r.load)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	a[StateKey{"m.room.topic", ""}] = "$unknown"
	if _, err := Resolve("1", []map[StateKey]EventID{a, b}, r.load); err == nil {
		t.Error("an event is missing")
	}
}

// State resolution 2 with events that refer in the old way.
func TestResolveVersion2(t *testing.T) {
	r := &oldRoom{t, "2", map[EventID]*Event{}, 0}
	create := r.event(TypeCreate, alice, key(""), `{"creator":"@alice:one.example"}`, 1)
	join := r.event(TypeMember, alice, user(alice), membership(Join), 2, create)
	bobJoin := r.event(TypeMember, bob, user(bob), membership(Join), 2, create)
	levels := r.event(TypePowerLevels, alice, key(""), `{"users":{"@alice:one.example":100,"@bob:one.example":"50"}}`, 3, create, join)
	topic := r.event("m.room.topic", bob, key(""), `{}`, 9, create, bobJoin, levels)
	ban := r.event(TypeMember, alice, user(bob), membership(Ban), 4, create, join, levels, bobJoin)
	got, err := Resolve("2", []map[StateKey]EventID{idsOf(create, join, levels, bobJoin, topic), idsOf(create, join, levels, ban)}, r.load)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(idsOf(create, join, levels, ban), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// spec: rooms/v1 §Authorization rules 11
func TestRedactionRuleOfOldVersions(t *testing.T) {
	for _, v := range []RoomVersion{"1", "2"} {
		r := &oldRoom{t, v, map[EventID]*Event{}, 0}
		create := r.event(TypeCreate, alice, key(""), `{"creator":"@alice:one.example"}`, 1)
		state := StateMap{{TypeCreate, ""}: create}
		for _, u := range []UserID{alice, bob, carol} {
			state[StateKey{TypeMember, string(u)}] = r.event(TypeMember, u, user(u), membership(Join), 2, create)
		}
		target := r.event("m.room.message", bob, nil, `{}`, 3, create)
		for u, allowed := range map[UserID]bool{alice: true, bob: true, carol: false} {
			e := r.event(TypeRedaction, u, nil, `{}`, 4, create)
			withTarget, err := ParseTrusted(v, putMember(e.JSON, "redacts", appendString(nil, string(target.ID))))
			if err != nil {
				t.Fatal(err)
			}
			if err := Allowed(withTarget, state); (err == nil) != allowed {
				t.Errorf("version %s, %s: %v", v, u, err)
			}
		}
	}
}
