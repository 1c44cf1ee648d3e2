package history_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"allmende/internal/auth"
	"allmende/internal/matrix"
	"allmende/internal/testkit"
	"allmende/internal/testkit/roomtest"
	"allmende/roomserver/read"
	"allmende/syncapi/history"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	alice    = matrix.UserID("@alice:example.org")
	bob      = matrix.UserID("@bob:example.org")
	carol    = matrix.UserID("@carol:example.org")
	stranger = matrix.UserID("@stranger:example.org")
)

const (
	v1 = "/_matrix/client/v1/rooms/"
	v3 = "/_matrix/client/v3/rooms/"
)

type world struct {
	*roomtest.Rooms
	*roomtest.Edge
	ignored map[matrix.UserID]map[read.UserNID]bool
	t       *testing.T
}

func open(t *testing.T) *world {
	t.Helper()
	w := &world{Rooms: roomtest.Open(t), ignored: map[matrix.UserID]map[read.UserNID]bool{}, t: t}
	s := history.New(history.Deps{
		Model: w.Model,
		Ignored: func(_ context.Context, s auth.Session) (map[read.UserNID]bool, error) {
			return w.ignored[s.UserID], nil
		},
		Now: func() time.Time { return time.UnixMilli(w.Now() + 1000) },
	})
	w.Edge = roomtest.ServeOnBus(t, []matrix.UserID{alice, bob, carol, stranger}, s.Routes())
	return w
}

// event is what tests look at of a client event.
type event struct {
	ID       matrix.EventID  `json:"event_id"`
	Type     string          `json:"type"`
	Sender   matrix.UserID   `json:"sender"`
	RoomID   matrix.RoomID   `json:"room_id"`
	StateKey *string         `json:"state_key"`
	Content  json.RawMessage `json:"content"`
	Redacts  matrix.EventID  `json:"redacts"`
	Unsigned struct {
		Age             int64           `json:"age"`
		TransactionID   string          `json:"transaction_id"`
		Membership      string          `json:"membership"`
		PrevContent     json.RawMessage `json:"prev_content"`
		ReplacesState   matrix.EventID  `json:"replaces_state"`
		RedactedBecause *event          `json:"redacted_because"`
		Relations       struct {
			Replace *event `json:"m.replace"`
			Thread  *struct {
				Latest       event `json:"latest_event"`
				Count        int   `json:"count"`
				Participated bool  `json:"current_user_participated"`
			} `json:"m.thread"`
			Reference *struct {
				Chunk []event `json:"chunk"`
			} `json:"m.reference"`
		} `json:"m.relations"`
	} `json:"unsigned"`
}

// Body is the text of a message.
func (e event) Body() string {
	var c struct {
		Body string `json:"body"`
	}
	_ = json.Unmarshal(e.Content, &c)
	return c.Body
}

func bodies(list []event) []string {
	out := []string{}
	for _, e := range list {
		if e.Type == "m.room.message" {
			out = append(out, e.Body())
		}
	}
	return out
}

type page struct {
	Chunk []event `json:"chunk"`
	State []event `json:"state"`
	Start string  `json:"start"`
	End   string  `json:"end"`
}

func (w *world) messages(u matrix.UserID, r *roomtest.Room, query string) page {
	w.t.Helper()
	var p page
	w.Get(u, v3+esc(r.ID)+"/messages?"+query, &p)
	return p
}

func esc[T ~string](s T) string { return url.PathEscape(string(s)) }

// all walks from token to token and returns every event in the order shown.
func (w *world) all(u matrix.UserID, r *roomtest.Room, query string) []event {
	w.t.Helper()
	var out []event
	from := ""
	for range 1000 {
		q := query
		if from != "" {
			q += "&from=" + from
		}
		p := w.messages(u, r, q)
		out = append(out, p.Chunk...)
		if p.End == "" {
			return out
		}
		if p.End == from {
			w.t.Fatalf("end %s does not move", from)
		}
		from = p.End
	}
	w.t.Fatal("the walk does not end")
	return nil
}

func numbered(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprint("m", i))
	}
	return out
}

