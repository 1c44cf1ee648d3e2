package clientevent

import (
	"encoding/json"
	"testing"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

func key(n int64) *int64 { return &n }

const pdu = `{"auth_events":["$a"],"content":{"body":"hi","n":{"a.b":1}},"depth":7,"extra":"x","hashes":{"sha256":"h"},"origin_server_ts":1000,` +
	`"prev_events":["$p"],"room_id":"!r:x","sender":"@a:x","signatures":{"x":{"ed25519:1":"s"}},"type":"m.room.message"}`

func TestAppend(t *testing.T) {
	e := New(read.Event{ID: "$e", OriginTS: 1000, SenderNID: 5, DeviceID: "D", TxnID: `t"1`, JSON: []byte(pdu)})
	mine := Viewer{UserNID: 5, DeviceID: "D"}
	const base = `{"event_id":"$e","content":{"body":"hi","n":{"a.b":1}},"origin_server_ts":1000,"sender":"@a:x","type":"m.room.message"`
	for _, tc := range []struct {
		name string
		f    Format
		v    Viewer
		rel  string
		want string
	}{
		{"plain", Format{Now: 1500}, Viewer{}, "", base + `,"unsigned":{"age":500,"membership":"leave"}}`},
		{"room id", Format{RoomID: "!r:x", Now: 1500}, Viewer{}, "", base + `,"room_id":"!r:x","unsigned":{"age":500,"membership":"leave"}}`},
		{"sending device", Format{Now: 1500}, mine, "", base + `,"unsigned":{"age":500,"membership":"leave","transaction_id":"t\"1"}}`},
		{"other device", Format{Now: 1500}, Viewer{UserNID: 5, DeviceID: "E"}, "", base + `,"unsigned":{"age":500,"membership":"leave"}}`},
		{"same device of another", Format{Now: 1500}, Viewer{UserNID: 6, DeviceID: "D"}, "", base + `,"unsigned":{"age":500,"membership":"leave"}}`},
		{"relations", Format{Now: 1500}, Viewer{}, `{"m.x":{}}`, base + `,"unsigned":{"age":500,"membership":"leave","m.relations":{"m.x":{}}}}`},
		{"clock behind", Format{Now: 900}, Viewer{}, "", base + `,"unsigned":{"age":-100,"membership":"leave"}}`},
		{"federation", Format{RoomID: "!r:x", Now: 1500, Federation: true}, Viewer{}, "",
			pdu[:len(pdu)-1] + `,"event_id":"$e","unsigned":{"age":500,"membership":"leave"}}`},
		{"fields", Format{Now: 1500, Fields: ParseFields([]string{"content.body", "sender"})}, Viewer{}, "",
			`{"event_id":"$e","content":{"body":"hi"},"sender":"@a:x","type":"m.room.message"}`},
		{"field with a dot", Format{Now: 1500, Fields: ParseFields([]string{`content.n.a\.b`})}, Viewer{}, "",
			`{"event_id":"$e","content":{"n":{"a.b":1}},"type":"m.room.message"}`},
		{"field below a text", Format{Now: 1500, Fields: ParseFields([]string{"content.body.x"})}, Viewer{}, "",
			`{"event_id":"$e","content":{},"type":"m.room.message"}`},
		{"whole and part", Format{Now: 1500, Fields: ParseFields([]string{"unsigned", "unsigned.age", "content.n.x"})}, Viewer{}, "",
			`{"event_id":"$e","content":{"n":{}},"type":"m.room.message","unsigned":{"age":500,"membership":"leave"}}`},
	} {
		var rel []byte
		if tc.rel != "" {
			rel = []byte(tc.rel)
		}
		for _, e := range []*Event{e, Once(e.Event)} {
			if got := string(e.Append([]byte("#"), &tc.f, &tc.v, rel)); got != "#"+tc.want {
				t.Errorf("%s:\n%s\nwant\n#%s", tc.name, got, tc.want)
			}
		}
	}
	if string(e.JSON) != pdu {
		t.Error("the stored bytes were changed")
	}
}

// TestRedacts: both places name the target, whichever the version uses.
func TestRedacts(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"old place", `{"content":{"reason":"r"},"redacts":"$t","type":"m.room.redaction"}`,
			`{"event_id":"$e","type":"m.room.redaction","redacts":"$t","content":{"reason":"r","redacts":"$t"}}`},
		{"old place, empty content", `{"content":{},"redacts":"$t","type":"m.room.redaction"}`,
			`{"event_id":"$e","type":"m.room.redaction","redacts":"$t","content":{"redacts":"$t"}}`},
		{"new place", `{"content":{"reason":"r","redacts":"$t"},"type":"m.room.redaction"}`,
			`{"event_id":"$e","type":"m.room.redaction","redacts":"$t","content":{"reason":"r","redacts":"$t"}}`},
		{"both places", `{"content":{"redacts":"$t"},"redacts":"$u","type":"m.room.redaction"}`,
			`{"event_id":"$e","type":"m.room.redaction","redacts":"$u","content":{"redacts":"$t"}}`},
		{"redacted itself", `{"content":{},"type":"m.room.redaction"}`,
			`{"event_id":"$e","type":"m.room.redaction","content":{}}`},
	} {
		e := New(read.Event{ID: "$e", TypeNID: read.TypeRedaction, JSON: []byte(tc.in)})
		if got := string(e.AppendPlain(nil, "")); got != tc.want {
			t.Errorf("%s: %s", tc.name, got)
		}
	}
	// Only redactions have the member.
	e := New(read.Event{ID: "$e", JSON: []byte(`{"content":{},"redacts":"$t","type":"m.x"}`)})
	if got := string(e.AppendPlain(nil, "!r:x")); got != `{"event_id":"$e","content":{},"type":"m.x","room_id":"!r:x"}` {
		t.Error(got)
	}
}

