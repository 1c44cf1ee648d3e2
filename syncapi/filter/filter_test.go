package filter

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"allmende/internal/matrix"
)

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"m.room.message", "m.room.message", true},
		{"m.room.message", "m.room.messages", false},
		{"m.room.*", "m.room.", true},
		{"m.room.*", "m.room.name", true},
		{"m.room.*", "m.roomname", false},
		{"*", "", true},
		{"*", "x", true},
		{"*.name", "m.room.name", true},
		{"*.name", "m.room.name.x", false},
		{"m.*.n*e", "m.room.name", true},
		{"m.*.n*e", "m.room.nam", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"*ab*ab*", "ab", false},
		{"*ab*ab*", "abab", true},
		{"a**b", "ab", true},
		{"", "", true},
		{"", "x", false},
		{"m.room?", "m.rooms", false},
		{"m[a]", "m[a]", true},
	} {
		if got := matches(tc.pattern, tc.s); got != tc.want {
			t.Errorf("matches(%q, %q) = %v", tc.pattern, tc.s, got)
		}
	}
}

func TestRoomEvents(t *testing.T) {
	type event struct {
		typ, sender string
		url         bool
	}
	for _, tc := range []struct {
		name, filter string
		pass, fail   []event
	}{
		{"empty object", `{}`, []event{{"m.x", "@a:b", true}, {"m.x", "@a:b", false}}, nil},
		{"types", `{"types":["m.room.*","m.x"]}`, []event{{typ: "m.room.name"}, {typ: "m.x"}}, []event{{typ: "m.y"}}},
		{"no types", `{"types":[]}`, nil, []event{{typ: "m.x"}}},
		{"not_types wins", `{"types":["m.*"],"not_types":["m.room.*"]}`, []event{{typ: "m.x"}}, []event{{typ: "m.room.name"}}},
		{"senders", `{"senders":["@a:b"]}`, []event{{sender: "@a:b"}}, []event{{sender: "@c:b"}}},
		{"not_senders wins", `{"senders":["@a:b"],"not_senders":["@a:b"]}`, nil, []event{{sender: "@a:b"}}},
		{"senders know no wildcards", `{"senders":["@*"]}`, nil, []event{{sender: "@a:b"}}},
		{"url", `{"contains_url":true}`, []event{{url: true}}, []event{{url: false}}},
		{"no url", `{"contains_url":false}`, []event{{url: false}}, []event{{url: true}}},
		{"null says nothing", `{"types":null,"senders":null,"contains_url":null,"limit":null}`, []event{{typ: "x", sender: "y", url: true}}, nil},
	} {
		f, err := ParseRoomEvents([]byte(tc.filter))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		for _, e := range tc.pass {
			if !f.PassEvent(e.typ, e.sender, e.url) {
				t.Errorf("%s: %+v does not pass", tc.name, e)
			}
		}
		for _, e := range tc.fail {
			if f.PassEvent(e.typ, e.sender, e.url) {
				t.Errorf("%s: %+v passes", tc.name, e)
			}
		}
		if f.All() != (len(tc.fail) == 0) {
			t.Errorf("%s: All() = %v", tc.name, f.All())
		}
	}
}

