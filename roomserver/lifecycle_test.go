package roomserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/internal/testkit"
	"allmende/roomserver"
	"allmende/roomserver/api"
	"allmende/roomserver/read"

	"github.com/google/go-cmp/cmp"
)

const (
	carl    matrix.UserID = "@carl:example.org"
	dora    matrix.UserID = "@dora:example.org"
	emil    matrix.UserID = "@emil:elsewhere.org"
	nowhere               = matrix.RoomID("!nowhere:example.org")
)

// house is a room server with its database, checked when the test ends.
type house struct {
	*testing.T
	db  *pg.DB
	bus *bus.Bus
	m   *read.Model
}

func newHouse(t *testing.T) *house {
	db := testkit.Migrated(t, roomserver.Migrate)
	t.Cleanup(func() { assertSound(t, db) })
	return &house{t, db, start(t, db), read.New(db)}
}

func (h *house) create(req api.CreateRoomReq) matrix.RoomID {
	h.Helper()
	return call(h.T, h.bus, api.CreateRoom, req).RoomID
}

func (h *house) createFails(req api.CreateRoomReq, code string) {
	h.Helper()
	_, err := bus.Call(context.Background(), h.bus, api.CreateRoom, req)
	h.wantCode(err, code)
}

// wantCode compares the code of an error; "" wants none.
func (h *house) wantCode(err error, code string) {
	h.Helper()
	got := ""
	if err != nil {
		got = matrix.AsError(err).Code
	}
	if got != code {
		h.Errorf("want %q, got %v", code, err)
	}
}

// act changes a membership; code is the refusal expected, "" for none.
func (h *house) act(room matrix.RoomID, sender matrix.UserID, action api.Action, target matrix.UserID, code string) matrix.EventID {
	h.Helper()
	resp, err := bus.Call(context.Background(), h.bus, api.SetMembership,
		api.SetMembershipReq{RoomID: room, Sender: sender, Target: target, Action: action})
	if got := codeOf(err); got != code {
		h.Errorf("%s %s %s: want %q, got %v", sender, action, target, code, err)
	}
	return resp.EventID
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return matrix.AsError(err).Code
}

// put sends a state event; code is the refusal expected, "" for none.
func (h *house) put(room matrix.RoomID, sender matrix.UserID, typ, key, content, code string) matrix.EventID {
	h.Helper()
	resp, err := bus.Call(context.Background(), h.bus, api.SendEvent,
		api.SendEventReq{RoomID: room, Sender: sender, Type: typ, StateKey: &key, Content: json.RawMessage(content)})
	if got := codeOf(err); got != code {
		h.Errorf("%s sends %s %s: want %q, got %v", sender, typ, content, code, err)
	}
	return resp.EventID
}

func (h *house) say(room matrix.RoomID, sender matrix.UserID, body, code string) matrix.EventID {
	h.Helper()
	resp, err := bus.Call(context.Background(), h.bus, api.SendEvent, message(room, sender, "", body))
	if got := codeOf(err); got != code {
		h.Errorf("%s says %q: want %q, got %v", sender, body, code, err)
	}
	return resp.EventID
}

// content is the content of a place in the current state, nil when empty.
func (h *house) content(room matrix.RoomID, typ, key string) map[string]any {
	h.Helper()
	ev := h.stateEvent(room, typ, key)
	if ev == nil {
		return nil
	}
	var out struct{ Content map[string]any }
	if err := json.Unmarshal(ev.JSON, &out); err != nil {
		h.Fatal(err)
	}
	return out.Content
}

func (h *house) stateEvent(room matrix.RoomID, typ, key string) *read.Event {
	h.Helper()
	ctx := context.Background()
	r, err := h.m.Room(ctx, room)
	if err != nil {
		h.Fatal(err)
	}
	list, err := h.m.CurrentState(ctx, r.NID)
	if err != nil {
		h.Fatal(err)
	}
	for _, e := range list {
		names, err := h.m.Strings(ctx, []int64{e.TypeNID, *e.KeyNID})
		if err != nil {
			h.Fatal(err)
		}
		if names[e.TypeNID] == typ && names[*e.KeyNID] == key {
			return &e
		}
	}
	return nil
}

func (h *house) membership(room matrix.RoomID, user matrix.UserID) string {
	h.Helper()
	m, _ := h.content(room, "m.room.member", string(user))["membership"].(string)
	return m
}

