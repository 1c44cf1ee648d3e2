package scenario

import "testing"

var memberScenarios = []Scenario{
	{"who may invite, and whom", inviting},
	{"a room is entered by id and by alias", joining},
	{"leaving and forgetting", leavingAndForgetting},
	{"kicking, banning and unbanning", kickingAndBanning},
	{"knocking, being let in and being turned away", knocking},
	{"members of a space enter its restricted room", restrictedJoin},
	{"the own member event is written by its owner", ownMemberEvent},
	{"joined_rooms lists what is joined", joinedRooms},
}

func inviting(t *testing.T, h *Home) {
	anna, bert, carl, dora := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "carl"), h.Register(t, "dora")
	room := anna.CreateRoom(M{"preset": "private_chat", "room_version": "11"})
	path := Path("/rooms/%s/invite", room)
	bert.Refused("POST", path, M{"user_id": carl.ID}, 403, "M_FORBIDDEN")
	anna.Invite(room, bert.ID)
	bert.Refused("POST", path, M{"user_id": carl.ID}, 403, "M_FORBIDDEN")
	bert.Join(room)
	bert.Invite(room, carl.ID)
	anna.Refused("POST", path, M{"user_id": bert.ID}, 403, "M_FORBIDDEN") // is in already
	anna.Act("ban", room, dora.ID)
	anna.Refused("POST", path, M{"user_id": dora.ID}, 403, "M_FORBIDDEN")
	levels := anna.State(room, "m.room.power_levels", "")
	anna.Set(room, "m.room.power_levels", "", with(levels, "invite", 50))
	bert.Refused("POST", path, M{"user_id": h.Register(t, "emil").ID}, 403, "M_FORBIDDEN")

	anna.Refused("POST", path, []byte("{"), 400, "M_NOT_JSON")
	anna.Refused("POST", path, M{"user_id": 5}, 400, "M_BAD_JSON")
	anna.Refused("POST", path, M{}, 400, "M_MISSING_PARAM")
	anna.Refused("POST", path, M{"user_id": "emil"}, 400, "M_INVALID_PARAM")
	anna.Refused("POST", path, M{"user_id": "@x:elsewhere.example"}, 403, "M_FORBIDDEN")
	anna.Refused("POST", path, M{"id_server": "id.example", "id_access_token": "x", "medium": "email", "address": "a@b.example"}, 403, "M_THREEPID_DENIED")
	reason := h.Register(t, "fritz")
	anna.Must("POST", path, M{"user_id": reason.ID, "reason": "come in"})
	equal(t, "reason", anna.State(room, "m.room.member", reason.ID)["reason"], any("come in"))
}

func joining(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	name := Unique("door")
	alias := "#" + name + ":" + h.ServerName
	open := anna.CreateRoom(M{"preset": "public_chat", "room_alias_name": name})
	closed := anna.CreateRoom(M{"preset": "private_chat"})

	got := bert.Must("POST", Query(Path("/join/%s", alias), "via", h.ServerName, "server_name", h.ServerName), M{"reason": "hello"})
	equal(t, "joined by alias", got["room_id"], any(open))
	equal(t, "reason", anna.State(open, "m.room.member", bert.ID)["reason"], any("hello"))
	got = bert.Must("POST", Path("/join/%s", open), nil) // once more, without a body
	equal(t, "joined by id", got["room_id"], any(open))

	bert.Refused("POST", Path("/rooms/%s/join", closed), M{}, 403, "M_FORBIDDEN")
	bert.Refused("POST", Path("/join/%s", closed), M{}, 403, "M_FORBIDDEN")
	bert.Refused("POST", Path("/join/%s", "#nobody-"+name+":"+h.ServerName), M{}, 404, "M_NOT_FOUND")
	bert.Refused("POST", Path("/join/%s", "nonsense"), M{}, 400, "M_INVALID_PARAM")
	if a := bert.Do("POST", Path("/join/%s", "!"+name+":"+h.ServerName), M{}); a.Status != 404 && a.Status != 403 {
		t.Errorf("joining a room that does not exist: %d %s", a.Status, a.Raw)
	}
	anna.Act("ban", open, bert.ID)
	bert.Refused("POST", Path("/join/%s", alias), M{}, 403, "M_FORBIDDEN")
	bert.Refused("POST", Path("/rooms/%s/join", open), M{}, 403, "M_FORBIDDEN")
}