func TestSync(t *testing.T) {
	f, err := ParseSync([]byte(`{
		"event_fields": ["content.body", "sender"], "event_format": "federation",
		"presence": {"not_types": ["*"]},
		"account_data": {"types": ["m.direct"]},
		"room": {
			"rooms": ["!a:b"], "not_rooms": ["!c:d"], "include_leave": true,
			"state": {"lazy_load_members": true, "include_redundant_members": true},
			"timeline": {"limit": 5000, "unread_thread_notifications": true, "related_by_rel_types": ["m.thread"],
				"related_by_senders": ["@a:b"], "rooms": ["!x:y"]},
			"ephemeral": {"types": []}, "account_data": {"not_types": ["m.tag"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"federation":   f.Federation,
		"fields":       len(f.Fields) == 2,
		"presence":     !f.Presence.PassType("m.presence"),
		"account data": f.AccountData.PassType("m.direct") && !f.AccountData.PassType("m.push_rules"),
		"rooms":        f.Room.Rooms.Pass("!a:b") && !f.Room.Rooms.Pass("!c:d") && !f.Room.Rooms.Pass("!e:f"),
		"leave":        f.Room.IncludeLeave,
		"lazy":         f.Room.State.LazyLoadMembers && f.Room.State.IncludeRedundantMembers && !f.Room.Timeline.LazyLoadMembers,
		"limit":        f.Room.Timeline.Limit == MaxLimit,
		"threads":      f.Room.Timeline.UnreadThreadNotifications,
		"related by":   !f.Room.Timeline.RelatedBy.Empty() && f.Room.State.RelatedBy.Empty(),
		"part's rooms": f.Room.Timeline.Rooms.Pass("!x:y") && !f.Room.Timeline.Rooms.Pass("!a:b"),
		"ephemeral":    !f.Room.Ephemeral.PassType("m.typing"),
		"tags":         !f.Room.AccountData.PassType("m.tag") && f.Room.AccountData.PassType("m.fully_read"),
	} {
		if !ok {
			t.Errorf("%s is wrong: %+v", name, f)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		filter string
		want   *matrix.Error
	}{
		{`{`, matrix.NotJSON("")},
		{`x`, matrix.NotJSON("")},
		{`[]`, matrix.BadJSON("")},
		{`null`, matrix.BadJSON("")},
		{`"1"`, matrix.BadJSON("")},
		{`{"room":{},"room":{}}`, matrix.BadJSON("")},
		{`{"room":[]}`, matrix.BadJSON("")},
		{`{"presence":{"types":"m.x"}}`, matrix.BadJSON("")},
		{`{"presence":{"types":[1]}}`, matrix.BadJSON("")},
		{`{"room":{"timeline":{"limit":"x"}}}`, matrix.BadJSON("")},
		{`{"room":{"include_leave":"yes"}}`, matrix.BadJSON("")},
		{`{"room":{"timeline":{"limit":-1}}}`, matrix.InvalidParam("")},
		{`{"room":{"timeline":{"limit":1.5}}}`, matrix.InvalidParam("")},
		{`{"room":{"timeline":{"rooms":["a:b"]}}}`, matrix.InvalidParam("")},
		{`{"room":{"not_rooms":[""]}}`, matrix.InvalidParam("")},
		{`{"presence":{"senders":["a"]}}`, matrix.InvalidParam("")},
		{`{"presence":{"not_senders":["!a"]}}`, matrix.InvalidParam("")},
		{`{"event_format":"xml"}`, matrix.InvalidParam("")},
		{`{"presence":{"types":["` + strings.Repeat("*", 17) + `"]}}`, matrix.InvalidParam("")},
		{`{"event_fields":[` + strings.Repeat(`"a",`, 1000) + `"a"]}`, matrix.InvalidParam("")},
		{`{"x":"` + strings.Repeat("a", maxBytes) + `"}`, matrix.TooLarge("")},
	} {
		if _, err := ParseSync([]byte(tc.filter)); !errors.Is(err, tc.want) {
			t.Errorf("%.60s: %v, want %s", tc.filter, err, tc.want.Code)
		}
	}
	if _, err := ParseRoomEvents([]byte(`{"types":{}}`)); !errors.Is(err, matrix.BadJSON("")) {
		t.Error(err)
	}
	if f, err := ParseRoomEvents(nil); err != nil || !f.All() {
		t.Error("no filter must let everything pass:", err)
	}
}

// FuzzMatches compares with a regular expression, which is right but slow.
func FuzzMatches(f *testing.F) {
	f.Add("m.*.n*e", "m.room.name")
	f.Add("*ab*ab*", "abaab")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 50 || len(s) > 200 || !utf8.ValidString(pattern) || !utf8.ValidString(s) {
			return
		}
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		want := regexp.MustCompile(`(?s)\A` + strings.Join(parts, ".*") + `\z`).MatchString(s)
		if got := matches(pattern, s); got != want {
			t.Errorf("matches(%q, %q) = %v", pattern, s, got)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"room":{"timeline":{"limit":10,"types":["m.*"],"contains_url":true}},"event_fields":["content.body"]}`))
	f.Add([]byte(`{"presence":{"senders":["@a:b"]},"event_format":"federation"}`))
	f.Add([]byte(`{"types":[],"not_types":["*"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var known *matrix.Error
		if s, err := ParseSync(raw); err == nil {
			s.Room.Timeline.PassEvent("m.room.message", "@a:b", true)
			if s.Room.Timeline.Limit < 0 || s.Room.Timeline.Limit > MaxLimit {
				t.Errorf("limit %d", s.Room.Timeline.Limit)
			}
		} else if !errors.As(err, &known) || known.Status >= 500 {
			t.Errorf("%v is no answer to a client", err)
		}
		if r, err := ParseRoomEvents(raw); err == nil {
			if all := r.All(); all && !r.PassEvent("any", "@a:b", false) {
				t.Error("All, yet something does not pass")
			}
		}
	})
}