func invitees(users ...matrix.UserID) (out []api.Invitee) {
	for _, u := range users {
		out = append(out, api.Invitee{UserID: u, Profile: api.Profile{DisplayName: "I am " + u.Localpart()}})
	}
	return out
}

func eachVersion(t *testing.T, f func(*house, matrix.RoomVersion)) {
	for _, v := range matrix.Versions() {
		t.Run(string(v), func(t *testing.T) { f(newHouse(t), v) })
	}
}

func TestPresets(t *testing.T) {
	eachVersion(t, func(h *house, v matrix.RoomVersion) {
		for _, want := range []struct{ preset, join, guests string }{
			{"private_chat", "invite", "can_join"}, {"trusted_private_chat", "invite", "can_join"},
			{"public_chat", "public", "forbidden"}, {"", "invite", "can_join"},
		} {
			room := h.create(api.CreateRoomReq{Creator: anna, Version: v, Preset: want.preset, Name: "N", Topic: "T",
				Invite: invitees(bert), IsDirect: true, Profile: api.Profile{DisplayName: "Anna"}})
			got := []any{
				h.content(room, "m.room.join_rules", "")["join_rule"], h.content(room, "m.room.guest_access", "")["guest_access"],
				h.content(room, "m.room.history_visibility", "")["history_visibility"], h.content(room, "m.room.name", "")["name"],
				h.content(room, "m.room.topic", "")["topic"], h.content(room, "m.room.create", "")["room_version"],
			}
			if diff := cmp.Diff([]any{want.join, want.guests, "shared", "N", "T", string(v)}, got); diff != "" {
				h.Errorf("preset %q (-want +got):\n%s", want.preset, diff)
			}
			invite := h.content(room, "m.room.member", string(bert))
			if diff := cmp.Diff(map[string]any{"membership": "invite", "displayname": "I am bert", "is_direct": true}, invite); diff != "" {
				h.Errorf("invite (-want +got):\n%s", diff)
			}
			creator, _ := h.content(room, "m.room.create", "")["creator"].(string)
			if (creator == string(anna)) != v.CreatorInContent() {
				h.Errorf("creator %q in version %s", creator, v)
			}
			users, _ := h.content(room, "m.room.power_levels", "")["users"].(map[string]any)
			more, _ := h.content(room, "m.room.create", "")["additional_creators"].([]any)
			trusted := want.preset == "trusted_private_chat"
			switch {
			case v.CreatorsPrivileged():
				if len(users) != 0 || (len(more) == 1) != trusted {
					h.Errorf("preset %q: users %v, additional creators %v", want.preset, users, more)
				}
			case users[string(anna)] != 100.0 || (users[string(bert)] == 100.0) != trusted || more != nil:
				h.Errorf("preset %q: users %v", want.preset, users)
			}
		}
	})
}

