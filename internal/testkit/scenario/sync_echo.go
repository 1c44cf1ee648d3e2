package scenario

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

var echoScenarios = []Scenario{
	{"unread counts follow messages, mentions, threads and receipts", unreadCounts},
	{"who writes has read", whoWritesHasRead},
	{"a poll of a device that was logged out says nothing", loggedOutPoll},
	{"receipts reach who may know of them", receiptsReach},
	{"receipts are refused where they make no sense", receiptsRefused},
	{"typing starts, stops and is seen by members alone", typing},
	{"read markers, tags and account data of rooms come back", roomDataEcho},
	{"presence is told to those who share a room", presence},
	{"sync always counts one-time keys", keyCounts},
	{"redactions and edits reach a sync in time", syncRelated},
}

var syncRestarts = []Scenario{
	{"tokens of before a restart go on after it", tokensSurvive},
}

// ephemeral is the content of a room's ephemeral event in an answer of /sync.
func ephemeral(m M, room, typ string) M {
	for _, e := range Events(m, "rooms", "join", room, "ephemeral", "events") {
		if e["type"] == typ {
			c, _ := e["content"].(M)
			return c
		}
	}
	return nil
}

func unreadCounts(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := group(anna, nil, bert)
	apart := `{"room":{"timeline":{"unread_thread_notifications":true}}}`
	_, since := bert.SeesJoined(room)
	expect := func(what, event string, notify, highlight float64) M {
		t.Helper()
		var m M
		m, since = bert.Sees(since, room, event)
		counts := At(m, "rooms", "join", room, "unread_notifications")
		equal(t, what+": notifications", At(counts, "notification_count"), any(notify))
		equal(t, what+": highlights", At(counts, "highlight_count"), any(highlight))
		return m
	}
	one := anna.Say(room, "one")
	expect("a message", one, 1, 0)
	two := anna.Send(room, "m.room.message", M{"msgtype": "m.text", "body": "you", "m.mentions": M{"user_ids": []string{bert.ID}}})
	expect("a mention", two, 2, 1)
	threaded := anna.Send(room, "m.room.message", relatesTo("m.thread", one))
	expect("a thread, counted with the rest", threaded, 3, 1)
	edit := anna.Send(room, "m.room.message", with(relatesTo("m.replace", one), "m.new_content", M{"msgtype": "m.text", "body": "1"}))
	expect("an edit", edit, 3, 1)

	m, _ := bert.FirstSees(room, edit, "filter", apart)
	equal(t, "main timeline apart", At(m, "rooms", "join", room, "unread_notifications", "notification_count"), any(2.0))
	equal(t, "thread apart", At(m, "rooms", "join", room, "unread_thread_notifications", one, "notification_count"), any(1.0))

	read := func(id string, body M) {
		t.Helper()
		bert.Must("POST", Path("/rooms/%s/receipt/m.read/%s", room, id), body)
	}
	count := func(want float64) func(M) bool {
		return func(m M) bool {
			return At(m, "rooms", "join", room, "unread_notifications", "notification_count") == any(want)
		}
	}
	thread := func(want float64) func(M) bool {
		return func(m M) bool {
			return At(m, "rooms", "join", room, "unread_thread_notifications", one, "notification_count") == any(want)
		}
	}
	read(two, M{"thread_id": "main"})
	bert.Until(since, count(0), "filter", apart)
	bert.First(func(m M) bool { return count(0)(m) && thread(1)(m) }, "filter", apart)
	read(threaded, M{"thread_id": one})
	bert.First(func(m M) bool { return count(0)(m) && !thread(1)(m) }, "filter", apart)

	three := anna.Say(room, "three")
	_, since = bert.Sees(since, room, three)
	bert.Must("POST", Path("/rooms/%s/receipt/m.read.private/%s", room, three), M{})
	bert.First(count(0))
	own := bert.Say(room, "my own")
	m, _ = bert.Sees(since, room, own)
	equal(t, "own messages", count(0)(m), true)
}

