package matrix

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// authCase is one event checked in one room, in the versions it applies to (nil: 10, 11 and 12).
type authCase struct {
	name     string
	versions []RoomVersion
	room     func(*testRoom) // what happened before, in newOpenRoom
	typ      string
	sender   UserID
	key      *string
	content  string
	change   func(*testRoom, *Proto)
	allowed  bool
}

func runAuthCases(t *testing.T, cases []authCase) {
	for _, tc := range cases {
		versions := tc.versions
		if versions == nil {
			versions = strictVersions
		}
		for _, v := range versions {
			t.Run(tc.name+"/"+string(v), func(t *testing.T) {
				r := newOpenRoom(t, v)
				if tc.room != nil {
					tc.room(r)
				}
				e := r.build(tc.typ, tc.sender, tc.key, tc.content, func(p *Proto) {
					if tc.change != nil {
						tc.change(r, p)
					}
				})
				switch err := Allowed(e, r.state); {
				case tc.allowed && err != nil:
					t.Errorf("refused: %v", err)
				case !tc.allowed && !errors.Is(err, Forbidden("")):
					t.Errorf("want M_FORBIDDEN, got %v", err)
				}
				var auth []*Event
				for _, id := range e.AuthEvents {
					auth = append(auth, r.events[id])
				}
				if err := CheckAuthEvents(e, auth); err != nil {
					t.Errorf("its own selection of auth events is refused: %v", err)
				}
			})
		}
	}
}

func membership(s string) string { return `{"membership":"` + s + `"}` }

func user(u UserID) *string { s := string(u); return &s }

// spec: rooms/v12 §Authorization rules 5.3
func TestAllowedJoin(t *testing.T) {
	rule := func(content string) func(*testRoom) {
		return func(r *testRoom) { r.set(TypeJoinRules, alice, "", content) }
	}
	then := func(fs ...func(*testRoom)) func(*testRoom) {
		return func(r *testRoom) {
			for _, f := range fs {
				f(r)
			}
		}
	}
	invited := func(r *testRoom) { r.member(alice, dave, Invite) }
	banned := func(r *testRoom) { r.member(alice, dave, Ban) }
	via := func(u UserID) string {
		return `{"membership":"join","join_authorised_via_users_server":"` + string(u) + `"}`
	}
	inviteLevel := func(n int) func(*testRoom) {
		return func(r *testRoom) {
			r.put(r.build(TypePowerLevels, alice, key(""), fmt.Sprintf(`{"invite":%d,"users":{%q:50}}`, n, bob), nil))
		}
	}
	dj := func(name string, allowed bool, room func(*testRoom), content string, versions ...RoomVersion) authCase {
		return authCase{name: name, room: room, typ: TypeMember, sender: dave, key: user(dave), content: content, allowed: allowed, versions: versions}
	}
	join := membership(Join)
	runAuthCases(t, []authCase{
		dj("public", true, nil, join),
		dj("public, banned", false, banned, join),
		dj("public, left before", true, func(r *testRoom) { r.join(dave); r.member(dave, dave, Leave) }, join),
		dj("public, again", true, func(r *testRoom) { r.join(dave) }, join),
		{name: "for somebody else", typ: TypeMember, sender: bob, key: user(dave), content: join},
		{name: "for somebody invited", room: invited, typ: TypeMember, sender: bob, key: user(dave), content: join},
		dj("invite only", false, rule(`{"join_rule":"invite"}`), join),
		dj("invite only, invited", true, then(rule(`{"join_rule":"invite"}`), invited), join),
		dj("invite only, banned", false, then(rule(`{"join_rule":"invite"}`), banned), join),
		{name: "invite only, in the room", room: rule(`{"join_rule":"invite"}`), typ: TypeMember, sender: carol, key: user(carol), content: join, allowed: true},
		dj("no join rules", false, func(r *testRoom) { delete(r.state, StateKey{TypeJoinRules, ""}) }, join),
		dj("no join rules, invited", true, then(func(r *testRoom) { delete(r.state, StateKey{TypeJoinRules, ""}) }, invited), join),
		dj("knock", false, rule(`{"join_rule":"knock"}`), join),
		dj("knock, invited", true, then(rule(`{"join_rule":"knock"}`), invited), join),
		dj("knock, knocking", false, then(rule(`{"join_rule":"knock"}`), func(r *testRoom) { r.member(dave, dave, Knock) }), join),
		dj("private", false, then(rule(`{"join_rule":"private"}`), invited), join),
		dj("unknown rule", false, then(rule(`{"join_rule":"org.example"}`), invited), join),
		dj("rule is no string", false, then(rule(`{"join_rule":7}`), invited), join),
		dj("restricted", false, rule(`{"join_rule":"restricted"}`), join),
		dj("restricted, invited", true, then(rule(`{"join_rule":"restricted"}`), invited), join),
		dj("restricted, banned", false, then(rule(`{"join_rule":"restricted"}`), banned), via(bob)),
		dj("restricted, let in", true, rule(`{"join_rule":"restricted"}`), via(bob)),
		dj("restricted, let in by a creator", true, rule(`{"join_rule":"restricted"}`), via(alice)),
		dj("restricted, let in by a stranger", false, rule(`{"join_rule":"restricted"}`), via("@nobody:one.example")),
		dj("restricted, let in by one who may not invite", false, then(rule(`{"join_rule":"restricted"}`), inviteLevel(60)), via(bob)),
		dj("restricted, let in by one who may invite", true, then(rule(`{"join_rule":"restricted"}`), inviteLevel(50)), via(bob)),
		dj("restricted, let in by a number", false, rule(`{"join_rule":"restricted"}`), `{"membership":"join","join_authorised_via_users_server":7}`),
		dj("knock_restricted, let in", true, rule(`{"join_rule":"knock_restricted"}`), via(bob)),
		dj("knock_restricted", false, rule(`{"join_rule":"knock_restricted"}`), join),
		dj("knock_restricted in 9", false, rule(`{"join_rule":"knock_restricted"}`), via(bob), "9"),
		dj("restricted in 8", true, rule(`{"join_rule":"restricted"}`), via(bob), "8"),
		dj("restricted in 7", false, rule(`{"join_rule":"restricted"}`), via(bob), "7"),
		dj("knock in 6", false, then(rule(`{"join_rule":"knock"}`), invited), join, "6"),
	})
}