func TestCreateRoomWithWishes(t *testing.T) {
	eachVersion(t, func(h *house, v matrix.RoomVersion) {
		room := h.create(api.CreateRoomReq{
			Creator: anna, Version: v, Preset: "public_chat", AliasLocalpart: "group", Published: true, Name: "wins",
			CreationContent: json.RawMessage(`{"type":"m.space","creator":"@x:y","room_version":"1","m.federate":false}`),
			InitialState: []api.StateEvent{
				{Type: "m.room.join_rules", Content: json.RawMessage(`{"join_rule":"knock"}`)},
				{Type: "m.room.name", Content: json.RawMessage(`{"name":"loses"}`)},
				{Type: "org.example.x", StateKey: "k", Content: json.RawMessage(`{"n":1}`)},
			},
			PowerLevels: json.RawMessage(`{"events_default":7}`),
		})
		got := []any{
			h.content(room, "m.room.join_rules", "")["join_rule"], h.content(room, "m.room.name", "")["name"],
			h.content(room, "org.example.x", "k")["n"], h.content(room, "m.room.power_levels", "")["events_default"],
			h.content(room, "m.room.canonical_alias", "")["alias"], h.content(room, "m.room.create", "")["type"],
			h.content(room, "m.room.create", "")["m.federate"],
		}
		if diff := cmp.Diff([]any{"knock", "wins", 1.0, 7.0, "#group:example.org", "m.space", false}, got); diff != "" {
			h.Errorf("state (-want +got):\n%s", diff)
		}
		if found := call(h.T, h.bus, api.ResolveAlias, api.ResolveAliasReq{Alias: "#group:example.org"}).RoomID; found != room {
			h.Errorf("alias points at %s", found)
		}
		h.createFails(api.CreateRoomReq{Creator: bert, Version: v, AliasLocalpart: "group"}, "M_ROOM_IN_USE")
		for _, bad := range []struct {
			code string
			req  api.CreateRoomReq
		}{
			{"M_INVALID_ROOM_STATE", api.CreateRoomReq{PowerLevels: json.RawMessage(`{"users":{},"state_default":100,"events":{}}`), Name: "x", Version: "11"}},
			{"M_INVALID_ROOM_STATE", api.CreateRoomReq{PowerLevels: json.RawMessage(`{"users":{"@anna:example.org":100}}`), Version: "12"}},
			{"M_INVALID_ROOM_STATE", api.CreateRoomReq{PowerLevels: json.RawMessage(`{"ban":"50"}`), Version: v}},
			{"M_INVALID_ROOM_STATE", api.CreateRoomReq{InitialState: []api.StateEvent{{Type: "m.room.create", Content: json.RawMessage(`{}`)}}, Version: v}},
			{"M_INVALID_ROOM_STATE", api.CreateRoomReq{InitialState: []api.StateEvent{{Type: "m.room.member", Content: json.RawMessage(`{}`)}}, Version: v}},
			{"M_BAD_JSON", api.CreateRoomReq{InitialState: []api.StateEvent{{Type: "x", Content: json.RawMessage(`{"f":1.5}`)}}, Version: v}},
			{"M_BAD_JSON", api.CreateRoomReq{InitialState: []api.StateEvent{{Content: json.RawMessage(`{}`)}}, Version: v}},
			{"M_BAD_JSON", api.CreateRoomReq{PowerLevels: json.RawMessage(`[]`), Version: v}},
			{"M_BAD_JSON", api.CreateRoomReq{CreationContent: json.RawMessage(`{"m.federate":"false"}`), Version: v}},
			{"M_BAD_JSON", api.CreateRoomReq{CreationContent: json.RawMessage(`{"m.federate":null}`), Version: v}},
			{"M_BAD_JSON", api.CreateRoomReq{CreationContent: json.RawMessage(`{"additional_creators":["anna"]}`), Version: "12"}},
			{"M_INVALID_PARAM", api.CreateRoomReq{Preset: "cosy", Version: v}},
			{"M_INVALID_PARAM", api.CreateRoomReq{AliasLocalpart: "a:b", Version: v}},
			{"M_INVALID_PARAM", api.CreateRoomReq{AliasLocalpart: "evil.org:80", Version: v}},
			{"M_UNSUPPORTED_ROOM_VERSION", api.CreateRoomReq{Version: "9"}},
			{"M_UNSUPPORTED_ROOM_VERSION", api.CreateRoomReq{Version: "13"}},
			{"M_FORBIDDEN", api.CreateRoomReq{Invite: invitees(emil), Version: v}},
		} {
			bad.req.Creator = anna
			h.createFails(bad.req, bad.code)
		}
		if n := count(h.T, h.db, `SELECT count(*) FROM roomserver.rooms`); n != 1 {
			h.Errorf("%d rooms: a refused one was made", n)
		}
	})
}