func TestStripped(t *testing.T) {
	e := read.Event{KeyNID: key(1), JSON: []byte(`{"auth_events":[],"content":{"name":"n"},"origin_server_ts":9,"sender":"@a:x","state_key":"","type":"m.room.name"}`)}
	if got := string(AppendStripped(nil, &e)); got != `{"content":{"name":"n"},"sender":"@a:x","state_key":"","type":"m.room.name"}` {
		t.Error(got)
	}
	if got := string(AppendStrippedChild(nil, &e)); got != `{"content":{"name":"n"},"origin_server_ts":9,"sender":"@a:x","state_key":"","type":"m.room.name"}` {
		t.Error(got)
	}
}

// FuzzAppend: whatever canonical event is stored, what comes out is one valid
// JSON object with its content.
func FuzzAppend(f *testing.F) {
	f.Add([]byte(pdu), true, "content.body")
	f.Add([]byte(`{"content":{},"redacts":"$t"}`), true, "")
	f.Add([]byte(`{"content":{"redacts":{}}}`), false, `a\.b.c`)
	f.Add([]byte(`{}`), false, "x")
	f.Fuzz(func(t *testing.T, raw []byte, redaction bool, field string) {
		canonical, err := matrix.CanonicalJSON(raw)
		if err != nil || canonical[0] != '{' || string(canonical) == "{}" {
			return
		}
		in := read.Event{ID: "$e", JSON: canonical}
		if redaction {
			in.TypeNID = read.TypeRedaction
			if c := matrix.Member(canonical, "content"); len(c) == 0 || c[0] != '{' {
				return // no redaction without an object as content is ever stored
			}
		}
		e := New(in)
		e.Prev, e.Redaction = &in, &in
		for _, format := range []Format{{}, {Federation: true}, {RoomID: "!r:x", Fields: ParseFields([]string{field})}} {
			out := e.Append(nil, &format, &Viewer{}, nil)
			if !json.Valid(out) {
				t.Errorf("%s gave %s", canonical, out)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	e := read.Event{ID: "$e", OriginTS: 1000, JSON: []byte(pdu)}
	f, v, buf := Format{RoomID: "!r:x", Now: 2000}, Viewer{}, make([]byte, 0, 1000)
	b.ReportAllocs()
	for b.Loop() {
		buf = New(e).Append(buf[:0], &f, &v, nil)
	}
}
