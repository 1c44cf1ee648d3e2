package matrix

import (
	"errors"
	"testing"
)

// levelsRoom has the given levels; bob (50) or the sender of the case changes them.
func levelsRoom(content string) func(*testRoom) {
	return func(r *testRoom) {
		if content == "" {
			delete(r.state, StateKey{TypePowerLevels, ""})
			return
		}
		r.put(r.build(TypePowerLevels, alice, key(""), content, nil))
	}
}

// spec: rooms/v12 §Authorization rules 10
func TestAllowedPowerLevels(t *testing.T) {
	const start = `{"users":{"@bob:one.example":50,"@carol:two.example":50,"@x:y":40,"@top:y":60},"events":{"m.low":40,"m.high":60},"notifications":{"room":50,"big":60},"kick":40,"ban":60}`
	with := func(users, events, notifications, rest string) string {
		return `{"users":{"@bob:one.example":50,` + users + `},"events":{` + events + `},"notifications":{` + notifications + `}` + rest + `}`
	}
	const users, events, notes, rest = `"@carol:two.example":50,"@x:y":40,"@top:y":60`, `"m.low":40,"m.high":60`, `"room":50,"big":60`, `,"kick":40,"ban":60`
	c := func(name string, allowed bool, content string, versions ...RoomVersion) authCase {
		return authCase{name: name, typ: TypePowerLevels, sender: bob, key: key(""), content: content, allowed: allowed, room: levelsRoom(start), versions: versions}
	}
	runAuthCases(t, []authCase{
		c("same", true, start),
		// 10.1 to 10.3
		c("ban is a string", false, with(users, events, notes, `,"kick":40,"ban":"60"`)),
		c("ban is a string in 9", true, with(users, events, notes, `,"kick":40,"ban":"60"`), "9"),
		c("ban is no number in 9", false, with(users, events, notes, `,"kick":40,"ban":"x"`), "9"),
		c("redact is null", false, with(users, events, notes, rest+`,"redact":null`)),
		c("invite is true", false, with(users, events, notes, rest+`,"invite":true`)),
		c("unknown member may be anything", true, with(users, events, notes, rest+`,"other":"x"`)),
		c("users is a list", false, `{"users":[]}`),
		c("users is null", false, `{"users":null}`),
		c("users has no user", false, with(users+`,"carol":1`, events, notes, rest)),
		c("users has a string", false, with(users+`,"@n:m":"1"`, events, notes, rest)),
		c("users has a string in 9", true, with(users+`,"@n:m":" 1 "`, events, notes, rest), "9"),
		c("events is a list", false, `{"events":[]}`),
		c("events has a string", false, with(users, events+`,"m.x":"1"`, notes, rest)),
		c("notifications is a string", false, `{"notifications":""}`),
		c("notifications has null", false, with(users, events, notes+`,"n":null`, rest)),
		// 10.4
		c("names the creator", false, with(users+`,"@alice:one.example":1`, events, notes, rest), "12"),
		c("names the creator before 12", true, with(users+`,"@alice:one.example":1`, events, notes, rest), "11", "10"),
		// 10.6
		c("default up to one's own", true, with(users, events, notes, rest+`,"users_default":50`)),
		c("default above", false, with(users, events, notes, rest+`,"users_default":51`)),
		c("events_default above", false, with(users, events, notes, rest+`,"events_default":51`)),
		c("state_default above", false, with(users, events, notes, rest+`,"state_default":51`)),
		c("redact above", false, with(users, events, notes, rest+`,"redact":51`)),
		c("invite above", false, with(users, events, notes, rest+`,"invite":51`)),
		c("kick above", false, with(users, events, notes, `,"kick":51,"ban":60`)),
		c("kick removed", true, with(users, events, notes, `,"ban":60`)),
		c("ban lowered from above", false, with(users, events, notes, `,"kick":40,"ban":50`)),
		c("ban removed from above", false, with(users, events, notes, `,"kick":40`)),
		// 10.7, 10.8
		c("event up to one's own", true, with(users, `"m.low":50,"m.high":60`, notes, rest)),
		c("event above", false, with(users, `"m.low":51,"m.high":60`, notes, rest)),
		c("event removed", true, with(users, `"m.high":60`, notes, rest)),
		c("event lowered from above", false, with(users, `"m.low":40,"m.high":1`, notes, rest)),
		c("event removed from above", false, with(users, `"m.low":40`, notes, rest)),
		c("new event above", false, with(users, events+`,"m.new":51`, notes, rest)),
		c("notification up to one's own", true, with(users, events, `"room":1,"big":60`, rest)),
		c("notification above", false, with(users, events, `"room":51,"big":60`, rest)),
		c("notification lowered from above", false, with(users, events, `"room":50,"big":1`, rest)),
		c("notification removed from above", false, with(users, events, `"room":50`, rest)),
		c("notifications do not count in 5", true, with(users, events, `"room":99`, rest), "5"),
		// 10.9, 10.10
		c("somebody below", true, with(`"@carol:two.example":50,"@x:y":50,"@top:y":60`, events, notes, rest)),
		c("somebody below raised above", false, with(`"@carol:two.example":50,"@x:y":51,"@top:y":60`, events, notes, rest)),
		c("somebody below removed", true, with(`"@carol:two.example":50,"@top:y":60`, events, notes, rest)),
		c("an equal lowered", false, with(`"@carol:two.example":49,"@x:y":40,"@top:y":60`, events, notes, rest)),
		c("an equal removed", false, with(`"@x:y":40,"@top:y":60`, events, notes, rest)),
		c("somebody above lowered", false, with(`"@carol:two.example":50,"@x:y":40,"@top:y":1`, events, notes, rest)),
		c("new user up to one's own", true, with(users+`,"@n:m":50`, events, notes, rest)),
		c("new user above", false, with(users+`,"@n:m":51`, events, notes, rest)),
		c("oneself lowered", true, `{"users":{"@bob:one.example":1,`+users+`},"events":{`+events+`},"notifications":{`+notes+`}`+rest+`}`),
		c("oneself raised", false, `{"users":{"@bob:one.example":51,`+users+`},"events":{`+events+`},"notifications":{`+notes+`}`+rest+`}`),
		c("oneself removed", true, `{"users":{`+users+`},"events":{`+events+`},"notifications":{`+notes+`}`+rest+`}`),
		{name: "creator changes everything", versions: []RoomVersion{"12"}, room: levelsRoom(start), typ: TypePowerLevels, sender: alice, key: key(""),
			content: `{"users":{"@top:y":9007199254740991},"ban":9007199254740991}`, allowed: true},
		{name: "without power", room: levelsRoom(start), typ: TypePowerLevels, sender: "@x:y", key: key(""), content: start},
		// 10.5
		{name: "first ones", room: levelsRoom(""), typ: TypePowerLevels, sender: alice, key: key(""), content: `{"users":{"@bob:one.example":9999},"ban":9999}`, allowed: true},
		{name: "first ones of a wrong shape", room: levelsRoom(""), typ: TypePowerLevels, sender: alice, key: key(""), content: `{"users":{"bob":1}}`},
	})
}

