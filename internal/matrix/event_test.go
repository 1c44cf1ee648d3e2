package matrix

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"crypto/ed25519"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/gomatrixserverlib"
)

func specSigner(t testing.TB) Signer {
	seed, err := base64.RawStdEncoding.DecodeString("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
	if err != nil {
		t.Fatal(err)
	}
	return Signer{Server: "domain", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(seed)}
}

// spec: appendices §Cryptographic Test Vectors "JSON Signing"
func TestSignJSONVectors(t *testing.T) {
	s := specSigner(t)
	for in, want := range map[string]string{
		`{}`:                       `{"signatures":{"domain":{"ed25519:1":"K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"}}}`,
		`{"two": "Two", "one": 1}`: `{"one":1,"signatures":{"domain":{"ed25519:1":"KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"}},"two":"Two"}`,
	} {
		got, err := SignJSON([]byte(in), s)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("SignJSON(%s) (-want +got):\n%s", in, diff)
		}
		public := s.Key.Public().(ed25519.PublicKey)
		if err := VerifyJSON(got, "domain", "ed25519:1", public); err != nil {
			t.Errorf("VerifyJSON: %v", err)
		}
		if err := VerifyJSON(bytes.Replace(got, []byte("{"), []byte(`{"x":1,`), 1), "domain", "ed25519:1", public); !errors.Is(err, Unauthorized("")) {
			t.Errorf("VerifyJSON of a changed object = %v", err)
		}
		if err := VerifyJSON(got, "other", "ed25519:1", public); !errors.Is(err, Unauthorized("")) {
			t.Errorf("VerifyJSON for another server = %v", err)
		}
	}
}

// spec: appendices §Cryptographic Test Vectors "Event Signing"
func TestEventSigningVectors(t *testing.T) {
	s := specSigner(t)
	for _, tc := range []struct{ name, event, typ, hash, sig string }{
		{
			name:  "minimal",
			event: `{"room_id":"!x:domain","sender":"@a:domain","origin":"domain","origin_server_ts":1000000,"signatures":{},"hashes":{},"type":"X","content":{},"prev_events":[],"auth_events":[],"depth":3,"unsigned":{"age_ts":1000000}}`,
			typ:   "X", hash: "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
			sig: "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
		},
		{
			name:  "redactable",
			event: `{"content":{"body":"Here is the message content"},"event_id":"$0:domain","origin":"domain","origin_server_ts":1000000,"type":"m.room.message","room_id":"!r:domain","sender":"@u:domain","signatures":{},"unsigned":{"age_ts":1000000}}`,
			typ:   "m.room.message", hash: "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
			sig: "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			obj, err := CanonicalJSON([]byte(tc.event))
			if err != nil {
				t.Fatal(err)
			}
			plain := without(obj, "hashes", "signatures", "unsigned")
			if got, want := string(appendHashes(nil, plain)), `,"hashes":{"sha256":"`+tc.hash+`"}`; got != want {
				t.Errorf("hash = %s, want %s", got, want)
			}
			hashed := putMember(obj, "hashes", []byte(`{"sha256":"`+tc.hash+`"}`))
			r, err := RoomVersion("1").rules()
			if err != nil {
				t.Fatal(err)
			}
			sig := ed25519.Sign(s.Key, r.signedBytes(hashed, tc.typ))
			if got := base64.RawStdEncoding.EncodeToString(sig); got != tc.sig {
				t.Errorf("signature = %s, want %s", got, tc.sig)
			}
		})
	}
}

// Whatever Build makes, our parsers and another implementation read as the same event.
func TestBuildRoundTrip(t *testing.T) {
	for _, v := range []RoomVersion{"3", "4", "5", "6", "7", "8", "9", "10", "11", "12"} {
		t.Run(string(v), func(t *testing.T) {
			r := newOpenRoom(t, v)
			r.put(r.build("m.room.message", bob, nil, `{"msgtype":"m.text","body":"\u00fc \"quoted\" \\ \n \u0001 日本","z":{"b":[3,-2,{}],"a":null},"a":true}`, nil))
			r.put(r.build(TypeRedaction, bob, nil, `{"reason":"x","redacts":"$elsewhere"}`, func(p *Proto) { p.Redacts = r.last.ID }))
			r.put(r.build("m.room.name", alice, key(""), ` { "name" : "N" } `, nil))
			for _, e := range r.events {
				checkRoundTrip(t, e)
			}
		})
	}
}

