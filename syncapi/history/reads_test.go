package history_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"testing"

	"allmende/internal/matrix"
	"allmende/internal/testkit/roomtest"
	"allmende/roomserver/read"

	"github.com/google/go-cmp/cmp"
)

func TestUnsigned(t *testing.T) {
	w := open(t)
	for _, version := range []matrix.RoomVersion{"10", "12"} {
		r := w.Room(alice, roomtest.Options{Version: version, Name: "one"})
		r.Join(bob)
		mine := r.Add(roomtest.Event{Sender: alice, Type: "m.room.message", Content: roomtest.C{"body": "x"},
			DeviceID: roomtest.Device(alice), TxnID: "txn"})
		elsewhere := r.Add(roomtest.Event{Sender: alice, Type: "m.room.message", Content: roomtest.C{"body": "y"},
			DeviceID: "OTHER", TxnID: "txn2"})
		var old, e event
		w.Get(alice, v3+esc(r.ID)+"/state/m.room.name?format=event", &old)
		renamed := r.State(bob, "m.room.name", "", roomtest.C{"name": "two"})
		red := r.Redact(alice, elsewhere.ID, "why")
		get := func(u matrix.UserID, id matrix.EventID) event {
			t.Helper()
			var e event
			w.Get(u, v3+esc(r.ID)+"/event/"+esc(id), &e)
			return e
		}
		if e = get(alice, mine.ID); e.Unsigned.TransactionID != "txn" || e.Unsigned.Membership != "join" || e.RoomID != r.ID {
			t.Errorf("%s: %+v", version, e)
		}
		if e.Unsigned.Age != w.Now()+1000-mine.OriginTS {
			t.Errorf("age %d", e.Unsigned.Age)
		}
		if e = get(bob, mine.ID); e.Unsigned.TransactionID != "" {
			t.Errorf("%s: bob sees the transaction of alice", version)
		}
		e = get(alice, elsewhere.ID)
		if e.Unsigned.TransactionID != "" {
			t.Errorf("%s: another device sees the transaction", version)
		}
		because := e.Unsigned.RedactedBecause
		if string(e.Content) != "{}" || because == nil || because.ID != red.ID || because.Redacts != elsewhere.ID || because.RoomID != r.ID {
			t.Errorf("%s: redacted: %+v", version, e)
		}
		var content struct {
			Reason  string         `json:"reason"`
			Redacts matrix.EventID `json:"redacts"`
		}
		if err := json.Unmarshal(because.Content, &content); err != nil || content.Reason != "why" || content.Redacts != elsewhere.ID {
			t.Errorf("%s: %s", version, because.Content)
		}
		e = get(alice, renamed.ID)
		if string(e.Unsigned.PrevContent) != `{"name":"one"}` || e.Unsigned.ReplacesState != old.ID {
			t.Errorf("%s: replaced: %+v", version, e.Unsigned)
		}
		if old.Unsigned.ReplacesState != "" || old.Unsigned.PrevContent != nil {
			t.Errorf("%s: the first name replaces nothing: %+v", version, old.Unsigned)
		}
		var create event
		w.Get(alice, v3+esc(r.ID)+"/state/m.room.create/?format=event", &create)
		if create.RoomID != r.ID {
			t.Errorf("%s: create event in room %q", version, create.RoomID)
		}
		// Who left before the redaction learns that the event is redacted,
		// not what was said about it.
		secret := r.Text(alice, "z")
		r.Leave(bob)
		r.Redact(alice, secret.ID, "hidden reason")
		e = get(bob, secret.ID)
		if b := e.Unsigned.RedactedBecause; b == nil || string(b.Content) != fmt.Sprintf(`{"redacts":%q}`, secret.ID) || b.Redacts != secret.ID {
			t.Errorf("%s: %+v", version, b)
		}
	}
}

// TestPrevContentHidden: what was before one may look is named, not shown.
func TestPrevContentHidden(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{Visibility: "joined", Name: "secret"})
	var old, e event
	w.Get(alice, v3+esc(r.ID)+"/state/m.room.name?format=event", &old)
	r.Join(bob)
	renamed := r.State(alice, "m.room.name", "", roomtest.C{"name": "public"})
	w.Get(bob, v3+esc(r.ID)+"/event/"+esc(renamed.ID), &e)
	if e.Unsigned.PrevContent != nil || e.Unsigned.ReplacesState != old.ID {
		t.Errorf("%+v", e.Unsigned)
	}
}

