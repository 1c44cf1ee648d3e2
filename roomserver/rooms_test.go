package roomserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/roomserver/api"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

// fails makes a call that must be refused with a code.
func fails[Req, Resp any](h *house, e bus.Endpoint[Req, Resp], req Req, code string) {
	h.Helper()
	_, err := bus.Call(context.Background(), h.bus, e, req)
	h.wantCode(err, code)
}

func TestForget(t *testing.T) {
	h := newHouse(t)
	room := h.create(api.CreateRoomReq{Creator: anna, Preset: "public_chat"})
	forgotten := func() int64 { return count(h.T, h.db, `SELECT count(*) FROM roomserver.forgotten`) }
	fails(h, api.Forget, api.ForgetReq{RoomID: room, UserID: bert}, "M_NOT_FOUND")
	fails(h, api.Forget, api.ForgetReq{RoomID: nowhere, UserID: anna}, "M_NOT_FOUND")
	h.act(room, bert, api.Join, bert, "")
	fails(h, api.Forget, api.ForgetReq{RoomID: room, UserID: bert}, "M_UNKNOWN")
	h.act(room, bert, api.Leave, bert, "")
	call(t, h.bus, api.Forget, api.ForgetReq{RoomID: room, UserID: bert})
	call(t, h.bus, api.Forget, api.ForgetReq{RoomID: room, UserID: bert})
	if n := forgotten(); n != 1 {
		t.Errorf("%d rooms are forgotten", n)
	}
	h.act(room, bert, api.Join, bert, "")
	if n := forgotten(); n != 0 {
		t.Errorf("%d rooms are forgotten by who came back", n)
	}
	h.act(room, anna, api.Ban, bert, "")
	call(t, h.bus, api.Forget, api.ForgetReq{RoomID: room, UserID: bert})
}

// disk tells whether a text is anywhere in the stored events.
func (h *house) disk(text string) bool {
	h.Helper()
	return count(h.T, h.db, `SELECT count(*) FROM roomserver.event_content WHERE position(convert_to($1, 'UTF8') IN json) > 0`, text) > 0
}

func TestRedaction(t *testing.T) {
	eachVersion(t, func(h *house, v matrix.RoomVersion) {
		room := h.create(api.CreateRoomReq{Creator: anna, Version: v, Preset: "public_chat", Invite: invitees(bert)})
		other := h.create(api.CreateRoomReq{Creator: anna, Version: v})
		h.act(room, bert, api.Join, bert, "")
		mine, hers := h.say(room, bert, "my words", ""), h.say(room, anna, "her words", "")
		elsewhere := h.say(other, anna, "x", "")
		topic := h.put(room, anna, "m.room.topic", "", `{"topic":"secret topic"}`, "")
		answer := call(h.T, h.bus, api.SendEvent, api.SendEventReq{RoomID: room, Sender: bert, Type: "m.reaction",
			Content: json.RawMessage(fmt.Sprintf(`{"m.relates_to":{"rel_type":"m.annotation","event_id":%q,"key":"secret key"}}`, mine))}).EventID
		redact := func(who matrix.UserID, target matrix.EventID, code string) {
			h.Helper()
			_, err := bus.Call(context.Background(), h.bus, api.SendEvent,
				api.SendEventReq{RoomID: room, Sender: who, Type: "m.room.redaction", Content: json.RawMessage(`{"reason":"r"}`), Redacts: target})
			h.wantCode(err, code)
		}
		redact(bert, hers, "M_FORBIDDEN")
		redact(bert, "$unknown", "M_NOT_FOUND")
		redact(anna, elsewhere, "M_NOT_FOUND")
		redact(carl, mine, "M_FORBIDDEN")
		redact(bert, "", "M_INVALID_PARAM")
		redact(bert, mine, "")
		redact(bert, mine, "") // twice changes nothing
		redact(bert, answer, "")
		redact(anna, topic, "")
		redact(anna, h.stateEvent(room, "m.room.member", string(bert)).ID, "")
		for _, text := range []string{"my words", "secret topic", "secret key"} {
			if h.disk(text) {
				h.Errorf("%q is still on disk", text)
			}
		}
		if !h.disk("her words") {
			h.Error("her words are gone")
		}
		if topic := h.content(room, "m.room.topic", ""); len(topic) != 0 {
			h.Errorf("redacted topic: %v", topic)
		}
		h.say(room, bert, "still a member", "")
		if n := count(h.T, h.db, `SELECT count(*) FROM roomserver.relations`); n != 0 {
			h.Errorf("%d relations of redacted events", n)
		}
		if v.RedactsInContent() { // also as any other event is sent
			call(h.T, h.bus, api.SendEvent, api.SendEventReq{RoomID: room, Sender: anna, Type: "m.room.redaction",
				Content: json.RawMessage(fmt.Sprintf(`{"redacts":%q}`, hers))})
			if h.disk("her words") {
				h.Error("her words are still on disk")
			}
		}
	})
}