func receiptsReach(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	phone := h.Login(t, bert.ID)
	room := group(anna, nil, bert)
	root := anna.Say(room, "root")
	reply := anna.Send(room, "m.room.message", relatesTo("m.thread", root))
	open, secret := anna.Say(room, "open"), anna.Say(room, "secret")
	_, since := anna.FirstSees(room, secret)
	_, phoneSince := phone.FirstSees(room, secret)
	bert.Must("POST", Path("/rooms/%s/receipt/m.read/%s", room, root), M{})
	bert.Must("POST", Path("/rooms/%s/receipt/m.read/%s", room, reply), M{"thread_id": root})
	bert.Must("POST", Path("/rooms/%s/receipt/m.read.private/%s", room, secret), nil)
	bert.Must("POST", Path("/rooms/%s/receipt/m.read/%s", room, open), M{"thread_id": "main"})
	collect := func(u *User, since string, all func(map[string]M) bool) map[string]M {
		got := map[string]M{}
		u.Until(since, func(m M) bool {
			for id, types := range ephemeral(m, room, "m.receipt") {
				for typ, users := range types.(M) {
					if r, ok := users.(M)[bert.ID].(M); ok {
						got[typ+" "+id] = r
					}
				}
			}
			return all(got)
		})
		return got
	}
	got := collect(anna, since, func(g map[string]M) bool { return g["m.read "+open] != nil && g["m.read "+reply] != nil })
	equal(t, "unthreaded", At(got["m.read "+root], "thread_id"), nil)
	equal(t, "threaded", got["m.read "+reply]["thread_id"], any(root))
	equal(t, "main", got["m.read "+open]["thread_id"], any("main"))
	if _, ok := got["m.read "+open]["ts"].(float64); !ok {
		t.Errorf("a receipt has no time: %v", got)
	}
	if got["m.read.private "+secret] != nil {
		t.Error("a private receipt reaches others")
	}
	collect(phone, phoneSince, func(g map[string]M) bool { return g["m.read.private "+secret] != nil })
	first, _ := anna.First(func(m M) bool {
		return At(ephemeral(m, room, "m.receipt"), open, "m.read", bert.ID) != nil
	})
	if At(ephemeral(first, room, "m.receipt"), secret) != nil {
		t.Error("a first sync shows the private receipts of others")
	}
}

func receiptsRefused(t *testing.T, h *Home) {
	anna, eve := h.Register(t, "anna"), h.Register(t, "eve")
	room := anna.CreateRoom(M{})
	id, other := anna.Say(room, "x"), anna.Say(room, "y")
	path := Path("/rooms/%s/receipt/m.read/%s", room, id)
	for _, thread := range []any{"", 7, nil, other} {
		anna.Refused("POST", path, M{"thread_id": thread}, 400, "M_INVALID_PARAM")
	}
	anna.Refused("POST", Path("/rooms/%s/receipt/m.fully_read/%s", room, id), M{"thread_id": "main"}, 400, "M_INVALID_PARAM")
	anna.Refused("POST", Path("/rooms/%s/receipt/m.unheard/%s", room, id), M{}, 400, "M_INVALID_PARAM")
	anna.Refused("POST", Path("/rooms/%s/receipt/m.read/%s", room, "$none"), M{}, 404, "M_NOT_FOUND")
	eve.Refused("POST", path, M{}, 403, "M_FORBIDDEN")
	eve.Refused("POST", Path("/rooms/%s/read_markers", room), M{"m.read": id}, 403, "M_FORBIDDEN")
}

func typing(t *testing.T, h *Home) {
	anna, bert, eve := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "eve")
	room := group(anna, nil, bert)
	_, since := anna.SeesJoined(room)
	path := Path("/rooms/%s/typing/%s", room, bert.ID)
	who := func(want int) func(M) bool {
		return func(m M) bool {
			list, ok := ephemeral(m, room, "m.typing")["user_ids"].([]any)
			return ok && len(list) == want && (want == 0 || list[0] == bert.ID)
		}
	}
	bert.Must("PUT", path, M{"typing": true, "timeout": 60000})
	_, since = anna.Until(since, who(1))
	bert.Must("PUT", path, M{"typing": false})
	_, since = anna.Until(since, who(0))
	bert.Must("PUT", path, M{"typing": true, "timeout": 200})
	_, since = anna.Until(since, who(1))
	anna.Until(since, who(0)) // it ends by itself
	bert.Refused("PUT", Path("/rooms/%s/typing/%s", room, anna.ID), M{"typing": true}, 403, "M_FORBIDDEN")
	eve.Refused("PUT", Path("/rooms/%s/typing/%s", room, eve.ID), M{"typing": true}, 403, "M_FORBIDDEN")
	if a := bert.Do("PUT", path, M{"typing": "yes"}); a.Status != 400 {
		t.Errorf("typing that is neither true nor false: %d %s", a.Status, a.Raw)
	}
}

