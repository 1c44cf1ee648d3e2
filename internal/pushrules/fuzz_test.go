package pushrules

import (
	"encoding/json"
	"testing"
)

// FuzzEvaluate: whatever an event and a stored ruleset hold, evaluation ends, and says the same for an event that was
// evaluated before as for a fresh one.
func FuzzEvaluate(f *testing.F) {
	f.Add("m.room.message", `{"body":"anna","m.mentions":{"user_ids":["@anna:example.org"]}}`, `{}`)
	f.Add("x", `{"a":[1,null,{"b":1e999}]}`, `{"rules":{"override":[{"enabled":true,"conditions":[{"kind":"event_property_contains","key":"content.a","value":null}],"actions":[{"set_tweak":"sound","value":7},"notify"]}]}}`)
	f.Add("m.room.message", `{"body":7}`, `{"rules":{"content":[{"enabled":true,"actions":[null]}],"underride":[{"enabled":true,"conditions":[{"kind":"room_member_count","is":"<"}]}]}}`)
	f.Fuzz(func(t *testing.T, kind, content, stored string) {
		custom, err := ParseCustom([]byte(stored))
		if err != nil {
			return
		}
		c := Compile(anna, custom)
		event := func() *Event {
			return &Event{Type: kind, Sender: bert, RoomID: "!r:example.org", Content: json.RawMessage(content), Context: RoomContext{Members: 2}}
		}
		e := event()
		Compile(bert, nil).Evaluate(e, Member{DisplayName: "Bert"})
		Compile("@carl:example.org", nil).Evaluate(e, Member{})
		after, fresh := c.Evaluate(e, Member{DisplayName: "A"}), c.Evaluate(event(), Member{DisplayName: "A"})
		if after.RuleID != fresh.RuleID || after.Notify != fresh.Notify {
			t.Errorf("first %+v, later %+v", fresh, after)
		}
	})
}