func TestBundles(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	r.Join(bob)
	root := r.Text(alice, "root")
	edit := func(u matrix.UserID, of matrix.EventID, body string) read.Event {
		return r.Relate(u, "m.room.message", "m.replace", of, roomtest.C{"body": "* " + body, "m.new_content": roomtest.C{"body": body}})
	}
	edit(alice, root.ID, "first edit")
	valid := edit(alice, root.ID, "second edit")
	edit(bob, root.ID, "not bob's to edit")
	r.Relate(alice, "m.room.message", "m.replace", root.ID, roomtest.C{"body": "no new content"})
	r.Relate(alice, "m.other", "m.replace", root.ID, roomtest.C{"m.new_content": roomtest.C{}})
	redacted := edit(alice, root.ID, "redacted edit")
	r.Redact(alice, redacted.ID, "")
	edit(alice, valid.ID, "an edit of an edit")
	ref1 := r.Relate(bob, "m.x", "m.reference", root.ID, nil)
	ref2 := r.Relate(bob, "m.x", "m.reference", root.ID, nil)
	r.Relate(bob, "m.reaction", "m.annotation", root.ID, nil)
	thread := r.Text(bob, "thread")
	r.Relate(bob, "m.room.message", "m.thread", thread.ID, roomtest.C{"body": "1"})
	last := r.Relate(bob, "m.room.message", "m.thread", thread.ID, roomtest.C{"body": "2"})
	gone := r.Relate(bob, "m.room.message", "m.thread", thread.ID, roomtest.C{"body": "3"})
	r.Redact(bob, gone.ID, "")
	lastEdit := edit(bob, last.ID, "2b")

	var e event
	w.Get(alice, v3+esc(r.ID)+"/event/"+esc(root.ID), &e)
	rel := e.Unsigned.Relations
	if e.Body() != "root" || rel.Replace == nil || rel.Replace.ID != valid.ID || rel.Replace.Body() != "* second edit" || rel.Replace.RoomID != r.ID {
		t.Errorf("edit: %+v", rel.Replace)
	}
	if rel.Reference == nil || len(rel.Reference.Chunk) != 2 || rel.Reference.Chunk[0].ID != ref1.ID || rel.Reference.Chunk[1].ID != ref2.ID {
		t.Errorf("references: %+v", rel.Reference)
	}
	for _, u := range []matrix.UserID{alice, bob} {
		var p page
		w.Get(u, v3+esc(r.ID)+"/messages?dir=f&limit=100", &p)
		i := slices.IndexFunc(p.Chunk, func(e event) bool { return e.ID == thread.ID })
		th := p.Chunk[i].Unsigned.Relations.Thread
		if th == nil || th.Count != 2 || th.Latest.ID != last.ID || th.Participated != (u == bob) {
			t.Fatalf("thread for %s: %+v", u, th)
		}
		if in := th.Latest.Unsigned.Relations.Replace; in == nil || in.ID != lastEdit.ID {
			t.Errorf("edit of the newest event of the thread: %+v", in)
		}
		if j := slices.IndexFunc(p.Chunk, func(e event) bool { return e.ID == valid.ID }); p.Chunk[j].Unsigned.Relations.Replace != nil {
			t.Error("an edit is shown as edited")
		}
	}
	// A redacted event has no edits any more.
	r.Redact(alice, root.ID, "")
	e = event{}
	w.Get(alice, v3+esc(r.ID)+"/event/"+esc(root.ID), &e)
	if rel := e.Unsigned.Relations; rel.Replace != nil || rel.Reference == nil {
		t.Errorf("redacted: %+v", rel)
	}
}

func TestMessagesFilter(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	r.Join(bob)
	for i := range 250 { // more than a page of what does not pass
		r.Text(alice, fmt.Sprint("a", i))
		if i%50 == 0 {
			r.Send(bob, "m.room.message", roomtest.C{"body": fmt.Sprint("b", i), "url": "mxc://x/y"})
		}
	}
	root := r.Text(alice, "root")
	r.Relate(bob, "m.room.message", "m.thread", root.ID, roomtest.C{"body": "reply"})
	filtered := func(f string) string { return "dir=f&limit=3&filter=" + url.QueryEscape(f) }
	for _, tc := range []struct {
		filter string
		want   []string
	}{
		{`{"senders":["@bob:example.org"]}`, []string{"b0", "b50", "b100", "b150", "b200", "reply"}},
		{`{"contains_url":true}`, []string{"b0", "b50", "b100", "b150", "b200"}},
		{`{"related_by_rel_types":["m.thread"]}`, []string{"root"}},
		{`{"related_by_senders":["@bob:example.org"]}`, []string{"root"}},
		{`{"related_by_senders":["@alice:example.org"]}`, nil},
		{`{"related_by_senders":["@nobody:example.org"]}`, nil},
		{`{"related_by_rel_types":["m.reference"]}`, nil},
		{`{"types":["m.room.name"]}`, nil},
		{`{"rooms":["!other:example.org"]}`, nil},
		{`{"not_rooms":["!other:example.org"],"senders":["@bob:example.org"],"contains_url":false}`, []string{"reply"}},
	} {
		var got []string
		for _, e := range w.all(alice, r, filtered(tc.filter)) {
			if e.Type == "m.room.message" {
				got = append(got, e.Body())
			}
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", tc.filter, diff)
		}
	}
}