func TestMessagesEveryEventOnce(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	other := w.Room(alice, roomtest.Options{}) // whose positions lie between
	want := numbered(23)
	for _, b := range want {
		r.Text(alice, b)
		other.Text(alice, "elsewhere")
	}
	back := slices.Clone(want)
	slices.Reverse(back)
	for _, limit := range []int{1, 2, 7, 22, 23, 24, 27, 28, 1000, 5000} {
		if got := bodies(w.all(alice, r, fmt.Sprintf("dir=b&limit=%d", limit))); !slices.Equal(got, back) {
			t.Errorf("backwards by %d: %v", limit, got)
		}
		if got := bodies(w.all(alice, r, fmt.Sprintf("dir=f&limit=%d", limit))); !slices.Equal(got, want) {
			t.Errorf("forwards by %d: %v", limit, got)
		}
	}
}

// TestMessagesWhileSending walks back through a room while others write to it:
// what was there when the walk began is shown once, and nothing newer.
func TestMessagesWhileSending(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	for _, b := range numbered(50) {
		r.Text(alice, b)
	}
	p := w.messages(alice, r, "dir=b&limit=5")
	got, i := bodies(p.Chunk), 0
	for p.End != "" {
		r.Text(alice, fmt.Sprint("late", i))
		i++
		p = w.messages(alice, r, "dir=b&limit=5&from="+p.End)
		got = append(got, bodies(p.Chunk)...)
	}
	want := numbered(50)
	slices.Reverse(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Forwards, what is sent meanwhile comes at the end.
	p, got = w.messages(alice, r, "dir=f&limit=30"), nil
	for p.End != "" {
		got = append(got, bodies(p.Chunk)...)
		if len(got) < 63 {
			r.Text(alice, "later")
		}
		p = w.messages(alice, r, "dir=f&limit=30&from="+p.End)
	}
	later := 0
	for _, b := range got {
		if b == "later" {
			later++
		}
	}
	if later < 2 || got[0] != "m0" || got[49] != "m49" || got[len(got)-1] != "later" {
		t.Errorf("forwards: %v", got)
	}
}

// TestMessagesBehindWriters follows a room forwards while it and others are
// written to: every event comes once and in order.
func TestMessagesBehindWriters(t *testing.T) {
	w := open(t)
	const n = 150
	r, other := w.Room(alice, roomtest.Options{}), w.Room(bob, roomtest.Options{})
	wrote := make(chan struct{}, 2)
	write := func(r *roomtest.Room, from matrix.UserID) {
		defer func() { wrote <- struct{}{} }()
		for i := range n {
			r.Text(from, fmt.Sprint("m", i))
		}
	}
	go write(r, alice)
	go write(other, bob)
	got, from := []string{}, ""
	writing := 2
	for len(got) < n {
		q := "dir=f&limit=7"
		if from != "" {
			q += "&from=" + from
		}
		p := w.messages(alice, r, q)
		got = append(got, bodies(p.Chunk)...)
		if p.End != "" {
			from = p.End
			continue
		}
		if writing == 0 {
			break
		}
		select { // at the newest end: wait for a writer to finish, or look again
		case <-wrote:
			writing--
		case <-time.After(time.Millisecond):
		}
	}
	for ; writing > 0; writing-- {
		<-wrote
	}
	if diff := cmp.Diff(numbered(n), got); diff != "" {
		t.Error(diff)
	}
}

func TestMessagesTokens(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	var sent []read.Event
	for _, b := range numbered(10) {
		sent = append(sent, r.Text(alice, b))
	}
	at := func(i int) string { return fmt.Sprint("t", sent[i].Ord) }
	sync := fmt.Sprintf("s1_%d_0_0_0.0", sent[6].Ord)
	for _, tc := range []struct {
		query string
		want  []string
		end   bool
	}{
		{"dir=b&limit=3&from=" + at(6), []string{"m6", "m5", "m4"}, true},
		{"dir=b&limit=3&from=" + sync, []string{"m6", "m5", "m4"}, true},
		{"dir=f&limit=3&from=" + at(6), []string{"m7", "m8", "m9"}, true},
		{"dir=f&limit=3&from=" + at(9), []string{}, false},
		{"dir=b&limit=9&from=" + at(6) + "&to=" + at(3), []string{"m6", "m5", "m4"}, true},
		{"dir=b&limit=9&from=" + at(3) + "&to=" + at(3), []string{}, false},
		{"dir=b&limit=9&from=" + at(3) + "&to=" + at(6), []string{}, false},
		{"dir=f&limit=9&from=" + at(3) + "&to=" + at(6), []string{"m4", "m5", "m6"}, true},
		{"dir=b&limit=0&from=" + at(3), []string{}, true},
		{"dir=f&limit=2&from=t" + fmt.Sprint(int64(math.MaxInt64)), []string{}, false},
		{"dir=b&limit=2&from=t" + fmt.Sprint(int64(math.MinInt64)), []string{}, false},
	} {
		p := w.messages(alice, r, tc.query)
		if diff := cmp.Diff(tc.want, bodies(p.Chunk)); diff != "" || (p.End != "") != tc.end {
			t.Errorf("%s: end %q %s", tc.query, p.End, diff)
		}
	}
	p := w.messages(alice, r, "dir=b&limit=3&from="+at(6))
	if p.Start != at(6) || p.End != at(3) {
		t.Errorf("start %s end %s, want %s %s", p.Start, p.End, at(6), at(3))
	}
	// A chunk turned round shows the same events.
	if got := bodies(w.messages(alice, r, "dir=f&limit=3&from="+p.End).Chunk); !slices.Equal(got, []string{"m4", "m5", "m6"}) {
		t.Errorf("turned round: %v", got)
	}
	if p := w.messages(alice, r, "dir=b"); len(p.Chunk) != 10 {
		t.Errorf("%d events by default", len(p.Chunk))
	}
}

func TestMessagesRefused(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	path := v3 + esc(r.ID) + "/messages"
	w.Refused(alice, path, 400, "M_MISSING_PARAM")
	w.Refused(alice, path+"?dir=x", 400, "M_INVALID_PARAM")
	w.Refused(alice, path+"?dir=b&from=nonsense", 400, "M_INVALID_PARAM")
	w.Refused(alice, path+"?dir=b&to=nonsense", 400, "M_INVALID_PARAM")
	w.Refused(alice, path+"?dir=b&limit=-1", 400, "M_INVALID_PARAM")
	w.Refused(alice, path+"?dir=b&limit=x", 400, "M_INVALID_PARAM")
	w.Refused(alice, path+"?dir=b&filter="+url.QueryEscape(`{"types":1}`), 400, "M_BAD_JSON")
	w.Refused(alice, path+"?dir=b&filter=x", 400, "M_NOT_JSON")
	w.Refused("", path+"?dir=b", 401, "M_MISSING_TOKEN")
}

// TestClosedRooms shows that nothing tells a room one is not in from a room
// that does not exist.
func TestClosedRooms(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	e := r.Text(alice, "secret")
	r.Invite(carol)
	for _, tail := range []string{
		"v3 /messages?dir=b", "v3 /context/" + esc(e.ID), "v3 /event/" + esc(e.ID), "v3 /state", "v3 /state/m.room.create/",
		"v3 /state/m.room.create", "v3 /state/m.none", "v3 /members", "v3 /joined_members", "v3 /aliases", "v3 /initialSync",
		"v1 /relations/" + esc(e.ID), "v1 /threads", "v1 /timestamp_to_event?ts=1&dir=f",
	} {
		version, path, _ := strings.Cut(tail, " ")
		base := "/_matrix/client/" + version + "/rooms/"
		unknown := w.Do("GET", stranger, base+esc("!none:example.org")+path, "")
		if unknown.Status != 403 && unknown.Status != 404 {
			t.Errorf("%s: %d", tail, unknown.Status)
		}
		for _, u := range []matrix.UserID{stranger, carol} {
			got := w.Do("GET", u, base+esc(r.ID)+path, "")
			if got.Status != unknown.Status || string(got.Body) != string(unknown.Body) {
				t.Errorf("%s as %s: %d %s, unknown room %d %s", tail, u, got.Status, got.Body, unknown.Status, unknown.Body)
			}
		}
		if in := w.Do("GET", alice, base+esc(r.ID)+path, ""); in.Status != 200 && !strings.HasSuffix(tail, "none") {
			t.Errorf("%s as a member: %d %s", tail, in.Status, in.Body)
		}
	}
}

func TestFormerMember(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{Name: "old"})
	r.Text(alice, "before")
	r.Join(bob)
	r.Text(alice, "during")
	left := r.Leave(bob)
	after := r.Text(alice, "after")
	r.State(alice, "m.room.name", "", roomtest.C{"name": "new"})
	r.Join(carol)
	if got := bodies(w.all(bob, r, "dir=b&limit=2")); !slices.Equal(got, []string{"during", "before"}) {
		t.Errorf("backwards: %v", got)
	}
	if got := bodies(w.all(bob, r, "dir=f&limit=2")); !slices.Equal(got, []string{"before", "during"}) {
		t.Errorf("forwards: %v", got)
	}
	if p := w.messages(bob, r, "dir=b&limit=1"); p.Chunk[0].ID != left.ID {
		t.Errorf("the newest is %s, want the own leave", p.Chunk[0].Type)
	}
	var name struct{ Name string }
	w.Get(bob, v3+esc(r.ID)+"/state/m.room.name", &name)
	if name.Name != "old" {
		t.Errorf("name %q", name.Name)
	}
	var state []event
	w.Get(bob, v3+esc(r.ID)+"/state", &state)
	if len(state) != 6 { // create, alice, levels, rules, name, bob
		t.Errorf("%d state events", len(state))
	}
	var members page
	w.Get(bob, v3+esc(r.ID)+"/members", &members)
	if got := keys(members.Chunk); !slices.Equal(got, []string{string(alice), string(bob)}) {
		t.Errorf("members %v", got)
	}
	w.Refused(bob, v3+esc(r.ID)+"/state/m.room.member/"+esc(carol), 404, "M_NOT_FOUND")
	w.Refused(bob, v3+esc(r.ID)+"/event/"+esc(after.ID), 404, "M_NOT_FOUND")
	w.Refused(bob, v3+esc(r.ID)+"/joined_members", 403, "M_FORBIDDEN")
	w.Refused(bob, v3+esc(r.ID)+"/aliases", 403, "M_FORBIDDEN")
	r.Forget(bob)
	w.Refused(bob, v3+esc(r.ID)+"/messages?dir=b", 403, "M_FORBIDDEN")
}