func TestAllowedFirstJoin(t *testing.T) {
	for _, v := range strictVersions {
		r := newTestRoom(t, v, `{}`)
		if err := Allowed(r.build(TypeMember, bob, user(bob), membership(Join), nil), r.state); err == nil {
			t.Errorf("version %s: not the creator", v)
		}
		if err := Allowed(r.build(TypeMember, bob, user(alice), membership(Join), nil), r.state); err == nil {
			t.Errorf("version %s: in the creator's name", v)
		}
		first := r.build(TypeMember, alice, user(alice), membership(Join), nil)
		if err := Allowed(first, r.state); err != nil {
			t.Errorf("version %s: creator: %v", v, err)
		}
		r.put(first)
		r.member(alice, alice, Leave)
		if err := Allowed(r.build(TypeMember, alice, user(alice), membership(Join), nil), r.state); err == nil {
			t.Errorf("version %s: the creator comes back uninvited", v)
		}
	}
}

// spec: rooms/v12 §Authorization rules 5.4 to 5.8
func TestAllowedMembership(t *testing.T) {
	has := func(u UserID, m string) func(*testRoom) {
		return func(r *testRoom) {
			sender := alice
			if m == Knock {
				r.set(TypeJoinRules, alice, "", `{"join_rule":"knock"}`)
				sender = u
			}
			if m == Join {
				sender = u
			}
			r.member(sender, u, m)
		}
	}
	c := func(name string, allowed bool, sender, target UserID, m string, room func(*testRoom)) authCase {
		return authCase{name: name, typ: TypeMember, sender: sender, key: user(target), content: membership(m), allowed: allowed, room: room}
	}
	levels := func(content string) func(*testRoom) {
		return func(r *testRoom) { r.put(r.build(TypePowerLevels, alice, key(""), content, nil)) }
	}
	knockRule := func(rule string) func(*testRoom) {
		return func(r *testRoom) { r.set(TypeJoinRules, alice, "", `{"join_rule":"`+rule+`"}`) }
	}
	runAuthCases(t, []authCase{
		c("invite", true, carol, dave, Invite, nil),
		c("invite again", true, carol, dave, Invite, has(dave, Invite)),
		c("invite one who knocks", true, carol, dave, Invite, has(dave, Knock)),
		c("invite from outside", false, dave, "@eve:two.example", Invite, nil),
		c("invite one in the room", false, carol, bob, Invite, nil),
		c("invite one who is banned", false, alice, dave, Invite, has(dave, Ban)),
		c("invite without power", false, carol, dave, Invite, levels(`{"invite":1}`)),
		c("creator invites without being named", true, alice, dave, Invite, levels(`{"invite":1,"users":{"@bob:one.example":50},"users_default":1}`)),
		c("invite oneself", false, dave, dave, Invite, nil),

		c("leave", true, carol, carol, Leave, nil),
		c("decline", true, dave, dave, Leave, has(dave, Invite)),
		c("take back a knock", true, dave, dave, Leave, has(dave, Knock)),
		c("leave without being there", false, dave, dave, Leave, nil),
		c("leave while banned", false, dave, dave, Leave, has(dave, Ban)),
		c("kick", true, bob, carol, Leave, nil),
		c("kick an equal", false, bob, "@bob2:one.example", Leave, func(r *testRoom) {
			r.put(r.build(TypePowerLevels, alice, key(""), `{"users":{"@bob:one.example":50,"@bob2:one.example":50}}`, nil))
		}),
		c("kick without power", false, carol, dave, Leave, has(dave, Join)),
		c("kick from outside", false, dave, carol, Leave, nil),
		c("kick an invited user", true, bob, dave, Leave, has(dave, Invite)),
		c("kick a creator", false, bob, alice, Leave, nil),
		c("kick below the level", false, bob, carol, Leave, levels(`{"kick":51,"users":{"@bob:one.example":50}}`)),
		c("unban", true, bob, dave, Leave, has(dave, Ban)),
		c("unban without ban level", false, bob, dave, Leave, func(r *testRoom) {
			r.member(alice, dave, Ban)
			levels(`{"ban":60,"users":{"@bob:one.example":50}}`)(r)
		}),
		c("unban without kick level", false, bob, dave, Leave, func(r *testRoom) {
			r.member(alice, dave, Ban)
			levels(`{"kick":60,"users":{"@bob:one.example":50}}`)(r)
		}),

		c("ban", true, bob, carol, Ban, nil),
		c("ban a stranger", true, bob, dave, Ban, nil),
		c("ban without power", false, carol, dave, Ban, nil),
		c("ban oneself", false, bob, bob, Ban, nil),
		c("ban a creator", false, bob, alice, Ban, nil),
		c("ban from outside", false, dave, carol, Ban, nil),
		c("ban an equal", false, bob, carol, Ban, levels(`{"users":{"@bob:one.example":50,"@carol:two.example":50}}`)),

		c("knock", true, dave, dave, Knock, knockRule("knock")),
		c("knock, knock_restricted", true, dave, dave, Knock, knockRule("knock_restricted")),
		c("knock, restricted", false, dave, dave, Knock, knockRule("restricted")),
		c("knock, public", false, dave, dave, Knock, nil),
		c("knock, again", true, dave, dave, Knock, has(dave, Knock)),
		c("knock for another", false, carol, dave, Knock, knockRule("knock")),
		c("knock while in", false, carol, carol, Knock, knockRule("knock")),
		c("knock while invited", false, dave, dave, Knock, func(r *testRoom) { knockRule("knock")(r); r.member(alice, dave, Invite) }),
		c("knock while banned", false, dave, dave, Knock, func(r *testRoom) { knockRule("knock")(r); r.member(alice, dave, Ban) }),

		c("unknown membership", false, carol, carol, "org.example", nil),
		{name: "no membership", typ: TypeMember, sender: carol, key: user(carol), content: `{}`},
		{name: "membership is no string", typ: TypeMember, sender: carol, key: user(carol), content: `{"membership":1}`},
		{name: "no state key", typ: TypeMember, sender: carol, content: membership(Join)},
		{name: "state key is no user", typ: TypeMember, sender: alice, key: key("dave"), content: membership(Invite)},
		{name: "knock in 6", versions: []RoomVersion{"6"}, room: knockRule("knock"), typ: TypeMember, sender: dave, key: user(dave), content: membership(Knock)},
		{name: "knock_restricted in 9", versions: []RoomVersion{"9"}, room: knockRule("knock_restricted"), typ: TypeMember, sender: dave, key: user(dave), content: membership(Knock)},
	})
}

