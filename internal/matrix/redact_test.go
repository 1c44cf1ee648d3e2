package matrix

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"
)

var allVersions = []RoomVersion{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"}

// since and until bound the versions in which a key survives; empty means from the first or to the last.
type survives struct{ typ, key, since, until string }

func (s survives) in(v RoomVersion) bool {
	i := slices.Index(allVersions, v)
	return (s.since == "" || i >= slices.Index(allVersions, RoomVersion(s.since))) &&
		(s.until == "" || i <= slices.Index(allVersions, RoomVersion(s.until)))
}

// spec: rooms/v1, v6, v8, v9, v11 §Redactions
var redactionTable = []survives{
	{typ: "", key: "event_id"}, {typ: "", key: "type"}, {typ: "", key: "room_id"}, {typ: "", key: "sender"},
	{typ: "", key: "state_key"}, {typ: "", key: "content"}, {typ: "", key: "hashes"}, {typ: "", key: "signatures"},
	{typ: "", key: "depth"}, {typ: "", key: "prev_events"}, {typ: "", key: "auth_events"}, {typ: "", key: "origin_server_ts"},
	{typ: "", key: "origin", until: "10"}, {typ: "", key: "membership", until: "10"}, {typ: "", key: "prev_state", until: "10"},
	{typ: TypeMember, key: "membership"}, {typ: TypeMember, key: "join_authorised_via_users_server", since: "9"},
	{typ: TypeMember, key: "third_party_invite", since: "11"},
	{typ: TypeCreate, key: "creator"},
	{typ: TypeCreate, key: "room_version", since: "11"}, {typ: TypeCreate, key: "m.federate", since: "11"},
	{typ: TypeCreate, key: "additional_creators", since: "11"}, {typ: TypeCreate, key: "anything", since: "11"},
	{typ: TypeJoinRules, key: "join_rule"}, {typ: TypeJoinRules, key: "allow", since: "8"},
	{typ: TypePowerLevels, key: "ban"}, {typ: TypePowerLevels, key: "events"}, {typ: TypePowerLevels, key: "events_default"},
	{typ: TypePowerLevels, key: "kick"}, {typ: TypePowerLevels, key: "redact"}, {typ: TypePowerLevels, key: "state_default"},
	{typ: TypePowerLevels, key: "users"}, {typ: TypePowerLevels, key: "users_default"}, {typ: TypePowerLevels, key: "invite", since: "11"},
	{typ: TypeHistory, key: "history_visibility"},
	{typ: TypeAliases, key: "aliases", until: "5"},
	{typ: TypeRedaction, key: "redacts", since: "11"},
}

// others are keys that never survive, besides those of the table where it does not list them.
var others = []string{"body", "reason", "displayname", "avatar_url", "notifications", "name", "users_extra", "anything", "redacts", "invite",
	"membership", "aliases", "creator", "allow", "join_rule", "third_party_invite", "history_visibility", "room_version", "m.federate",
	"additional_creators", "join_authorised_via_users_server"}

func TestRedactContent(t *testing.T) {
	types := []string{TypeMember, TypeCreate, TypeJoinRules, TypePowerLevels, TypeHistory, TypeAliases, TypeRedaction, "m.room.message", "m.room.name"}
	for _, v := range allVersions {
		for _, typ := range types {
			keys := map[string]bool{}
			for _, k := range others {
				keys[k] = v.RedactsInContent() && typ == TypeCreate // keeps everything
			}
			for _, s := range redactionTable {
				if s.typ == typ {
					keys[s.key] = s.in(v)
				}
			}
			var in, want []string
			for k, kept := range keys {
				val := `1`
				if k == "third_party_invite" {
					val = `{"display_name":"x","signed":{"token":"t"}}`
				}
				in = append(in, fmt.Sprintf("%q:%s", k, val))
				if kept && typ == TypeMember && k == "third_party_invite" {
					val = `{"signed":{"token":"t"}}`
				}
				if kept {
					want = append(want, fmt.Sprintf("%q:%s", k, val))
				}
			}
			sort.Strings(want)
			got, err := Redact(v, []byte(`{"content":{`+strings.Join(in, ",")+`},"type":"`+typ+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(`{"content":{`+strings.Join(want, ",")+`},"type":"`+typ+`"}`, string(got)); diff != "" {
				t.Errorf("version %s, %s (-want +got):\n%s", v, typ, diff)
			}
		}
	}
}

func TestRedactTopLevel(t *testing.T) {
	for _, v := range allVersions {
		var in, want []string
		for _, k := range []string{"unsigned", "redacts", "age_ts", "replaces_state", "prev_content", "user_id"} {
			in = append(in, fmt.Sprintf("%q:{}", k))
		}
		for _, s := range redactionTable {
			if s.typ != "" {
				continue
			}
			member := fmt.Sprintf("%q:{}", s.key)
			if s.key == "type" {
				member = `"type":"m.room.message"`
			}
			in = append(in, member)
			if s.in(v) {
				want = append(want, member)
			}
		}
		sort.Strings(want)
		got, err := Redact(v, []byte("{"+strings.Join(in, ",")+"}"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("{"+strings.Join(want, ",")+"}", string(got)); diff != "" {
			t.Errorf("version %s (-want +got):\n%s", v, diff)
		}
	}
}

func TestRedactOddities(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"third_party_invite without signed", `{"content":{"membership":"invite","third_party_invite":{"display_name":"x"}},"type":"m.room.member"}`,
			`{"content":{"membership":"invite"},"type":"m.room.member"}`},
		{"third_party_invite is no object", `{"content":{"membership":"invite","third_party_invite":7},"type":"m.room.member"}`,
			`{"content":{"membership":"invite"},"type":"m.room.member"}`},
		{"content is no object", `{"content":[1],"type":"m.room.member"}`, `{"content":{},"type":"m.room.member"}`},
		{"no content", `{"type":"m.room.member"}`, `{"type":"m.room.member"}`},
		{"keys that need escapes", `{"content":{"membership":"join","member\"ship":1},"type":"m.room.member","ty\"pe":1}`,
			`{"content":{"membership":"join"},"type":"m.room.member"}`},
	} {
		got, err := Redact("11", []byte(tc.in))
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: %s, %v, want %s", tc.name, got, err, tc.want)
		}
	}
	for _, in := range []string{`[]`, `{}`, `{"type":1}`, `7`} {
		if _, err := Redact("11", []byte(in)); !errors.Is(err, BadJSON("")) {
			t.Errorf("Redact(%s) = %v", in, err)
		}
	}
}

// Another implementation redacts the events of a room to the same bytes.
func TestRedactLikeOthers(t *testing.T) {
	for _, v := range []RoomVersion{"3", "6", "8", "9", "10", "11", "12"} {
		r := newOpenRoom(t, v)
		r.put(r.build("m.room.message", bob, nil, `{"body":"x"}`, nil))
		for _, e := range r.events {
			ours, err := Redact(v, e.JSON)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := gomatrixserverlib.MustGetRoomVersion(gomatrixserverlib.RoomVersion(v)).RedactEventJSON(e.JSON)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := CanonicalJSON(raw)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(theirs), string(ours)); diff != "" {
				t.Errorf("version %s (-theirs +ours):\n%s", v, diff)
			}
		}
	}
}

// No bytes make a parser panic; what is accepted survives its own output, and a redacted event keeps its id.
func FuzzParseUntrusted(f *testing.F) {
	for _, v := range []RoomVersion{"10", "12"} {
		r := newOpenRoom(f, v)
		for _, e := range r.events {
			f.Add(string(v), e.JSON)
		}
	}
	f.Add("1", []byte(`{"auth_events":[["$a:b",{"sha256":"x"}]],"content":{},"depth":1,"event_id":"$e:b","hashes":{"sha256":"5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"},"origin_server_ts":1,"prev_events":[],"room_id":"!r:b","sender":"@a:b","signatures":{"b":{"ed25519:1":"x"}},"type":"X"}`))
	f.Fuzz(func(t *testing.T, version string, b []byte) {
		v := RoomVersion(version)
		_, _ = NewEventIDOf(v, b)
		_, _ = ParseStored(v, "$x", b)
		if trusted, err := ParseTrusted(v, b); err == nil {
			_, _ = trusted.AuthTypes(), RequiredSigners(trusted)
			_ = Allowed(trusted, StateMap{{TypeCreate, ""}: trusted, {TypePowerLevels, ""}: trusted, {TypeMember, string(trusted.Sender)}: trusted})
			_ = CheckAuthEvents(trusted, []*Event{trusted})
		}
		e, err := ParseUntrusted(v, b)
		if err != nil {
			return
		}
		again, err := ParseUntrusted(v, e.JSON)
		if err != nil || again.ID != e.ID || string(again.JSON) != string(e.JSON) {
			t.Fatalf("%q becomes %v, %v", e.JSON, again, err)
		}
		redacted, err := Redact(v, e.JSON)
		if err != nil {
			t.Fatalf("Redact(%q): %v", e.JSON, err)
		}
		if id, err := NewEventIDOf(v, redacted); err != nil || id != e.ID {
			t.Fatalf("id of %q after redaction: %s, %v, want %s", e.JSON, id, err, e.ID)
		}
	})
}
