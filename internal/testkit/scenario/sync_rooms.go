package scenario

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

var syncScenarios = []Scenario{
	{"the first sync shows all, the next what is new", syncTwice},
	{"a waiting sync wakes when something is said", syncWakes},
	{"what events carry beside their content", syncUnsigned},
	{"full_state repeats the state of every room", syncFullState},
	{"filters are taken inline and by number", syncFilters},
	{"members are loaded lazily and not twice", syncLazy},
	{"a gap is filled by /messages, with nothing lost and nothing twice", syncGap},
	{"rooms come and go by invite, refusal, kick and return", syncSections},
	{"a room without a name is named after its heroes", syncSummary},
	{"state_after is the state behind the timeline, by both names", syncStateAfter},
	{"an old token answers the same on every instance", syncOldToken},
	{"sync says what is wrong with a question", syncRefused},
}

func syncTwice(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := group(anna, M{"preset": "public_chat", "name": "Room"}, bert)
	hello := anna.Say(room, "hello")
	m, since := bert.FirstSees(room, hello)
	timeline, state := Timeline(m, room), Events(m, "rooms", "join", room, "state", "events")
	both := append(slices.Clone(state), timeline...)
	for _, typ := range []string{"m.room.create", "m.room.join_rules", "m.room.power_levels", "m.room.name", "m.room.history_visibility"} {
		n := 0
		for _, e := range both {
			if e["type"] == typ {
				n++
			}
		}
		equal(t, "times "+typ+" is there", n, 1)
	}
	same(t, "members", Keys(both, "m.room.member"), sorted(anna.ID, bert.ID))
	for _, e := range both {
		if e["room_id"] != nil {
			t.Errorf("an event of /sync names its room: %v", e)
		}
	}
	_, since = bert.Sees(since, room, anna.Say(room, "more"))
	last := anna.Say(room, "last")
	m, _ = bert.Sees(since, room, last)
	same(t, "only what is new", IDs(Timeline(m, room)), []string{last})
	equal(t, "state without news", len(Events(m, "rooms", "join", room, "state", "events")), 0)
	equal(t, "limited", At(m, "rooms", "join", room, "timeline", "limited"), any(false))
}

// syncWakes asks for a longer wait than its client has patience for: only an
// answer that comes before the end of the wait is one.
func syncWakes(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := group(anna, nil, bert)
	_, since := bert.FirstSees(room, anna.Say(room, "before"))
	for _, cause := range []func() string{
		func() string { return anna.Say(room, "a message") },
		func() string { return anna.Set(room, "m.room.topic", "", M{"topic": "a topic"}) },
	} {
		g, id := errgroup.Group{}, make(chan string, 1)
		g.Go(func() error { id <- cause(); return nil })
		want := ""
		for want == "" || since != "" {
			m := bert.Sync(since, requestTimeout+30*time.Second)
			since, _ = m["next_batch"].(string)
			if want == "" {
				want = <-id
			}
			if Find(Timeline(m, room), want) != nil {
				break
			}
		}
		_ = g.Wait() // it answers nothing
	}
}

func syncUnsigned(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	phone := h.Login(t, anna.ID)
	room := group(anna, M{"preset": "public_chat", "topic": "old"}, bert)
	_, since := bert.SeesJoined(room)
	_, phoneSince := phone.SeesJoined(room)
	_, ownSince := anna.SeesJoined(room)
	said := anna.Say(room, "hello")
	topic := anna.Set(room, "m.room.topic", "", M{"topic": "new"})
	own, _ := anna.Sees(ownSince, room, said)
	if At(Find(Timeline(own, room), said), "unsigned", "transaction_id") == nil {
		t.Error("the sending device does not get its transaction id")
	}
	for what, u := range map[string]*User{"another member": bert, "another device": phone} {
		from := since
		if u == phone {
			from = phoneSince
		}
		var e, st M
		u.Until(from, func(m M) bool {
			if x := Find(Timeline(m, room), said); x != nil {
				e = x
			}
			st = Find(Timeline(m, room), topic)
			return st != nil
		})
		if e == nil || At(e, "unsigned", "transaction_id") != nil {
			t.Errorf("%s gets %v", what, e)
		}
		equal(t, what+": membership", At(e, "unsigned", "membership"), any("join"))
		if _, ok := At(e, "unsigned", "age").(float64); !ok {
			t.Errorf("%s: no age in %v", what, e)
		}
		equal(t, what+": previous content", At(st, "unsigned", "prev_content", "topic"), any("old"))
		if At(st, "unsigned", "replaces_state") == nil {
			t.Errorf("%s: nothing replaced in %v", what, st)
		}
	}
}