// spec: rooms/v12 §Authorization rules 5.4.1
func TestAllowedThirdPartyInvite(t *testing.T) {
	identity := testSigner("id.example")
	public := base64.RawStdEncoding.EncodeToString(identity.Key.Public().(ed25519.PublicKey))
	other := base64.RawStdEncoding.EncodeToString(testSigner("x").Key.Public().(ed25519.PublicKey))
	promise := func(keys string) func(*testRoom) {
		return func(r *testRoom) {
			r.set(TypeThirdPartyInvite, bob, "tok", `{"display_name":"d","key_validity_url":"u",`+keys+`}`)
		}
	}
	single, list := promise(`"public_key":"`+public+`"`), promise(`"public_key":"`+other+`","public_keys":[{"public_key":"`+public+`"}]`)
	signed := func(mxid UserID, token string) string {
		b, err := SignJSON([]byte(`{"mxid":"`+string(mxid)+`","token":"`+token+`"}`), identity)
		if err != nil {
			t.Fatal(err)
		}
		return `{"membership":"invite","third_party_invite":{"display_name":"d","signed":` + string(b) + `}}`
	}
	c := func(name string, allowed bool, sender UserID, content string, room func(*testRoom)) authCase {
		return authCase{name: name, typ: TypeMember, sender: sender, key: user(dave), content: content, allowed: allowed, room: room}
	}
	good := signed(dave, "tok")
	runAuthCases(t, []authCase{
		c("single key", true, bob, good, single),
		c("list of keys", true, bob, good, list),
		c("sender need not be in the room any more", true, bob, good, func(r *testRoom) { single(r); r.member(bob, bob, Leave) }),
		c("target is banned", false, bob, good, func(r *testRoom) { single(r); r.member(alice, dave, Ban) }),
		c("no promise", false, bob, good, nil),
		c("another's promise", false, alice, good, single),
		c("another token", false, bob, signed(dave, "other"), single),
		c("another user", false, bob, signed(carol, "tok"), single),
		c("another key", false, bob, good, promise(`"public_key":"`+other+`"`)),
		c("broken key", false, bob, good, promise(`"public_key":"%%%"`)),
		c("not signed", false, bob, `{"membership":"invite","third_party_invite":{"signed":{"mxid":"`+string(dave)+`","token":"tok"}}}`, single),
		c("signature over something else", false, bob, strings.Replace(good, `"token":"tok"`, `"extra":1,"token":"tok"`, 1), single),
		c("no token", false, bob, `{"membership":"invite","third_party_invite":{"signed":{"mxid":"`+string(dave)+`"}}}`, single),
		c("no signed", false, bob, `{"membership":"invite","third_party_invite":{}}`, single),
		c("no object", false, bob, `{"membership":"invite","third_party_invite":null}`, single),

		{name: "promise", typ: TypeThirdPartyInvite, sender: carol, key: key("t"), content: `{}`, allowed: true},
		{name: "promise without power", typ: TypeThirdPartyInvite, sender: carol, key: key("t"), content: `{}`,
			room: func(r *testRoom) { r.put(r.build(TypePowerLevels, alice, key(""), `{"invite":1}`, nil)) }},
		{name: "promise from outside", typ: TypeThirdPartyInvite, sender: dave, key: key("t"), content: `{}`},
	})
}

