package scenario

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

var pageScenarios = []Scenario{
	{"paging through a busy room skips nothing and repeats nothing", pageBusyRoom},
	{"messages are filtered as asked", filterMessages},
	{"messages says what is wrong with a question", messagesRefused},
	{"an event stands in its context", contextOf},
	{"single events are found by who may see them", singleEvent},
	{"a time leads to the event nearest to it", timestampToEvent},
	{"an old way in shows a room at once", roomInitialSync},
}

// pages walks /messages from a token, empty for the end of the direction, and
// answers the ids in the order they came.
func (u *User) pages(room, dir, from, to string, limit int, params ...string) (ids []string, last string) {
	u.t.Helper()
	for range 1000 {
		q := append([]string{"dir", dir, "limit", fmt.Sprint(limit)}, params...)
		if from != "" {
			q = append(q, "from", from)
		}
		if to != "" {
			q = append(q, "to", to)
		}
		m := u.Must("GET", Query(Path("/rooms/%s/messages", room), q...), nil)
		chunk := Events(m, "chunk")
		if len(chunk) > limit {
			u.t.Fatalf("a page of %d holds %d", limit, len(chunk))
		}
		ids = append(ids, IDs(chunk)...)
		end, more := m["end"].(string)
		if !more {
			return ids, from
		}
		if end == from {
			u.t.Fatalf("the token %s leads to itself", end)
		}
		if from = end; dir == "f" && len(chunk) == 0 {
			return ids, from
		}
	}
	u.t.Fatal("paging never ends")
	return nil, ""
}

// pageBusyRoom walks a room both ways while others talk in it.
func pageBusyRoom(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := group(anna, nil, bert)
	var before []string
	for i := range 150 {
		before = append(before, anna.Say(room, fmt.Sprint("before ", i)))
	}
	m, since := bert.FirstSees(room, before[149])
	var stop atomic.Bool
	var during []string
	g := errgroup.Group{}
	g.Go(func() error {
		for i := 0; !stop.Load() && i < 400; i++ {
			during = append(during, anna.Say(room, fmt.Sprint("during ", i)))
		}
		return nil
	})
	prev, _ := At(m, "rooms", "join", room, "timeline", "prev_batch").(string)
	shown := IDs(Timeline(m, room))
	older, _ := bert.pages(room, "b", prev, "", 7)
	slices.Reverse(older)
	back := append(older, shown...)
	forwards, end := bert.pages(room, "f", "", since, 11)
	stop.Store(true)
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	same(t, "forwards is backwards turned round", forwards, back)
	checkOnce(t, "backwards", back, before)
	rest, _ := bert.pages(room, "f", end, "", 13)
	checkOnce(t, "from there on", rest, during)
	all, _ := bert.pages(room, "b", "", "", 100)
	slices.Reverse(all)
	same(t, "all at once", all, append(forwards, rest...))
}

// checkOnce wants every id once and in order.
func checkOnce(t *testing.T, what string, got, want []string) {
	t.Helper()
	seen := map[string]int{}
	var order []string
	for _, id := range got {
		if seen[id]++; slices.Contains(want, id) {
			order = append(order, id)
		}
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("%s: %s came %d times", what, id, n)
		}
	}
	if !slices.Equal(order, want) {
		t.Errorf("%s: %d of %d came, or not in their order", what, len(order), len(want))
	}
}