func checkRoundTrip(t *testing.T, e *Event) {
	t.Helper()
	got, err := ParseUntrusted(e.Version, e.JSON)
	if err != nil {
		t.Fatalf("ParseUntrusted(%s): %v", e.JSON, err)
	}
	same := cmp.Comparer(func(a, b *Event) bool {
		return a.ID == b.ID && a.RoomID == b.RoomID && a.Type == b.Type && a.Sender == b.Sender && a.Depth == b.Depth &&
			a.OriginServerTS == b.OriginServerTS && cmp.Equal(a.StateKey, b.StateKey) && string(a.Content) == string(b.Content) &&
			a.Redacts == b.Redacts && bytes.Equal(a.JSON, b.JSON) && a.membership == b.membership && a.Version == b.Version &&
			len(a.PrevEvents) == len(b.PrevEvents) && len(a.AuthEvents) == len(b.AuthEvents)
	})
	if !cmp.Equal(e, got, same) {
		t.Errorf("parsed %+v, built %+v", got, e)
	}
	stored, err := ParseStored(e.Version, e.ID, e.JSON)
	if err != nil || !cmp.Equal(e, stored, same) {
		t.Errorf("ParseStored = %+v, %v", stored, err)
	}
	signer := testSigner(e.Sender.Server())
	public := signer.Key.Public().(ed25519.PublicKey)
	if err := VerifySignature(got, signer.Server, signer.KeyID, public); err != nil {
		t.Errorf("VerifySignature(%s): %v", e.JSON, err)
	}
	if diff := cmp.Diff([]string{signer.KeyID}, got.SignatureKeys(signer.Server)); diff != "" {
		t.Error(diff)
	}
	// A redacted copy has the same id and still carries a valid signature.
	redacted, err := Redact(e.Version, e.JSON)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := NewEventIDOf(e.Version, redacted); err != nil || id != e.ID {
		t.Errorf("id after redaction = %s, %v, want %s", id, err, e.ID)
	}
	small, err := ParseTrusted(e.Version, redacted)
	if err != nil {
		t.Fatal(err)
	}
	if err := VerifySignature(small, signer.Server, signer.KeyID, public); err != nil {
		t.Errorf("VerifySignature after redaction: %v", err)
	}

	impl := gomatrixserverlib.MustGetRoomVersion(gomatrixserverlib.RoomVersion(e.Version))
	other, err := impl.NewEventFromUntrustedJSON(e.JSON)
	if err != nil {
		t.Fatalf("another implementation refuses %s: %v", e.JSON, err)
	}
	if other.EventID() != string(e.ID) || other.RoomID().String() != string(e.RoomID) || other.Redacted() {
		t.Errorf("another implementation reads id %s room %s redacted %v, want %s %s", other.EventID(), other.RoomID().String(), other.Redacted(), e.ID, e.RoomID)
	}
}

