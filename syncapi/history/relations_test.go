package history_test

import (
	"fmt"
	"slices"
	"testing"

	"allmende/internal/matrix"
	"allmende/internal/testkit/roomtest"
	"allmende/roomserver/read"
)

type relationsPage struct {
	Chunk          []event `json:"chunk"`
	NextBatch      string  `json:"next_batch"`
	PrevBatch      string  `json:"prev_batch"`
	RecursionDepth *int    `json:"recursion_depth"`
}

func ids(list []event) []matrix.EventID {
	out := []matrix.EventID{}
	for _, e := range list {
		out = append(out, e.ID)
	}
	return out
}

func TestRelations(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	root := r.Text(alice, "root")
	var children []matrix.EventID
	for i := range 5 {
		children = append(children, r.Relate(alice, "m.room.message", "m.thread", root.ID, roomtest.C{"body": fmt.Sprint(i)}).ID)
		r.Text(alice, "between")
	}
	reaction := r.Relate(alice, "m.reaction", "m.annotation", children[0], roomtest.C{})
	edit := r.Relate(alice, "m.room.message", "m.replace", reaction.ID, roomtest.C{})
	deeper := r.Relate(alice, "m.x", "m.y", edit.ID, roomtest.C{})
	gone := r.Relate(alice, "m.room.message", "m.thread", root.ID, roomtest.C{})
	r.Redact(alice, gone.ID, "")
	base := v1 + esc(r.ID) + "/relations/" + esc(root.ID)
	back := slices.Clone(children)
	slices.Reverse(back)

	get := func(tail string) relationsPage {
		t.Helper()
		var p relationsPage
		w.Get(alice, base+tail, &p)
		return p
	}
	walk := func(tail string) (out []matrix.EventID) {
		t.Helper()
		from := ""
		for {
			p := get(tail + from)
			out = append(out, ids(p.Chunk)...)
			if p.NextBatch == "" {
				return out
			}
			from = "&from=" + p.NextBatch
		}
	}
	for _, tc := range []struct {
		tail string
		want []matrix.EventID
	}{
		{"?limit=50", back},
		{"?limit=2", back},
		{"?limit=2&dir=f", children},
		{"?limit=5&dir=f", children},
		{"/m.thread?limit=2&dir=b", back},
		{"/m.thread/m.room.message?limit=2", back},
		{"/m.thread/m.room.encrypted?limit=2", nil},
		{"/m.thread/m.never.used?limit=2", nil},
		{"/m.annotation?limit=2", nil},
		{"?limit=2&recurse=true", append([]matrix.EventID{edit.ID, reaction.ID}, back...)},
		{"?limit=3&recurse=true&dir=f", append(slices.Clone(children), reaction.ID, edit.ID)},
		{"/m.replace?limit=2&recurse=true", []matrix.EventID{edit.ID}},
		{"/m.annotation/m.reaction?limit=2&org.matrix.msc3981.recurse=true", []matrix.EventID{reaction.ID}},
	} {
		if got := walk(tc.tail); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v (deeper is %s)", tc.tail, got, tc.want, deeper.ID)
		}
	}
	p := get("?limit=2")
	if p.PrevBatch != "" || p.RecursionDepth != nil {
		t.Errorf("first page: %+v", p)
	}
	q := get("?limit=2&from=" + p.NextBatch)
	if q.PrevBatch != p.NextBatch || !slices.Equal(ids(q.Chunk), back[2:4]) {
		t.Errorf("second page: %+v", q)
	}
	if got := get("?limit=10&to=" + p.NextBatch); !slices.Equal(ids(got.Chunk), back[:2]) {
		t.Errorf("until the second page: %v", ids(got.Chunk))
	}
	if got := get("?dir=f&from=" + p.NextBatch); !slices.Equal(ids(got.Chunk), []matrix.EventID{back[1], back[0]}) {
		t.Errorf("turned round: %v", ids(got.Chunk))
	}
	if got := get("?recurse=true"); got.RecursionDepth == nil || *got.RecursionDepth != 3 {
		t.Errorf("depth %v", got.RecursionDepth)
	}
	if got := get("?recurse=false"); got.RecursionDepth == nil || *got.RecursionDepth != 1 {
		t.Errorf("depth %v", got.RecursionDepth)
	}
	w.Refused(alice, base+"?dir=x", 400, "M_INVALID_PARAM")
	w.Refused(alice, base+"?from=x", 400, "M_INVALID_PARAM")
	w.Refused(alice, base+"?limit=-2", 400, "M_INVALID_PARAM")
	w.Refused(alice, v1+esc(r.ID)+"/relations/$none", 404, "M_NOT_FOUND")
}

// TestRelationsLoop: relations that go round in a circle end.
func TestRelationsLoop(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	a := r.Text(alice, "a")
	b := r.Relate(alice, "m.x", "m.y", a.ID, nil)
	if _, err := w.DB.Exec(t.Context(), `INSERT INTO roomserver.relations (room_nid, parent_id, child_nid, rel_type) VALUES ($1, $2, $3, 'm.y')`,
		r.NID, string(b.ID), a.NID); err != nil {
		t.Fatal(err)
	}
	var p relationsPage
	w.Get(alice, v1+esc(r.ID)+"/relations/"+esc(a.ID)+"?recurse=true", &p)
	if got := ids(p.Chunk); !slices.Equal(got, []matrix.EventID{b.ID, a.ID}) {
		t.Errorf("%v", got)
	}
}

