package syncapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"allmende/config"
	"allmende/internal/matrix"
	"allmende/internal/testkit/roomtest"
	"allmende/syncapi/store"
)

// receipts is what m.receipt says in a room, as "user kind event thread".
func receipts(r *joinedRoom) (out []string) {
	for _, e := range r.Ephemeral.Events {
		if e.Type != "m.receipt" {
			continue
		}
		for id, kinds := range e.Content {
			for kind, users := range kinds.(map[string]any) {
				for user, v := range users.(map[string]any) {
					thread, _ := v.(map[string]any)["thread_id"].(string)
					out = append(out, strings.TrimSpace(fmt.Sprint(localpart(user), " ", kind, " ", id, " ", thread)))
				}
			}
		}
	}
	return out
}

func receiptPath(room *roomtest.Room, kind string, id matrix.EventID) string {
	return "/rooms/" + esc(string(room.ID)) + "/receipt/" + kind + "/" + esc(string(id))
}

func TestReceipts(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	room.Join(bob)
	one, two := room.Text(alice, "one"), room.Text(alice, "two")
	a, b := w.sync(alice), w.sync(bob)
	same(t, "unread", w.room(b, room).Unread, &tally{Notify: 2})

	w.do("POST", bob, receiptPath(room, "m.read", one.ID), `{}`)
	c := w.wait(alice, a.Next)
	same(t, "public", receipts(w.room(c, room)), []string{"bob m.read " + string(one.ID)})
	d := w.wait(bob, b.Next)
	same(t, "unread after one", w.room(d, room).Unread, &tally{Notify: 1})
	if !strings.Contains(d.raw, `"ts":`) {
		t.Errorf("no time: %s", d.raw)
	}

	w.do("POST", bob, receiptPath(room, "m.read.private", two.ID), `{}`)
	e := w.wait(bob, d.Next)
	same(t, "own private", receipts(w.room(e, room)), []string{"bob m.read.private " + string(two.ID)})
	same(t, "all read", w.room(e, room).Unread, &tally{})
	for _, got := range []*answer{w.sync(alice, "since", c.Next), w.sync(alice), w.again().sync(alice)} {
		if strings.Contains(got.raw, "m.read.private") {
			t.Errorf("a private receipt is shown: %s", got.raw)
		}
	}
	same(t, "initial", receipts(w.room(w.sync(alice), room)), []string{"bob m.read " + string(one.ID)})

	// Backwards is not a way.
	w.do("POST", bob, receiptPath(room, "m.read.private", one.ID), `{}`)
	same(t, "still read", w.room(w.sync(bob), room).Unread, &tally{})

	path := func(kind string, id matrix.EventID) string { return receiptPath(room, kind, id) }
	w.fails("POST", bob, path("m.liked", one.ID), `{}`, http.StatusBadRequest, "M_INVALID_PARAM")
	w.fails("POST", bob, path("m.read", "$nothing"), `{}`, http.StatusNotFound, "M_NOT_FOUND")
	w.fails("POST", carol, path("m.read", one.ID), `{}`, http.StatusForbidden, "M_FORBIDDEN")
	for _, thread := range []string{`""`, `1`, `null`, `"$other"`} {
		w.fails("POST", bob, path("m.read", one.ID), `{"thread_id":`+thread+`}`, http.StatusBadRequest, "M_INVALID_PARAM")
	}
	w.fails("POST", bob, path("m.fully_read", one.ID), `{"thread_id":"main"}`, http.StatusBadRequest, "M_INVALID_PARAM")
}