func filterMessages(t *testing.T, h *Home) {
	anna, bert, carl := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "carl")
	room := group(anna, nil, bert, carl)
	text := anna.Say(room, "text")
	note := bert.Send(room, "org.example.note", M{"n": 1})
	file := bert.Send(room, "m.room.message", M{"msgtype": "m.file", "body": "f", "url": "mxc://example.org/f"})
	get := func(filter string) M {
		return anna.Must("GET", Query(Path("/rooms/%s/messages", room), "dir", "b", "limit", "50", "filter", filter), nil)
	}
	ids := func(filter string) []string { return IDs(Events(get(filter), "chunk")) }
	same(t, "types", ids(`{"types":["m.room.message"]}`), []string{file, text})
	same(t, "types with a star", ids(`{"types":["org.example.*"]}`), []string{note})
	same(t, "types and not_types", ids(`{"types":["m.room.message","org.*"],"not_types":["org.example.note"]}`), []string{file, text})
	same(t, "senders", ids(`{"senders":["`+bert.ID+`"],"not_types":["m.room.member"]}`), []string{file, note})
	same(t, "not_senders", ids(`{"not_senders":["`+bert.ID+`"],"types":["m.room.message"]}`), []string{text})
	same(t, "with url", ids(`{"contains_url":true}`), []string{file})
	same(t, "without url", ids(`{"contains_url":false,"types":["m.room.message"]}`), []string{text})
	same(t, "limit", ids(`{"limit":1}`), []string{file})
	same(t, "another room", ids(`{"rooms":["!other:example.org"]}`), []string{})
	same(t, "not this room", ids(`{"not_rooms":["`+room+`"]}`), []string{})
	same(t, "no types", ids(`{"types":[]}`), []string{})
	if IDs(Events(get(`{}`), "chunk"))[0] != file {
		t.Error("an empty filter changes what is shown")
	}
	lazy := get(`{"lazy_load_members":true,"types":["m.room.message","org.example.note"]}`)
	same(t, "lazy members", Keys(Events(lazy, "state"), "m.room.member"), sorted(anna.ID, bert.ID))
	related := anna.Send(room, "m.room.message", M{"msgtype": "m.text", "body": "in thread", "m.relates_to": M{"rel_type": "m.thread", "event_id": text}})
	same(t, "related by type", ids(`{"related_by_rel_types":["m.thread"]}`), []string{text})
	same(t, "related by sender", ids(`{"related_by_rel_types":["m.thread"],"related_by_senders":["`+bert.ID+`"]}`), []string{})
	same(t, "relation type", ids(`{"types":["m.room.message"],"not_senders":["`+bert.ID+`"]}`), []string{related, text})
}

func messagesRefused(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	room := anna.CreateRoom(M{})
	path := Path("/rooms/%s/messages", room)
	anna.Refused("GET", path, nil, 400, "M_MISSING_PARAM")
	anna.Refused("GET", Query(path, "dir", "up"), nil, 400, "M_INVALID_PARAM")
	anna.Refused("GET", Query(path, "dir", "b", "from", "nonsense"), nil, 400, "M_INVALID_PARAM")
	anna.Refused("GET", Query(path, "dir", "b", "to", "nonsense"), nil, 400, "M_INVALID_PARAM")
	anna.Refused("GET", Query(path, "dir", "b", "limit", "-1"), nil, 400, "M_INVALID_PARAM")
	anna.Refused("GET", Query(path, "dir", "b", "limit", "many"), nil, 400, "M_INVALID_PARAM")
	anna.Refused("GET", Query(path, "dir", "b", "filter", "{"), nil, 400, "M_NOT_JSON")
	anna.Refused("GET", Query(path, "dir", "b", "filter", `{"types":"x"}`), nil, 400, "M_BAD_JSON")
	m := anna.Must("GET", Query(path, "dir", "b", "limit", "100000"), nil)
	if m["end"] != nil {
		t.Errorf("the start of history has an end: %v", m["end"])
	}
	equal(t, "the last event", At(m, "chunk", -1, "type"), any("m.room.create"))
}

func contextOf(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := group(anna, nil, bert)
	var said []string
	for i := range 11 {
		said = append(said, anna.Say(room, fmt.Sprint(i)))
	}
	get := func(id string, params ...string) M {
		return bert.Must("GET", Query(Path("/rooms/%s/context/%s", room, id), params...), nil)
	}
	m := get(said[5], "limit", "6")
	equal(t, "event", At(m, "event", "event_id"), any(said[5]))
	same(t, "before", IDs(Events(m, "events_before")), []string{said[4], said[3], said[2]})
	same(t, "after", IDs(Events(m, "events_after")), said[6:9])
	same(t, "state", Keys(Events(m, "state"), "m.room.member"), sorted(anna.ID, bert.ID))
	start, _ := m["start"].(string)
	end, _ := m["end"].(string)
	back := bert.Must("GET", Query(Path("/rooms/%s/messages", room), "dir", "b", "from", start, "limit", "2"), nil)
	same(t, "further back", IDs(Events(back, "chunk")), []string{said[1], said[0]})
	on := bert.Must("GET", Query(Path("/rooms/%s/messages", room), "dir", "f", "from", end, "limit", "2"), nil)
	same(t, "further on", IDs(Events(on, "chunk")), said[9:11])
	zero := get(said[5], "limit", "0")
	equal(t, "none around", len(Events(zero, "events_before"))+len(Events(zero, "events_after")), 0)
	lazy := get(said[5], "limit", "2", "filter", `{"lazy_load_members":true}`)
	same(t, "lazy state", Keys(Events(lazy, "state"), "m.room.member"), []string{anna.ID})
	typed := get(said[5], "filter", `{"types":["m.room.name"]}`)
	equal(t, "the event itself is not filtered", At(typed, "event", "event_id"), any(said[5]))
	equal(t, "what is around is", len(Events(typed, "events_before"))+len(Events(typed, "events_after")), 0)
	bert.Refused("GET", Path("/rooms/%s/context/%s", room, "$none"), nil, 404, "M_NOT_FOUND")
	bert.Refused("GET", Query(Path("/rooms/%s/context/%s", room, said[5]), "filter", "{"), nil, 400, "M_NOT_JSON")
}