// spec: rooms/v12 §Authorization rules 6, 8, 9, 11
func TestAllowedOthers(t *testing.T) {
	levels := func(content string) func(*testRoom) {
		return func(r *testRoom) { r.put(r.build(TypePowerLevels, alice, key(""), content, nil)) }
	}
	noLevels := func(r *testRoom) { delete(r.state, StateKey{TypePowerLevels, ""}) }
	runAuthCases(t, []authCase{
		{name: "message", typ: "m.room.message", sender: carol, content: `{}`, allowed: true},
		{name: "message from outside", typ: "m.room.message", sender: dave, content: `{}`},
		{name: "message after leaving", typ: "m.room.message", sender: carol, content: `{}`, room: func(r *testRoom) { r.member(carol, carol, Leave) }},
		{name: "message after a ban", typ: "m.room.message", sender: carol, content: `{}`, room: func(r *testRoom) { r.member(alice, carol, Ban) }},
		{name: "message while invited", typ: "m.room.message", sender: dave, content: `{}`, room: func(r *testRoom) { r.member(alice, dave, Invite) }},
		{name: "message below events_default", typ: "m.room.message", sender: carol, content: `{}`, room: levels(`{"events_default":1}`)},
		{name: "message below its level", typ: "m.room.message", sender: carol, content: `{}`, room: levels(`{"events":{"m.room.message":1}}`)},
		{name: "message at its level", typ: "m.room.message", sender: carol, content: `{}`, room: levels(`{"events":{"m.room.message":1},"users_default":1}`), allowed: true},
		{name: "negative power", typ: "m.room.message", sender: carol, content: `{}`, room: levels(`{"users":{"@carol:two.example":-1}}`)},
		{name: "state", typ: "m.room.name", sender: bob, key: key(""), content: `{}`, allowed: true},
		{name: "state below state_default", typ: "m.room.name", sender: carol, key: key(""), content: `{}`},
		{name: "state above its level", typ: "m.room.name", sender: carol, key: key(""), content: `{}`, room: levels(`{"events":{"m.room.name":0}}`), allowed: true},
		{name: "state without power levels, creator", typ: "m.room.name", sender: alice, key: key(""), content: `{}`, room: noLevels, allowed: true},
		{name: "state without power levels, member", typ: "m.room.name", sender: bob, key: key(""), content: `{}`, room: noLevels},
		{name: "creator beyond every level", versions: []RoomVersion{"12"}, typ: "m.room.tombstone", sender: alice, key: key(""), content: `{}`,
			room: levels(`{"events":{"m.room.tombstone":9007199254740991}}`), allowed: true},
		{name: "not named, no power", versions: []RoomVersion{"10", "11"}, typ: "m.room.name", sender: alice, key: key(""), content: `{}`, room: levels(`{}`)},
		{name: "state of another user", typ: "m.x", sender: alice, key: user(bob), content: `{}`},
		{name: "own state", typ: "m.x", sender: bob, key: user(bob), content: `{}`, allowed: true},
		{name: "state key with @ that is no user", typ: "m.x", sender: alice, key: key("@"), content: `{}`},
		{name: "message type with levels of state", typ: "m.room.name", sender: carol, content: `{}`, allowed: true},
		{name: "redaction is an event like others", typ: TypeRedaction, sender: carol, content: `{}`, allowed: true,
			change: func(r *testRoom, p *Proto) { p.Redacts = r.create.ID }},
		{name: "aliases is state like any other", typ: TypeAliases, sender: carol, key: key("two.example"), content: `{}`},
		{name: "aliases up to 5", versions: []RoomVersion{"3", "5"}, typ: TypeAliases, sender: dave, key: key("two.example"), content: `{}`, allowed: true},
		{name: "aliases of another server up to 5", versions: []RoomVersion{"3", "5"}, typ: TypeAliases, sender: alice, key: key("two.example"), content: `{}`},
	})
}