func TestCanonicalAlias(t *testing.T) {
	h := newHouse(t)
	room := h.create(api.CreateRoomReq{Creator: anna, AliasLocalpart: "one", Invite: invitees(bert)})
	h.create(api.CreateRoomReq{Creator: anna, AliasLocalpart: "other"})
	h.act(room, bert, api.Join, bert, "")
	set := func(who matrix.UserID, alias matrix.RoomAlias, room matrix.RoomID, code string) {
		t.Helper()
		fails(h, api.SetAlias, api.SetAliasReq{Alias: alias, RoomID: room, UserID: who}, code)
	}
	set(bert, "#two:example.org", room, "")
	set(bert, "#two:example.org", room, "M_UNKNOWN")
	set(bert, "#two:elsewhere.org", room, "M_INVALID_PARAM")
	set(carl, "#three:example.org", room, "M_FORBIDDEN")
	set(carl, "#three:example.org", nowhere, "M_FORBIDDEN")

	name := func(content, code string) { t.Helper(); h.put(room, anna, "m.room.canonical_alias", "", content, code) }
	name(`{"alias":"#one:example.org","alt_aliases":["#two:example.org"]}`, "")
	name(`{"alias":"#other:example.org"}`, "M_BAD_ALIAS")
	name(`{"alt_aliases":["#nothing:example.org"]}`, "M_BAD_ALIAS")
	name(`{"alias":"one"}`, "M_INVALID_PARAM")
	name(`{"alias":1}`, "M_INVALID_PARAM")

	fails(h, api.DeleteAlias, api.DeleteAliasReq{Alias: "#nothing:example.org", UserID: anna}, "M_NOT_FOUND")
	fails(h, api.DeleteAlias, api.DeleteAliasReq{Alias: "#one:example.org", UserID: bert}, "M_FORBIDDEN")
	fails(h, api.DeleteAlias, api.DeleteAliasReq{Alias: "#two:example.org", UserID: anna}, "")
	want := map[string]any{"alias": "#one:example.org", "alt_aliases": []any{}}
	if diff := cmp.Diff(want, h.content(room, "m.room.canonical_alias", "")); diff != "" {
		t.Errorf("after deleting (-want +got):\n%s", diff)
	}
	fails(h, api.ResolveAlias, api.ResolveAliasReq{Alias: "#two:example.org"}, "M_NOT_FOUND")

	fails(h, api.Publish, api.PublishReq{RoomID: room, UserID: bert, Published: true}, "M_FORBIDDEN")
	fails(h, api.Publish, api.PublishReq{RoomID: room, UserID: anna, Published: true}, "")
	if n := count(t, h.db, `SELECT count(*) FROM roomserver.rooms WHERE published`); n != 1 {
		t.Errorf("%d rooms are published", n)
	}
}

func TestMemberEventsOfClients(t *testing.T) {
	h := newHouse(t)
	room := h.create(api.CreateRoomReq{Creator: anna, Preset: "public_chat"})
	h.act(room, bert, api.Join, bert, "")
	nick := `{"membership":"join","displayname":"Captain","join_authorised_via_users_server":"@anna:example.org"}`
	id := h.put(room, bert, "m.room.member", string(bert), nick, "")
	if got := h.content(room, "m.room.member", string(bert)); got["displayname"] != "Captain" || len(got) != 2 {
		t.Errorf("member event %v", got)
	}
	if again := h.put(room, bert, "m.room.member", string(bert), `{"displayname":"Captain", "membership":"join"}`, ""); again != id {
		t.Errorf("the same member event was sent again: %s, then %s", id, again)
	}
	h.put(room, bert, "m.room.member", string(emil), `{"membership":"invite"}`, "M_FORBIDDEN")
	h.put(room, bert, "m.room.member", string(anna), `{"membership":"join"}`, "M_FORBIDDEN")
	h.put(room, bert, "m.room.member", "nobody", `{"membership":"invite"}`, "M_INVALID_PARAM")
	h.put(room, bert, "m.room.member", string(carl), `{"membership":"dance"}`, "M_FORBIDDEN")
	h.put(room, carl, "m.room.member", string(dora), `{"membership":"invite"}`, "M_FORBIDDEN")
	h.put(room, bert, "m.room.topic", "", `{"topic":"T"}`, "M_FORBIDDEN")
	h.put(room, anna, "org.example.n", "", `{"n":1.5}`, "M_BAD_JSON")
	h.put(room, anna, "org.example.n", "@bert:example.org", `{}`, "M_FORBIDDEN")
	h.say(room, anna, strings.Repeat("x", 66_000), "M_TOO_LARGE")
	h.put(room, anna, strings.Repeat("x", 300), "", `{}`, "M_TOO_LARGE")
	h.say(nowhere, anna, "x", "M_FORBIDDEN")

	profile := api.UpdateProfileReq{RoomID: room, UserID: bert, Profile: api.Profile{DisplayName: "B", AvatarURL: "mxc://example.org/a"}}
	first := call(t, h.bus, api.UpdateProfile, profile).EventID
	if again := call(t, h.bus, api.UpdateProfile, profile).EventID; again != first || first == "" {
		t.Errorf("the same profile made %q, then %q", first, again)
	}
	if id := call(t, h.bus, api.UpdateProfile, api.UpdateProfileReq{RoomID: room, UserID: carl}).EventID; id != "" {
		t.Errorf("who is not a member has a profile here: %s", id)
	}
	want := map[string]any{"membership": "join", "displayname": "B", "avatar_url": "mxc://example.org/a"}
	if diff := cmp.Diff(want, h.content(room, "m.room.member", string(bert))); diff != "" {
		t.Errorf("member event (-want +got):\n%s", diff)
	}
}