func TestThreads(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	room.Join(bob)
	root := room.Text(alice, "root")
	in := room.Relate(alice, "m.room.message", "m.thread", root.ID, roomtest.C{"msgtype": "m.text", "body": "in the thread"})
	plain := room.Text(alice, "hello bob") // contains bob's name
	const filter = `{"room":{"timeline":{"unread_thread_notifications":true}}}`
	a := w.sync(bob, "filter", filter)
	r := w.room(a, room)
	same(t, "main", r.Unread, &tally{Notify: 2, Highlight: 1})
	same(t, "threads", r.Threads, map[string]tally{string(root.ID): {Notify: 1}})
	same(t, "together", w.room(w.sync(bob), room).Unread, &tally{Notify: 3, Highlight: 1})

	w.do("POST", bob, receiptPath(room, "m.read", plain.ID), `{"thread_id":"main"}`)
	b := w.wait(bob, a.Next, "filter", filter)
	same(t, "main read", w.room(b, room).Unread, &tally{})
	same(t, "thread unread", w.room(b, room).Threads, map[string]tally{string(root.ID): {Notify: 1}})
	w.do("POST", bob, receiptPath(room, "m.read", in.ID), fmt.Sprintf(`{"thread_id":%q}`, root.ID))
	c := w.wait(bob, b.Next, "filter", filter)
	same(t, "thread read", len(w.room(c, room).Threads), 0)
	same(t, "receipts", len(receipts(w.room(w.sync(alice), room))), 2)
	w.fails("POST", bob, receiptPath(room, "m.read", in.ID), `{"thread_id":"main"}`, http.StatusBadRequest, "M_INVALID_PARAM")
}

func TestUnreadFollowsRedactionsAndRules(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	room.Join(bob)
	a := w.sync(bob)
	secret := room.Text(alice, "x")
	room.Text(alice, "y")
	w.until(bob, a.Next, func(a *answer) bool {
		r := a.Rooms.Join[room.ID]
		return r != nil && *r.Unread == tally{Notify: 2}
	})
	red := room.Redact(alice, secret.ID, "")
	w.until(bob, a.Next, func(a *answer) bool { return strings.Contains(a.raw, string(red.ID)) })
	w.until(bob, a.Next, func(*answer) bool {
		return *w.room(w.sync(bob), room).Unread == tally{Notify: 1}
	})
	w.accounts.put(account(bob), "", "m.push_rules", `{"global":{"override":[{"rule_id":".m.rule.master","default":true,"enabled":true,"conditions":[],"actions":[]}]}}`)
	w.until(bob, a.Next, func(a *answer) bool { return len(a.AccountData.Events) > 0 })
	same(t, "muted", w.room(w.sync(bob), room).Unread, &tally{})
}

func TestReadMarkers(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	one := room.Text(alice, "one")
	a := w.sync(alice)
	w.do("POST", alice, "/rooms/"+esc(string(room.ID))+"/read_markers", fmt.Sprintf(`{"m.fully_read":%q,"m.read":%q}`, one.ID, one.ID))
	var marker, read bool
	w.until(alice, a.Next, func(a *answer) bool {
		if r := a.Rooms.Join[room.ID]; r != nil {
			for _, e := range r.AccountData.Events {
				marker = marker || e.Type == "m.fully_read" && e.Content["event_id"] == string(one.ID)
			}
			read = read || len(receipts(r)) == 1
		}
		return marker && read
	})
	w.fails("POST", alice, "/rooms/"+esc(string(room.ID))+"/read_markers", `{"m.fully_read":"$nothing"}`, http.StatusNotFound, "M_NOT_FOUND")
}

// typists is who types in a room, if the answer says.
func typists(r *joinedRoom) any {
	if r == nil {
		return nil
	}
	for _, e := range r.Ephemeral.Events {
		if e.Type == "m.typing" {
			return fmt.Sprint(e.Content["user_ids"])
		}
	}
	return nil
}