func TestLazyMembers(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	r.Member(bob, bob, "join", roomtest.C{"displayname": "Bob"})
	r.Join(carol)
	first := r.Text(bob, "1")
	r.Member(bob, bob, "join", roomtest.C{"displayname": "Robert"})
	r.Text(alice, "2")
	lazy := "&filter=" + url.QueryEscape(`{"lazy_load_members":true}`)
	p := w.messages(alice, r, fmt.Sprintf("dir=b&limit=1&from=t%d%s", first.Ord, lazy))
	if len(p.State) != 1 || *p.State[0].StateKey != string(bob) || !json.Valid(p.State[0].Content) ||
		string(p.State[0].Content) != `{"displayname":"Bob","membership":"join"}` {
		t.Errorf("members as they were: %+v", p.State)
	}
	if p = w.messages(alice, r, "dir=b&limit=1"+lazy); len(p.State) != 1 || *p.State[0].StateKey != string(alice) {
		t.Errorf("%+v", p.State)
	}
	if p = w.messages(alice, r, "dir=b&limit=1"); p.State != nil {
		t.Errorf("state without lazy loading: %+v", p.State)
	}
}

func TestContext(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	r.Join(bob)
	var sent []read.Event
	for _, b := range numbered(9) {
		sent = append(sent, r.Text(alice, b))
	}
	r.State(alice, "m.room.name", "", roomtest.C{"name": "later"})
	type answer struct {
		Event        event
		Start, End   string
		EventsBefore []event `json:"events_before"`
		EventsAfter  []event `json:"events_after"`
		State        []event
	}
	get := func(i int, query string) answer {
		t.Helper()
		var a answer
		w.Get(alice, v3+esc(r.ID)+"/context/"+esc(sent[i].ID)+query, &a)
		return a
	}
	a := get(4, "?limit=5")
	if a.Event.Body() != "m4" || !slices.Equal(bodies(a.EventsBefore), []string{"m3", "m2"}) ||
		!slices.Equal(bodies(a.EventsAfter), []string{"m5", "m6", "m7"}) {
		t.Errorf("%+v", a)
	}
	if got := bodies(w.messages(alice, r, "dir=b&limit=2&from="+a.Start).Chunk); !slices.Equal(got, []string{"m1", "m0"}) {
		t.Errorf("before: %v", got)
	}
	if got := bodies(w.messages(alice, r, "dir=f&limit=1&from="+a.End).Chunk); !slices.Equal(got, []string{"m8"}) {
		t.Errorf("after: %v", got)
	}
	if slices.ContainsFunc(a.State, func(e event) bool { return e.Type == "m.room.name" }) || len(a.State) != 5 {
		t.Errorf("state: %+v", a.State)
	}
	if a = get(4, "?limit=0"); a.Event.Body() != "m4" || len(a.EventsBefore)+len(a.EventsAfter) != 0 {
		t.Errorf("%+v", a)
	}
	if got := bodies(w.messages(alice, r, "dir=f&limit=1&from="+a.End).Chunk); !slices.Equal(got, []string{"m5"}) {
		t.Errorf("after nothing: %v", got)
	}
	if got := bodies(w.messages(alice, r, "dir=b&limit=1&from="+a.Start).Chunk); !slices.Equal(got, []string{"m3"}) {
		t.Errorf("before nothing: %v", got)
	}
	a = get(8, "?limit=20&filter="+url.QueryEscape(`{"lazy_load_members":true,"not_types":["m.room.create"]}`))
	if len(a.EventsAfter) != 1 || slices.ContainsFunc(a.State, func(e event) bool { return e.Type == "m.room.create" }) {
		t.Errorf("%+v", a)
	}
	members := slices.DeleteFunc(slices.Clone(a.State), func(e event) bool { return e.Type != "m.room.member" })
	if got := keys(members); !slices.Equal(got, []string{string(alice), string(bob)}) { // bob's own join is among the events
		t.Errorf("lazy members %v", got)
	}
	w.Refused(alice, v3+esc(r.ID)+"/context/$none", 404, "M_NOT_FOUND")
	w.Refused(alice, v3+esc(r.ID)+"/context/"+esc(sent[0].ID)+"?limit=-1", 400, "M_INVALID_PARAM")
	other := w.Room(alice, roomtest.Options{})
	w.Refused(alice, v3+esc(other.ID)+"/context/"+esc(sent[0].ID), 404, "M_NOT_FOUND")
	w.Refused(alice, v3+esc(other.ID)+"/event/"+esc(sent[0].ID), 404, "M_NOT_FOUND")
}

