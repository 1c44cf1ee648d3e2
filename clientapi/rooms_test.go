package clientapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"allmende/internal/matrix"
	rooms "allmende/roomserver/api"

	"github.com/google/go-cmp/cmp"
)

const inRoom = "/v3/rooms/!r:example.org"

func ptr[T any](v T) *T { return &v }

// profiles gives anna and bert a name, as their member events are to show it.
func (e *edge) profiles(people ...*person) {
	e.t.Helper()
	for _, p := range people {
		name, err := json.Marshal("Name of " + string(p.id.Localpart()))
		if err != nil {
			e.t.Fatal(err)
		}
		if err := e.store.SetProfileField(e.t.Context(), p.account, "displayname", name); err != nil {
			e.t.Fatal(err)
		}
	}
}

// What the room server is asked for each request, in the order of the requests.
func TestRoomEdges(t *testing.T) {
	n := &neighbour{}
	e := newEdge(t, n)
	anna, bert := e.person("anna"), e.person("bert")
	e.profiles(anna, bert)
	annas, berts := rooms.Profile{DisplayName: "Name of anna"}, rooms.Profile{DisplayName: "Name of bert"}
	const room = matrix.RoomID("!r:example.org")
	const hash = "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM" // a room id of version 12
	member := func(target matrix.UserID, action rooms.Action, more func(*rooms.SetMembershipReq)) rooms.SetMembershipReq {
		r := rooms.SetMembershipReq{RoomID: room, Sender: anna.id, Target: target, Action: action}
		if more != nil {
			more(&r)
		}
		return r
	}
	for _, c := range []struct {
		method, path, body string
		want               string
		asked              []any
	}{
		{"PUT", inRoom + "/send/m.room.message/txn%2F1", `{"msgtype":"m.text","body":"hi"}`, `{"event_id":"$event"}`, []any{
			rooms.SendEventReq{RoomID: room, Sender: anna.id, Type: "m.room.message", Content: json.RawMessage(`{"msgtype":"m.text","body":"hi"}`),
				Txn: rooms.Transaction{DeviceID: "DEVICE", ID: "txn/1", Endpoint: "rooms/!r:example.org/send/m.room.message"}}}},
		{"PUT", "/v3/rooms/" + hash + "/send/x/1", `{}`, `{"event_id":"$event"}`, []any{
			rooms.SendEventReq{RoomID: hash, Sender: anna.id, Type: "x", Content: json.RawMessage(`{}`),
				Txn: rooms.Transaction{DeviceID: "DEVICE", ID: "1", Endpoint: "rooms/" + hash + "/send/x"}}}},
		{"PUT", inRoom + "/send/m.room.redaction/1", `{"redacts":"$x","reason":"why"}`, `{"event_id":"$event"}`, []any{
			rooms.SendEventReq{RoomID: room, Sender: anna.id, Type: "m.room.redaction", Content: json.RawMessage(`{"reason":"why"}`), Redacts: "$x",
				Txn: rooms.Transaction{DeviceID: "DEVICE", ID: "1", Endpoint: "rooms/!r:example.org/send/m.room.redaction"}}}},
		{"PUT", inRoom + "/redact/$x/1", `{"reason":"why","other":1}`, `{"event_id":"$event"}`, []any{
			rooms.SendEventReq{RoomID: room, Sender: anna.id, Type: "m.room.redaction", Content: json.RawMessage(`{"reason":"why"}`), Redacts: "$x",
				Txn: rooms.Transaction{DeviceID: "DEVICE", ID: "1", Endpoint: "rooms/!r:example.org/redact/$x"}}}},
		{"PUT", inRoom + "/redact/$x/1", ``, `{"event_id":"$event"}`, []any{
			rooms.SendEventReq{RoomID: room, Sender: anna.id, Type: "m.room.redaction", Content: json.RawMessage(`{}`), Redacts: "$x",
				Txn: rooms.Transaction{DeviceID: "DEVICE", ID: "1", Endpoint: "rooms/!r:example.org/redact/$x"}}}},
		{"PUT", inRoom + "/state/m.room.name", `{"name":"x"}`, `{"event_id":"$event"}`, []any{
			rooms.SendEventReq{RoomID: room, Sender: anna.id, Type: "m.room.name", StateKey: ptr(""), Content: json.RawMessage(`{"name":"x"}`)}}},
		{"PUT", inRoom + "/state/m.room.name/", `{"name":"x"}`, `{"event_id":"$event"}`, []any{
			rooms.SendEventReq{RoomID: room, Sender: anna.id, Type: "m.room.name", StateKey: ptr(""), Content: json.RawMessage(`{"name":"x"}`)}}},
		{"PUT", inRoom + "/state/org.example/a%2Fb%23", `{}`, `{"event_id":"$event"}`, []any{
			rooms.SendEventReq{RoomID: room, Sender: anna.id, Type: "org.example", StateKey: ptr("a/b#"), Content: json.RawMessage(`{}`)}}},

		{"PUT", inRoom + "/state/m.room.member/@bert:example.org", `{"membership":"invite","is_direct":true,"reason":"why"}`, `{"event_id":"$event"}`, []any{
			member(bert.id, rooms.Invite, func(r *rooms.SetMembershipReq) {
				r.Profile, r.IsDirect, r.Reason = berts, true, "why"
				r.Extra = json.RawMessage(`{"membership":"invite","is_direct":true,"reason":"why"}`)
			})}},
		{"PUT", inRoom + "/state/m.room.member/@bert:example.org", `{"membership":"ban"}`, `{"event_id":"$event"}`, []any{
			member(bert.id, rooms.Ban, func(r *rooms.SetMembershipReq) { r.Extra = json.RawMessage(`{"membership":"ban"}`) })}},
		{"PUT", inRoom + "/state/m.room.member/@bert:example.org", `{"membership":"leave"}`, `{"event_id":"$event"}`, []any{
			member(bert.id, rooms.Kick, func(r *rooms.SetMembershipReq) { r.Extra = json.RawMessage(`{"membership":"leave"}`) })}},
		{"PUT", inRoom + "/state/m.room.member/@anna:example.org", `{"membership":"join","displayname":"Here"}`, `{"event_id":"$event"}`, []any{
			rooms.UpdateProfileReq{RoomID: room, UserID: anna.id, Profile: rooms.Profile{DisplayName: "Here"}}}},
		{"PUT", inRoom + "/state/m.room.member/@anna:example.org", `{"membership":"leave"}`, `{"event_id":"$event"}`, []any{
			member(anna.id, rooms.Leave, func(r *rooms.SetMembershipReq) { r.Extra = json.RawMessage(`{"membership":"leave"}`) })}},

		{"POST", inRoom + "/join", `{"reason":"why","third_party_signed":{}}`, `{"room_id":"!r:example.org"}`, []any{
			member(anna.id, rooms.Join, func(r *rooms.SetMembershipReq) { r.Profile, r.Reason = annas, "why" })}},
		{"POST", inRoom + "/join", ``, `{"room_id":"!r:example.org"}`, []any{
			member(anna.id, rooms.Join, func(r *rooms.SetMembershipReq) { r.Profile = annas })}},
		{"POST", "/v3/join/!r:example.org?via=a.org&via=b.org:8448&server_name=c.org", `{}`, `{"room_id":"!r:example.org"}`, []any{
			member(anna.id, rooms.Join, func(r *rooms.SetMembershipReq) {
				r.Profile, r.Via = annas, []matrix.ServerName{"a.org", "b.org:8448", "c.org"}
			})}},
		{"POST", "/v3/join/%23ro%2Fom:example.org", ``, `{"room_id":"!aliased:example.org"}`, []any{
			rooms.ResolveAliasReq{Alias: "#ro/om:example.org"},
			member(anna.id, rooms.Join, func(r *rooms.SetMembershipReq) { r.RoomID, r.Profile = "!aliased:example.org", annas })}},
		{"POST", "/v3/knock/!r:example.org", `{"reason":"please"}`, `{"room_id":"!r:example.org"}`, []any{
			member(anna.id, rooms.Knock, func(r *rooms.SetMembershipReq) { r.Profile, r.Reason = annas, "please" })}},
		{"POST", inRoom + "/leave", `{"reason":"bye"}`, `{}`, []any{
			member(anna.id, rooms.Leave, func(r *rooms.SetMembershipReq) { r.Reason = "bye" })}},
		{"POST", inRoom + "/leave", ``, `{}`, []any{member(anna.id, rooms.Leave, nil)}},
		{"POST", inRoom + "/forget", ``, `{}`, []any{rooms.ForgetReq{RoomID: room, UserID: anna.id}}},
		{"POST", inRoom + "/invite", `{"user_id":"@bert:example.org"}`, `{}`, []any{
			member(bert.id, rooms.Invite, func(r *rooms.SetMembershipReq) { r.Profile = berts })}},
		{"POST", inRoom + "/invite", `{"user_id":"@far:away.org"}`, `{}`, []any{member("@far:away.org", rooms.Invite, nil)}},
		{"POST", inRoom + "/kick", `{"user_id":"@bert:example.org","reason":"why"}`, `{}`, []any{
			member(bert.id, rooms.Kick, func(r *rooms.SetMembershipReq) { r.Reason = "why" })}},
		{"POST", inRoom + "/ban", `{"user_id":"@bert:example.org"}`, `{}`, []any{member(bert.id, rooms.Ban, nil)}},
		{"POST", inRoom + "/unban", `{"user_id":"@bert:example.org"}`, `{}`, []any{member(bert.id, rooms.Unban, nil)}},

		{"POST", inRoom + "/upgrade", `{"new_version":"12","additional_creators":["@bert:example.org"]}`, `{"replacement_room":"!made:example.org"}`, []any{
			rooms.UpgradeRoomReq{RoomID: room, Sender: anna.id, Profile: annas, Version: "12", AdditionalCreators: []matrix.UserID{bert.id}}}},
		{"POST", "/v3/createRoom", `{}`, `{"room_id":"!made:example.org"}`, []any{rooms.CreateRoomReq{Creator: anna.id, Profile: annas}}},
		{"POST", "/v3/createRoom", `{"visibility":"public","room_alias_name":"pub","name":"The Pub","topic":"Beer","room_version":"11","is_direct":true,
			"preset":"trusted_private_chat","invite":["@bert:example.org","@far:away.org","@bert:example.org"],"invite_3pid":[],
			"creation_content":{"m.federate":false},"power_level_content_override":{"ban":7},
			"initial_state":[{"type":"m.room.encryption","content":{"algorithm":"x"}},{"type":"a","state_key":"b","content":{}}]}`,
			`{"room_id":"!made:example.org"}`, []any{rooms.CreateRoomReq{
				Creator: anna.id, Profile: annas, Version: "11", CreationContent: json.RawMessage(`{"m.federate":false}`), Preset: "trusted_private_chat",
				Published: true, AliasLocalpart: "pub", Name: "The Pub", Topic: "Beer", IsDirect: true, PowerLevels: json.RawMessage(`{"ban":7}`),
				Invite: []rooms.Invitee{{UserID: bert.id, Profile: berts}, {UserID: "@far:away.org"}},
				InitialState: []rooms.StateEvent{{Type: "m.room.encryption", Content: json.RawMessage(`{"algorithm":"x"}`)},
					{Type: "a", StateKey: "b", Content: json.RawMessage(`{}`)}},
			}}},

		{"GET", "/v3/directory/room/%23a:example.org", ``, `{"room_id":"!aliased:example.org","servers":[]}`, []any{rooms.ResolveAliasReq{Alias: "#a:example.org"}}},
		{"PUT", "/v3/directory/room/%23a:example.org", `{"room_id":"!r:example.org"}`, `{}`, []any{
			rooms.SetAliasReq{Alias: "#a:example.org", RoomID: room, UserID: anna.id}}},
		{"DELETE", "/v3/directory/room/%23a:example.org", ``, `{}`, []any{rooms.DeleteAliasReq{Alias: "#a:example.org", UserID: anna.id}}},
		{"PUT", "/v3/directory/list/room/!r:example.org", `{"visibility":"private"}`, `{}`, []any{rooms.PublishReq{RoomID: room, UserID: anna.id}}},
		{"PUT", "/v3/directory/list/room/!r:example.org", ``, `{}`, []any{rooms.PublishReq{RoomID: room, UserID: anna.id, Published: true}}},
	} {
		anna.do(c.method, c.path, c.body).ok(c.want)
		if diff := cmp.Diff(c.asked, n.take()); diff != "" {
			t.Errorf("%s %s %s: %s", c.method, c.path, c.body, diff)
		}
	}
}