func TestBuildRefuses(t *testing.T) {
	good := func() Proto {
		return Proto{RoomID: "!r:one.example", Type: "m.room.message", Sender: alice, Content: json.RawMessage(`{}`)}
	}
	long := strings.Repeat("x", 256)
	for _, tc := range []struct {
		name    string
		version RoomVersion
		change  func(*Proto)
		want    error
	}{
		{"good", "11", func(*Proto) {}, nil},
		{"unknown version", "org.matrix.hydra.11", func(*Proto) {}, UnsupportedRoomVersion("")},
		{"version 2", "2", func(*Proto) {}, UnsupportedRoomVersion("")},
		{"no type", "11", func(p *Proto) { p.Type = "" }, BadJSON("")},
		{"long type", "11", func(p *Proto) { p.Type = long }, TooLarge("")},
		{"long state key", "11", func(p *Proto) { p.StateKey = &long }, TooLarge("")},
		{"state key of 255 bytes", "11", func(p *Proto) { p.StateKey = key(long[1:]) }, nil},
		{"NUL in state key", "11", func(p *Proto) { p.StateKey = key("a\x00") }, BadJSON("")},
		{"state key not UTF-8", "11", func(p *Proto) { p.StateKey = key("\xff") }, BadJSON("")},
		{"sender", "11", func(p *Proto) { p.Sender = "alice" }, InvalidParam("")},
		{"no room", "11", func(p *Proto) { p.RoomID = "" }, InvalidParam("")},
		{"create of 12 with room", "12", func(p *Proto) { p.Type, p.StateKey = TypeCreate, key("") }, BadJSON("")},
		{"content is a list", "11", func(p *Proto) { p.Content = json.RawMessage(`[]`) }, BadJSON("")},
		{"no content", "11", func(p *Proto) { p.Content = nil }, NotJSON("")},
		{"float", "11", func(p *Proto) { p.Content = json.RawMessage(`{"a":1.5}`) }, BadJSON("")},
		{"exponent", "11", func(p *Proto) { p.Content = json.RawMessage(`{"a":1e2}`) }, BadJSON("")},
		{"large integer", "11", func(p *Proto) { p.Content = json.RawMessage(`{"a":9007199254740992}`) }, BadJSON("")},
		{"largest integer", "11", func(p *Proto) { p.Content = json.RawMessage(`{"a":9007199254740991}`) }, nil},
		{"float in version 5", "5", func(p *Proto) { p.Content = json.RawMessage(`{"a":1.5}`) }, nil},
		{"duplicate key", "11", func(p *Proto) { p.Content = json.RawMessage(`{"a":1,"b":1,"a":1}`) }, BadJSON("")},
		{"negative depth", "11", func(p *Proto) { p.Depth = -1 }, BadJSON("")},
		{"many previous events", "11", func(p *Proto) { p.PrevEvents = make([]EventID, 21) }, TooLarge("")},
		{"bad previous event", "11", func(p *Proto) { p.PrevEvents = []EventID{"x"} }, InvalidParam("")},
		{"too large", "11", func(p *Proto) { p.Content = json.RawMessage(`{"a":"` + strings.Repeat("x", 65536) + `"}`) }, TooLarge("")},
		{"large but small in canonical form", "11", func(p *Proto) { p.Content = json.RawMessage(`{"a":1` + strings.Repeat(" ", 70000) + `}`) }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := good()
			tc.change(&p)
			_, err := Build(tc.version, p, testSigner("one.example"))
			if tc.want == nil && err != nil || !errors.Is(err, tc.want) {
				t.Errorf("Build = %v, want %v", err, tc.want)
			}
		})
	}
	if _, err := Build("11", good(), Signer{}); err == nil {
		t.Error("built without a key")
	}
}

// Build must count every byte of the event: one of exactly 65,536 bytes passes, one more does not.
func TestBuildSizeIsExact(t *testing.T) {
	build := func(n int) (*Event, error) {
		return Build("11", Proto{RoomID: "!r:one.example", Type: "m.x", Sender: alice,
			Content: json.RawMessage(`{"a":"` + strings.Repeat("x", n) + `"}`)}, testSigner("one.example"))
	}
	e, err := build(1)
	if err != nil {
		t.Fatal(err)
	}
	room := MaxEventBytes - len(e.JSON) + 1
	if e, err = build(room); err != nil || len(e.JSON) != MaxEventBytes {
		t.Errorf("largest event: %v", err)
	}
	if _, err = build(room + 1); !errors.Is(err, TooLarge("")) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestParseUntrusted(t *testing.T) {
	r := newOpenRoom(t, "11")
	e := r.build("m.room.message", bob, nil, `{"body":"hello"}`, nil)
	edit := func(key, val string) []byte { return putMember(e.JSON, key, []byte(val)) }
	for _, tc := range []struct {
		name string
		json []byte
		want error
	}{
		{"unsigned is dropped", edit("unsigned", `{"age":1}`), nil},
		{"no hashes", without(e.JSON, "hashes"), BadJSON("")},
		{"short hash", edit("hashes", `{"sha256":"YWJj"}`), BadJSON("")},
		{"no signatures", without(e.JSON, "signatures"), BadJSON("")},
		{"signature is a number", edit("signatures", `{"a":{"ed25519:1":1}}`), BadJSON("")},
		{"no sender", without(e.JSON, "sender"), BadJSON("")},
		{"sender is a number", edit("sender", `1`), BadJSON("")},
		{"state key is null", edit("state_key", `null`), BadJSON("")},
		{"depth is a string", edit("depth", `"1"`), BadJSON("")},
		{"previous events are no list", edit("prev_events", `{}`), BadJSON("")},
		{"previous events are pairs", edit("prev_events", `[["$x",{}]]`), BadJSON("")},
		{"room", edit("room_id", `"room"`), BadJSON("")},
		{"long type", edit("type", `"`+strings.Repeat("x", 256)+`"`), TooLarge("")},
		{"too large", edit("x", `"`+strings.Repeat("x", MaxEventBytes)+`"`), TooLarge("")},
		{"float", edit("x", `1.0`), BadJSON("")},
		{"list", []byte(`[]`), BadJSON("")},
		{"nothing", nil, NotJSON("")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseUntrusted("11", tc.json)
			if tc.want == nil && err != nil || !errors.Is(err, tc.want) {
				t.Fatalf("ParseUntrusted = %v, want %v", err, tc.want)
			}
			if err == nil && got.ID != e.ID {
				t.Errorf("id = %s, want %s", got.ID, e.ID)
			}
		})
	}
	got, err := ParseUntrusted("11", edit("content", `{"body":"changed"}`))
	if err != nil || string(got.Content) != "{}" || got.ID != e.ID {
		t.Errorf("content changed on the way: %+v, %v; want the same event without content", got, err)
	}
}

