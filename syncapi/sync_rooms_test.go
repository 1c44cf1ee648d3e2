package syncapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"allmende/internal/matrix"
	"allmende/internal/testkit/roomtest"
	"allmende/syncapi/token"

	"github.com/google/go-cmp/cmp"
)

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestInitialThenIncremental(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	room.Join(bob)
	for i := range 12 {
		room.Text(bob, fmt.Sprint(i))
	}
	a := w.sync(alice)
	r := w.room(a, room)
	same(t, "timeline", r.Timeline.show(), []string{"message 2", "message 3", "message 4", "message 5", "message 6", "message 7",
		"message 8", "message 9", "message 10", "message 11"})
	same(t, "state", r.State.sorted(), []string{"create/", "join_rules/", "member/alice join", "member/bob join", "power_levels/"})
	if !r.Timeline.Limited || r.Summary == nil || r.Summary.Joined != 2 || r.Summary.Invited != 0 {
		t.Errorf("limited %v, summary %+v", r.Timeline.Limited, r.Summary)
	}
	same(t, "heroes", r.Summary.Heroes, []matrix.UserID{bob})
	if _, ok := a.OTKs["signed_curve25519"]; !ok || a.Fallback == nil || !strings.Contains(string(a.Lists), `"changed":[]`) {
		t.Errorf("encryption's members are missing: %s", a.raw)
	}
	prev, err := token.ParseOrd(r.Timeline.Prev)
	if err != nil {
		t.Fatal(err)
	}
	older, err := w.Model.TimelineBack(t.Context(), room.NID, int64(prev), 0, 1)
	if err != nil || len(older) != 1 || !strings.Contains(string(older[0].JSON), `"body":"1"`) {
		t.Errorf("prev_batch does not lead to what lies before: %v, %v", older, err)
	}
	if e := r.Timeline.Events[0]; e.RoomID != "" || e.Unsigned["membership"] != "join" || e.Unsigned["age"] == nil {
		t.Errorf("event is %+v", e)
	}

	b := w.sync(alice, "since", a.Next)
	if b.news() {
		t.Errorf("news without any: %s", b.raw)
	}
	room.Text(alice, "new")
	c := w.wait(alice, b.Next)
	r = w.room(c, room)
	same(t, "timeline", r.Timeline.show(), []string{"message new"})
	if r.Timeline.Limited || len(r.State.Events) != 0 || r.Summary != nil {
		t.Errorf("too much: %s", c.raw)
	}
	if d := w.sync(alice, "since", c.Next); d.news() {
		t.Errorf("the same again: %s", d.raw)
	}
}

// TestStateBeforeTimeline: the state is that at the start of the timeline, not
// what the timeline makes of it.
func TestStateBeforeTimeline(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{Name: "old"})
	for i := range 10 {
		room.Text(alice, fmt.Sprint(i))
	}
	room.State(alice, "m.room.name", "", roomtest.C{"name": "new"})
	room.Join(bob)
	filter := `{"room":{"timeline":{"limit":3}}}`
	r := w.room(w.sync(alice, "filter", filter), room)
	same(t, "timeline", r.Timeline.show(), []string{"message 9", "name/ new", "member/bob join"})
	same(t, "state", r.State.sorted(), []string{"create/", "join_rules/", "member/alice join", "name/ old", "power_levels/"})
	for param, get := range map[string]func(*joinedRoom) *events{
		"use_state_after":                    func(r *joinedRoom) *events { return r.StateAfter },
		"org.matrix.msc4222.use_state_after": func(r *joinedRoom) *events { return r.UnstableStateAfter },
	} {
		a := w.sync(alice, "filter", filter, param, "true")
		r := w.room(a, room)
		if r.State != nil || get(r) == nil {
			t.Fatalf("%s: %s", param, a.raw)
		}
		same(t, param, get(r).sorted(), []string{"create/", "join_rules/", "member/alice join", "member/bob join", "name/ new", "power_levels/"})
	}
}

func TestGap(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{Name: "one"})
	a := w.sync(alice)
	for _, long := range []int{8, 150} { // the second reaches behind what is in memory
		room.State(alice, "m.room.name", "", roomtest.C{"name": "two"})
		room.State(alice, "m.room.name", "", roomtest.C{"name": "three"})
		room.Join(bob)
		for i := range long {
			room.Text(alice, fmt.Sprint(i))
		}
		room.Leave(bob)
		last := room.Text(alice, "last")
		for _, param := range []string{"", "use_state_after"} {
			b := w.until(alice, a.Next, func(a *answer) bool { return strings.Contains(a.raw, string(last.ID)) },
				"filter", `{"room":{"timeline":{"limit":2}}}`, param, strings.Repeat("true", min(1, len(param))))
			r := w.room(b, room)
			same(t, "timeline", r.Timeline.show(), []string{"member/bob leave", "message last"})
			if !r.Timeline.Limited {
				t.Error("not limited")
			}
			if param == "" {
				same(t, "state", r.State.sorted(), []string{"member/bob join", "name/ three"})
			} else {
				same(t, "state after", r.StateAfter.sorted(), []string{"member/bob leave", "name/ three"})
			}
			if r.Summary == nil || r.Summary.Joined != 1 {
				t.Errorf("summary is %+v", r.Summary)
			}
			if param != "" {
				a = b
			}
		}
	}
}