func TestThreads(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{})
	r.Join(bob)
	var roots []read.Event
	for i := range 5 {
		roots = append(roots, r.Text(carol, fmt.Sprint("root", i)))
	}
	own := r.Text(alice, "own")
	for _, root := range roots {
		r.Relate(carol, "m.room.message", "m.thread", root.ID, roomtest.C{"body": "c"})
	}
	r.Relate(alice, "m.room.message", "m.thread", roots[1].ID, roomtest.C{"body": "a"})
	r.Relate(bob, "m.room.message", "m.thread", own.ID, roomtest.C{"body": "b"})
	r.Relate(bob, "m.room.message", "m.reference", roots[4].ID, roomtest.C{"body": "no thread"})
	walk := func(u matrix.UserID, query string) (out []matrix.EventID) {
		t.Helper()
		from := ""
		for {
			var p relationsPage
			w.Get(u, v1+esc(r.ID)+"/threads?"+query+from, &p)
			out = append(out, ids(p.Chunk)...)
			if p.NextBatch == "" {
				return out
			}
			from = "&from=" + p.NextBatch
		}
	}
	all := []matrix.EventID{own.ID, roots[1].ID, roots[4].ID, roots[3].ID, roots[2].ID, roots[0].ID}
	for _, tc := range []struct {
		user  matrix.UserID
		query string
		want  []matrix.EventID
	}{
		{alice, "", all},
		{alice, "limit=1", all},
		{alice, "limit=2&include=all", all},
		{alice, "limit=1&include=participated", []matrix.EventID{own.ID, roots[1].ID}},
		{bob, "include=participated", []matrix.EventID{own.ID}},
	} {
		if got := walk(tc.user, tc.query); !slices.Equal(got, tc.want) {
			t.Errorf("%s %s: %v, want %v", tc.user, tc.query, got, tc.want)
		}
	}
	var p relationsPage
	w.Get(alice, v1+esc(r.ID)+"/threads?limit=2", &p)
	if th := p.Chunk[1].Unsigned.Relations.Thread; th == nil || th.Count != 2 || !th.Participated || th.Latest.Body() != "a" {
		t.Errorf("%+v", th)
	}
	// What bob no longer sees does not count for him.
	r.Leave(bob)
	r.Relate(carol, "m.room.message", "m.thread", roots[0].ID, roomtest.C{"body": "late"})
	if got := walk(bob, "limit=1"); !slices.Equal(got, all) {
		t.Errorf("after leaving: %v", got)
	}
	if got := walk(alice, ""); got[0] != roots[0].ID {
		t.Errorf("still there: %v", got)
	}
	for _, bad := range []string{"limit=0", "limit=-1", "include=some", "from=x"} {
		w.Refused(alice, v1+esc(r.ID)+"/threads?"+bad, 400, "M_INVALID_PARAM")
	}
}

func TestTimestampToEvent(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{Visibility: "joined"})
	at := func(ts int64, body string) read.Event {
		return r.Add(roomtest.Event{Sender: alice, Type: "m.room.message", Content: roomtest.C{"body": body}, OriginTS: ts})
	}
	now := w.Now()
	early := at(now+1_000_000, "early")
	for i := range int64(500) { // more than is looked at once, and hidden from bob
		at(now+2_000_000+i, "hidden")
	}
	w.SetNow(now + 3_000_000)
	joined := r.Join(bob)
	skewed := at(now+1_500_000, "a slow clock")
	late := at(now+4_000_000, "late")
	for _, tc := range []struct {
		user matrix.UserID
		ts   int64
		dir  string
		want matrix.EventID
	}{
		{alice, early.OriginTS, "f", early.ID},
		{alice, early.OriginTS, "b", early.ID},
		{alice, early.OriginTS + 1, "b", early.ID},
		{alice, late.OriginTS + 1, "b", late.ID},
		{alice, late.OriginTS - 1, "f", late.ID},
		{alice, now + 2_600_000, "f", joined.ID},
		{bob, joined.OriginTS - 1, "f", joined.ID},
		{bob, now + 2_000_100, "f", joined.ID},
		{bob, late.OriginTS - 1, "b", joined.ID},
		{bob, joined.OriginTS - 1, "b", skewed.ID},
	} {
		var got struct {
			ID matrix.EventID `json:"event_id"`
			TS int64          `json:"origin_server_ts"`
		}
		w.Get(tc.user, fmt.Sprintf("%s%s/timestamp_to_event?ts=%d&dir=%s", v1, esc(r.ID), tc.ts, tc.dir), &got)
		if got.ID != tc.want || got.TS == 0 {
			t.Errorf("%s at %d %s: %+v, want %s", tc.user, tc.ts-now, tc.dir, got, tc.want)
		}
	}
	base := v1 + esc(r.ID) + "/timestamp_to_event"
	w.Refused(alice, fmt.Sprintf("%s?ts=%d&dir=f", base, late.OriginTS+1), 404, "M_NOT_FOUND")
	w.Refused(alice, base+"?ts=0&dir=b", 404, "M_NOT_FOUND")
	w.Refused(alice, base+"?ts=0&dir=x", 400, "M_INVALID_PARAM")
	w.Refused(alice, base+"?dir=f", 400, "M_MISSING_PARAM")
	w.Refused(alice, base+"?ts=x&dir=f", 400, "M_INVALID_PARAM")
}