func syncFullState(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	room, quiet := anna.CreateRoom(M{"name": "talking"}), anna.CreateRoom(M{"name": "quiet"})
	_, since := anna.FirstSees(room, anna.Say(room, "x"))
	m := anna.Sync(since, 0, "full_state", "true")
	for id, name := range map[string]string{room: "talking", quiet: "quiet"} {
		state := append(Events(m, "rooms", "join", id, "state", "events"), Timeline(m, id)...)
		equal(t, "name of "+name, At(FindState(state, "m.room.name", ""), "content", "name"), any(name))
		if FindState(state, "m.room.create", "") == nil || FindState(state, "m.room.member", anna.ID) == nil {
			t.Errorf("the full state of %s is %v", name, state)
		}
	}
	equal(t, "old messages", len(Timeline(m, room)), 0)
}

func syncFilters(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	room, other := anna.CreateRoom(M{"name": "One"}), anna.CreateRoom(M{"name": "Other"})
	text, note := anna.Say(room, "text"), anna.Send(room, "org.example.note", M{})
	anna.FirstSees(other, anna.Say(other, "other")) // so that all is there from now on
	filter := M{
		"room": M{"rooms": []string{room}, "timeline": M{"types": []string{"m.room.message"}, "limit": 5}, "state": M{"types": []string{"m.room.name"}},
			"account_data": M{"types": []string{}}, "ephemeral": M{"not_types": []string{"*"}}},
		"presence": M{"types": []string{}}, "account_data": M{"not_types": []string{"*"}},
	}
	id, _ := anna.Must("POST", Path("/user/%s/filter", anna.ID), filter)["filter_id"].(string)
	inline := `{"room":{"rooms":["` + room + `"],"timeline":{"types":["m.room.message"],"limit":5},"state":{"types":["m.room.name"]},` +
		`"account_data":{"types":[]},"ephemeral":{"not_types":["*"]}},"presence":{"types":[]},"account_data":{"not_types":["*"]}}`
	for _, f := range []string{id, inline} {
		m, _ := anna.FirstSees(room, text, "filter", f)
		same(t, "timeline", IDs(Timeline(m, room)), []string{text})
		state := Events(m, "rooms", "join", room, "state", "events")
		if len(state) != 1 || state[0]["type"] != "m.room.name" {
			t.Errorf("state: %v", state)
		}
		equal(t, "other rooms", At(m, "rooms", "join", other), nil)
		equal(t, "account data", len(Events(m, "account_data", "events"))+len(Events(m, "presence", "events")), 0)
	}
	m, _ := anna.FirstSees(room, note, "filter", `{"room":{"timeline":{"limit":1}}}`)
	same(t, "limit 1", IDs(Timeline(m, room)), []string{note})
	equal(t, "limited", At(m, "rooms", "join", room, "timeline", "limited"), any(true))
	m = anna.Sync("", 0, "filter", `{"event_format":"client","event_fields":["type","content.body"],"room":{"rooms":["`+room+`"]}}`)
	for _, e := range Timeline(m, room) {
		if e["sender"] != nil {
			t.Errorf("fields nobody asked for: %v", e)
		}
	}
}

