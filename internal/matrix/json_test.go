package matrix

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestCheckJSON(t *testing.T) {
	many := func(n int, last string) string {
		var b strings.Builder
		b.WriteByte('{')
		for i := range n {
			fmt.Fprintf(&b, `"k%d":%d,`, i, i)
		}
		return b.String() + last + "}"
	}
	for _, tc := range []struct {
		name, in string
		want     error
	}{
		{"object", `{"a":1,"b":[true,false,null,"x",-0.5e+7]}`, nil},
		{"white space", " \t\r\n{ } \n", nil},
		{"scalar", `"x"`, nil},
		{"same key in different objects", `{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}`, nil},
		{"same key after a nested object", `{"a":{"b":1},"a":1}`, BadJSON("")},
		{"duplicate", `{"a":1,"b":1,"a":1}`, BadJSON("")},
		{"duplicate by escape", `{"a":1,"\u0061":1}`, BadJSON("")},
		{"duplicate by surrogate pair", `{"😀":1,"\ud83d\ude00":1}`, BadJSON("")},
		{"duplicate among many", many(200, `"k77":0`), BadJSON("")},
		{"many keys", many(200, `"x":0`), nil},
		{"deep", strings.Repeat("[", 5) + strings.Repeat("]", 5), nil},
		{"too deep", strings.Repeat("[", 6) + strings.Repeat("]", 6), BadJSON("")},
		{"too deep, mixed", `[{"a":[{"a":[{}]}]}]`, BadJSON("")},
		{"lone surrogate", `"\ud83d"`, BadJSON("")},
		{"low surrogate first", `"\ude00\ud83d"`, BadJSON("")},
		{"surrogate and letter", `"\ud83dx\ude00"`, BadJSON("")},
		{"all escapes", `"\"\\\/\b\f\n\r\t\u00e9"`, nil},
		{"invalid UTF-8", "\"\xff\"", NotJSON("")},
		{"encoded surrogate", "\"\xed\xa0\x80\"", NotJSON("")},
		{"empty", ``, NotJSON("")},
		{"two values", `{} {}`, NotJSON("")},
		{"trailing comma", `{"a":1,}`, NotJSON("")},
		{"no colon", `{"a" 1}`, NotJSON("")},
		{"key not a string", `{1:1}`, NotJSON("")},
		{"open object", `{"a":1`, NotJSON("")},
		{"wrong bracket", `[1}`, NotJSON("")},
		{"leading zero", `[01]`, NotJSON("")},
		{"bare minus", `-`, NotJSON("")},
		{"dot without digits", `1.`, NotJSON("")},
		{"exponent without digits", `1e`, NotJSON("")},
		{"NaN", `NaN`, NotJSON("")},
		{"control character", "\"\n\"", NotJSON("")},
		{"open string", `"abc`, NotJSON("")},
		{"cut escape", `"\`, NotJSON("")},
		{"bad escape", `"\x41"`, NotJSON("")},
		{"bad hex", `"\u00zz"`, NotJSON("")},
		{"NUL behind", "{}\x00", NotJSON("")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := CheckJSON([]byte(tc.in), 5)
			if tc.want == nil && err != nil || !errors.Is(err, tc.want) {
				t.Errorf("CheckJSON(%q) = %v, want %v", tc.in, err, tc.want)
			}
		})
	}
}

func TestCheckJSONDoesNotAllocate(t *testing.T) {
	in := []byte(`{"msgtype":"m.text","body":"hello","m.relates_to":{"rel_type":"m.thread","event_id":"$x"},"m.mentions":{"user_ids":["@a:b"]}}`)
	if n := testing.AllocsPerRun(100, func() {
		if err := CheckJSON(in, 0); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// What CheckJSON takes, every parser must take; what the standard parser refuses, CheckJSON must refuse.
func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{`{}`, `[1,2.5e-3,"\u00e9\ud83d\ude00",{"a":null}]`, `{"a":1,"a":2}`, "\"\xff\"", `{"\u0061":[[[]]]}`, `-0`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := CheckJSON(b, 0)
		switch valid := json.Valid(b); {
		case err == nil && !valid:
			t.Errorf("accepted %q", b)
		case errors.Is(err, BadJSON("")) && len(b) < MaxJSONDepth && !strings.ContainsAny(string(b), `{\`):
			t.Errorf("refused %q as bad: %v", b, err)
		}
	})
}

func BenchmarkCheckJSON(b *testing.B) {
	in := []byte(`{"msgtype":"m.text","body":"hello there, this is a sentence of usual length","m.relates_to":{"rel_type":"m.thread","event_id":"$x"},"m.mentions":{"user_ids":["@a:b"]}}`)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckJSON(in, 0); err != nil {
			b.Fatal(err)
		}
	}
}