func TestNewlyJoined(t *testing.T) {
	w := open(t)
	open := w.Room(alice, roomtest.Options{Name: "shared"})
	closed := w.Room(alice, roomtest.Options{Visibility: "joined"})
	for _, r := range []*roomtest.Room{open, closed} {
		r.Text(alice, "before")
	}
	a := w.sync(bob)
	open.Join(bob)
	closed.Join(bob)
	closed.Text(alice, "after")
	b := w.until(bob, a.Next, func(a *answer) bool { return a.Rooms.Join[closed.ID] != nil && strings.Contains(a.raw, "after") })
	// Until the room said otherwise, its history was shared.
	want := []string{"create/", "member/alice join", "power_levels/", "join_rules/", "history_visibility/", "member/bob join", "message after"}
	same(t, "closed room", w.room(b, closed).Timeline.show(), want)
	c := w.sync(bob)
	same(t, "shared history", w.room(c, open).Timeline.show()[5:], []string{"message before", "member/bob join"})
	same(t, "closed history", w.room(c, closed).Timeline.show(), want)
	d := w.sync(bob, "filter", `{"room":{"timeline":{"limit":1}}}`)
	same(t, "closed state", w.room(d, closed).State.sorted(), []string{"create/", "history_visibility/", "join_rules/", "member/alice join", "member/bob join", "power_levels/"})

	// The token from before the join knows the rooms as new for ever.
	d = w.sync(bob, "since", a.Next)
	if r := w.room(d, open); len(r.State.Events)+len(r.Timeline.Events) < 6 || r.Summary == nil {
		t.Errorf("not the whole room: %s", d.raw)
	}
}

func TestInvite(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{Name: "club"})
	room.State(alice, "m.room.topic", "", roomtest.C{"topic": "not for outsiders' timelines"})
	room.Text(alice, "secret")
	a := w.sync(dave) // nobody has ever heard of dave
	room.Invite(dave)
	b := w.wait(dave, a.Next)
	same(t, "invite", b.Rooms.Invite[room.ID].State.show(), []string{"create/", "name/ club", "topic/", "join_rules/", "member/dave invite"})
	if strings.Contains(b.raw, "secret") {
		t.Error("the invite shows messages")
	}
	if got := w.sync(dave).Rooms.Invite; len(got) != 1 {
		t.Errorf("initial sync has %d invites", len(got))
	}
	room.Text(alice, "more")
	room.Leave(dave)
	c := w.wait(dave, b.Next)
	if l := c.Rooms.Leave[room.ID]; l == nil || strings.Contains(c.raw, "more") || strings.Contains(c.raw, "secret") {
		t.Errorf("rejected invite: %s", c.raw)
	} else {
		same(t, "leave", l.Timeline.show(), []string{"member/dave leave"})
	}
	room.Invite(dave)
	if d := w.wait(dave, c.Next); len(d.Rooms.Invite) != 1 {
		t.Errorf("second invite: %s", d.raw)
	}
	room.Knock(dave)
	if d := w.sync(dave); len(d.Rooms.Knock[room.ID].State.Events) == 0 {
		w.until(dave, d.Next, func(a *answer) bool { return len(a.Rooms.Knock[room.ID].State.Events) > 0 })
	}
}

