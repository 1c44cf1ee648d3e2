package scenario

import (
	"strings"
	"testing"
)

var stateScenarios = []Scenario{
	{"state keys may be anything, and the last slash is free", stateKeys},
	{"state is written by whoever may, and refused with the reason", stateRefused},
	{"aliases in the canonical alias must exist and lead here", canonicalAliases},
	{"members are listed as they are and as they were", memberLists},
	{"an upgrade moves a room and leaves a sign", upgrade},
	{"an upgrade is refused to who may not, and to versions nobody knows", upgradeRefused},
}

func stateKeys(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	room := anna.CreateRoom(M{})
	base := "/_matrix/client/v3/rooms/" + Seg(room) + "/state/org.example.key"
	for i, path := range []string{"", "/"} { // the empty key, with and without a slash
		put := anna.Must("PUT", base+path, M{"n": i})
		for _, read := range []string{"", "/"} {
			equal(t, "written at "+path+", read at "+read, anna.Must("GET", base+read, nil)["n"], any(float64(i)))
		}
		whole := anna.Must("GET", base+path+"?format=event", nil)
		equal(t, "event id", whole["event_id"], put["event_id"])
		equal(t, "room id", whole["room_id"], any(room))
	}
	for _, key := range []string{"a/b", "/", "#x", "a%2Fb", "a b", "a+b", "?x=y", "ü☂", "..", anna.ID, "!r:example.org", "a:b"} {
		id := anna.Set(room, "org.example.key", key, M{"key": key})
		equal(t, "content under "+key, anna.State(room, "org.example.key", key)["key"], any(key))
		ev := anna.Event(room, id)
		equal(t, "state key", ev["state_key"], any(key))
	}
	anna.Set(room, "org.example/odd type", "k", M{"odd": true})
	equal(t, "odd type", anna.State(room, "org.example/odd type", "k")["odd"], any(true))

	same1 := anna.Set(room, "org.example.same", "", M{"v": 1})
	all := anna.Do("GET", Path("/rooms/%s/state", room), nil)
	if !strings.Contains(string(all.Raw), same1) {
		t.Errorf("the whole state lacks %s", same1)
	}
	anna.Refused("GET", base+"/none", nil, 404, "M_NOT_FOUND")
	anna.Refused("GET", Path("/rooms/%s/state/org.example.none", room), nil, 404, "M_NOT_FOUND")
}

func stateRefused(t *testing.T, h *Home) {
	anna, bert, eve := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "eve")
	room := group(anna, M{"preset": "public_chat", "room_version": "11"}, bert)
	at := func(typ, key string) string { return Path("/rooms/%s/state/%s/%s", room, typ, key) }
	bert.Refused("PUT", at("m.room.name", ""), M{"name": "mine"}, 403, "M_FORBIDDEN")
	eve.Refused("PUT", at("m.room.name", ""), M{"name": "mine"}, 403, "M_FORBIDDEN")
	anna.Refused("PUT", at("org.example", bert.ID), M{}, 403, "M_FORBIDDEN") // a key that is another user
	anna.Refused("PUT", at("m.room.create", ""), M{}, 403, "M_FORBIDDEN")
	anna.Refused("PUT", at("m.room.name", ""), []byte("nope"), 400, "M_NOT_JSON")
	anna.Refused("PUT", at("m.room.name", ""), []byte(`["name"]`), 400, "M_BAD_JSON")
	anna.Refused("PUT", at("m.room.name", ""), []byte(`{"name":1.5}`), 400, "M_BAD_JSON")
	anna.Refused("PUT", at("m.room.name", ""), []byte(`{"name":9007199254740993}`), 400, "M_BAD_JSON")
	anna.Refused("PUT", at("m.room.name", ""), M{"name": strings.Repeat("x", 65000)}, 413, "M_TOO_LARGE")
	anna.Refused("PUT", at("org.example", strings.Repeat("k", 256)), M{}, 413, "M_TOO_LARGE")
	anna.Refused("PUT", at("m.room.power_levels", ""), M{"users": M{anna.ID: "100"}}, 403, "M_FORBIDDEN") // the rules of rooms refuse it
	levels := anna.State(room, "m.room.power_levels", "")
	anna.Set(room, "m.room.power_levels", "", with(levels, "users", M{anna.ID: 100, bert.ID: 50}))
	bert.Set(room, "m.room.name", "", M{"name": "ours"})
	bert.Refused("PUT", at("m.room.power_levels", ""), with(levels, "users", M{anna.ID: 100, bert.ID: 100}), 403, "M_FORBIDDEN")
	equal(t, "name", anna.State(room, "m.room.name", "")["name"], any("ours"))
}