// TestTyping runs on two instances: what is said to one is seen at the other.
func TestTyping(t *testing.T) {
	w := open(t)
	other := w.again()
	room := w.Room(alice, roomtest.Options{})
	room.Join(bob)
	a, b := w.sync(alice), other.sync(bob)
	path := "/rooms/" + esc(string(room.ID)) + "/typing/"
	w.do("PUT", alice, path+esc(string(alice)), `{"typing":true,"timeout":30000}`)
	c := other.wait(bob, b.Next)
	same(t, "typing", typists(other.room(c, room)), any("[@alice:example.org]"))
	w.do("PUT", alice, path+esc(string(alice)), `{"typing":false}`)
	d := other.wait(bob, c.Next)
	same(t, "stopped", typists(other.room(d, room)), any("[]"))
	// A token of the other instance: this one tells what it knows.
	w.do("PUT", bob, path+esc(string(bob)), `{"typing":true,"timeout":1}`)
	e := w.until(alice, a.Next, func(a *answer) bool { return typists(a.Rooms.Join[room.ID]) == any("[@bob:example.org]") })
	w.until(alice, e.Next, func(a *answer) bool { return typists(a.Rooms.Join[room.ID]) == any("[]") })
	same(t, "from elsewhere", typists(w.room(w.sync(alice, "since", d.Next), room)), any("[]"))

	w.fails("PUT", alice, path+esc(string(bob)), `{"typing":true}`, http.StatusForbidden, "M_FORBIDDEN")
	w.fails("PUT", carol, path+esc(string(carol)), `{"typing":true}`, http.StatusForbidden, "M_FORBIDDEN")
	w.fails("PUT", alice, path+esc(string(alice)), `{}`, http.StatusBadRequest, "M_MISSING_PARAM")
}

func TestAccountData(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	w.accounts.put(account(alice), "", "m.direct", `{"a":1}`)
	w.accounts.put(account(alice), room.ID, "m.tag", `{"tags":{}}`)
	w.accounts.put(account(bob), "", "bob's", `{}`)
	a := w.sync(alice)
	same(t, "global", a.AccountData.show(), []string{"m.direct"})
	same(t, "of the room", w.room(a, room).AccountData.show(), []string{"m.tag"})
	asked := w.accounts.asked
	for range 5 {
		if b := w.sync(alice, "since", a.Next); b.news() {
			t.Fatalf("news without any: %s", b.raw)
		}
	}
	if w.accounts.asked != asked {
		t.Error("clientapi was asked although nothing was announced")
	}
	w.accounts.put(account(alice), room.ID, "m.tag", `null`)
	b := w.wait(alice, a.Next)
	r := w.room(b, room)
	same(t, "deleted", r.AccountData.Events, []event{{Type: "m.tag", Content: map[string]any{}}})
	if len(r.State.Events)+len(r.Timeline.Events) != 0 {
		t.Errorf("too much: %s", b.raw)
	}
	// The other device comes with the older token.
	w.accounts.put(account(alice), "", "x", `{}`)
	c := w.until(alice, b.Next, func(a *answer) bool { return len(a.AccountData.Events) > 0 })
	same(t, "next", c.AccountData.show(), []string{"x"})
	d := w.sync(alice, "since", a.Next)
	same(t, "both", append(d.AccountData.show(), w.room(d, room).AccountData.show()...), []string{"x", "m.tag"})
}

func TestIgnored(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	room.Join(bob)
	room.Join(carol)
	w.accounts.put(account(carol), "", "m.ignored_user_list", `{"ignored_users":{"@bob:example.org":{},"@dave:example.org":{}}}`)
	a := w.sync(carol)
	room.Text(bob, "noise")
	room.Text(alice, "signal")
	b := w.until(carol, a.Next, func(a *answer) bool { return strings.Contains(a.raw, "signal") })
	if strings.Contains(b.raw, "noise") {
		t.Errorf("an ignored user's message: %s", b.raw)
	}
	same(t, "unread", w.room(w.sync(carol), room).Unread, &tally{Notify: 1})
	// dave is heard of for the first time after having been ignored.
	theirs := w.Room(dave, roomtest.Options{})
	theirs.Invite(carol)
	room.Join(dave)
	room.Text(dave, "noise too")
	room.Text(alice, "done")
	c := w.until(carol, b.Next, func(a *answer) bool { return strings.Contains(a.raw, "done") })
	if d := w.sync(carol); strings.Contains(c.raw+d.raw, "noise") || len(c.Rooms.Invite)+len(d.Rooms.Invite) != 0 {
		t.Errorf("ignored, but shown: %s\n%s", c.raw, d.raw)
	}
}