// What is refused without asking the room server.
func TestRoomEdgesRefuse(t *testing.T) {
	n := &neighbour{}
	e := newEdge(t, n)
	anna := e.person("anna")
	const create, bert = "/v3/createRoom", "/state/m.room.member/@bert:example.org"
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", create, `{"visibility":"secret"}`, 400, "M_INVALID_PARAM"},
		{"POST", create, `{"preset":"chaos"}`, 400, "M_INVALID_PARAM"},
		{"POST", create, `{"room_alias_name":"a:b"}`, 400, "M_INVALID_PARAM"},
		{"POST", create, `{"room_alias_name":"a b"}`, 400, "M_INVALID_PARAM"},
		{"POST", create, `{"room_alias_name":"` + strings.Repeat("x", 250) + `"}`, 400, "M_INVALID_PARAM"},
		{"POST", create, `{"invite":["bert"]}`, 400, "M_INVALID_PARAM"},
		{"POST", create, `{"invite":"@bert:example.org"}`, 400, "M_BAD_JSON"},
		{"POST", create, `{"invite_3pid":[{"medium":"email"}]}`, 403, "M_THREEPID_DENIED"},
		{"POST", create, `{"room_version":12}`, 400, "M_BAD_JSON"},
		{"POST", create, `{"name":["x"]}`, 400, "M_BAD_JSON"},
		{"POST", create, `{"creation_content":[]}`, 400, "M_BAD_JSON"},
		{"POST", create, `{"power_level_content_override":"x"}`, 400, "M_BAD_JSON"},
		{"POST", create, `{"initial_state":[{"content":{}}]}`, 400, "M_BAD_JSON"},
		{"POST", create, `{"initial_state":[{"type":"x"}]}`, 400, "M_BAD_JSON"},
		{"POST", create, `{"initial_state":[{"type":"x","content":1}]}`, 400, "M_BAD_JSON"},
		{"POST", create, `[]`, 400, "M_BAD_JSON"},
		{"POST", create, `{"topic":"` + strings.Repeat("x", 200<<10) + `"}`, 413, "M_TOO_LARGE"},
		{"POST", inRoom + "/upgrade", `{}`, 400, "M_MISSING_PARAM"},
		{"POST", inRoom + "/upgrade", `{"new_version":"12","additional_creators":["x"]}`, 400, "M_INVALID_PARAM"},
		{"POST", inRoom + "/invite", `{}`, 400, "M_MISSING_PARAM"},
		{"POST", inRoom + "/invite", `{"medium":"email","address":"a@b.c","id_server":"x","id_access_token":"y"}`, 403, "M_THREEPID_DENIED"},
		{"POST", inRoom + "/invite", `{"user_id":"bert"}`, 400, "M_INVALID_PARAM"},
		{"POST", inRoom + "/kick", `{"user_id":7}`, 400, "M_BAD_JSON"},
		{"POST", inRoom + "/ban", ``, 400, "M_NOT_JSON"},
		{"POST", inRoom + "/unban", `{"reason":"x"}`, 400, "M_MISSING_PARAM"},
		{"POST", inRoom + "/leave", `{"reason":7}`, 400, "M_BAD_JSON"},
		{"POST", "/v3/rooms/nonsense/join", ``, 400, "M_INVALID_PARAM"},
		{"POST", "/v3/rooms/%23alias:example.org/join", ``, 400, "M_INVALID_PARAM"},
		{"POST", "/v3/join/nonsense", ``, 400, "M_INVALID_PARAM"},
		{"POST", "/v3/join/%23nonsense", ``, 400, "M_INVALID_PARAM"},
		{"POST", "/v3/join/!r:example.org?via=!", ``, 400, "M_INVALID_PARAM"},
		{"POST", "/v3/knock/nonsense", ``, 400, "M_INVALID_PARAM"},
		{"POST", "/v3/rooms/nonsense/forget", ``, 400, "M_INVALID_PARAM"},
		{"PUT", "/v3/rooms/nonsense/send/x/1", `{}`, 400, "M_INVALID_PARAM"},
		{"PUT", inRoom + "/send/x/1", `"x"`, 400, "M_BAD_JSON"},
		{"PUT", inRoom + "/send/x/1", `{"a":1,"a":2}`, 400, "M_BAD_JSON"},
		{"PUT", inRoom + "/send/x/1", ``, 400, "M_NOT_JSON"},
		{"PUT", inRoom + "/send/x/" + strings.Repeat("1", 256), `{}`, 400, "M_INVALID_PARAM"},
		{"PUT", inRoom + "/send/x/1", `{"x":"` + strings.Repeat("x", 128<<10) + `"}`, 413, "M_TOO_LARGE"},
		{"PUT", inRoom + "/send/m.room.redaction/1", `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", inRoom + "/send/m.room.redaction/1", `{"redacts":7}`, 400, "M_BAD_JSON"},
		{"PUT", inRoom + "/send/m.room.redaction/1", `{"redacts":"x"}`, 400, "M_INVALID_PARAM"},
		{"PUT", inRoom + "/redact/x/1", `{}`, 400, "M_INVALID_PARAM"},
		{"PUT", inRoom + "/redact/$x/1", `{"reason":1}`, 400, "M_BAD_JSON"},
		{"PUT", inRoom + "/state/m.room.member/bert", `{"membership":"ban"}`, 400, "M_INVALID_PARAM"},
		{"PUT", inRoom + "/state/m.room.member/", `{"membership":"ban"}`, 400, "M_INVALID_PARAM"},
		{"PUT", inRoom + bert, `{}`, 400, "M_BAD_JSON"},
		{"PUT", inRoom + bert, `{"membership":"boss"}`, 400, "M_BAD_JSON"},
		{"PUT", inRoom + bert, `{"membership":["ban"]}`, 400, "M_BAD_JSON"},
		{"PUT", inRoom + bert, `{"membership":"join"}`, 403, "M_FORBIDDEN"},
		{"PUT", inRoom + bert, `{"membership":"knock"}`, 403, "M_FORBIDDEN"},
		{"PUT", inRoom + "/state/m.room.member/@anna:example.org", `{"membership":"ban"}`, 403, "M_FORBIDDEN"},
		{"GET", "/v3/directory/room/a", ``, 400, "M_INVALID_PARAM"},
		{"PUT", "/v3/directory/room/%23a:elsewhere.org", `{"room_id":"!r:example.org"}`, 400, "M_INVALID_PARAM"},
		{"PUT", "/v3/directory/room/%23a:example.org", `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", "/v3/directory/room/%23a:example.org", `{"room_id":"r"}`, 400, "M_INVALID_PARAM"},
		{"DELETE", "/v3/directory/room/%23a:elsewhere.org", ``, 400, "M_INVALID_PARAM"},
		{"PUT", "/v3/directory/list/room/!r:example.org", `{"visibility":"secret"}`, 400, "M_INVALID_PARAM"},
	} {
		anna.do(c.method, c.path, c.body).fails(c.status, c.code)
	}
	for _, path := range []string{create, inRoom + "/join", inRoom + "/forget", "/v3/join/!r:example.org"} {
		e.as("", "POST", path, "{}").fails(401, "M_MISSING_TOKEN")
	}
	if asked := n.take(); len(asked) != 0 {
		t.Errorf("the room server was asked: %+v", asked)
	}
}

