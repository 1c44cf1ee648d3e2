package matrix

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"
)

// The first ones are the specification's examples. spec: appendices §Canonical JSON "Examples"
func TestCanonicalJSON(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		err      error
	}{
		{in: `{}`, want: `{}`},
		{in: "{\n \"one\": 1,\n \"two\": \"Two\"\n}", want: `{"one":1,"two":"Two"}`},
		{in: `{"b":"2","a":"1"}`, want: `{"a":"1","b":"2"}`},
		{in: `{"auth":{"success":true,"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"medium":"email","address":"john.doe@example.org"},{"medium":"msisdn","address":"123456789"}]}}}`,
			want: `{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}`},
		{in: `{"a":"日本語"}`, want: `{"a":"日本語"}`},
		{in: `{"本":2,"日":1}`, want: `{"日":1,"本":2}`},
		{in: `{"a":"\u65E5"}`, want: `{"a":"日"}`},
		{in: `{"a":null}`, want: `{"a":null}`},
		{in: `{"a":-0,"b":1e10}`, want: `{"a":0,"b":10000000000}`},

		{in: `["\/","\u002f","\u0022","\\","\b\f\n\r\t\u0000\u001F\u007f","\uD83D\uDE00"]`,
			want: `["/","/","\"","\\","\b\f\n\r\t\u0000\u001f` + "\x7f" + `","😀"]`},
		{in: `{"a\"":1,"a#":2}`, want: `{"a\"":1,"a#":2}`}, // by code point of the key, not of its escape
		{in: `{"\uFFFD":1,"😀":2}`, want: `{"�":1,"😀":2}`},  // not by UTF-16 unit
		{in: `{"b":{"d":1,"c":{"f":[],"e":[{"h":1,"g":2}]}},"a":0}`, want: `{"a":0,"b":{"c":{"e":[{"g":2,"h":1}],"f":[]},"d":1}}`},
		{in: `{"b":1,"":2,"a":3}`, want: `{"":2,"a":3,"b":1}`},
		{in: `[9007199254740991,-9007199254740991,1.0,100e-2]`, want: `[9007199254740991,-9007199254740991,1,1]`},
		{in: `[9007199254740992]`, err: BadJSON("")},
		{in: `[-9007199254740992]`, err: BadJSON("")},
		{in: `[1e400]`, err: BadJSON("")},
		{in: `[1e-400]`, want: `[0]`},
		{in: `[0.5]`, err: BadJSON("")},
		{in: `[99999999999999999999]`, err: BadJSON("")},
		{in: `{"b":1,"a":1,"b":1}`, err: BadJSON("")},
		{in: `{"a":1,"\u0061":1}`, err: BadJSON("")},
		{in: strings.Repeat("[", 101) + strings.Repeat("]", 101), err: BadJSON("")},
		{in: "\"\xff\"", err: NotJSON("")},
		{in: `{"a":1}}`, err: NotJSON("")},
		{in: `{"a"}`, err: NotJSON("")},
		{in: ``, err: NotJSON("")},
	} {
		got, err := CanonicalJSON([]byte(tc.in))
		if tc.err == nil && err != nil || !errors.Is(err, tc.err) {
			t.Errorf("CanonicalJSON(%s) error = %v, want %v", tc.in, err, tc.err)
		}
		if string(got) != tc.want {
			t.Errorf("CanonicalJSON(%s) = %s, want %s", tc.in, got, tc.want)
		}
	}
}

func TestCanonicalEventJSON(t *testing.T) {
	for _, tc := range []struct {
		version  RoomVersion
		in, want string
	}{
		{"11", `{"a":1}`, `{"a":1}`},
		{"11", `{"a":1.0}`, ""},
		{"11", `{"a":-0}`, ""},
		{"11", `{"a":1e2}`, ""},
		{"6", `{"a":9007199254740992}`, ""},
		{"5", `{"b":1.50,"a":9007199254740992}`, `{"a":9007199254740992,"b":1.50}`},
	} {
		got, err := CanonicalEventJSON(tc.version, []byte(tc.in))
		if string(got) != tc.want || (tc.want == "") != errors.Is(err, BadJSON("")) {
			t.Errorf("version %s: %s = %s, %v, want %s", tc.version, tc.in, got, err, tc.want)
		}
	}
}

// Canonical JSON is a fixed point, means the same as its source, is what the standard parser and another implementation
// read, and its members can be walked.
func FuzzCanonicalJSON(f *testing.F) {
	for _, s := range []string{`{"b":[1,{"d":"\u00e9\/","c":null}],"a":-0.0}`, `"\ud83d\ude00"`, `[1e3,12345678901]`, `{"\"":1,"#":{}}`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := CanonicalJSON(b)
		if (err == nil) != (CheckJSON(b, 0) == nil) && !errors.Is(err, BadJSON("")) {
			t.Fatalf("CheckJSON and CanonicalJSON(%q) differ: %v", b, err)
		}
		if err != nil {
			return
		}
		twice, err := CanonicalJSON(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("CanonicalJSON(%q) = %q, then %q, %v", b, once, twice, err)
		}
		if _, err := CanonicalEventJSON("12", once); err != nil {
			t.Fatalf("%q is not what events may be: %v", once, err)
		}
		var before, after any
		if json.Unmarshal(b, &before) != nil || json.Unmarshal(once, &after) != nil {
			t.Fatalf("the standard parser refuses %q or %q", b, once)
		}
		x, _ := json.Marshal(before)
		y, _ := json.Marshal(after)
		if !bytes.Equal(x, y) && !bytes.ContainsAny(b, ".eE-") {
			t.Fatalf("%q became %q", b, once)
		}
		// It cannot write keys that need escapes.
		if theirs, err := gomatrixserverlib.CanonicalJSON(once); !bytes.ContainsRune(once, '\\') && (err != nil || !bytes.Equal(theirs, once)) {
			t.Errorf("another implementation writes %q for %q, %v", theirs, once, err)
		}
		if after, ok := after.(map[string]any); ok {
			n := 0
			for range members(once) {
				n++
			}
			if n != len(after) {
				t.Fatalf("%d members of %q, want %d", n, once, len(after))
			}
		}
	})
}

func BenchmarkCanonicalJSON(b *testing.B) {
	in := []byte(`{"msgtype":"m.text","body":"hello there, this is a sentence of usual length","m.relates_to":{"rel_type":"m.thread","event_id":"$x"},"m.mentions":{"user_ids":["@a:b"]}}`)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CanonicalJSON(in); err != nil {
			b.Fatal(err)
		}
	}
}