func leavingAndForgetting(t *testing.T, h *Home) {
	anna, bert, eve := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "eve")
	room := group(anna, nil, bert)
	said := anna.Say(room, "before")
	forget := Path("/rooms/%s/forget", room)
	bert.Refused("POST", forget, M{}, 400, "M_UNKNOWN")
	bert.Must("POST", Path("/rooms/%s/leave", room), M{"reason": "tired"})
	equal(t, "reason", anna.State(room, "m.room.member", bert.ID)["reason"], any("tired"))
	bert.Leave(room) // once more changes nothing
	bert.Event(room, said)
	bert.Must("POST", forget, nil)
	bert.Must("POST", forget, M{})
	bert.Refused("GET", Path("/rooms/%s/state", room), nil, 403, "M_FORBIDDEN")
	bert.Refused("GET", Path("/rooms/%s/event/%s", room, said), nil, 404, "M_NOT_FOUND")
	bert.Refused("GET", Query(Path("/rooms/%s/messages", room), "dir", "b"), nil, 403, "M_FORBIDDEN")
	bert.Join(room) // forgetting is no ban
	bert.Event(room, said)
	eve.Refused("POST", Path("/rooms/%s/leave", room), M{}, 403, "M_FORBIDDEN")
	if a := eve.Do("POST", forget, M{}); a.Status == 200 {
		t.Errorf("who never was in a room forgets it: %s", a.Raw)
	}
}

func kickingAndBanning(t *testing.T, h *Home) {
	anna, bert, carl, eve := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "carl"), h.Register(t, "eve")
	room := group(anna, nil, bert, carl)
	on := func(action string) string { return Path("/rooms/%s/"+action, room) }
	for _, action := range []string{"kick", "ban"} {
		bert.Refused("POST", on(action), M{"user_id": carl.ID}, 403, "M_FORBIDDEN")
		bert.Refused("POST", on(action), M{"user_id": anna.ID}, 403, "M_FORBIDDEN")
		eve.Refused("POST", on(action), M{"user_id": carl.ID}, 403, "M_FORBIDDEN")
		anna.Refused("POST", on(action), M{}, 400, "M_MISSING_PARAM")
	}
	anna.Refused("POST", on("kick"), M{"user_id": eve.ID}, 403, "M_FORBIDDEN") // is not in
	anna.Must("POST", on("kick"), M{"user_id": bert.ID, "reason": "loud"})
	member := anna.State(room, "m.room.member", bert.ID)
	equal(t, "kicked", member["membership"], any("leave"))
	equal(t, "reason", member["reason"], any("loud"))
	bert.Join(room)

	anna.Act("ban", room, bert.ID)
	equal(t, "banned", anna.State(room, "m.room.member", bert.ID)["membership"], any("ban"))
	bert.Refused("POST", on("join"), M{}, 403, "M_FORBIDDEN")
	anna.Act("ban", room, eve.ID) // who never was there
	eve.Refused("POST", on("join"), M{}, 403, "M_FORBIDDEN")
	carl.Refused("POST", on("unban"), M{"user_id": bert.ID}, 403, "M_FORBIDDEN")
	anna.Refused("POST", on("unban"), M{"user_id": carl.ID}, 403, "M_FORBIDDEN") // is not banned
	anna.Act("unban", room, bert.ID)
	equal(t, "unbanned", anna.State(room, "m.room.member", bert.ID)["membership"], any("leave"))
	bert.Join(room)
}

func knocking(t *testing.T, h *Home) {
	anna, bert, carl, dora := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "carl"), h.Register(t, "dora")
	name := Unique("knock")
	room := anna.CreateRoom(M{"preset": "private_chat", "name": "Behind the door", "room_alias_name": name, "initial_state": []M{
		{"type": "m.room.join_rules", "content": M{"join_rule": "knock"}},
	}})
	alias := "#" + name + ":" + h.ServerName
	got := bert.Must("POST", Query(Path("/knock/%s", alias), "via", h.ServerName), M{"reason": "it is me"})
	equal(t, "knocked at", got["room_id"], any(room))
	equal(t, "reason", anna.State(room, "m.room.member", bert.ID)["reason"], any("it is me"))
	m, since := bert.Until("", func(m M) bool { return At(m, "rooms", "knock", room) != nil })
	state := Events(m, "rooms", "knock", room, "knock_state", "events")
	equal(t, "name", At(FindState(state, "m.room.name", ""), "content", "name"), any("Behind the door"))
	if FindState(state, "m.room.create", "") == nil || FindState(state, "m.room.member", bert.ID) == nil {
		t.Errorf("the knock state %v lacks something", state)
	}
	bert.Refused("POST", Path("/rooms/%s/join", room), M{}, 403, "M_FORBIDDEN")
	anna.Invite(room, bert.ID)
	_, since = bert.Until(since, func(m M) bool { return At(m, "rooms", "invite", room) != nil })
	bert.Join(room)
	bert.Until(since, func(m M) bool { return At(m, "rooms", "join", room) != nil })
	bert.Refused("POST", Path("/knock/%s", room), M{}, 403, "M_FORBIDDEN") // is in

	carl.Must("POST", Path("/knock/%s", room), nil)
	_, since = carl.Until("", func(m M) bool { return At(m, "rooms", "knock", room) != nil })
	anna.Act("kick", room, carl.ID)
	carl.Until(since, func(m M) bool { return At(m, "rooms", "leave", room) != nil })
	carl.Must("POST", Path("/knock/%s", room), M{})
	carl.Leave(room) // taken back

	anna.Act("ban", room, dora.ID)
	dora.Refused("POST", Path("/knock/%s", room), M{}, 403, "M_FORBIDDEN")
	closed := anna.CreateRoom(M{"preset": "private_chat"})
	dora.Refused("POST", Path("/knock/%s", closed), M{}, 403, "M_FORBIDDEN")
	dora.Refused("POST", Path("/knock/%s", "#none-"+name+":"+h.ServerName), M{}, 404, "M_NOT_FOUND")
	dora.Refused("POST", Path("/knock/%s", "!none"+name+":"+h.ServerName), M{}, 404, "M_NOT_FOUND")
}