func TestMemberships(t *testing.T) {
	const no = "M_FORBIDDEN"
	eachVersion(t, func(h *house, v matrix.RoomVersion) {
		room := h.create(api.CreateRoomReq{Creator: anna, Version: v})
		h.act(room, bert, api.Join, bert, no) // not invited
		h.act(room, bert, api.Leave, bert, no)
		h.act(room, bert, api.Knock, bert, no) // not that kind of room
		h.act(room, bert, api.Invite, carl, no)
		h.act(room, anna, api.Invite, emil, no)
		h.act(room, anna, api.Kick, bert, no) // not in the room
		h.act(room, anna, api.Unban, bert, no)
		h.act(room, anna, api.Join, bert, no) // for somebody else
		h.say(room, bert, "x", no)
		h.act(room, anna, api.Invite, bert, "")
		h.say(room, bert, "x", no)
		first := h.act(room, bert, api.Join, bert, "")
		if again := h.act(room, bert, api.Join, bert, ""); again != first {
			h.Errorf("a second join made %s after %s", again, first)
		}
		h.act(room, anna, api.Invite, bert, no) // is in already
		h.act(room, bert, api.Kick, anna, no)
		h.act(room, bert, api.Ban, anna, no)
		h.act(room, bert, api.Invite, carl, "")
		h.act(room, carl, api.Leave, carl, "") // declines
		h.act(room, carl, api.Join, carl, no)
		h.act(room, anna, api.Kick, bert, "")
		h.act(room, bert, api.Join, bert, no)
		h.act(room, anna, api.Ban, bert, "")
		h.act(room, bert, api.Leave, bert, no)
		h.act(room, bert, api.Join, bert, no)
		h.act(room, anna, api.Invite, bert, no)
		ban := h.stateEvent(room, "m.room.member", string(bert)).ID
		if again := h.act(room, anna, api.Ban, bert, ""); again != ban {
			h.Errorf("a second ban made %s after %s", again, ban)
		}
		h.act(room, carl, api.Unban, bert, no)
		h.act(room, anna, api.Unban, bert, "")
		if m := h.membership(room, bert); m != "leave" {
			h.Errorf("after lifting the ban: %q", m)
		}
		h.act(nowhere, bert, api.Join, bert, "M_NOT_FOUND")
		h.act(nowhere, bert, api.Knock, bert, "M_NOT_FOUND")
		for _, a := range []api.Action{api.Leave, api.Invite, api.Kick, api.Ban, api.Unban} {
			h.act(nowhere, bert, a, bert, no)
		}

		h.put(room, anna, "m.room.join_rules", "", `{"join_rule":"public"}`, "")
		h.act(room, bert, api.Join, bert, "")
		h.act(room, bert, api.Leave, bert, "")
		h.act(room, bert, api.Leave, bert, "") // says so already
		h.act(room, bert, api.Join, bert, "")  // comes back

		h.put(room, anna, "m.room.join_rules", "", `{"join_rule":"knock"}`, "")
		h.act(room, bert, api.Knock, bert, no) // is in
		h.act(room, dora, api.Join, dora, no)
		h.act(room, dora, api.Knock, dora, "")
		h.act(room, dora, api.Leave, dora, "") // retracts
		h.act(room, dora, api.Knock, dora, "")
		h.act(room, anna, api.Invite, dora, "")
		h.act(room, dora, api.Knock, dora, no)
		h.act(room, dora, api.Join, dora, "")
	})
}

func TestRestrictedRooms(t *testing.T) {
	eachVersion(t, func(h *house, v matrix.RoomVersion) {
		club := h.create(api.CreateRoomReq{Creator: anna, Version: v, Preset: "public_chat"})
		for _, rule := range []string{"restricted", "knock_restricted"} {
			rules := fmt.Sprintf(`{"join_rule":%q,"allow":[{"type":"m.room_membership","room_id":%q},{"type":"x"}]}`, rule, club)
			room := h.create(api.CreateRoomReq{Creator: anna, Version: v,
				InitialState: []api.StateEvent{{Type: "m.room.join_rules", Content: json.RawMessage(rules)}}})
			h.act(club, bert, api.Join, bert, "")
			h.act(room, carl, api.Join, carl, "M_FORBIDDEN")
			h.act(room, bert, api.Join, bert, "")
			if via := h.content(room, "m.room.member", string(bert))["join_authorised_via_users_server"]; via != string(anna) {
				h.Errorf("let in by %v", via)
			}
			// A new name does not need somebody to let one in once more.
			resp := call(h.T, h.bus, api.UpdateProfile, api.UpdateProfileReq{RoomID: room, UserID: bert, Profile: api.Profile{DisplayName: "B"}})
			if _, still := h.content(room, "m.room.member", string(bert))["join_authorised_via_users_server"]; still || resp.EventID == "" {
				h.Errorf("profile update %q carries on who let the member in", resp.EventID)
			}
			knock := "M_FORBIDDEN"
			if rule == "knock_restricted" {
				knock = ""
			}
			h.act(room, dora, api.Knock, dora, knock)
			h.act(room, anna, api.Invite, carl, "")
			h.act(room, carl, api.Join, carl, "") // by invite, like anywhere
			h.act(room, bert, api.Leave, bert, "")
			h.act(club, bert, api.Leave, bert, "")
			h.act(room, bert, api.Join, bert, "M_FORBIDDEN")
			h.act(club, anna, api.Join, anna, "")
			h.act(room, anna, api.Leave, anna, "")
			h.act(room, carl, api.Leave, carl, "")
			h.act(room, anna, api.Join, anna, "M_UNABLE_TO_GRANT_JOIN") // nobody is left to let one in
		}
	})
}
