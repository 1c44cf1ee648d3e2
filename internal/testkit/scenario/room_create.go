package scenario

import (
	"slices"
	"strings"
	"testing"
)

var createScenarios = []Scenario{
	{"every preset makes the room it promises, in every version", createPresets},
	{"createRoom takes everything it may be given", createWithEverything},
	{"initial state goes before the preset and behind name and topic", createPrecedence},
	{"createRoom refuses what it must", createRefused},
	{"a direct chat is marked as one for who is invited", createDirect},
}

var roomVersions = []string{"10", "11", "12"}

// createPresets holds the table of the specification against the rooms made.
//
// spec: c-s §POST /createRoom "preset"
func createPresets(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	for _, p := range []struct{ preset, visibility, join, guests string }{
		{"private_chat", "", "invite", "can_join"},
		{"trusted_private_chat", "", "invite", "can_join"},
		{"public_chat", "", "public", "forbidden"},
		{"", "public", "public", "forbidden"},
		{"", "private", "invite", "can_join"},
		{"", "", "invite", "can_join"},
	} {
		for _, v := range roomVersions {
			body := M{"room_version": v, "invite": []string{bert.ID}}
			if p.preset != "" {
				body["preset"] = p.preset
			}
			if p.visibility != "" {
				body["visibility"] = p.visibility
			}
			room, what := anna.CreateRoom(body), p.preset+"/"+p.visibility+"/"+v
			equal(t, what+" join rule", anna.State(room, "m.room.join_rules", "")["join_rule"], any(p.join))
			equal(t, what+" history", anna.State(room, "m.room.history_visibility", "")["history_visibility"], any("shared"))
			equal(t, what+" guests", anna.State(room, "m.room.guest_access", "")["guest_access"], any(p.guests))
			checkCreators(t, what, anna, bert, room, v, p.preset == "trusted_private_chat")
		}
	}
}

func checkCreators(t *testing.T, what string, anna, bert *User, room, version string, trusted bool) {
	t.Helper()
	create := anna.State(room, "m.room.create", "")
	users, _ := anna.State(room, "m.room.power_levels", "")["users"].(M)
	equal(t, what+" version", create["room_version"], any(version))
	equal(t, what+" domain in the id", strings.HasSuffix(room, ":"+serverName), version != "12")
	if _, ok := create["creator"]; ok != (version == "10") {
		t.Errorf("%s: creator in the create event: %v", what, create)
	}
	if version == "12" {
		more, _ := create["additional_creators"].([]any)
		equal(t, what+" additional creator", slices.Contains(more, any(bert.ID)), trusted)
		if users[anna.ID] != nil || users[bert.ID] != nil {
			t.Errorf("%s: creators in the power levels %v", what, users)
		}
		return
	}
	equal(t, what+" level of the creator", users[anna.ID], any(100.0))
	equal(t, what+" level of the invited", users[bert.ID] == any(100.0), trusted)
}

func createWithEverything(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	alias := Unique("everything")
	room := anna.CreateRoom(M{
		"name": "Name", "topic": "Topic", "room_alias_name": alias, "invite": []string{bert.ID}, "room_version": "11",
		"creation_content": M{"m.federate": false, "type": "m.space", "creator": "@fool:example.org", "room_version": "1"},
		"initial_state": []M{
			{"type": "m.room.encryption", "content": M{"algorithm": "m.megolm.v1.aes-sha2"}},
			{"type": "org.example.custom", "state_key": "a/b#c", "content": M{"x": 1}},
		},
		"power_level_content_override": M{"events_default": 25, "users": M{anna.ID: 100, bert.ID: 60}},
	})
	create := anna.State(room, "m.room.create", "")
	equal(t, "type", create["type"], any("m.space"))
	equal(t, "federate", create["m.federate"], any(false))
	equal(t, "room version", create["room_version"], any("11"))
	equal(t, "name", anna.State(room, "m.room.name", "")["name"], any("Name"))
	topic := anna.State(room, "m.room.topic", "")
	equal(t, "topic", topic["topic"], any("Topic"))
	equal(t, "rich topic", At(topic, "m.topic", "m.text", 0, "body"), any("Topic"))
	equal(t, "alias", anna.State(room, "m.room.canonical_alias", "")["alias"], any("#"+alias+":"+h.ServerName))
	equal(t, "encryption", anna.State(room, "m.room.encryption", "")["algorithm"], any("m.megolm.v1.aes-sha2"))
	equal(t, "custom", anna.State(room, "org.example.custom", "a/b#c")["x"], any(1.0))
	levels := anna.State(room, "m.room.power_levels", "")
	equal(t, "events_default", levels["events_default"], any(25.0))
	equal(t, "level of bert", At(levels, "users", bert.ID), any(60.0))
	equal(t, "ban level stays", levels["ban"], any(50.0))
	equal(t, "bert", anna.State(room, "m.room.member", bert.ID)["membership"], any("invite"))
	found := h.Client(t).Must("GET", Path("/directory/room/%s", "#"+alias+":"+h.ServerName), nil)
	equal(t, "alias points at", found["room_id"], any(room))
}