// The room server's errors reach the client as they are, and a member who is not there can be unbanned by a member event.
func TestRoomEdgesPassErrors(t *testing.T) {
	n := &neighbour{
		member: func(req rooms.SetMembershipReq) (rooms.EventResp, error) {
			switch {
			case req.Action == rooms.Unban && req.Target == "@banned:example.org":
				return rooms.EventResp{EventID: "$unbanned"}, nil
			case req.Action == rooms.Join && req.RoomID == "!new:example.org":
				return rooms.EventResp{EventID: "$joined"}, nil
			}
			return rooms.EventResp{}, matrix.Forbidden("no " + string(req.Action))
		},
		show: func(req rooms.UpdateProfileReq) (rooms.EventResp, error) { return rooms.EventResp{}, nil }, // not joined
		alias: func(rooms.ResolveAliasReq) (rooms.ResolveAliasResp, error) {
			return rooms.ResolveAliasResp{}, matrix.NotFound("no such alias")
		},
	}
	e := newEdge(t, n)
	anna := e.person("anna")
	anna.do("PUT", inRoom+"/state/m.room.member/@banned:example.org", `{"membership":"leave"}`).ok(`{"event_id":"$unbanned"}`)
	r := anna.do("PUT", inRoom+"/state/m.room.member/@bert:example.org", `{"membership":"leave"}`)
	r.fails(403, "M_FORBIDDEN")
	if got := r.reply.body["error"]; got != "no kick" {
		t.Errorf("the error is %q, want that of the kick", got)
	}
	anna.do("PUT", "/v3/rooms/!new:example.org/state/m.room.member/@anna:example.org", `{"membership":"join"}`).ok(`{"event_id":"$joined"}`)
	anna.do("POST", inRoom+"/join", ``).fails(403, "M_FORBIDDEN")
	anna.do("POST", "/v3/join/%23a:example.org", ``).fails(404, "M_NOT_FOUND")
	e.as("", "GET", "/v3/directory/room/%23a:example.org", nil).fails(404, "M_NOT_FOUND")
}