func canonicalAliases(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	room, other := anna.CreateRoom(M{}), anna.CreateRoom(M{})
	here, there := "#"+Unique("here")+":"+h.ServerName, "#"+Unique("there")+":"+h.ServerName
	anna.Must("PUT", Path("/directory/room/%s", here), M{"room_id": room})
	anna.Must("PUT", Path("/directory/room/%s", there), M{"room_id": other})
	path := Path("/rooms/%s/state/m.room.canonical_alias/", room)
	anna.Must("PUT", path, M{"alias": here, "alt_aliases": []string{here}})
	anna.Refused("PUT", path, M{"alias": there}, 400, "M_BAD_ALIAS")
	anna.Refused("PUT", path, M{"alias": here, "alt_aliases": []string{there}}, 400, "M_BAD_ALIAS")
	anna.Refused("PUT", path, M{"alias": "#" + Unique("none") + ":" + h.ServerName}, 400, "M_BAD_ALIAS")
	anna.Refused("PUT", path, M{"alias": "no alias"}, 400, "M_INVALID_PARAM")
	anna.Refused("PUT", path, M{"alias": here, "alt_aliases": []string{"no alias"}}, 400, "M_INVALID_PARAM")
	anna.Must("DELETE", Path("/directory/room/%s", here), nil)
	// What stood there already may go on standing, so that the rest can be changed.
	anna.Must("PUT", path, M{})
}

func memberLists(t *testing.T, h *Home) {
	anna, bert, carl, dora, eve := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "carl"), h.Register(t, "dora"), h.Register(t, "eve")
	anna.Must("PUT", Path("/profile/%s/displayname", anna.ID), M{"displayname": "Anna A."})
	room := group(anna, nil, bert)
	mark := anna.Say(room, "then")
	then, _ := At(anna.Must("GET", Path("/rooms/%s/context/%s", room, mark), nil), "end").(string)
	carl.Join(room)
	anna.Invite(room, dora.ID)
	bert.Leave(room)

	list := func(params ...string) []string {
		m := anna.Must("GET", Query(Path("/rooms/%s/members", room), params...), nil)
		return Keys(Events(m, "chunk"), "m.room.member")
	}
	same(t, "all", list(), sorted(anna.ID, bert.ID, carl.ID, dora.ID))
	same(t, "joined", list("membership", "join"), sorted(anna.ID, carl.ID))
	same(t, "not left", list("not_membership", "leave"), sorted(anna.ID, carl.ID, dora.ID))
	same(t, "invited", list("membership", "invite"), []string{dora.ID})
	same(t, "then", list("at", then), sorted(anna.ID, bert.ID))
	same(t, "joined then", list("at", then, "membership", "join"), sorted(anna.ID, bert.ID))
	anna.Refused("GET", Query(Path("/rooms/%s/members", room), "membership", "dancing"), nil, 400, "M_INVALID_PARAM")
	anna.Refused("GET", Query(Path("/rooms/%s/members", room), "at", "nonsense"), nil, 400, "M_INVALID_PARAM")

	joined, _ := anna.Must("GET", Path("/rooms/%s/joined_members", room), nil)["joined"].(M)
	equal(t, "how many are joined", len(joined), 2)
	equal(t, "name", At(joined, anna.ID, "display_name"), any("Anna A."))
	for _, u := range []*User{bert, dora, eve} {
		u.Refused("GET", Path("/rooms/%s/joined_members", room), nil, 403, "M_FORBIDDEN")
	}
	// Who left sees the members of that day.
	gone := bert.Must("GET", Path("/rooms/%s/members", room), nil)
	same(t, "as bert left", Keys(Events(gone, "chunk"), "m.room.member"), sorted(anna.ID, bert.ID, carl.ID, dora.ID))
	eve.Join(room)
	gone = bert.Must("GET", Path("/rooms/%s/members", room), nil)
	same(t, "still as bert left", Keys(Events(gone, "chunk"), "m.room.member"), sorted(anna.ID, bert.ID, carl.ID, dora.ID))
}