func createPrecedence(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	room := anna.CreateRoom(M{
		"preset": "public_chat", "name": "Of the call",
		"initial_state": []M{
			{"type": "m.room.history_visibility", "content": M{"history_visibility": "joined"}},
			{"type": "m.room.join_rules", "content": M{"join_rule": "knock"}},
			{"type": "m.room.name", "content": M{"name": "Of the state"}},
		},
	})
	equal(t, "history", anna.State(room, "m.room.history_visibility", "")["history_visibility"], any("joined"))
	equal(t, "join rule", anna.State(room, "m.room.join_rules", "")["join_rule"], any("knock"))
	equal(t, "name", anna.State(room, "m.room.name", "")["name"], any("Of the call"))
}

func createRefused(t *testing.T, h *Home) {
	const path = "/_matrix/client/v3/createRoom"
	anna, alias := h.Register(t, "anna"), Unique("taken")
	anna.CreateRoom(M{"room_alias_name": alias})
	for _, c := range []struct {
		what    string
		body    any
		errcode string
	}{
		{"no JSON", []byte("{"), "M_NOT_JSON"},
		{"a list", []byte("[]"), "M_BAD_JSON"},
		{"a name that is a number", M{"name": 7}, "M_BAD_JSON"},
		{"an invite list that is none", M{"invite": "bert"}, "M_BAD_JSON"},
		{"state without type", M{"initial_state": []M{{"content": M{}}}}, "M_BAD_JSON"},
		{"state without content", M{"initial_state": []M{{"type": "a"}}}, "M_BAD_JSON"},
		{"levels that are a list", M{"power_level_content_override": []int{}}, "M_BAD_JSON"},
		{"federate that is a word", M{"creation_content": M{"m.federate": "no"}}, "M_BAD_JSON"},
		{"an unknown version", M{"room_version": "9000"}, "M_UNSUPPORTED_ROOM_VERSION"},
		{"an experimental version", M{"room_version": "org.matrix.hydra.11"}, "M_UNSUPPORTED_ROOM_VERSION"},
		{"a taken alias", M{"room_alias_name": alias}, "M_ROOM_IN_USE"},
		{"an alias with a colon", M{"room_alias_name": "a:b"}, "M_INVALID_PARAM"},
		{"an unknown preset", M{"preset": "party"}, "M_INVALID_PARAM"},
		{"an unknown visibility", M{"visibility": "dim"}, "M_INVALID_PARAM"},
		{"an invited that is no user", M{"invite": []string{"bert"}}, "M_INVALID_PARAM"},
		{"a creator without power", M{"room_version": "11", "name": "x", "power_level_content_override": M{"users": M{anna.ID: 0}}}, "M_INVALID_ROOM_STATE"},
		{"a creator in the levels of version 12", M{"room_version": "12", "power_level_content_override": M{"users": M{anna.ID: 100}}}, "M_INVALID_ROOM_STATE"},
	} {
		if a := anna.Do("POST", path, c.body); a.Status != 400 || a.Errcode() != c.errcode {
			t.Errorf("%s: want 400 %s, got %d %s", c.what, c.errcode, a.Status, a.Raw)
		}
	}
	anna.Refused("POST", path, M{"invite": []string{"@eve:elsewhere.example"}}, 403, "M_FORBIDDEN")
	h.Client(t).Refused("POST", path, M{}, 401, "M_MISSING_TOKEN")
	rooms, _ := anna.Must("GET", Path("/joined_rooms"), nil)["joined_rooms"].([]any)
	if len(rooms) != 1 {
		t.Errorf("refused rooms were made: %v", rooms)
	}
}

func createDirect(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := anna.CreateRoom(M{"preset": "trusted_private_chat", "is_direct": true, "invite": []string{bert.ID}})
	m, _ := bert.Until("", func(m M) bool { return At(m, "rooms", "invite", room) != nil })
	own := FindState(Events(m, "rooms", "invite", room, "invite_state", "events"), "m.room.member", bert.ID)
	equal(t, "is_direct", At(own, "content", "is_direct"), any(true))
	equal(t, "inviter", own["sender"], any(anna.ID))
}
