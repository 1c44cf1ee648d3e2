package scenario

import (
	"strings"
	"testing"
)

var sendScenarios = []Scenario{
	{"a transaction id means one event of one device, room and type", transactions},
	{"what is no event is not sent", sendRefused},
	{"redactions take content away, whoever asks how", redactions},
	{"redactions are refused to others", redactionsRefused},
	{"one reaction of a kind is enough", duplicateAnnotation},
}

func transactions(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	phone := h.Login(t, anna.ID)
	room, other := anna.CreateRoom(M{}), anna.CreateRoom(M{})
	send := func(u *User, room, typ, txn, body string) any {
		return u.Must("PUT", Path("/rooms/%s/send/%s/%s", room, typ, txn), M{"body": body, "msgtype": "m.text"})["event_id"]
	}
	first := send(anna, room, "m.room.message", "t", "one")
	equal(t, "the same again", send(anna, room, "m.room.message", "t", "one"), first)
	equal(t, "the same with another body", send(anna, room, "m.room.message", "t", "two"), first)
	seen := map[any]string{first: "the first"}
	for what, id := range map[string]any{
		"another device": send(phone, room, "m.room.message", "t", "one"),
		"another room":   send(anna, other, "m.room.message", "t", "one"),
		"another type":   send(anna, room, "org.example.type", "t", "one"),
		"another id":     send(anna, room, "m.room.message", "t/2", "one"),
	} {
		if seen[id] != "" {
			t.Errorf("%s got the event of %s", what, seen[id])
		}
		seen[id] = what
	}
	id, _ := first.(string)
	redact := Path("/rooms/%s/redact/%s/t", room, id)
	once := anna.Must("PUT", redact, M{})["event_id"]
	equal(t, "the same redaction", anna.Must("PUT", redact, M{})["event_id"], once)
	if seen[once] != "" {
		t.Errorf("the redaction got the event of %s", seen[once])
	}
}

func sendRefused(t *testing.T, h *Home) {
	anna, eve := h.Register(t, "anna"), h.Register(t, "eve")
	room := anna.CreateRoom(M{"preset": "public_chat"})
	path := Path("/rooms/%s/send/m.room.message/%s", room, "t")
	anna.Refused("PUT", path, []byte("{"), 400, "M_NOT_JSON")
	anna.Refused("PUT", path, nil, 400, "M_NOT_JSON")
	anna.Refused("PUT", path, []byte(`"text"`), 400, "M_BAD_JSON")
	anna.Refused("PUT", path, []byte(`{"a":1,"a":2}`), 400, "M_BAD_JSON")
	anna.Refused("PUT", path, []byte(`{"a":0.5}`), 400, "M_BAD_JSON")
	anna.Refused("PUT", path, []byte("{\"a\":\"\xff\"}"), 400, "M_NOT_JSON")
	anna.Refused("PUT", path, M{"body": strings.Repeat("x", 66000)}, 413, "M_TOO_LARGE")
	anna.Refused("PUT", path, M{"body": strings.Repeat("x", 2<<20)}, 413, "M_TOO_LARGE")
	anna.Refused("PUT", Path("/rooms/%s/send/%s/t", room, strings.Repeat("x", 256)), M{}, 413, "M_TOO_LARGE")
	eve.Refused("PUT", path, M{"body": "x"}, 403, "M_FORBIDDEN")
	anna.Must("PUT", path, M{"body": "x"}) // a refused send does not use up its id
	anna.Refused("PUT", "/_matrix/client/v3/rooms/"+Seg(room)+"/send/m.room.message", M{}, 404, "M_UNRECOGNIZED")
	anna.Refused("POST", path, M{}, 405, "M_UNRECOGNIZED")
	h.Client(t).Refused("PUT", path, M{}, 401, "M_MISSING_TOKEN")
	h.Client(t).Refused("PUT", path, M{}, 401, "M_UNKNOWN_TOKEN", "Authorization", "Bearer nonsense")
}