func keys(list []event) []string {
	var out []string
	for _, e := range list {
		out = append(out, *e.StateKey)
	}
	slices.Sort(out)
	return out
}

// TestVisibility walks as a member through history that is hidden in part.
func TestVisibility(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{Visibility: "joined"})
	r.Text(alice, "hidden0")
	r.Join(bob)
	r.Text(alice, "seen0")
	r.Leave(bob)
	for i := range 300 { // more than one page of what is hidden
		r.Text(alice, fmt.Sprint("hidden", i))
	}
	r.State(alice, "m.room.history_visibility", "", roomtest.C{"history_visibility": "shared"})
	r.Text(alice, "seen1")
	r.State(alice, "m.room.history_visibility", "", roomtest.C{"history_visibility": "invited"})
	hidden := r.Text(alice, "hidden")
	r.Invite(bob)
	r.Text(alice, "seen2")
	r.Join(bob)
	r.Text(alice, "seen3")
	want := []string{"seen0", "seen1", "seen2", "seen3"}
	for _, limit := range []int{1, 3, 100} {
		if got := bodies(w.all(bob, r, fmt.Sprint("dir=f&limit=", limit))); !slices.Equal(got, want) {
			t.Errorf("forwards by %d: %v", limit, got)
		}
		back := slices.Clone(want)
		slices.Reverse(back)
		if got := bodies(w.all(bob, r, fmt.Sprint("dir=b&limit=", limit))); !slices.Equal(got, back) {
			t.Errorf("backwards by %d: %v", limit, got)
		}
	}
	w.Refused(bob, v3+esc(r.ID)+"/event/"+esc(hidden.ID), 404, "M_NOT_FOUND")
	w.Refused(bob, v3+esc(r.ID)+"/context/"+esc(hidden.ID), 404, "M_NOT_FOUND")
	w.Refused(bob, v1+esc(r.ID)+"/relations/"+esc(hidden.ID), 404, "M_NOT_FOUND")
}