func TestState(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{Name: "name"})
	r.State(alice, "m.odd/type", "a/b?#%", roomtest.C{"x": 1})
	var name struct{ Name string }
	for _, tail := range []string{"/state/m.room.name", "/state/m.room.name/"} {
		w.Get(alice, v3+esc(r.ID)+tail, &name)
		if name.Name != "name" {
			t.Errorf("%s: %+v", tail, name)
		}
	}
	var x struct{ X int }
	w.Get(alice, v3+esc(r.ID)+"/state/"+esc("m.odd/type")+"/"+esc("a/b?#%"), &x)
	if x.X != 1 {
		t.Errorf("%+v", x)
	}
	var e event
	w.Get(alice, v3+esc(r.ID)+"/state/m.room.name/?format=event", &e)
	if e.Type != "m.room.name" || *e.StateKey != "" || e.RoomID != r.ID || e.ID == "" {
		t.Errorf("%+v", e)
	}
	w.Refused(alice, v3+esc(r.ID)+"/state/m.room.topic", 404, "M_NOT_FOUND")
	w.Refused(alice, v3+esc(r.ID)+"/state/m.room.name/other", 404, "M_NOT_FOUND")
	w.Refused(alice, v3+esc(r.ID)+"/state/m.never.heard/of", 404, "M_NOT_FOUND")
	w.Refused(alice, v3+esc(r.ID)+"/state/m.room.name?format=x", 400, "M_INVALID_PARAM")
	var all []event
	w.Get(alice, v3+esc(r.ID)+"/state", &all)
	if len(all) != 6 {
		t.Errorf("%d events", len(all))
	}
}

func TestMembers(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	before := r.Text(alice, "x")
	r.Member(bob, bob, "join", roomtest.C{"displayname": "Bob", "avatar_url": "mxc://x/bob"})
	r.Invite(carol)
	r.Ban("@eve:example.org")
	r.Member("@mallory:example.org", "@mallory:example.org", "join", roomtest.C{"displayname": roomtest.C{"not": "text"}})
	base := v3 + esc(r.ID)
	const eve, mallory = "@eve:example.org", "@mallory:example.org"
	for _, tc := range []struct {
		query string
		want  []string
	}{
		{"", []string{string(alice), string(bob), string(carol), eve, mallory}},
		{"?membership=join", []string{string(alice), string(bob), mallory}},
		{"?not_membership=join", []string{string(carol), eve}},
		{"?membership=ban&not_membership=invite", []string{string(alice), string(bob), eve, mallory}},
		{"?membership=join&not_membership=ban", []string{string(alice), string(bob), string(carol), mallory}},
		{fmt.Sprint("?at=t", before.Ord), []string{string(alice)}},
		{fmt.Sprintf("?at=s1_%d_0_0_0.0&not_membership=leave", before.Ord+1), []string{string(alice), string(bob)}},
		{"?at=t0", nil},
	} {
		var p page
		w.Get(alice, base+"/members"+tc.query, &p)
		if diff := cmp.Diff(tc.want, keys(p.Chunk)); diff != "" || p.Chunk == nil {
			t.Errorf("members%s: %s", tc.query, diff)
		}
	}
	w.Refused(alice, base+"/members?membership=x", 400, "M_INVALID_PARAM")
	w.Refused(alice, base+"/members?not_membership=", 400, "M_INVALID_PARAM")
	w.Refused(alice, base+"/members?at=x", 400, "M_INVALID_PARAM")
	a := w.Do("GET", alice, base+"/joined_members", "")
	want := fmt.Sprintf(`{"joined":{%q:{},%q:{"display_name":"Bob","avatar_url":"mxc://x/bob"},%q:{}}}`, alice, bob, mallory)
	if string(a.Body) != want && string(a.Body) != want+"\n" {
		t.Errorf("%s", a.Body)
	}
	r.Alias("#one:example.org")
	var aliases struct{ Aliases []string }
	w.Get(bob, base+"/aliases", &aliases)
	if !slices.Equal(aliases.Aliases, []string{"#one:example.org"}) {
		t.Errorf("%v", aliases)
	}
	var joined struct {
		Rooms []matrix.RoomID `json:"joined_rooms"`
	}
	w.Get(bob, "/_matrix/client/v3/joined_rooms", &joined)
	if !slices.Equal(joined.Rooms, []matrix.RoomID{r.ID}) {
		t.Errorf("%v", joined)
	}
	for _, u := range []matrix.UserID{carol, stranger} {
		if a := w.Do("GET", u, "/_matrix/client/v3/joined_rooms", ""); string(a.Body) != `{"joined_rooms":[]}`+"\n" && string(a.Body) != `{"joined_rooms":[]}` {
			t.Errorf("%s: %s", u, a.Body)
		}
	}
}