// spec: rooms/v12 §Authorization rules 4
func TestAllowedFederate(t *testing.T) {
	for _, v := range strictVersions {
		for content, open := range map[string]bool{`{"m.federate":false}`: false, `{"m.federate":true}`: true, `{}`: true, `{"m.federate":"false"}`: true} {
			r := newTestRoom(t, v, content)
			r.join(alice)
			r.set(TypeJoinRules, alice, "", `{"join_rule":"public"}`)
			r.join(bob)
			if err := Allowed(r.build(TypeMember, carol, user(carol), membership(Join), nil), r.state); (err == nil) != open {
				t.Errorf("version %s, %s: %v", v, content, err)
			}
		}
	}
}

// spec: rooms/v12 §Authorization rules 1
func TestAllowedCreate(t *testing.T) {
	type c struct {
		name, content string
		versions      []RoomVersion
		change        func(*Proto)
		allowed       bool
	}
	for _, tc := range []c{
		{"with creator", `{"creator":"@alice:one.example"}`, []RoomVersion{"10"}, nil, true},
		{"without creator", `{}`, []RoomVersion{"10"}, nil, false},
		{"without creator", `{}`, []RoomVersion{"11", "12"}, nil, true},
		{"known version", `{"creator":"x","room_version":"12"}`, nil, nil, true},
		{"unknown version", `{"creator":"x","room_version":"org.example"}`, nil, nil, false},
		{"version is a number", `{"creator":"x","room_version":12}`, nil, nil, false},
		{"previous events", `{"creator":"x"}`, nil, func(p *Proto) { p.PrevEvents = []EventID{"$x"} }, false},
		{"another server's room", `{"creator":"x"}`, []RoomVersion{"10", "11"}, func(p *Proto) { p.RoomID = "!r:two.example" }, false},
		{"additional creators", `{"additional_creators":["@bob:one.example","@c:d"]}`, []RoomVersion{"12"}, nil, true},
		{"no additional creators", `{"additional_creators":[]}`, []RoomVersion{"12"}, nil, true},
		{"additional creators are no list", `{"additional_creators":"@bob:one.example"}`, []RoomVersion{"12"}, nil, false},
		{"additional creators are null", `{"additional_creators":null}`, []RoomVersion{"12"}, nil, false},
		{"additional creator is a number", `{"additional_creators":["@b:c",1]}`, []RoomVersion{"12"}, nil, false},
		{"additional creator is no user", `{"additional_creators":["bob"]}`, []RoomVersion{"12"}, nil, false},
		{"additional creators before 12", `{"additional_creators":7}`, []RoomVersion{"11"}, nil, true},
	} {
		versions := tc.versions
		if versions == nil {
			versions = strictVersions
		}
		for _, v := range versions {
			p := Proto{Type: TypeCreate, Sender: alice, StateKey: key(""), Content: []byte(tc.content)}
			if !v.RoomIDFromCreate() {
				p.RoomID = "!r:one.example"
			}
			if tc.change != nil {
				tc.change(&p)
			}
			e, err := Build(v, p, testSigner("one.example"))
			if err != nil {
				t.Fatal(err)
			}
			if err := Allowed(e, StateMap{}); (err == nil) != tc.allowed {
				t.Errorf("%s, version %s: %v", tc.name, v, err)
			}
		}
	}
	e, err := Build("12", Proto{Type: TypeCreate, Sender: alice, StateKey: key(""), Content: []byte(`{}`)}, testSigner("one.example"))
	if err != nil {
		t.Fatal(err)
	}
	if e.RoomID != RoomID("!"+e.ID[1:]) {
		t.Errorf("room %s of create event %s", e.RoomID, e.ID)
	}
	withRoom, err := ParseTrusted("12", putMember(e.JSON, "room_id", []byte(`"`+string(e.RoomID)+`"`)))
	if err != nil {
		t.Fatal(err)
	}
	if err := Allowed(withRoom, StateMap{}); !errors.Is(err, Forbidden("")) {
		t.Errorf("create event of version 12 with a room ID: %v", err)
	}
}