// redactions runs through both ways of redacting in versions that keep the
// target in different places.
//
// spec: c-s §Redactions
func redactions(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	for _, v := range roomVersions {
		room := group(anna, M{"preset": "public_chat", "room_version": v}, bert)
		_, since := bert.SeesJoined(room)
		own, others := bert.Say(room, "secret"), bert.Say(room, "rude")
		by := bert.Must("PUT", Path("/rooms/%s/redact/%s/%s", room, own, Unique("r")), M{"reason": "oops"})["event_id"]
		byModerator := anna.Send(room, "m.room.redaction", M{"redacts": others, "reason": "rude"})
		for id, r := range map[string]any{own: by, others: any(byModerator)} {
			e := bert.Event(room, id)
			if content, _ := e["content"].(M); len(content) != 0 {
				t.Errorf("version %s: the redacted event keeps %v", v, content)
			}
			equal(t, v+" redacted because", At(e, "unsigned", "redacted_because", "event_id"), r)
			equal(t, v+" sender stays", e["sender"], any(bert.ID))
			raw := anna.Event(room, r.(string))
			if v == "10" {
				equal(t, v+" target", raw["redacts"], any(id))
			} else {
				equal(t, v+" target", At(raw, "content", "redacts"), any(id))
			}
		}
		m, _ := bert.Sees(since, room, byModerator)
		if e := Find(Timeline(m, room), others); e != nil && At(e, "content", "body") != nil {
			t.Errorf("version %s: /sync shows the redacted %v", v, e)
		}
		page := bert.Must("GET", Query(Path("/rooms/%s/messages", room), "dir", "b", "limit", "20"), nil)
		if e := Find(Events(page, "chunk"), own); At(e, "content", "body") != nil || At(e, "unsigned", "redacted_because") == nil {
			t.Errorf("version %s: /messages shows the redacted %v", v, e)
		}
	}
}

func redactionsRefused(t *testing.T, h *Home) {
	anna, bert, eve := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "eve")
	room := group(anna, nil, bert)
	said, foreign := anna.Say(room, "mine"), anna.Say(anna.CreateRoom(M{}), "elsewhere")
	redact := func(id string) string { return Path("/rooms/%s/redact/%s/%s", room, id, Unique("r")) }
	bert.Refused("PUT", redact(said), M{}, 403, "M_FORBIDDEN")
	eve.Refused("PUT", redact(said), M{}, 403, "M_FORBIDDEN")
	send := Path("/rooms/%s/send/m.room.redaction/x", room)
	bert.Refused("PUT", send, M{"redacts": said}, 403, "M_FORBIDDEN")
	anna.Refused("PUT", send, M{}, 400, "M_MISSING_PARAM")
	anna.Refused("PUT", send, M{"redacts": 7}, 400, "M_BAD_JSON")
	anna.Refused("PUT", redact(said), M{"reason": 7}, 400, "M_BAD_JSON")
	for _, id := range []string{"$nothing", foreign} {
		if a := anna.Do("PUT", redact(id), M{}); a.Status != 404 && a.Status != 400 {
			t.Errorf("redacting %s, which is not in the room: %d %s", id, a.Status, a.Raw)
		}
	}
	equal(t, "what was not redacted", At(bert.Event(room, said), "content", "body"), any("mine"))
}

func duplicateAnnotation(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := group(anna, nil, bert)
	said := anna.Say(room, "like me")
	reaction := func(key string) M {
		return M{"m.relates_to": M{"rel_type": "m.annotation", "event_id": said, "key": key}}
	}
	path := func() string { return Path("/rooms/%s/send/m.reaction/%s", room, Unique("t")) }
	first := anna.Send(room, "m.reaction", reaction("👍"))
	anna.Refused("PUT", path(), reaction("👍"), 400, "M_DUPLICATE_ANNOTATION")
	anna.Must("PUT", path(), reaction("👎"))
	bert.Must("PUT", path(), reaction("👍"))
	anna.Must("PUT", Path("/rooms/%s/redact/%s/%s", room, first, Unique("r")), M{})
	anna.Must("PUT", path(), reaction("👍")) // taken back, given again
}