func syncLazy(t *testing.T, h *Home) {
	anna, bert, carl := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "carl")
	room := group(anna, M{"preset": "public_chat", "name": "Named, so without heroes"}, bert, carl)
	for range 12 {
		anna.Say(room, "so that the joins leave the timeline")
	}
	lazy := `{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":10}}}`
	redundant := `{"room":{"state":{"lazy_load_members":true,"include_redundant_members":true},"timeline":{"limit":10}}}`
	members := func(m M) []string { return Keys(Events(m, "rooms", "join", room, "state", "events"), "m.room.member") }
	m, since := bert.FirstSees(room, anna.Say(room, "hi"), "filter", lazy)
	same(t, "at first: the sender and oneself", members(m), sorted(anna.ID, bert.ID))
	m, since = bert.Sees(since, room, anna.Say(room, "again"), "filter", lazy)
	if h.OneProcess {
		same(t, "a sender who is known", members(m), nil)
	}
	m, since = bert.Sees(since, room, carl.Say(room, "me too"), "filter", lazy)
	if !slices.Contains(members(m), carl.ID) {
		t.Errorf("a sender who is new is not among %v", members(m))
	}
	m, since = bert.Sees(since, room, carl.Say(room, "me three"), "filter", redundant)
	if !slices.Contains(members(m), carl.ID) {
		t.Errorf("redundant members asked for, but %v came", members(m))
	}
	_, since = bert.Sees(since, room, carl.Set(room, "m.room.member", carl.ID, M{"membership": "join", "displayname": "C."}), "filter", lazy)
	m, _ = bert.Sees(since, room, carl.Say(room, "with my new name"), "filter", lazy)
	for _, e := range Events(m, "rooms", "join", room, "state", "events") {
		if e["state_key"] == carl.ID && At(e, "content", "displayname") != "C." {
			t.Errorf("an old name after the new one: %v", e)
		}
	}
}

// syncGap fills every gap that the answers leave, and does so until there was one.
func syncGap(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := group(anna, M{"preset": "public_chat", "topic": "before"}, bert)
	m, since := bert.FirstSees(room, anna.Say(room, "known"))
	have := IDs(Timeline(m, room))
	gaps := 0
	for round := 0; round < 10 && gaps == 0; round++ {
		var said []string
		for range 15 {
			said = append(said, anna.Say(room, "gap"))
		}
		topic := anna.Set(room, "m.room.topic", "", M{"topic": Unique("in the gap ")})
		said = append(said, topic)
		for range 15 {
			said = append(said, anna.Say(room, "gap"))
		}
		var got []string
		told := false
		for from := since; !slices.Contains(got, said[30]); from = since {
			m = bert.Sync(from, 0, "filter", `{"room":{"timeline":{"limit":5}}}`)
			since, _ = m["next_batch"].(string)
			timeline := IDs(Timeline(m, room))
			state := Events(m, "rooms", "join", room, "state", "events")
			told = told || Find(state, topic) != nil || slices.Contains(timeline, topic)
			if At(m, "rooms", "join", room, "timeline", "limited") == true {
				gaps++
				prev, _ := At(m, "rooms", "join", room, "timeline", "prev_batch").(string)
				filled, _ := bert.pages(room, "b", prev, from, 3)
				slices.Reverse(filled)
				timeline = append(filled, timeline...)
				between, _ := bert.pages(room, "b", since, from, 50)
				slices.Reverse(between)
				same(t, "between two tokens of /sync", between, timeline)
			}
			got = append(got, timeline...)
		}
		same(t, "gaps and timelines together", got, said)
		equal(t, "the topic of the gap is told", told, true)
		have = append(have, said...)
	}
	if gaps == 0 {
		t.Fatal("no timeline was limited")
	}
	all, _ := bert.pages(room, "b", since, "", 50)
	slices.Reverse(all)
	checkOnce(t, "all of history", all, have)
}

