package directory_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"allmende/internal/matrix"
	"allmende/internal/testkit/roomtest"

	"github.com/google/go-cmp/cmp"
)

// via is the content of a valid m.space.child.
func via(more roomtest.C) roomtest.C {
	c := roomtest.C{"via": []string{"example.org"}}
	for k, v := range more {
		c[k] = v
	}
	return c
}

func (w *world) space(name string) *roomtest.Room {
	return w.Room(alice, roomtest.Options{Name: name, Type: "m.space", JoinRule: "public"})
}

func (w *world) room(name string) *roomtest.Room {
	return w.Room(alice, roomtest.Options{Name: name, JoinRule: "public"})
}

func (w *world) walk(u matrix.UserID, r *roomtest.Room, query string) []string {
	w.t.Helper()
	var out []string
	from := ""
	for {
		var p rooms
		w.Get(u, "/_matrix/client/v1/rooms/"+esc(r.ID)+"/hierarchy?"+query+from, &p)
		out = append(out, names(p.Rooms)...)
		if p.Next == "" {
			return out
		}
		from = "&from=" + p.Next
	}
}

func TestHierarchy(t *testing.T) {
	w := open(t)
	root := w.space("root")
	child := func(space *roomtest.Room, of *roomtest.Room, content roomtest.C) {
		space.State(alice, "m.space.child", string(of.ID), content)
	}
	plain, sub, secret, below, deep := w.room("plain"), w.space("sub"), w.Room(alice, roomtest.Options{Name: "secret", Type: "m.space"}), w.room("below"), w.room("deep")
	first, second, long := w.room("first"), w.room("second"), w.room("long order")
	behind := w.room("behind the secret")
	unplugged := w.room("no via")
	child(root, plain, via(nil))
	child(root, second, via(roomtest.C{"order": "b", "suggested": true}))
	child(root, first, via(roomtest.C{"order": "a"}))
	child(root, long, via(roomtest.C{"order": strings.Repeat("a", 51)}))
	child(root, sub, via(roomtest.C{"suggested": true}))
	child(root, secret, via(nil))
	child(secret, behind, via(nil))
	child(root, unplugged, roomtest.C{"suggested": true})
	root.State(alice, "m.space.child", "!elsewhere:other.example", via(nil))
	root.State(alice, "m.space.child", "nonsense", via(nil))
	child(sub, below, via(roomtest.C{"suggested": true}))
	child(sub, root, via(nil)) // a circle
	child(sub, plain, via(nil))
	child(below, deep, via(nil)) // not a space

	all := []string{"root", "first", "second", "plain", "long order", "sub", "below"}
	mine := []string{"root", "first", "second", "plain", "long order", "sub", "below", "secret", "behind the secret"}
	for _, tc := range []struct {
		user  matrix.UserID
		query string
		want  []string
	}{
		{stranger, "", all},
		{stranger, "limit=1", all},
		{stranger, "limit=3", all},
		{stranger, "limit=7", all},
		{stranger, "max_depth=0", all[:1]},
		{stranger, "limit=2&max_depth=1", all[:6]},
		{stranger, "limit=1&suggested_only=true", []string{"root", "second", "sub", "below"}},
		{alice, "limit=2", mine},
	} {
		if diff := cmp.Diff(tc.want, w.walk(tc.user, root, tc.query)); diff != "" {
			t.Errorf("%s %s: %s", tc.user, tc.query, diff)
		}
	}
	var p rooms
	w.Get(stranger, "/_matrix/client/v1/rooms/"+esc(root.ID)+"/hierarchy?limit=2", &p)
	r := p.Rooms[0]
	if r.Type != "m.space" || len(r.Children) != 7 || r.Children[0].StateKey != first.ID {
		t.Fatalf("%+v", r)
	}
	c := r.Children[0]
	if c.Type != "m.space.child" || c.Sender != alice || c.TS == 0 || c.ID != "" || string(c.Content) != `{"order":"a","via":["example.org"]}` {
		t.Errorf("%+v", c)
	}
	if len(p.Rooms[1].Children) != 0 {
		t.Errorf("%+v", p.Rooms[1])
	}

	base := "/_matrix/client/v1/rooms/" + esc(root.ID) + "/hierarchy?"
	other := "/_matrix/client/v1/rooms/" + esc(sub.ID) + "/hierarchy?"
	w.Refused(stranger, base+"suggested_only=true&from="+p.Next, 400, "M_INVALID_PARAM")
	w.Refused(stranger, base+"max_depth=1&from="+p.Next, 400, "M_INVALID_PARAM")
	w.Refused(stranger, other+"from="+p.Next, 400, "M_INVALID_PARAM")
	for _, bad := range []string{"from=x", "from=" + p.Next + "0000000", "from=" + p.Next + "x", "limit=0", "limit=-1", "limit=x", "max_depth=-1", "suggested_only=1"} {
		w.Refused(stranger, base+bad, 400, "M_INVALID_PARAM")
	}
}

// TestHierarchyTies: children without an order come by age, and by id if they
// are of the same age.
func TestHierarchyTies(t *testing.T) {
	w := open(t)
	root := w.space("root")
	var made []*roomtest.Room
	for i := range 4 {
		made = append(made, w.room(fmt.Sprint(i)))
	}
	at := func(r *roomtest.Room, ts int64, order any) {
		key := string(r.ID)
		content := via(nil)
		if order != nil {
			content["order"] = order
		}
		root.Add(roomtest.Event{Sender: alice, Type: "m.space.child", StateKey: &key, Content: content, OriginTS: ts})
	}
	at(made[0], 2000, nil)
	at(made[1], 1000, 7) // not a text: does not count
	at(made[2], 2000, "ä")
	at(made[3], 500, "")
	same := []*roomtest.Room{made[0], made[2]}
	slices.SortFunc(same, func(a, b *roomtest.Room) int { return strings.Compare(string(a.ID), string(b.ID)) })
	name := func(r *roomtest.Room) string { return fmt.Sprint(slices.Index(made, r)) }
	want := []string{"root", "3", "1", name(same[0]), name(same[1])}
	if diff := cmp.Diff(want, w.walk(stranger, root, "")); diff != "" {
		t.Error(diff)
	}
}