func TestAllowedAdditionalCreators(t *testing.T) {
	r := newTestRoom(t, "12", `{"additional_creators":["`+string(bob)+`"]}`)
	r.join(alice)
	r.set(TypeJoinRules, alice, "", `{"join_rule":"public"}`)
	r.join(bob)
	r.join(carol)
	for name, tc := range map[string]struct {
		e       *Event
		allowed bool
	}{
		"additional creator sets levels":      {r.build(TypePowerLevels, bob, key(""), `{"users":{"@carol:two.example":100}}`, nil), true},
		"levels name an additional creator":   {r.build(TypePowerLevels, alice, key(""), `{"users":{"@bob:one.example":100}}`, nil), false},
		"creators cannot ban each other":      {r.build(TypeMember, alice, user(bob), membership(Ban), nil), false},
		"additional creator bans a member":    {r.build(TypeMember, bob, user(carol), membership(Ban), nil), true},
		"additional creator cannot just join": {r.build(TypeMember, carol, user(alice), membership(Ban), nil), false},
	} {
		if err := Allowed(tc.e, r.state); (err == nil) != tc.allowed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPowerLevels(t *testing.T) {
	for _, v := range strictVersions {
		r := newTestRoom(t, v, `{}`)
		pl, err := ParsePowerLevels(v, nil, r.create)
		if err != nil {
			t.Fatal(err)
		}
		founder := int64(100)
		if v == "12" {
			founder = Unlimited
		}
		if pl.User(alice) != founder || pl.User(bob) != 0 || pl.Ban != 50 || pl.Kick != 50 || pl.Redact != 50 || pl.Invite != 0 ||
			pl.State("x") != 50 || pl.Event("x") != 0 || pl.Notification("room") != 50 {
			t.Errorf("version %s, no levels: %+v", v, pl.Levels)
		}
		e := r.build(TypePowerLevels, alice, key(""), `{"users":{"@bob:one.example":7},"users_default":1,"events":{"m.a":2,"a\"b":3},"events_default":4,"state_default":5,"ban":6,"kick":8,"redact":9,"invite":10,"notifications":{"room":11}}`, nil)
		if pl, err = ParsePowerLevels(v, e, r.create); err != nil {
			t.Fatal(err)
		}
		if v != "12" {
			founder = 1
		}
		if pl.User(alice) != founder || pl.User(bob) != 7 || pl.User(carol) != 1 || pl.State("m.a") != 2 || pl.Event("m.a") != 2 || pl.Event(`a"b`) != 3 ||
			pl.Event("x") != 4 || pl.State("x") != 5 || pl.Ban != 6 || pl.Kick != 8 || pl.Redact != 9 || pl.Invite != 10 || pl.Notification("room") != 11 {
			t.Errorf("version %s: %+v", v, pl.Levels)
		}
		again, err := ParsePowerLevels(v, e, r.create)
		if err != nil || again.Levels != pl.Levels {
			t.Errorf("version %s: read twice", v)
		}
		bad := r.build(TypePowerLevels, alice, key(""), `{"ban":"6"}`, nil)
		if _, err := ParsePowerLevels(v, bad, r.create); !errors.Is(err, Forbidden("")) {
			t.Errorf("version %s: level as string: %v", v, err)
		}
	}
	if _, err := ParsePowerLevels("13", nil, nil); !errors.Is(err, UnsupportedRoomVersion("")) {
		t.Errorf("unknown version: %v", err)
	}
}

func TestVersions(t *testing.T) {
	for _, v := range Versions() {
		if !v.Known() || !v.Creatable() {
			t.Errorf("version %s cannot be created", v)
		}
	}
	if !DefaultVersion.Creatable() {
		t.Error("the default version cannot be created")
	}
	for _, v := range []RoomVersion{"", "0", "13", "01", "org.matrix.hydra.11", "org.matrix.msc4242.12", "org.matrix.msc4014"} {
		if v.Known() || v.Creatable() || v.CreatorsPrivileged() {
			t.Errorf("version %q is known", v)
		}
	}
	for name, tc := range map[string]struct {
		pred         func(RoomVersion) bool
		since, until string
	}{
		"CreatorsPrivileged": {RoomVersion.CreatorsPrivileged, "12", ""},
		"RoomIDFromCreate":   {RoomVersion.RoomIDFromCreate, "12", ""},
		"CreatorInContent":   {RoomVersion.CreatorInContent, "", "10"},
		"RedactsInContent":   {RoomVersion.RedactsInContent, "11", ""},
		"Knock":              {RoomVersion.Knock, "7", ""},
		"Restricted":         {RoomVersion.Restricted, "8", ""},
		"KnockRestricted":    {RoomVersion.KnockRestricted, "10", ""},
		"IntegerPowerLevels": {RoomVersion.IntegerPowerLevels, "10", ""},
		"KeyValidity":        {RoomVersion.KeyValidity, "5", ""},
	} {
		for _, v := range allVersions {
			if want := (survives{since: tc.since, until: tc.until}).in(v); tc.pred(v) != want {
				t.Errorf("%s(%s) = %v", name, v, !want)
			}
		}
	}
}