// syncSections leads one user through all sections.
func syncSections(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	bert.Must("PUT", Path("/profile/%s/displayname", bert.ID), M{"displayname": "Bert"})
	room := anna.CreateRoom(M{"preset": "private_chat", "name": "Group", "topic": "T", "initial_state": []M{
		{"type": "m.room.encryption", "content": M{"algorithm": "m.megolm.v1.aes-sha2"}},
		{"type": "m.room.avatar", "content": M{"url": "mxc://example.org/a"}}}})
	in := func(section string) func(M) bool {
		return func(m M) bool { return At(m, "rooms", section, room) != nil }
	}
	anna.Invite(room, bert.ID)
	m, since := bert.Until("", in("invite"))
	state := Events(m, "rooms", "invite", room, "invite_state", "events")
	for _, typ := range []string{"m.room.create", "m.room.name", "m.room.join_rules", "m.room.encryption", "m.room.avatar", "m.room.topic"} {
		if FindState(state, typ, "") == nil {
			t.Errorf("the invite lacks %s", typ)
		}
	}
	own := FindState(state, "m.room.member", bert.ID)
	equal(t, "membership", At(own, "content", "membership"), any("invite"))
	equal(t, "name", At(own, "content", "displayname"), any("Bert"))
	equal(t, "joined meanwhile", At(m, "rooms", "join", room), nil)

	bert.Leave(room) // no, thank you
	m, since = bert.Until(since, in("leave"))
	same(t, "what the refused sees", Keys(Events(m, "rooms", "leave", room, "timeline", "events"), "m.room.member"), []string{bert.ID})
	anna.Invite(room, bert.ID)
	_, since = bert.Until(since, in("invite"))
	bert.Join(room)
	m, since = bert.Until(since, in("join"))
	all := append(Events(m, "rooms", "join", room, "state", "events"), Timeline(m, room)...)
	if FindState(all, "m.room.create", "") == nil || FindState(all, "m.room.member", anna.ID) == nil {
		t.Errorf("a newly joined room comes without its state: %v", all)
	}
	_, since = bert.Sees(since, room, anna.Say(room, "welcome"))

	seen := anna.Say(room, "last words")
	anna.Must("POST", Path("/rooms/%s/kick", room), M{"user_id": bert.ID, "reason": "out"})
	unseen := anna.Say(room, "about you")
	var shown []string
	_, since = bert.Until(since, func(m M) bool {
		shown = append(shown, IDs(append(Timeline(m, room), Events(m, "rooms", "leave", room, "timeline", "events")...))...)
		return in("leave")(m)
	})
	if !slices.Contains(shown, seen) || slices.Contains(shown, unseen) {
		t.Errorf("the kicked sees the last words: %v, what came after: %v", slices.Contains(shown, seen), slices.Contains(shown, unseen))
	}
	bert.First(func(m M) bool { return At(m, "rooms", "leave", room) == nil && At(m, "rooms", "join", room) == nil })
	bert.First(in("leave"), "filter", `{"room":{"include_leave":true}}`)
	anna.Invite(room, bert.ID)
	bert.Join(room)
	back := anna.Say(room, "again")
	shown = nil
	bert.Until(since, func(m M) bool {
		shown = append(shown, IDs(Timeline(m, room))...)
		return slices.Contains(shown, back)
	})
	checkOnce(t, "after the return", shown, []string{back})
}

func syncSummary(t *testing.T, h *Home) {
	anna, bert, carl := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "carl")
	room := group(anna, nil, bert)
	anna.Invite(room, carl.ID)
	heroes := func(m M) []string {
		list, _ := At(m, "rooms", "join", room, "summary", "m.heroes").([]any)
		var out []string
		for _, x := range list {
			out = append(out, x.(string))
		}
		return sorted(out...)
	}
	count := func(m M, which string) any {
		return At(m, "rooms", "join", room, "summary", "m."+which+"_member_count")
	}
	lazy := `{"room":{"state":{"lazy_load_members":true}}}`
	m, since := anna.First(func(m M) bool { return len(heroes(m)) == 2 }, "filter", lazy)
	same(t, "heroes", heroes(m), sorted(bert.ID, carl.ID))
	equal(t, "joined", count(m, "joined"), any(2.0))
	equal(t, "invited", count(m, "invited"), any(1.0))
	both := append(Events(m, "rooms", "join", room, "state", "events"), Timeline(m, room)...)
	same(t, "members of the heroes", Keys(both, "m.room.member"), sorted(anna.ID, bert.ID, carl.ID))
	carl.Join(room)
	m, since = anna.Until(since, func(m M) bool { return count(m, "joined") != nil }, "filter", lazy)
	equal(t, "joined then", count(m, "joined"), any(3.0))
	equal(t, "invited then", count(m, "invited"), any(0.0))
	_, since = anna.Sees(since, room, anna.Say(room, "x"), "filter", lazy)
	bert.Leave(room)
	carl.Leave(room)
	m, _ = anna.Until(since, func(m M) bool { return count(m, "joined") == any(1.0) }, "filter", lazy)
	same(t, "heroes who left", heroes(m), sorted(bert.ID, carl.ID))
}