func roomDataEcho(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	phone := h.Login(t, anna.ID)
	room := group(anna, nil, bert)
	id := anna.Say(room, "x")
	_, since := phone.FirstSees(room, id)
	_, other := bert.FirstSees(room, id)
	got := map[string]any{}
	wait := func(u *User, since, typ string) string {
		t.Helper()
		_, next := u.Until(since, func(m M) bool {
			for _, e := range Events(m, "rooms", "join", room, "account_data", "events") {
				got[e["type"].(string)] = e["content"]
			}
			return got[typ] != nil
		})
		return next
	}
	anna.Must("POST", Path("/rooms/%s/read_markers", room), M{"m.fully_read": id, "m.read": id})
	since = wait(phone, since, "m.fully_read")
	equal(t, "read up to", At(got["m.fully_read"], "event_id"), any(id))
	bert.Until(other, func(m M) bool {
		if len(Events(m, "rooms", "join", room, "account_data", "events")) > 0 {
			t.Error("account data of another")
		}
		return At(ephemeral(m, room, "m.receipt"), id, "m.read", anna.ID) != nil
	})
	anna.Must("PUT", Path("/user/%s/rooms/%s/tags/%s", anna.ID, room, "m.favourite"), M{"order": 0.5})
	since = wait(phone, since, "m.tag")
	equal(t, "order", At(got["m.tag"], "tags", "m.favourite", "order"), any(0.5))
	anna.Must("PUT", Path("/user/%s/rooms/%s/account_data/org.example.data", anna.ID, room), M{"a": 1})
	since = wait(phone, since, "org.example.data")
	delete(got, "m.tag")
	anna.Must("DELETE", Path("/user/%s/rooms/%s/tags/%s", anna.ID, room, "m.favourite"), nil)
	since = wait(phone, since, "m.tag")
	if tags, ok := At(got["m.tag"], "tags").(M); !ok || len(tags) != 0 {
		t.Errorf("the tags are %v", got["m.tag"])
	}
	anna.Refused("PUT", Path("/user/%s/rooms/%s/account_data/m.fully_read", anna.ID, room), M{"event_id": id}, 405, "M_BAD_JSON")
	anna.Must("PUT", Path("/user/%s/account_data/org.example.global", anna.ID), M{"b": 2})
	phone.Until(since, func(m M) bool {
		return slices.ContainsFunc(Events(m, "account_data", "events"), func(e M) bool { return e["type"] == "org.example.global" })
	})
}

func presence(t *testing.T, h *Home) {
	anna, bert, eve := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "eve")
	room := group(anna, nil, bert)
	_, since := anna.SeesJoined(room)
	path := Path("/presence/%s/status", bert.ID)
	bert.Must("PUT", path, M{"presence": "unavailable", "status_msg": "at the lake"})
	var seen M
	anna.Until(since, func(m M) bool {
		for _, e := range Events(m, "presence", "events") {
			if e["sender"] == bert.ID && At(e, "content", "status_msg") == "at the lake" {
				seen = e
			}
		}
		return seen != nil
	})
	equal(t, "presence", At(seen, "content", "presence"), any("unavailable"))
	anna.Until("", func(M) bool { return anna.Must("GET", path, nil)["status_msg"] == "at the lake" })
	anna.Refused("PUT", path, M{"presence": "online"}, 403, "M_FORBIDDEN")
	bert.Refused("PUT", path, M{"presence": "dancing"}, 400, "M_INVALID_PARAM")
	if a := eve.Do("GET", path, nil); a.Status != 403 && a.Status != 404 {
		t.Errorf("a stranger sees the presence: %d %s", a.Status, a.Raw)
	}
}

func keyCounts(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	m := anna.Sync("", 0)
	for range 2 {
		if _, ok := m["device_one_time_keys_count"].(M); !ok {
			t.Errorf("no count of keys in %v", m)
		}
		if _, ok := m["device_unused_fallback_key_types"].([]any); !ok {
			t.Errorf("no fallback keys in %v", m)
		}
		next, _ := m["next_batch"].(string)
		m = anna.Sync(next, 0)
	}
}