// upgrade follows a room from version to version.
//
// spec: c-s §Room Upgrades
func upgrade(t *testing.T, h *Home) {
	anna, bert, carl := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "carl")
	for _, v := range []struct{ from, to string }{{"10", "11"}, {"11", "12"}, {"12", "12"}, {"12", "10"}} {
		name, what := Unique("up"), v.from+" to "+v.to
		alias := "#" + name + ":" + h.ServerName
		old := group(anna, M{"preset": "public_chat", "visibility": "public", "room_version": v.from, "name": "Moved", "topic": "T",
			"room_alias_name": name, "creation_content": M{"m.federate": false, "type": "org.example"}}, bert)
		levels := anna.State(old, "m.room.power_levels", "")
		users, _ := levels["users"].(M)
		anna.Set(old, "m.room.power_levels", "", with(levels, "users", with(users, bert.ID, 40), "ban", 60))
		anna.Act("ban", old, carl.ID)
		last := anna.Say(old, "last")
		fresh, _ := anna.Must("POST", Path("/rooms/%s/upgrade", old), M{"new_version": v.to})["replacement_room"].(string)

		equal(t, what+" tombstone", anna.State(old, "m.room.tombstone", "")["replacement_room"], any(fresh))
		create := anna.State(fresh, "m.room.create", "")
		equal(t, what+" version", create["room_version"], any(v.to))
		equal(t, what+" predecessor", At(create, "predecessor", "room_id"), any(old))
		if v.to != "12" && At(create, "predecessor", "event_id") == nil {
			t.Errorf("%s: no last event (%s) in %v", what, last, create)
		}
		equal(t, what+" federate", create["m.federate"], any(false))
		equal(t, what+" type", create["type"], any("org.example"))
		equal(t, what+" name", anna.State(fresh, "m.room.name", "")["name"], any("Moved"))
		equal(t, what+" topic", anna.State(fresh, "m.room.topic", "")["topic"], any("T"))
		equal(t, what+" join rule", anna.State(fresh, "m.room.join_rules", "")["join_rule"], any("public"))
		now := anna.State(fresh, "m.room.power_levels", "")
		equal(t, what+" level of bert", At(now, "users", bert.ID), any(40.0))
		equal(t, what+" ban level", now["ban"], any(60.0))
		equal(t, what+" creator in levels", At(now, "users", anna.ID) != nil, v.to != "12")
		equal(t, what+" alias", anna.State(fresh, "m.room.canonical_alias", "")["alias"], any(alias))
		equal(t, what+" alias leads to", bert.Must("GET", Path("/directory/room/%s", alias), nil)["room_id"], any(fresh))
		equal(t, what+" published", bert.Must("GET", Path("/directory/list/room/%s", fresh), nil)["visibility"], any("public"))
		carl.Refused("POST", Path("/rooms/%s/join", fresh), M{}, 403, "M_FORBIDDEN")
		bert.Refused("PUT", Path("/rooms/%s/send/m.room.message/x", old), M{"body": "late"}, 403, "M_FORBIDDEN")
		bert.Join(fresh)
		bert.Say(fresh, "here")
	}
}

func upgradeRefused(t *testing.T, h *Home) {
	anna, bert, eve := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "eve")
	room := group(anna, M{"preset": "public_chat", "room_version": "11"}, bert)
	path := Path("/rooms/%s/upgrade", room)
	anna.Refused("POST", path, M{"new_version": "9000"}, 400, "M_UNSUPPORTED_ROOM_VERSION")
	anna.Refused("POST", path, M{}, 400, "M_MISSING_PARAM")
	anna.Refused("POST", path, M{"new_version": 12}, 400, "M_BAD_JSON")
	bert.Refused("POST", path, M{"new_version": "12"}, 403, "M_FORBIDDEN")
	eve.Refused("POST", path, M{"new_version": "12"}, 403, "M_FORBIDDEN")
	anna.Refused("GET", Path("/rooms/%s/state/m.room.tombstone/", room), nil, 404, "M_NOT_FOUND")
	fresh, _ := anna.Must("POST", path, M{"new_version": "12", "additional_creators": []string{bert.ID}})["replacement_room"].(string)
	equal(t, "additional creator", At(anna.State(fresh, "m.room.create", ""), "additional_creators", 0), any(bert.ID))
}