func syncStateAfter(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	for param, name := range map[string]string{
		"use_state_after": "state_after", "org.matrix.msc4222.use_state_after": "org.matrix.msc4222.state_after",
	} {
		room := group(anna, M{"preset": "public_chat", "topic": "old"}, bert)
		_, start := bert.SeesJoined(room)
		said := anna.Say(room, "x")
		m, since := bert.FirstSees(room, said, param, "true")
		at := func(m M, section string) []M { return Events(m, "rooms", section, room, name, "events") }
		if FindState(at(m, "join"), "m.room.create", "") == nil || At(m, "rooms", "join", room, "state") != nil {
			t.Errorf("%s: the first answer has no whole %s or a state besides", param, name)
		}
		topic := anna.Set(room, "m.room.topic", "", M{"topic": "new"})
		m, _ = bert.Sees(since, room, topic, param, "true")
		equal(t, param+": changed in the timeline", At(FindState(at(m, "join"), "m.room.topic", ""), "event_id"), any(topic))
		m, since = bert.Sees(start, room, topic, param, "true")
		equal(t, param+": changed, longer ago", At(FindState(at(m, "join"), "m.room.topic", ""), "event_id"), any(topic))
		m, since = bert.Sees(since, room, anna.Say(room, "y"), param, "true")
		if list, ok := At(m, "rooms", "join", room, name, "events").([]any); !ok || len(list) != 0 {
			t.Errorf("%s: without a change it is %v", param, At(m, "rooms", "join", room, name))
		}
		bert.Leave(room)
		m, _ = bert.Until(since, func(m M) bool { return At(m, "rooms", "leave", room) != nil }, param, "true")
		if At(m, "rooms", "leave", room, name) == nil || At(m, "rooms", "leave", room, "state") != nil {
			t.Errorf("%s: the left room is %v", param, At(m, "rooms", "leave", room))
		}
	}
}

// syncOldToken uses one token many times: in a cluster each request meets
// another instance than the one before.
func syncOldToken(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := group(anna, nil, bert)
	_, since := bert.FirstSees(room, anna.Say(room, "before"))
	said := []string{anna.Say(room, "one"), anna.Say(room, "two"), anna.Say(room, "three")}
	for range 6 {
		m, _ := bert.Until(since, func(m M) bool { return Find(Timeline(m, room), said[2]) != nil })
		got := IDs(Timeline(m, room))
		if len(got) == 0 || !slices.Equal(got, said[len(said)-len(got):]) {
			t.Errorf("the token shows %v, not the end of %v", got, said)
		}
	}
}

func syncRefused(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	const path = "/_matrix/client/v3/sync"
	anna.Refused("GET", path+"?since=nonsense", nil, 400, "M_INVALID_PARAM")
	anna.Refused("GET", path+"?timeout=long", nil, 400, "M_INVALID_PARAM")
	anna.Refused("GET", path+"?set_presence=dancing", nil, 400, "M_INVALID_PARAM")
	anna.Refused("GET", Query(path, "filter", "{"), nil, 400, "M_NOT_JSON")
	anna.Refused("GET", Query(path, "filter", `{"room":[]}`), nil, 400, "M_BAD_JSON")
	if a := anna.Do("GET", path+"?filter=98765", nil); a.Status != 400 && a.Status != 404 {
		t.Errorf("a filter that does not exist: %d %s", a.Status, a.Raw)
	}
	h.Client(t).Refused("GET", path, nil, 401, "M_MISSING_TOKEN")
	h.Client(t).Refused("GET", path+"?access_token="+anna.Token, nil, 401, "M_MISSING_TOKEN")
}
