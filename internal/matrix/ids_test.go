package matrix

import (
	"errors"
	"strings"
	"testing"
)

func TestParseUserID(t *testing.T) {
	for s, want := range map[string]bool{
		"@alice:example.org":                    true,
		"@alice:example.org:8448":               true,
		"@alice:[::1]:8448":                     true,
		"@alice:192.0.2.1":                      true,
		"@Alice Smith!:example.org":             true, // historical
		"@:example.org":                         true, // historical
		"@üñ:example.org":                       true, // historical
		"alice:example.org":                     false,
		"#alice:example.org":                    false,
		"@alice":                                false,
		"@alice:":                               false,
		"@alice:exa mple.org":                   false,
		"@alice:example.org:":                   false,
		"@alice:example.org:84480000":           false,
		"@alice:example.org:99999":              false,
		"@alice:example.org:x":                  false,
		"@a\x00b:example.org":                   false,
		"@\xff:example.org":                     false,
		"@" + strings.Repeat("a", 251) + ":b.c": false,
		"@" + strings.Repeat("a", 250) + ":b.c": true,
		"@alice:" + strings.Repeat("a", 255):    false,
		"@alice:example.org\n":                  false,
		"@alice:ex_ample.org":                   false,
		"":                                      false,
		"@alice:[::1":                           false,
		"@alice:[192.0.2.1]":                    false,
		"@alice:[fe80::1%25eth0]":               false,
		"@alice:]::1[":                          false,
		"@alice:other:example.org:8448":         false,
		"@alice:2001:db8::1":                    false,
		"@" + strings.Repeat("ü", 124) + ":b.c": true,
		"@" + strings.Repeat("ü", 126) + ":b.c": false,
		"@alice:xn--bcher-kva.example":          true,
		"@alice:EXAMPLE.org":                    true,
		"@alice:example.org/../../etc":          false,
		"@alice:example.org?x":                  false,
		"@alice:example.org#x":                  false,
		"@alice:user@example.org":               false,
		"@alice:-example.org":                   true,
	} {
		u, err := ParseUserID(s)
		if (err == nil) != want || err != nil && !errors.Is(err, InvalidParam("")) {
			t.Errorf("ParseUserID(%q) = %v, want ok %v", s, err, want)
		}
		if err == nil && "@"+u.Localpart()+":"+string(u.Server()) != s {
			t.Errorf("%q falls apart into %q and %q", s, u.Localpart(), u.Server())
		}
	}
}

func TestNewUserID(t *testing.T) {
	for local, want := range map[string]bool{
		"alice": true, "a.b_c=d-e/f+9": true, "": false, "Alice": false, "al ice": false, "ü": false, "a:b": false, "a@b": false,
		strings.Repeat("a", 245): true, strings.Repeat("a", 246): false,
	} {
		id, err := NewUserID(local, "b.exampl")
		if (err == nil) != want || err != nil && !errors.Is(err, InvalidUsername("")) {
			t.Errorf("NewUserID(%q) = %q, %v, want ok %v", local, id, err, want)
		}
	}
}

func TestParseRoomID(t *testing.T) {
	const hash = "31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM"
	for s, want := range map[string]struct {
		ok     bool
		domain ServerName
		create EventID
	}{
		"!opaque:example.org":     {true, "example.org", ""},
		"!op aque:example.org:80": {true, "example.org:80", ""},
		"!" + hash:                {true, "", "$" + hash},
		"!" + hash[1:]:            {},
		"!" + hash + "a":          {},
		"!" + hash[1:] + "+":      {},
		"!:example.org":           {},
		"!":                       {},
		"":                        {},
		"!opaque":                 {},
		"#opaque:example.org":     {},
		"!opaque:":                {},
	} {
		id, err := ParseRoomID(s)
		if (err == nil) != want.ok || id.Domain() != want.domain || id.CreateEventID() != want.create {
			t.Errorf("ParseRoomID(%q) = %q, %q, %v, want %+v", s, id.Domain(), id.CreateEventID(), err, want)
		}
	}
}

func TestParseOthers(t *testing.T) {
	for s, want := range map[string]bool{"#room:example.org": true, "#a/b c:example.org": true, "#room": false, "!room:example.org": false, "#a\x00:b": false} {
		if a, err := ParseRoomAlias(s); (err == nil) != want || want && "#"+a.Localpart()+":"+string(a.Server()) != s {
			t.Errorf("ParseRoomAlias(%q) = %v", s, err)
		}
	}
	for s, want := range map[string]bool{"$x": true, "$x:example.org": true, "$": false, "x": false, "": false, "$" + strings.Repeat("a", 255): false, "$\x00": false} {
		if _, err := ParseEventID(s); (err == nil) != want {
			t.Errorf("ParseEventID(%q) = %v", s, err)
		}
	}
	for s, want := range map[string]struct {
		ok   bool
		host string
		port uint16
	}{
		"example.org": {true, "example.org", 0}, "example.org:8448": {true, "example.org", 8448}, "[2001:db8::1]": {true, "[2001:db8::1]", 0},
		"[2001:db8::1]:1": {true, "[2001:db8::1]", 1}, "1.2.3.4:65535": {true, "1.2.3.4", 65535},
		"1.2.3.4:65536": {}, "": {}, ":80": {}, "a:b": {}, "[::1]x": {}, "[]": {}, "exämple": {},
	} {
		n, err := ParseServerName(s)
		if host, port := n.Split(); (err == nil) != want.ok || host != want.host || port != want.port {
			t.Errorf("ParseServerName(%q) = %q %d, %v, want %+v", s, host, port, err, want)
		}
	}
}

// No id makes a parser panic, and what is accepted falls apart into its parts again.
func FuzzIDs(f *testing.F) {
	for _, s := range []string{"@a:b", "!x:y:1", "#a:[::1]:2", "$x", "[::1]:80", "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if u, err := ParseUserID(s); err == nil && "@"+u.Localpart()+":"+string(u.Server()) != s {
			t.Errorf("user id %q", s)
		}
		if a, err := ParseRoomAlias(s); err == nil && "#"+a.Localpart()+":"+string(a.Server()) != s {
			t.Errorf("alias %q", s)
		}
		if r, err := ParseRoomID(s); err == nil && (r.Domain() == "") != (r.CreateEventID() != "") {
			t.Errorf("room id %q has neither or both of domain and create event", s)
		}
		if n, err := ParseServerName(s); err == nil {
			if host, _ := n.Split(); host == "" {
				t.Errorf("server name %q has no host", s)
			}
		}
		_, _ = ParseEventID(s)
		for _, x := range []interface{ Server() ServerName }{UserID(s), RoomAlias(s)} {
			_ = x.Server()
		}
		_, _ = UserID(s).Localpart(), RoomAlias(s).Localpart()
		_ = ValidLocalpart(s)
	})
}