func TestLeave(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{Name: "old"})
	room.Join(bob)
	a, other := w.sync(bob), w.sync(alice)
	room.Text(alice, "seen")
	room.State(alice, "m.room.name", "", roomtest.C{"name": "new"})
	room.Kick(bob)
	room.State(alice, "m.room.name", "", roomtest.C{"name": "unseen"})
	last := room.Text(alice, "unseen")
	w.until(alice, other.Next, func(a *answer) bool { return strings.Contains(a.raw, string(last.ID)) })
	b := w.sync(bob, "since", a.Next)
	l := b.Rooms.Leave[room.ID]
	if l == nil || strings.Contains(b.raw, "unseen") {
		t.Fatalf("leave: %s", b.raw)
	}
	same(t, "timeline", l.Timeline.show(), []string{"message seen", "name/ new", "member/bob leave"})
	if c := w.sync(bob, "since", b.Next); c.news() {
		t.Errorf("the same again: %s", c.raw)
	}
	if c := w.sync(bob); c.news() {
		t.Errorf("initial sync without include_leave: %s", c.raw)
	}
	filter := `{"room":{"include_leave":true,"timeline":{"limit":1}}}`
	for param, want := range map[string][]string{
		"full_state":      {"create/", "join_rules/", "member/alice join", "member/bob join", "name/ new", "power_levels/"},
		"use_state_after": {"create/", "join_rules/", "member/alice join", "member/bob leave", "name/ new", "power_levels/"},
	} {
		c := w.sync(bob, "filter", filter, param, "true")
		l = c.Rooms.Leave[room.ID]
		if l == nil || strings.Contains(c.raw, "unseen") {
			t.Fatalf("include_leave: %s", c.raw)
		}
		got := l.State
		if param == "use_state_after" {
			got = l.StateAfter
		}
		same(t, param, got.sorted(), want)
	}
	room.Forget(bob)
	if c := w.sync(bob, "filter", filter); c.news() {
		t.Errorf("forgotten: %s", c.raw)
	}
	room.Join(bob)
	c := w.until(bob, b.Next, func(a *answer) bool { return a.Rooms.Join[room.ID] != nil })
	if c.Rooms.Leave[room.ID] != nil {
		t.Errorf("joined and left at once: %s", c.raw)
	}
}

// TestStateAfterOutside: what happens to someone outside a room is state too, and a client that asks for state_after takes
// its membership from nowhere else.
func TestStateAfterOutside(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	room.Join(bob)
	since := w.sync(bob).Next
	for what, happens := range map[string]func() matrix.EventID{
		"unbanned":          func() matrix.EventID { return room.Kick(bob).ID },
		"came and was sent": func() matrix.EventID { room.Join(bob); return room.Kick(bob).ID },
	} {
		ban := room.Ban(bob)
		since = w.until(bob, since, func(a *answer) bool { return strings.Contains(a.raw, string(ban.ID)) }).Next
		away := happens()
		got := w.until(bob, since, func(a *answer) bool { return strings.Contains(a.raw, string(away)) }, "use_state_after", "true")
		same(t, what, got.Rooms.Leave[room.ID].StateAfter.sorted(), []string{"member/bob leave"})
		since = got.Next
	}
}

func TestLazyLoading(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	for _, u := range []matrix.UserID{bob, carol, dave} {
		room.Join(u)
	}
	room.State(alice, "m.room.name", "", roomtest.C{"name": "x"}) // no heroes
	for i := range 3 {
		room.Text(bob, fmt.Sprint(i))
	}
	const lazy = `{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":2}}}`
	const redundant = `{"room":{"state":{"lazy_load_members":true,"include_redundant_members":true},"timeline":{"limit":2}}}`
	a := w.sync(alice, "filter", lazy)
	same(t, "first", w.room(a, room).State.sorted(), []string{"create/", "join_rules/", "member/alice join", "member/bob join", "name/ x", "power_levels/"})
	room.Text(bob, "known")
	b := w.wait(alice, a.Next, "filter", lazy)
	same(t, "known sender", w.room(b, room).State.show(), []string(nil))
	if r := w.room(w.sync(alice, "since", a.Next, "filter", redundant), room); !slices.Equal(r.State.show(), []string{"member/bob join"}) {
		t.Errorf("redundant: %q", r.State.show())
	}
	room.Text(carol, "new")
	c := w.wait(alice, b.Next, "filter", lazy)
	same(t, "new sender", w.room(c, room).State.show(), []string{"member/carol join"})
	// The client comes with an older token: it may never have got the answer.
	d := w.sync(alice, "since", b.Next, "filter", lazy)
	same(t, "asked again", w.room(d, room).State.show(), []string{"member/carol join"})
	// Another instance remembers nothing and sends what is needed.
	e := w.again().sync(alice, "since", b.Next, "filter", lazy)
	same(t, "other instance", w.room(e, room).State.show(), []string{"member/carol join"})
}

func TestLazyHeroes(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	room.Join(bob)
	room.Invite(carol)
	for i := range 3 {
		room.Text(alice, fmt.Sprint(i))
	}
	r := w.room(w.sync(alice, "filter", `{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":2}}}`), room)
	same(t, "heroes", r.Summary.Heroes, []matrix.UserID{bob, carol})
	same(t, "members", slices.DeleteFunc(r.State.sorted(), func(s string) bool { return !strings.HasPrefix(s, "member") }),
		[]string{"member/alice join", "member/bob join", "member/carol invite"})
}