func TestLeaveAll(t *testing.T) {
	h := newHouse(t)
	call(t, h.bus, api.LeaveAll, api.LeaveAllReq{UserID: bert}) // of whom nothing is known
	joined := h.create(api.CreateRoomReq{Creator: anna, Preset: "public_chat"})
	invited := h.create(api.CreateRoomReq{Creator: anna, Invite: invitees(bert)})
	knocked := h.create(api.CreateRoomReq{Creator: anna,
		InitialState: []api.StateEvent{{Type: "m.room.join_rules", Content: json.RawMessage(`{"join_rule":"knock"}`)}}})
	banned := h.create(api.CreateRoomReq{Creator: anna})
	h.act(joined, bert, api.Join, bert, "")
	h.act(knocked, bert, api.Knock, bert, "")
	h.act(banned, anna, api.Ban, bert, "")
	if got := call(t, h.bus, api.JoinedRooms, api.JoinedRoomsReq{UserID: bert}).RoomIDs; !slices.Equal(got, []matrix.RoomID{joined}) {
		t.Errorf("joined to %v", got)
	}
	if !call(t, h.bus, api.ShareRoom, api.ShareRoomReq{A: anna, B: bert}).Share {
		t.Error("the two share no room")
	}
	call(t, h.bus, api.LeaveAll, api.LeaveAllReq{UserID: bert})
	call(t, h.bus, api.LeaveAll, api.LeaveAllReq{UserID: bert})
	got := []string{h.membership(joined, bert), h.membership(invited, bert), h.membership(knocked, bert), h.membership(banned, bert)}
	if diff := cmp.Diff([]string{"leave", "leave", "leave", "ban"}, got); diff != "" {
		t.Errorf("memberships (-want +got):\n%s", diff)
	}
	if call(t, h.bus, api.ShareRoom, api.ShareRoomReq{A: anna, B: bert}).Share {
		t.Error("the two still share a room")
	}
}

func TestUpgrade(t *testing.T) {
	for _, from := range matrix.Versions() {
		for _, to := range matrix.Versions() {
			t.Run(string(from+" to "+to), func(t *testing.T) { upgrade(newHouse(t), from, to) })
		}
	}
}