// TestBackfilled shows an old event that came late as old.
func TestBackfilled(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{Visibility: "joined"})
	r.Join(bob)
	r.Text(alice, "new")
	old := r.Add(roomtest.Event{Sender: alice, Type: "m.room.message", Content: roomtest.C{"body": "old"}, Backfilled: true})
	key := ""
	r.Add(roomtest.Event{Sender: alice, Type: "m.room.history_visibility", StateKey: &key,
		Content: roomtest.C{"history_visibility": "joined"}, Backfilled: true})
	if got := bodies(w.all(bob, r, "dir=b&limit=2")); !slices.Equal(got, []string{"new"}) {
		t.Errorf("what was said before bob came is shown: %v", got)
	}
	w.Refused(bob, v3+esc(r.ID)+"/event/"+esc(old.ID), 404, "M_NOT_FOUND")
	s := w.Room(alice, roomtest.Options{})
	s.Text(alice, "new")
	for _, b := range []string{"older", "oldest"} {
		s.Add(roomtest.Event{Sender: alice, Type: "m.room.message", Content: roomtest.C{"body": b}, Backfilled: true})
	}
	if got := bodies(w.all(alice, s, "dir=f&limit=2")); !slices.Equal(got, []string{"oldest", "older", "new"}) {
		t.Errorf("forwards: %v", got)
	}
}

