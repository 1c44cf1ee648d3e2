package scenario

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var accountDataScenarios = []Scenario{
	{"people store what their clients need", accountData},
	{"people store filters", filters},
	{"people tag rooms", tags},
}

// ofType is the first of a list with a type, or nil.
func ofType(events []M, typ string) M {
	for _, e := range events {
		if e["type"] == typ {
			return e
		}
	}
	return nil
}

func accountData(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := anna.CreateRoom(M{})
	const kind = "org.example.settings"
	_, since := anna.Until("", func(m M) bool { return At(m, "rooms", "join", room) != nil })
	for _, path := range []string{
		Path("/user/%s/account_data/%s", anna.ID, kind),
		Path("/user/%s/rooms/%s/account_data/%s", anna.ID, room, kind),
	} {
		anna.Refused("GET", path, nil, 404, "M_NOT_FOUND")
		for _, want := range []M{{"colour": "green", "deep": M{"list": []any{1.0, nil, "x"}}}, {}} {
			anna.Must("PUT", path, want)
			if diff := cmp.Diff(want, anna.Must("GET", path, nil)); diff != "" {
				t.Errorf("%s: -want +got\n%s", path, diff)
			}
			events := func(m M) []M {
				if strings.Contains(path, "/rooms/") {
					return Events(m, "rooms", "join", room, "account_data", "events")
				}
				return Events(m, "account_data", "events")
			}
			var m M
			m, since = anna.Until(since, func(m M) bool { return ofType(events(m), kind) != nil })
			if diff := cmp.Diff(want, ofType(events(m), kind)["content"]); diff != "" {
				t.Errorf("in sync: -want +got\n%s", diff)
			}
		}
		bert.Refused("GET", path, nil, 403, "M_FORBIDDEN")
		bert.Refused("PUT", path, M{}, 403, "M_FORBIDDEN")
		for _, controlled := range []string{"m.push_rules", "m.fully_read"} {
			anna.Refused("PUT", strings.Replace(path, kind, controlled, 1), M{}, 405, "M_BAD_JSON")
		}
		anna.Refused("PUT", strings.Replace(path, kind, strings.Repeat("t", 300), 1), M{}, 400, "M_INVALID_PARAM")
		anna.Refused("PUT", path, M{"big": strings.Repeat("x", 200<<10)}, 413, "M_TOO_LARGE")
		anna.Refused("PUT", path, []byte("[]"), 400, "M_BAD_JSON")
		anna.Refused("PUT", path, []byte("{"), 400, "M_NOT_JSON")
		unstable := strings.Replace(path, "/v3/", "/unstable/org.matrix.msc3391/", 1)
		bert.Refused("DELETE", unstable, nil, 403, "M_FORBIDDEN")
		anna.Must("DELETE", unstable, nil)
		anna.Must("DELETE", unstable, nil)
		anna.Refused("GET", path, nil, 404, "M_NOT_FOUND")
	}
	wrong := Path("/user/%s/rooms/%s/account_data/%s", anna.ID, "no room", kind)
	anna.Refused("GET", wrong, nil, 400, "M_INVALID_PARAM")
	anna.Refused("PUT", wrong, M{}, 400, "M_INVALID_PARAM")
}

func filters(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	path := Path("/user/%s/filter", anna.ID)
	want := M{"room": M{"timeline": M{"limit": 1.0, "types": []any{"m.room.message"}}}, "org.example.later": M{"x": 1.0}}
	id, _ := anna.Must("POST", path, want)["filter_id"].(string)
	if strings.HasPrefix(id, "{") || id == "" {
		t.Errorf("filter_id: %q", id)
	}
	if diff := cmp.Diff(want, anna.Must("GET", path+"/"+Seg(id), nil)); diff != "" {
		t.Errorf("filter: -want +got\n%s", diff)
	}
	if again := anna.Must("POST", path, want)["filter_id"]; again != id {
		t.Errorf("the same filter became %v and %v", id, again)
	}
	room := anna.CreateRoom(M{})
	anna.Say(room, "one")
	two := anna.Say(room, "two")
	anna.Send(room, "org.example.other", M{})
	m := M{}
	eventually(t, "the messages are in sync", func() bool {
		m = anna.Sync("", 0, "filter", id)
		return len(Events(m, "rooms", "join", room, "timeline", "events")) > 0 &&
			Find(Events(m, "rooms", "join", room, "timeline", "events"), two) != nil
	})
	if n := len(Events(m, "rooms", "join", room, "timeline", "events")); n != 1 {
		t.Errorf("%d events through a filter that lets one pass", n)
	}
	anna.Refused("GET", path+"/unknown", nil, 404, "M_NOT_FOUND")
	bert.Refused("GET", path+"/"+Seg(id), nil, 403, "M_FORBIDDEN")
	bert.Refused("POST", path, M{}, 403, "M_FORBIDDEN")
	anna.Refused("POST", path, M{"room": 7}, 400, "M_BAD_JSON")
	anna.Refused("POST", path, M{"event_format": "smoke"}, 400, "M_INVALID_PARAM")
	anna.Refused("POST", path, M{"room": M{"rooms": []string{"x"}}}, 400, "M_INVALID_PARAM")
	anna.Refused("POST", path, M{"presence": M{"senders": []string{"x"}}}, 400, "M_INVALID_PARAM")
	bert.Refused("GET", "/_matrix/client/v3/sync?filter="+Seg(id), nil, 400, "M_INVALID_PARAM")
}

func tags(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := anna.CreateRoom(M{})
	path := Path("/user/%s/rooms/%s/tags", anna.ID, room)
	if got := anna.Must("GET", path, nil); len(got["tags"].(M)) != 0 {
		t.Errorf("tags of a new room: %v", got)
	}
	_, since := anna.Until("", func(m M) bool { return At(m, "rooms", "join", room) != nil })
	anna.Must("PUT", path+"/m.favourite", M{"order": 0.25})
	anna.Must("PUT", path+"/u.garden%20and%2Fhouse", M{})
	want := M{"m.favourite": M{"order": 0.25}, "u.garden and/house": M{}}
	if diff := cmp.Diff(want, anna.Must("GET", path, nil)["tags"]); diff != "" {
		t.Errorf("tags: -want +got\n%s", diff)
	}
	anna.Until(since, func(m M) bool {
		e := ofType(Events(m, "rooms", "join", room, "account_data", "events"), "m.tag")
		return cmp.Equal(At(e, "content", "tags"), any(want))
	})
	anna.Must("DELETE", path+"/m.favourite", nil)
	anna.Must("DELETE", path+"/m.favourite", nil)
	if got := anna.Must("GET", path, nil)["tags"].(M); len(got) != 1 {
		t.Errorf("tags after one was deleted: %v", got)
	}
	anna.Refused("PUT", path+"/m.favourite", M{"order": 2}, 400, "M_INVALID_PARAM")
	anna.Refused("PUT", path+"/m.favourite", M{"order": "first"}, 400, "M_BAD_JSON")
	anna.Refused("PUT", path+"/"+strings.Repeat("t", 300), M{}, 400, "M_INVALID_PARAM")
	bert.Refused("GET", path, nil, 403, "M_FORBIDDEN")
	bert.Refused("PUT", path+"/u.x", M{}, 403, "M_FORBIDDEN")
	bert.Refused("DELETE", path+"/u.x", nil, 403, "M_FORBIDDEN")
	anna.Refused("GET", Path("/user/%s/rooms/%s/tags", anna.ID, "nowhere"), nil, 400, "M_INVALID_PARAM")
}