func singleEvent(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room, other := group(anna, nil, bert), anna.CreateRoom(M{})
	id, elsewhere := anna.Say(room, "here"), anna.Say(other, "there")
	e := bert.Event(room, id)
	equal(t, "room", e["room_id"], any(room))
	equal(t, "membership", At(e, "unsigned", "membership"), any("join"))
	if At(e, "unsigned", "transaction_id") != nil {
		t.Error("another device sees the transaction id")
	}
	if At(anna.Event(room, id), "unsigned", "transaction_id") == nil {
		t.Error("the sending device does not see its transaction id")
	}
	anna.Refused("GET", Path("/rooms/%s/event/%s", room, elsewhere), nil, 404, "M_NOT_FOUND")
	bert.Refused("GET", Path("/rooms/%s/event/%s", other, elsewhere), nil, 404, "M_NOT_FOUND")
	bert.Refused("GET", Path("/rooms/%s/event/%s", room, "$none"), nil, 404, "M_NOT_FOUND")
	bert.Refused("GET", Path("/rooms/%s/event/%s", room, "nonsense"), nil, 404, "M_NOT_FOUND")
}

func timestampToEvent(t *testing.T, h *Home) {
	anna, eve := h.Register(t, "anna"), h.Register(t, "eve")
	room := anna.CreateRoom(M{})
	first, last := anna.Say(room, "first"), anna.Say(room, "last")
	ts := func(id string) int64 {
		n, _ := anna.Event(room, id)["origin_server_ts"].(float64)
		return int64(n)
	}
	path := func(ts int64, dir string) string {
		return Query(V1("/rooms/%s/timestamp_to_event", room), "ts", fmt.Sprint(ts), "dir", dir)
	}
	got := anna.Must("GET", path(ts(last)+1000, "b"), nil)
	equal(t, "the last", got["event_id"], any(last))
	equal(t, "its time", got["origin_server_ts"], any(float64(ts(last))))
	begin := anna.Must("GET", path(0, "f"), nil)["event_id"].(string)
	equal(t, "the first of all", anna.Event(room, begin)["type"], any("m.room.create"))
	at := anna.Must("GET", path(ts(first), "f"), nil)
	if n, _ := at["origin_server_ts"].(float64); int64(n) != ts(first) {
		t.Errorf("the event at its own time: %v", at)
	}
	anna.Refused("GET", path(ts(last)+100000, "f"), nil, 404, "M_NOT_FOUND")
	anna.Refused("GET", path(1, "b"), nil, 404, "M_NOT_FOUND")
	anna.Refused("GET", V1("/rooms/%s/timestamp_to_event", room)+"?dir=f", nil, 400, "M_MISSING_PARAM")
	anna.Refused("GET", path(1, "up"), nil, 400, "M_INVALID_PARAM")
	if a := eve.Do("GET", path(0, "f"), nil); a.Status != 403 && a.Status != 404 {
		t.Errorf("a stranger asks for a time: %d %s", a.Status, a.Raw)
	}
}

func roomInitialSync(t *testing.T, h *Home) {
	anna, eve := h.Register(t, "anna"), h.Register(t, "eve")
	room := anna.CreateRoom(M{"preset": "public_chat", "initial_state": []M{
		{"type": "m.room.history_visibility", "content": M{"history_visibility": "world_readable"}}}})
	id := anna.Say(room, "for all")
	m := eve.Must("GET", Query(Path("/rooms/%s/initialSync", room), "limit", "5"), nil)
	equal(t, "room", m["room_id"], any(room))
	if Find(Events(m, "messages", "chunk"), id) == nil || FindState(Events(m, "state"), "m.room.create", "") == nil {
		t.Errorf("the preview lacks something: %v", m)
	}
	eve.Refused("GET", Path("/rooms/%s/initialSync", anna.CreateRoom(M{})), nil, 403, "M_FORBIDDEN")
}