func TestWorldReadable(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{Visibility: "world_readable"})
	e := r.Text(alice, "open")
	if got := bodies(w.all(stranger, r, "dir=b")); !slices.Equal(got, []string{"open"}) {
		t.Errorf("%v", got)
	}
	var got event
	w.Get(stranger, v3+esc(r.ID)+"/event/"+esc(e.ID), &got)
	if got.Unsigned.Membership != "leave" {
		t.Errorf("membership %q", got.Unsigned.Membership)
	}
	w.Refused(stranger, v3+esc(r.ID)+"/joined_members", 403, "M_FORBIDDEN")
	var init struct {
		RoomID     matrix.RoomID `json:"room_id"`
		Membership string        `json:"membership"`
		Visibility string        `json:"visibility"`
		State      []event       `json:"state"`
		Messages   page          `json:"messages"`
	}
	w.Get(stranger, v3+esc(r.ID)+"/initialSync?limit=2", &init)
	if init.RoomID != r.ID || init.Membership != "" || init.Visibility != "private" || len(init.State) != 5 ||
		len(init.Messages.Chunk) != 2 || init.Messages.Chunk[1].ID != e.ID || init.Messages.Start == "" || init.Messages.End == "" {
		t.Errorf("%+v", init)
	}
	w.Get(alice, v3+esc(r.ID)+"/initialSync", &init)
	if init.Membership != "join" {
		t.Errorf("%+v", init)
	}
}

func TestIgnored(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	r.Join(bob)
	r.Join(carol)
	root := r.Text(carol, "by carol")
	r.Relate(bob, "m.room.message", "m.thread", root.ID, roomtest.C{"body": "by bob"})
	r.Relate(carol, "m.room.message", "m.thread", root.ID, roomtest.C{"body": "carol again"})
	own := r.Text(alice, "by alice")
	r.Relate(bob, "m.room.message", "m.thread", own.ID, roomtest.C{"body": "bob below alice"})
	r.Relate(carol, "m.room.message", "m.thread", own.ID, roomtest.C{"body": "carol below alice"})
	w.ignored[alice] = map[read.UserNID]bool{w.NID(string(carol)): true}
	p := w.messages(alice, r, "dir=f&limit=100")
	if got := bodies(p.Chunk); !slices.Equal(got, []string{"by bob", "by alice", "bob below alice"}) {
		t.Errorf("%v", got)
	}
	if !slices.ContainsFunc(p.Chunk, func(e event) bool { return e.Sender == carol && e.Type == "m.room.member" }) {
		t.Error("the membership of an ignored user must stay")
	}
	var threads page
	w.Get(alice, v1+esc(r.ID)+"/threads", &threads)
	if len(threads.Chunk) != 2 || threads.Chunk[0].ID != own.ID || threads.Chunk[1].ID != root.ID {
		t.Fatalf("threads %+v", threads.Chunk)
	}
	if th := threads.Chunk[0].Unsigned.Relations.Thread; th.Count != 1 || th.Latest.Body() != "bob below alice" || !th.Participated {
		t.Errorf("own thread %+v", th)
	}
	if e := threads.Chunk[1]; string(e.Content) != "{}" {
		t.Errorf("the root of an ignored user is shown: %s", e.Content)
	}
}
