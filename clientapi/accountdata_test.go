package clientapi_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"allmende/clientapi/api"
	"allmende/internal/bus"
	"allmende/internal/matrix"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

func TestAccountData(t *testing.T) {
	e := newEdge(t)
	anna, bert := e.person("anna"), e.person("bert")
	const mine = "/v3/user/@anna:example.org"
	const room = mine + "/rooms/!room:example.org"

	anna.do("GET", mine+"/account_data/org.example", nil).fails(404, "M_NOT_FOUND")
	anna.do("PUT", mine+"/account_data/org.example", `{"a": [1.5, "<ü>"]}`).ok("{}")
	anna.do("GET", mine+"/account_data/org.example", nil).ok(`{"a":[1.5,"<ü>"]}`)
	anna.do("GET", room+"/account_data/org.example", nil).fails(404, "M_NOT_FOUND")
	anna.do("PUT", room+"/account_data/org.example", `{"b":2}`).ok("{}")
	anna.do("GET", room+"/account_data/org.example", nil).ok(`{"b":2}`)
	anna.do("GET", mine+"/account_data/org.example", nil).ok(`{"a":[1.5,"<ü>"]}`)

	for _, path := range []string{mine, room} {
		bert.do("GET", path+"/account_data/org.example", nil).fails(403, "M_FORBIDDEN")
		bert.do("PUT", path+"/account_data/org.example", "{}").fails(403, "M_FORBIDDEN")
		anna.do("PUT", path+"/account_data/m.push_rules", "{}").fails(405, "M_BAD_JSON")
		anna.do("PUT", path+"/account_data/m.fully_read", "{}").fails(405, "M_BAD_JSON")
		anna.do("PUT", path+"/account_data/x", "[]").fails(400, "M_BAD_JSON")
		anna.do("PUT", path+"/account_data/x", "{").fails(400, "M_NOT_JSON")
		anna.do("PUT", path+"/account_data/x", nil).fails(400, "M_NOT_JSON")
		anna.do("PUT", path+"/account_data/"+strings.Repeat("x", 256), "{}").fails(400, "M_INVALID_PARAM")
		anna.do("PUT", path+"/account_data/x", `{"x":"`+strings.Repeat("x", 128<<10)+`"}`).fails(413, "M_TOO_LARGE")
		e.as("", "GET", path+"/account_data/org.example", nil).fails(401, "M_MISSING_TOKEN")
	}
	anna.do("PUT", mine+"/rooms/nonsense/account_data/x", "{}").fails(400, "M_INVALID_PARAM")
	anna.do("GET", mine+"/rooms/nonsense/account_data/x", nil).fails(400, "M_INVALID_PARAM")
	anna.do("GET", mine+"/account_data/m.push_rules", nil).ok("")
}

func TestDeleteAccountData(t *testing.T) {
	e := newEdge(t)
	anna, bert := e.person("anna"), e.person("bert")
	const stable, unstable = "/v3/user/@anna:example.org", "/unstable/org.matrix.msc3391/user/@anna:example.org"
	const room = "/rooms/!room:example.org/account_data/x"

	anna.do("PUT", stable+"/account_data/x", "{}").ok("")
	anna.do("PUT", stable+room, "{}").ok("")
	bert.do("DELETE", unstable+"/account_data/x", nil).fails(403, "M_FORBIDDEN")
	anna.do("DELETE", unstable+"/account_data/m.push_rules", nil).fails(405, "M_BAD_JSON")
	_, before := anna.changes(0, 0)
	anna.do("DELETE", unstable+"/account_data/x", nil).ok("{}")
	anna.do("DELETE", unstable+room, nil).ok("{}")
	anna.do("DELETE", unstable+room, nil).ok("{}") // again: nothing changes
	anna.do("GET", stable+"/account_data/x", nil).fails(404, "M_NOT_FOUND")
	anna.do("GET", stable+room, nil).fails(404, "M_NOT_FOUND")

	items, after := anna.changes(before, 0)
	if diff := cmp.Diff([]string{"/x=null", "!room:example.org/x=null"}, summary(items)); diff != "" {
		t.Error(diff)
	}
	if after != before+2 {
		t.Errorf("%d positions were taken, want 2", after-before)
	}
	items, _ = anna.changes(0, 0)
	if diff := cmp.Diff([]string{"/m.push_rules=…"}, summary(items)); diff != "" {
		t.Error(diff)
	}
}