func TestParseStoredWantsCanonical(t *testing.T) {
	e := newOpenRoom(t, "12").last
	for _, json := range []string{" " + string(e.JSON), strings.Replace(string(e.JSON), ":", ": ", 1), "{}", "[]", ""} {
		if _, err := ParseStored("12", e.ID, []byte(json)); err == nil {
			t.Errorf("ParseStored took %s", json)
		}
	}
}

func TestAddSignature(t *testing.T) {
	r := newOpenRoom(t, "10")
	e := r.build(TypeMember, dave, key(string(dave)), `{"membership":"join","join_authorised_via_users_server":"`+string(bob)+`"}`, nil)
	if diff := cmp.Diff([]ServerName{"two.example", "one.example"}, RequiredSigners(e)); diff != "" {
		t.Errorf("RequiredSigners (-want +got):\n%s", diff)
	}
	ours := testSigner("one.example")
	both, err := AddSignature(e, ours)
	if err != nil {
		t.Fatal(err)
	}
	if both.ID != e.ID {
		t.Errorf("a signature changed the id")
	}
	for _, s := range []Signer{ours, testSigner("two.example")} {
		if err := VerifySignature(both, s.Server, s.KeyID, s.Key.Public().(ed25519.PublicKey)); err != nil {
			t.Errorf("%s: %v", s.Server, err)
		}
	}
	if err := VerifySignature(both, "one.example", ours.KeyID, testSigner("two.example").Key.Public().(ed25519.PublicKey)); err == nil {
		t.Error("took a signature for another key")
	}
}

// The server that carries out a third-party invite need not be the sender's, and signs nothing.
func TestRequiredSigners(t *testing.T) {
	r := newOpenRoom(t, "11")
	for content, want := range map[string][]ServerName{
		`{"membership":"invite"}`:                                                            {"two.example"},
		`{"membership":"invite","third_party_invite":{"signed":{}}}`:                         nil,
		`{"membership":"leave","third_party_invite":{"signed":{}}}`:                          {"two.example"},
		`{"membership":"join","join_authorised_via_users_server":"@a:one.example"}`:          {"two.example", "one.example"},
		`{"membership":"join","join_authorised_via_users_server":"` + string(carol) + `"}`:   {"two.example"},
		`{"membership":"join","displayname":"third_party_invite","reason":"@a:one.example"}`: {"two.example"},
	} {
		if diff := cmp.Diff(want, RequiredSigners(r.build(TypeMember, carol, user(dave), content, nil))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", content, diff)
		}
	}
	if got := RequiredSigners(r.build("m.room.message", carol, nil, `{"membership":"invite","third_party_invite":1}`, nil)); len(got) != 1 {
		t.Errorf("message: %v", got)
	}
}

func BenchmarkBuild(b *testing.B) {
	r := newOpenRoom(b, "12")
	s := testSigner("one.example")
	p := Proto{RoomID: r.id, Type: "m.room.message", Sender: bob, Content: json.RawMessage(`{"msgtype":"m.text","body":"A sentence as people write them in rooms."}`),
		PrevEvents: []EventID{r.last.ID}, AuthEvents: r.last.AuthEvents, Depth: 12, OriginServerTS: r.ts}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build("12", p, s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	e := newOpenRoom(b, "12").last
	b.Run("untrusted", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseUntrusted("12", e.JSON); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("stored", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseStored("12", e.ID, e.JSON); err != nil {
				b.Fatal(err)
			}
		}
	})
}