func restrictedJoin(t *testing.T, h *Home) {
	anna, bert, eve := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "eve")
	for _, v := range roomVersions {
		space := anna.CreateRoom(M{"preset": "public_chat", "creation_content": M{"type": "m.space"}})
		for _, rule := range []string{"restricted", "knock_restricted"} {
			room := anna.CreateRoom(M{"room_version": v, "initial_state": []M{{"type": "m.room.join_rules", "content": M{
				"join_rule": rule, "allow": []M{{"type": "m.room_membership", "room_id": space}},
			}}}})
			bert.Refused("POST", Path("/rooms/%s/join", room), M{}, 403, "M_FORBIDDEN")
			bert.Join(space)
			bert.Join(room)
			member := anna.State(room, "m.room.member", bert.ID)
			equal(t, v+" "+rule+" authorised by", member["join_authorised_via_users_server"], any(anna.ID))
			bert.Leave(space)
			bert.Say(room, "who is in stays in")
			eve.Refused("POST", Path("/rooms/%s/join", room), M{}, 403, "M_FORBIDDEN")
			if rule == "knock_restricted" {
				eve.Must("POST", Path("/knock/%s", room), M{})
			}
			anna.Invite(room, eve.ID)
			eve.Join(room)
		}
	}
}

func ownMemberEvent(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := anna.CreateRoom(M{"preset": "public_chat"})
	bert.Set(room, "m.room.member", bert.ID, M{"membership": "join", "displayname": "Bert of the room"})
	equal(t, "name", anna.State(room, "m.room.member", bert.ID)["displayname"], any("Bert of the room"))
	bert.Set(room, "m.room.member", bert.ID, M{"membership": "join", "displayname": "Other"})
	equal(t, "name", anna.State(room, "m.room.member", bert.ID)["displayname"], any("Other"))
	path := func(u *User) string { return Path("/rooms/%s/state/m.room.member/%s", room, u.ID) }
	bert.Refused("PUT", path(anna), M{"membership": "join"}, 403, "M_FORBIDDEN")
	bert.Refused("PUT", path(anna), M{"membership": "leave"}, 403, "M_FORBIDDEN")
	bert.Refused("PUT", path(bert), M{"membership": "dancing"}, 400, "M_BAD_JSON")
	bert.Refused("PUT", path(bert), M{}, 400, "M_BAD_JSON")
	bert.Set(room, "m.room.member", bert.ID, M{"membership": "leave"})
	equal(t, "left", anna.State(room, "m.room.member", bert.ID)["membership"], any("leave"))
	anna.Set(room, "m.room.member", bert.ID, M{"membership": "invite"})
	bert.Join(room)
	anna.Set(room, "m.room.member", bert.ID, M{"membership": "ban", "reason": "r"})
	bert.Refused("PUT", path(bert), M{"membership": "join"}, 403, "M_FORBIDDEN")
	anna.Set(room, "m.room.member", bert.ID, M{"membership": "leave"})
	bert.Join(room)
}

func joinedRooms(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	one, two, three := group(anna, nil, bert), group(anna, nil, bert), group(anna, M{"invite": []string{bert.ID}})
	bert.Leave(two)
	got, _ := bert.Must("GET", Path("/joined_rooms"), nil)["joined_rooms"].([]any)
	if len(got) != 1 || got[0] != one {
		t.Errorf("joined are %v, not %s alone (left %s, invited to %s)", got, one, two, three)
	}
	none, ok := h.Register(t, "carl").Must("GET", Path("/joined_rooms"), nil)["joined_rooms"].([]any)
	if !ok || len(none) != 0 {
		t.Errorf("who is nowhere is in %v", none)
	}
}