func upgrade(h *house, from, to matrix.RoomVersion) {
	room := h.create(api.CreateRoomReq{Creator: anna, Version: from, Preset: "public_chat", AliasLocalpart: "group", Published: true,
		Name: "Group", Topic: "T", Invite: invitees(bert, carl), CreationContent: json.RawMessage(`{"type":"m.space"}`),
		InitialState: []api.StateEvent{
			{Type: "m.space.child", StateKey: "!child:example.org", Content: json.RawMessage(`{"via":["example.org"]}`)},
			{Type: "org.example.x", Content: json.RawMessage(`{}`)},
		}})
	h.act(room, bert, api.Join, bert, "")
	h.act(room, anna, api.Ban, dora, "")
	levels := h.content(room, "m.room.power_levels", "")
	levels["users"].(map[string]any)[string(bert)] = 60
	raw, _ := json.Marshal(levels)
	h.put(room, anna, "m.room.power_levels", "", string(raw), "")

	fails(h, api.UpgradeRoom, api.UpgradeRoomReq{RoomID: room, Sender: bert, Version: to}, "M_FORBIDDEN")
	fails(h, api.UpgradeRoom, api.UpgradeRoomReq{RoomID: room, Sender: carl, Version: to}, "M_FORBIDDEN")
	fails(h, api.UpgradeRoom, api.UpgradeRoomReq{RoomID: nowhere, Sender: anna, Version: to}, "M_FORBIDDEN")
	fails(h, api.UpgradeRoom, api.UpgradeRoomReq{RoomID: room, Sender: anna, Version: "77"}, "M_UNSUPPORTED_ROOM_VERSION")
	fresh := call(h.T, h.bus, api.UpgradeRoom, api.UpgradeRoomReq{RoomID: room, Sender: anna, Version: to}).RoomID

	create := h.content(fresh, "m.room.create", "")
	predecessor, _ := create["predecessor"].(map[string]any)
	got := []any{create["type"], create["room_version"], predecessor["room_id"],
		h.content(fresh, "m.room.name", "")["name"], h.content(fresh, "m.room.topic", "")["topic"],
		h.content(fresh, "m.room.join_rules", "")["join_rule"], h.content(fresh, "m.room.canonical_alias", "")["alias"],
		h.membership(fresh, dora), h.membership(fresh, bert), h.content(fresh, "m.space.child", "!child:example.org") != nil,
		h.content(fresh, "org.example.x", "") != nil, h.content(room, "m.room.tombstone", "")["replacement_room"],
		h.content(room, "m.room.canonical_alias", "")["alias"], h.content(room, "m.room.power_levels", "")["events_default"],
	}
	want := []any{"m.space", string(to), string(room), "Group", "T", "public", "#group:example.org",
		"ban", "", true, false, string(fresh), nil, 50.0}
	if diff := cmp.Diff(want, got); diff != "" {
		h.Errorf("upgrade (-want +got):\n%s", diff)
	}
	if at := call(h.T, h.bus, api.ResolveAlias, api.ResolveAliasReq{Alias: "#group:example.org"}).RoomID; at != fresh {
		h.Errorf("the alias points at %s", at)
	}
	if n := count(h.T, h.db, `SELECT count(*) FROM roomserver.rooms WHERE published AND room_id = $1`, string(fresh)); n != 1 {
		h.Error("the new room is not in the directory")
	}
	users, _ := h.content(fresh, "m.room.power_levels", "")["users"].(map[string]any)
	_, annaListed := users[string(anna)]
	if users[string(bert)] != 60.0 || annaListed == to.CreatorsPrivileged() {
		h.Errorf("levels of users: %v", users)
	}
	h.say(room, bert, "quiet now?", codeIf(h.content(room, "m.room.power_levels", "")["events_default"].(float64) > 60, "M_FORBIDDEN"))
	h.act(fresh, bert, api.Join, bert, "")
	h.act(fresh, dora, api.Join, dora, "M_FORBIDDEN")
	// Whoever made the new room may replace it in turn.
	call(h.T, h.bus, api.UpgradeRoom, api.UpgradeRoomReq{RoomID: fresh, Sender: anna, Version: to})
}

func codeIf(cond bool, code string) string {
	if cond {
		return code
	}
	return ""
}

// TestRepeatedRequests repeats requests at two instances at once, and one after
// its sender has left.
func TestRepeatedRequests(t *testing.T) {
	h := newHouse(t)
	run(t, h.db, h.bus)
	other := start(t, h.db)
	room := h.create(api.CreateRoomReq{Creator: anna, Preset: "public_chat"})
	h.act(room, bert, api.Join, bert, "")
	ids := make([][]matrix.EventID, 20)
	var g errgroup.Group
	for i := range ids {
		ids[i] = make([]matrix.EventID, 4)
		for n := range ids[i] {
			g.Go(func() error {
				b := []*bus.Bus{h.bus, other}[n%2]
				resp, err := bus.Call(context.Background(), b, api.SendEvent, message(room, bert, fmt.Sprint(i), "x"))
				ids[i][n] = resp.EventID
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, same := range ids {
		if same[0] == "" || !slices.Equal(same, slices.Repeat(same[:1], 4)) {
			t.Errorf("request %d made %v", i, same)
		}
	}
	h.act(room, bert, api.Leave, bert, "")
	third := start(t, h.db)
	if id := call(t, third, api.SendEvent, message(room, bert, "7", "x")).EventID; id != ids[7][0] {
		t.Errorf("the repetition of a request of who has left made %s, not %s", id, ids[7][0])
	}
	_, err := bus.Call(context.Background(), third, api.SendEvent, message(room, bert, "new", "x"))
	h.wantCode(err, "M_FORBIDDEN")
	_, err = bus.Call(context.Background(), third, api.SendEvent, message(room, anna, "a\x00b", "x"))
	h.wantCode(err, "M_INVALID_PARAM")
	strange := `{"m.relates_to":{"rel_type":"m.\u0000","event_id":"$\u0000"}}`
	call(t, third, api.SendEvent, api.SendEventReq{RoomID: room, Sender: anna, Type: "m.room.message", Content: json.RawMessage(strange)})
}