// spec: rooms/v12 §Authorization rules 2
func TestAllowedWantsItsCreateEvent(t *testing.T) {
	for _, v := range strictVersions {
		r := newOpenRoom(t, v)
		e := r.build("m.room.message", bob, nil, `{}`, nil)
		for name, change := range map[string]func(StateMap){
			"none": func(s StateMap) { delete(s, StateKey{TypeCreate, ""}) },
			"another room's": func(s StateMap) {
				o := *r
				o.id = "!other:one.example"
				if v.RoomIDFromCreate() {
					o.id = ""
				}
				o.last = nil
				s[StateKey{TypeCreate, ""}] = o.build(TypeCreate, alice, key(""), `{"creator":"x","n":1}`, nil)
			},
			"a rejected one": func(s StateMap) {
				c, err := ParseTrusted(v, r.create.JSON)
				if err != nil {
					t.Fatal(err)
				}
				c.Rejected = true
				s[StateKey{TypeCreate, ""}] = c
			},
		} {
			s := r.branch().state
			change(s)
			if err := Allowed(e, s); !errors.Is(err, Forbidden("")) {
				t.Errorf("version %s, create event: %s: %v", v, name, err)
			}
		}
	}
	if err := Allowed(&Event{Version: "13"}, StateMap{}); !errors.Is(err, UnsupportedRoomVersion("")) {
		t.Errorf("unknown version: %v", err)
	}
}