// TestOldTokens: tokens are good at other instances and after a restart.
func TestOldTokens(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	a := w.sync(alice)
	later := w.Room(alice, roomtest.Options{Name: "later"})
	room.Text(alice, "one")
	other := w.again()
	b := other.sync(alice, "since", a.Next)
	same(t, "other instance", other.room(b, room).Timeline.show(), []string{"message one"})
	if r := other.room(b, later); r.Summary == nil || len(r.Timeline.Events) == 0 {
		t.Errorf("the room joined since: %s", b.raw)
	}
	if c := w.until(alice, b.Next, func(*answer) bool { return true }, "timeout", "0"); c.news() {
		t.Errorf("back at the first: %s", c.raw)
	}
	// A token of a future that does not exist (the database was set back).
	d := w.sync(alice, "since", token.Sync{Events: 1 << 40}.String())
	if r := w.room(d, room); r.Summary == nil || r.Timeline.Events == nil {
		t.Errorf("future token: %s", d.raw)
	}
	if p, err := token.ParseSync(d.Next); err != nil || p.Events >= 1<<40 {
		t.Errorf("token goes on in the future: %s", d.Next)
	}
	w.fails("GET", alice, "/sync?since=s99_nonsense", "", http.StatusBadRequest, "M_INVALID_PARAM")
}

func TestFullState(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	a := w.sync(alice)
	r := w.room(w.sync(alice, "since", a.Next, "full_state", "true", "timeout", "30000"), room)
	same(t, "state", r.State.sorted(), []string{"create/", "join_rules/", "member/alice join", "power_levels/"})
	if len(r.Timeline.Events) != 0 || r.Timeline.Limited {
		t.Errorf("timeline is not limited by since: %+v", r.Timeline)
	}
}

func TestFilters(t *testing.T) {
	w := open(t)
	room, other := w.Room(alice, roomtest.Options{Name: "a"}), w.Room(alice, roomtest.Options{})
	room.Text(alice, "one")
	for range 120 {
		room.Send(alice, "m.reaction", roomtest.C{})
	}
	w.accounts.filters["7"] = fmt.Sprintf(`{"room":{"rooms":[%q],"timeline":{"types":["m.room.message"]},"state":{"types":["m.room.name"]}}}`, room.ID)
	a := w.sync(alice, "filter", "7")
	if a.Rooms.Join[other.ID] != nil {
		t.Error("a room the filter does not want")
	}
	r := w.room(a, room)
	same(t, "timeline", r.Timeline.show(), []string{"message one"})
	same(t, "state", r.State.show(), []string{"name/ a"})
	room.Send(alice, "m.reaction", roomtest.C{})
	room.Text(alice, "two")
	b := w.until(alice, a.Next, func(a *answer) bool { return a.news() }, "filter", "7")
	same(t, "timeline", w.room(b, room).Timeline.show(), []string{"message two"})
	w.fails("GET", alice, "/sync?filter=8", "", http.StatusBadRequest, "M_INVALID_PARAM")
	w.fails("GET", alice, "/sync?filter=%7B", "", http.StatusBadRequest, "M_NOT_JSON")
	w.fails("GET", alice, "/sync?set_presence=dancing", "", http.StatusBadRequest, "M_INVALID_PARAM")
	w.fails("GET", "", "/sync", "", http.StatusUnauthorized, "M_MISSING_TOKEN")
}

func TestTransactionID(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	room.Join(bob)
	room.Add(roomtest.Event{Sender: alice, Type: "m.room.message", Content: roomtest.C{"body": "x"}, DeviceID: roomtest.Device(alice), TxnID: "txn"})
	for u, want := range map[matrix.UserID]any{alice: "txn", bob: nil} {
		list := w.room(w.sync(u), room).Timeline.Events
		if got := list[len(list)-1].Unsigned["transaction_id"]; got != want {
			t.Errorf("%s: transaction_id is %v", u, got)
		}
	}
}

func TestBundles(t *testing.T) {
	w := open(t)
	room := w.Room(alice, roomtest.Options{})
	e := room.Text(alice, "typo")
	first := w.sync(alice)
	room.Relate(alice, "m.room.message", "m.replace", e.ID, roomtest.C{"body": "* fixed", "m.new_content": roomtest.C{"body": "fixed"}})
	w.until(alice, first.Next, func(a *answer) bool { return a.news() })
	list := w.room(w.sync(alice), room).Timeline.Events
	rel, _ := list[len(list)-2].Unsigned["m.relations"].(map[string]any)
	if rel["m.replace"] == nil {
		t.Errorf("the edit is not shown with the event: %+v", list[len(list)-2])
	}
}