func TestAccountDataStream(t *testing.T) {
	e := newEdge(t)
	anna, bert := e.person("anna"), e.person("bert")
	var mu sync.Mutex
	var announced []api.UserChangedAnn
	stop, err := bus.Subscribe(e.bus, api.UserChanged, func(_ context.Context, a api.UserChangedAnn) {
		mu.Lock()
		defer mu.Unlock()
		announced = append(announced, a)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()

	items, start := anna.changes(0, 0)
	if diff := cmp.Diff([]string{"/m.push_rules=…"}, summary(items)); diff != "" {
		t.Error("a new user:", diff)
	}
	if start < 1 {
		t.Fatalf("position %d would mean from the beginning", start)
	}
	if items, pos := anna.changes(start, 0); len(items) != 0 || pos != start {
		t.Errorf("nothing happened, yet there is %v up to %d", items, pos)
	}
	put := func(p *person, path, content string) {
		t.Helper()
		p.do("PUT", "/v3/user/"+string(p.id)+path, content).ok("")
	}
	put(anna, "/account_data/a", `{"n":1}`)
	put(bert, "/account_data/a", `{"bert":true}`)
	put(anna, "/rooms/!r:example.org/account_data/b", `{"n":2}`)
	put(anna, "/account_data/a", `{"n":3}`) // moves to the end
	anna.do("PUT", "/v3/pushrules/global/override/.m.rule.master/enabled", `{"enabled":true}`).ok("")
	put(anna, "/rooms/!r:example.org/tags/u.x", `{}`)
	want := []string{"!r:example.org/b={\"n\":2}", "/a={\"n\":3}", "/m.push_rules=…", "!r:example.org/m.tag={\"tags\":{\"u.x\":{}}}"}
	for _, limit := range []int{0, 1, 3} {
		for _, after := range []int64{0, start} {
			items, pos := anna.changes(after, limit)
			if diff := cmp.Diff(want, summary(items)); diff != "" {
				t.Errorf("after %d by %d: %s", after, limit, diff)
			}
			if pos != start+6 {
				t.Errorf("position %d, want %d", pos, start+6)
			}
		}
	}
	set, err := bus.Call(t.Context(), e.bus, api.SetRoomAccountData, api.SetRoomAccountDataReq{
		AccountNID: anna.account, RoomID: "!r:example.org", Type: "m.fully_read", Content: []byte(`{"event_id":"$x"}`)})
	if err != nil || set.Position != start+7 {
		t.Fatalf("%d, %v", set.Position, err)
	}
	items, _ = anna.changes(start+6, 0)
	if diff := cmp.Diff([]string{`!r:example.org/m.fully_read={"event_id":"$x"}`}, summary(items)); diff != "" {
		t.Error(diff)
	}
	_, err = bus.Call(t.Context(), e.bus, api.SetRoomAccountData, api.SetRoomAccountDataReq{AccountNID: 1 << 40, Type: "x", Content: []byte(`{}`)})
	if !errors.Is(err, matrix.NotFound("")) {
		t.Errorf("unknown account: %v", err)
	}
	pos, err := bus.Call(t.Context(), e.bus, api.Position, api.PositionReq{})
	if err != nil || pos.Position != start+7 {
		t.Errorf("%d, %v", pos.Position, err)
	}

	// One connection delivers in order: a message of our own comes after all announcements.
	end := make(chan struct{})
	done, err := bus.Subscribe(e.bus, bus.NewTopic[int]("test.end"), func(context.Context, int) { close(end) })
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if err := bus.Publish(e.bus, bus.NewTopic[int]("test.end"), 1); err != nil {
		t.Fatal(err)
	}
	<-end
	mu.Lock()
	defer mu.Unlock()
	var wantAnn []api.UserChangedAnn
	for i, account := range []int64{anna.account, bert.account, anna.account, anna.account, anna.account, anna.account, anna.account} {
		wantAnn = append(wantAnn, api.UserChangedAnn{AccountNID: account, Position: start + 1 + int64(i)})
	}
	if diff := cmp.Diff(wantAnn, announced); diff != "" {
		t.Error(diff)
	}
}

// Many large items travel in several replies, none of which the bus refuses.
func TestAccountDataPages(t *testing.T) {
	e := newEdge(t)
	anna := e.person("anna")
	large := `{"x":"` + strings.Repeat("x", 127<<10) + `"}`
	var want []string
	for i := range 5 {
		content := large
		if i == 2 {
			content = "{}"
		}
		anna.do("PUT", fmt.Sprintf("/v3/user/%s/account_data/t%d", anna.id, i), content).ok("")
		want = append(want, fmt.Sprintf("/t%d=%s", i, content))
	}
	items, _ := anna.changes(1, 0)
	if diff := cmp.Diff(want, summary(items)); diff != "" {
		t.Error(diff)
	}
}

// A reader that always goes on from the last position sees every item's newest content, whatever the writers do.
func TestAccountDataReaderSkipsNothing(t *testing.T) {
	e := newEdge(t)
	anna := e.person("anna")
	const writers, rounds = 4, 15
	var g errgroup.Group
	for w := range writers {
		g.Go(func() error {
			for i := range rounds {
				r := anna.do("PUT", fmt.Sprintf("/v3/user/%s/account_data/w%d", anna.id, w), fmt.Sprintf(`{"n":%d}`, i))
				if r.status != 200 {
					return fmt.Errorf("%s: %s", r.req, r.raw)
				}
			}
			return nil
		})
	}
	finished := make(chan error, 1)
	go func() { finished <- g.Wait() }()
	seen := map[string]string{}
	pos := int64(1)
	for last := false; !last; {
		select {
		case err := <-finished:
			if err != nil {
				t.Fatal(err)
			}
			last = true
		default:
		}
		var items []api.AccountDataItem
		before := pos
		if items, pos = anna.changes(pos, 2); pos < before {
			t.Fatalf("from %d back to %d", before, pos)
		}
		for _, i := range items {
			seen[i.Type] = string(i.Content)
		}
	}
	for w := range writers {
		if got := seen[fmt.Sprintf("w%d", w)]; got != fmt.Sprintf(`{"n":%d}`, rounds-1) {
			t.Errorf("writer %d: the reader saw %s last", w, got)
		}
	}
}