// spec: s-s §Auth events selection; rooms/v12 rule 3, rooms/v11 rule 2
func TestAuthEvents(t *testing.T) {
	create, levels, rules := StateKey{TypeCreate, ""}, StateKey{TypePowerLevels, ""}, StateKey{TypeJoinRules, ""}
	m := func(u UserID) StateKey { return StateKey{TypeMember, string(u)} }
	for _, tc := range []struct {
		name, typ string
		key       *string
		content   string
		want      []StateKey
	}{
		{"create", TypeCreate, key(""), `{}`, nil},
		{"message", "m.room.message", nil, `{"membership":"join"}`, []StateKey{create, levels, m(bob)}},
		{"join", TypeMember, user(bob), membership(Join), []StateKey{create, levels, m(bob), rules}},
		{"knock", TypeMember, user(bob), membership(Knock), []StateKey{create, levels, m(bob), rules}},
		{"leave", TypeMember, user(bob), membership(Leave), []StateKey{create, levels, m(bob)}},
		{"ban", TypeMember, user(carol), membership(Ban), []StateKey{create, levels, m(bob), m(carol)}},
		{"invite", TypeMember, user(carol), membership(Invite), []StateKey{create, levels, m(bob), m(carol), rules}},
		{"third party", TypeMember, user(carol), `{"membership":"invite","third_party_invite":{"signed":{"token":"t"}}}`,
			[]StateKey{create, levels, m(bob), m(carol), rules, {TypeThirdPartyInvite, "t"}}},
		{"restricted", TypeMember, user(bob), `{"membership":"join","join_authorised_via_users_server":"@alice:one.example"}`,
			[]StateKey{create, levels, m(bob), rules, m(alice)}},
	} {
		for _, v := range strictVersions {
			want := tc.want
			if v == "12" && len(want) > 0 {
				want = want[1:]
			}
			got := AuthTypes(v, &Proto{Type: tc.typ, Sender: bob, StateKey: tc.key, Content: []byte(tc.content)})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, version %s (-want +got):\n%s", tc.name, v, diff)
			}
		}
	}
	if got := AuthTypes("7", &Proto{Type: TypeMember, Sender: bob, StateKey: user(bob), Content: []byte(`{"membership":"join","join_authorised_via_users_server":"@alice:one.example"}`)}); len(got) != 4 {
		t.Errorf("restricted before version 8: %v", got)
	}
}

func TestCheckAuthEvents(t *testing.T) {
	for _, v := range strictVersions {
		r := newOpenRoom(t, v)
		other := newOpenRoom(t, v)
		if v != "12" {
			other.id = "!other:one.example"
		} else {
			other = newTestRoom(t, v, `{"n":1}`)
			other.put(other.build(TypePowerLevels, alice, key(""), `{}`, nil))
		}
		foreign := other.build(TypeMember, bob, user(bob), membership(Join), nil)
		e := r.build("m.room.message", bob, nil, `{}`, nil)
		create, levels, member := r.create, r.state[StateKey{TypePowerLevels, ""}], r.state[StateKey{TypeMember, string(bob)}]
		copied, err := ParseTrusted(v, levels.JSON)
		if err != nil {
			t.Fatal(err)
		}
		copied.Rejected = true
		base := []*Event{levels, member}
		if v != "12" {
			base = append(base, create)
		}
		with := func(es ...*Event) []*Event { return append(append([]*Event(nil), base...), es...) }
		for _, tc := range []struct {
			name   string
			events []*Event
			ok     bool
		}{
			{"right", base, true},
			{"none of the optional", base[2:], true},
			{"twice the same place", with(r.build(TypeMember, bob, user(bob), membership(Join), nil)), false},
			{"one that does not count", with(r.state[StateKey{TypeMember, string(carol)}]), false},
			{"join rules for a message", with(r.state[StateKey{TypeJoinRules, ""}]), false},
			{"no state event", with(e), false},
			{"rejected", append([]*Event{copied}, base[1:]...), false},
			{"from another room", append([]*Event{foreign}, base[2:]...), false},
			{"no create", []*Event{levels, member}, v == "12"},
			{"create", []*Event{create, levels, member}, v != "12"},
		} {
			if err := CheckAuthEvents(e, tc.events); (err == nil) != tc.ok || err != nil && !errors.Is(err, Forbidden("")) {
				t.Errorf("%s, version %s: %v", tc.name, v, err)
			}
		}
		if err := CheckAuthEvents(create, []*Event{levels}); err == nil {
			t.Errorf("version %s: create event with auth events", v)
		}
	}
}