func TestPresence(t *testing.T) {
	w := openWith(t, func(c *config.Config) { c.Presence.Enabled = true })
	room := w.Room(alice, roomtest.Options{})
	room.Join(bob)
	w.Room(carol, roomtest.Options{})
	a := w.sync(alice, "set_presence", "offline")
	w.do("PUT", bob, "/presence/"+esc(string(bob))+"/status", `{"presence":"online","status_msg":"here"}`)
	b := w.until(alice, a.Next, func(a *answer) bool { return len(a.Presence.Events) > 0 }, "set_presence", "offline")
	e := b.Presence.Events[0]
	if e.Sender != bob || e.Content["presence"] != "online" || e.Content["status_msg"] != "here" {
		t.Errorf("presence is %+v", e)
	}
	var got map[string]any
	w.Get(alice, "/_matrix/client/v3/presence/"+esc(string(bob))+"/status", &got)
	same(t, "asked", got["status_msg"], any("here"))
	if c := w.sync(carol, "set_presence", "offline"); len(c.Presence.Events) != 0 {
		t.Errorf("a stranger sees it: %s", c.raw)
	}
	w.fails("GET", carol, "/presence/"+esc(string(bob))+"/status", "", http.StatusForbidden, "M_FORBIDDEN")
	w.fails("PUT", carol, "/presence/"+esc(string(bob))+"/status", `{"presence":"online"}`, http.StatusForbidden, "M_FORBIDDEN")
	w.fails("PUT", bob, "/presence/"+esc(string(bob))+"/status", `{"presence":"happy"}`, http.StatusBadRequest, "M_INVALID_PARAM")
}

func TestPresenceOff(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	room.Join(bob)
	w.do("PUT", bob, "/presence/"+esc(string(bob))+"/status", `{"presence":"online","status_msg":"here"}`)
	var got map[string]any
	w.Get(alice, "/_matrix/client/v3/presence/"+esc(string(bob))+"/status", &got)
	same(t, "presence", got, map[string]any{"presence": "offline"})
	if a := w.sync(alice); len(a.Presence.Events) != 0 {
		t.Errorf("presence: %s", a.raw)
	}
}

// TestBlur: after a day, the time of a receipt is the day alone.
func TestBlur(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	one := room.Text(alice, "one")
	w.do("POST", alice, receiptPath(room, "m.read", one.ID), `{}`)
	old := time.Now().Add(-48 * time.Hour).UnixMilli()
	if _, err := w.DB.Exec(t.Context(), `UPDATE syncapi.receipts SET ts = $1`, old); err != nil {
		t.Fatal(err)
	}
	if err := store.New(w.DB).BlurReceipts(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	var ts int64
	if err := w.DB.QueryRow(t.Context(), `SELECT ts FROM syncapi.receipts`).Scan(&ts); err != nil {
		t.Fatal(err)
	}
	if ts != old-old%86_400_000 {
		t.Errorf("time is %d", ts)
	}
}

// TestExactlyOnce: messages sent by several at once arrive in every stream of
// syncs once and in order, whichever instance is asked.
func TestExactlyOnce(t *testing.T) {
	w := open(t)
	other := w.again()
	var rooms []*roomtest.Room
	for range 3 {
		r := w.Room(alice, roomtest.Options{})
		r.Join(bob)
		rooms = append(rooms, r)
	}
	const each = 30
	next := w.sync(bob).Next
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range each {
			for _, r := range rooms {
				r.Text(alice, fmt.Sprint(i))
			}
		}
	}()
	got := map[matrix.RoomID][]string{}
	turn := 0
	total := func() (n int) {
		for _, l := range got {
			n += len(l)
		}
		return n
	}
	for total() < each*len(rooms) && turn < 1000 {
		at := []*world{w, other}[turn%2]
		turn++
		a := at.sync(bob, "since", next, "timeout", "5000", "filter", `{"room":{"timeline":{"limit":1000}}}`)
		next = a.Next
		for id, r := range a.Rooms.Join {
			for _, e := range r.Timeline.Events {
				got[id] = append(got[id], e.Content["body"].(string))
			}
		}
	}
	<-done
	var want []string
	for i := range each {
		want = append(want, fmt.Sprint(i))
	}
	for _, r := range rooms {
		same(t, "messages", got[r.ID], want)
	}
	raw, _ := json.Marshal(got)
	if strings.Contains(string(raw), "null") {
		t.Error("a message without text")
	}
}
