package pushrules

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"allmende/internal/matrix"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	anna = matrix.UserID("@anna:example.org")
	bert = matrix.UserID("@bert:example.org")
)

// scene is the input of a golden file: an event of bert's (unless it says otherwise) as anna's rules see it.
type scene struct {
	Event struct {
		Type     string          `json:"type"`
		Sender   matrix.UserID   `json:"sender"`
		StateKey *string         `json:"state_key"`
		Content  json.RawMessage `json:"content"`
	} `json:"event"`
	Members     int              `json:"members"`
	Level       int64            `json:"level"`
	Levels      map[string]int64 `json:"levels"`
	DisplayName string           `json:"display_name"`
	Custom      *Custom          `json:"custom"`
}

func (s scene) event() *Event {
	e := &Event{
		ID: "$event", RoomID: "!room:example.org", Sender: bert, Type: s.Event.Type, StateKey: s.Event.StateKey,
		Content: s.Event.Content, Context: RoomContext{Members: s.Members, SenderLevel: s.Level, Levels: s.Levels},
	}
	if s.Event.Sender != "" {
		e.Sender = s.Event.Sender
	}
	return e
}

func TestEvaluateGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/evaluate/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := bytes.Cut(raw, []byte("\n---\n"))
			var s scene
			if err := json.Unmarshal(input, &s); err != nil {
				t.Fatal(err)
			}
			e := s.event()
			res := Compile(anna, s.Custom).Evaluate(e, Member{DisplayName: s.DisplayName})
			got, err := json.Marshal(res)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, bytes.Join([][]byte{input, append(got, '\n')}, []byte("\n---\n")), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(bytes.TrimSpace(want)), string(got)); diff != "" {
				t.Error(diff)
			}
			if again := Compile(anna, s.Custom).Evaluate(e, Member{DisplayName: s.DisplayName}); !cmp.Equal(res, again) {
				t.Error("the second evaluation of the same event differs:", cmp.Diff(res, again))
			}
		})
	}
}

// What one user's evaluation leaves in the event must not show in another's.
func TestEvaluateSharesNothingPersonal(t *testing.T) {
	e := &Event{Sender: bert, Type: "m.room.message", Context: RoomContext{Members: 3},
		Content: json.RawMessage(`{"body":"anna","m.mentions":{"user_ids":["@carl:example.org"]}}`)}
	off := false
	muted := &Custom{Defaults: map[Kind]map[string]Change{Underride: {".m.rule.message": {Enabled: &off}}}}
	for _, c := range []struct {
		user   matrix.UserID
		custom *Custom
		want   string
	}{
		{anna, nil, ".m.rule.message"},
		{"@carl:example.org", nil, ".m.rule.is_user_mention"},
		{anna, muted, ""},
		{anna, nil, ".m.rule.message"},
		{bert, nil, ""},
	} {
		if got := Compile(c.user, c.custom).Evaluate(e, Member{}).RuleID; got != c.want {
			t.Errorf("%s is notified by %q, want %q", c.user, got, c.want)
		}
	}
}

func TestCreatorsHavePowerToNotify(t *testing.T) {
	e := &Event{Sender: bert, Type: "m.room.message", Content: json.RawMessage(`{"m.mentions":{"room":true}}`),
		Context: RoomContext{SenderLevel: math.MaxInt64, Levels: map[string]int64{"room": 1 << 50}}}
	if got := Compile(anna, nil).Evaluate(e, Member{}); !got.Highlight {
		t.Errorf("got %+v", got)
	}
}

func TestMemberCount(t *testing.T) {
	for is, want := range map[string][3]bool{ // with 1, 2, 3 members
		"2": {false, true, false}, "==2": {false, true, false}, "<2": {true, false, false}, ">2": {false, false, true},
		"<=2": {true, true, false}, ">=2": {false, true, true},
		"": {}, "=2": {}, "=>2": {}, "two": {}, "2x": {}, "<": {}, "<-1": {}, ">+1": {}, "999999999999999999999": {},
	} {
		c := memberCount(is)
		for i, w := range want {
			if got := c.test(&Event{Context: RoomContext{Members: i + 1}}, Member{}); got != w {
				t.Errorf("%q with %d members: %t", is, i+1, got)
			}
		}
	}
}

func BenchmarkEvaluate1000Users(b *testing.B) {
	compiled := make([]*Compiled, 1000)
	for i := range compiled {
		compiled[i] = Compile(matrix.UserID("@user"+strings.Repeat("x", i%9)+":example.org"), nil)
	}
	content := json.RawMessage(`{"msgtype":"m.text","body":"Shall we meet at seven, as usual, in the garden?","m.mentions":{}}`)
	b.ReportAllocs()
	for b.Loop() {
		e := &Event{Sender: bert, Type: "m.room.message", Content: content, Context: RoomContext{Members: 1000}}
		for _, c := range compiled {
			c.Evaluate(e, Member{DisplayName: "Somebody"})
		}
	}
}