func syncRelated(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := group(anna, nil, bert)
	said, gone := anna.Say(room, "typo"), anna.Say(room, "gone")
	_, since := bert.FirstSees(room, gone)
	edit := anna.Send(room, "m.room.message", with(relatesTo("m.replace", said), "m.new_content", M{"msgtype": "m.text", "body": "fixed"}))
	redaction, _ := anna.Must("PUT", Path("/rooms/%s/redact/%s/%s", room, gone, Unique("r")), M{"reason": "r"})["event_id"].(string)
	var seen []M
	bert.Until(since, func(m M) bool {
		seen = append(seen, Timeline(m, room)...)
		return Find(seen, redaction) != nil
	})
	equal(t, "edit", At(Find(seen, edit), "content", "m.new_content", "body"), any("fixed"))
	equal(t, "redaction", At(Find(seen, redaction), "content", "redacts"), any(gone))
	first, _ := bert.FirstSees(room, redaction)
	e := Find(Timeline(first, room), gone)
	equal(t, "redacted because", At(e, "unsigned", "redacted_because", "event_id"), any(redaction))
	equal(t, "redacted content", At(e, "content", "body"), nil)
	equal(t, "bundled edit", At(Find(Timeline(first, room), said), "unsigned", "m.relations", "m.replace", "event_id"), any(edit))
}

// tokensSurvive takes every kind of token over a restart.
func tokensSurvive(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	phone := h.Login(t, anna.ID)
	room := group(anna, nil, bert)
	txn := Path("/rooms/%s/send/m.room.message/once", room)
	before := anna.Must("PUT", txn, M{"body": "before", "msgtype": "m.text"})["event_id"].(string)
	m, since := bert.FirstSees(room, before)
	prev, _ := At(m, "rooms", "join", room, "timeline", "prev_batch").(string)
	older, _ := bert.pages(room, "b", prev, "", 50)
	_, phoneSince := phone.FirstSees(room, before)
	bert.Must("POST", Path("/rooms/%s/receipt/m.read/%s", room, before), M{})
	anna.Must("PUT", Path("/user/%s/rooms/%s/tags/m.favourite", anna.ID, room), M{})
	h.Restart(t)
	equal(t, "the same transaction", anna.Must("PUT", txn, M{"body": "before", "msgtype": "m.text"})["event_id"], any(before))
	after := anna.Say(room, "after")
	m, _ = bert.Sees(since, room, after)
	same(t, "since the token", IDs(Timeline(m, room)), []string{after})
	again, _ := bert.pages(room, "b", prev, "", 50)
	same(t, "history from the token", again, older)
	receipt, tag := false, false
	phone.Until(phoneSince, func(m M) bool {
		receipt = receipt || At(ephemeral(m, room, "m.receipt"), before, "m.read", bert.ID) != nil
		for _, e := range Events(m, "rooms", "join", room, "account_data", "events") {
			tag = tag || At(e, "content", "tags", "m.favourite") != nil
		}
		return receipt && tag
	})
	bert.First(func(m M) bool {
		return At(m, "rooms", "join", room, "unread_notifications", "notification_count") == any(1.0)
	})
}

// whoWritesHasRead sends instead of reading: to the server it is the same.
//
// spec: c-s §Receiving notifications
func whoWritesHasRead(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := anna.CreateRoom(M{"preset": "public_chat"})
	bert.Join(room)
	unread := func(want float64) func(M) bool {
		return func(m M) bool {
			return At(m, "rooms", "join", room, "unread_notifications", "notification_count") == any(want)
		}
	}
	anna.Say(room, "one")
	anna.Say(room, "two")
	_, since := bert.Until("", unread(2))
	bert.Say(room, "three")
	_, since = bert.Until(since, unread(0))
	anna.Say(room, "four")
	bert.Until(since, unread(1))
	bert.First(unread(1))
}

// loggedOutPoll logs a device out while its sync waits, and then says something.
func loggedOutPoll(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	room := anna.CreateRoom(M{})
	lost := h.Login(t, anna.ID)
	since := fmt.Sprint(lost.Sync("", 0)["next_batch"])
	poll := make(chan Answer, 1)
	go func() {
		quiet := url.QueryEscape(`{"presence":{"not_types":["*"]}}`)
		a, err := lost.Try("GET", "/_matrix/client/v3/sync?timeout=60000&filter="+quiet+"&since="+url.QueryEscape(since), nil)
		if err != nil {
			a.Raw = []byte(err.Error())
		}
		poll <- a
	}()
	time.Sleep(200 * time.Millisecond) // a poll that comes later is refused at the door, which shows less
	lost.Must("POST", "/_matrix/client/v3/logout", M{})
	lost.LoggedOut()
	anna.Say(room, "not for the lost device")
	if a := <-poll; a.Status != http.StatusUnauthorized || a.Errcode() != "M_UNKNOWN_TOKEN" {
		t.Errorf("the waiting sync of a device that was logged out answered %d %s", a.Status, a.Raw)
	}
}
