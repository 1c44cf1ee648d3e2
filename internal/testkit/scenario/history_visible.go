package scenario

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

var visibleScenarios = []Scenario{
	{"history is visible to whom its visibility says, on every way to it", historyVisibility},
	{"changing the visibility changes nothing that was said before", visibilityChanges},
	{"rooms of others and rooms that do not exist answer alike", foreignRoomsAlike},
	{"whoever is ignored is not read", ignoredReads},
}

// moments of a reader's way through a room, each with an event said then.
var moments = []string{"before the invite", "while invited", "while joined", "after leaving"}

// historyVisibility says something at each moment and reads it by every way.
//
// spec: c-s §Room history visibility
func historyVisibility(t *testing.T, h *Home) {
	// What is seen of the moments, by who went all the way and by who stayed out.
	for _, v := range []struct {
		visibility string
		leaver     [4]bool
		stranger   bool
	}{
		{"world_readable", [4]bool{true, true, true, true}, true},
		{"shared", [4]bool{true, true, true, false}, false},
		{"invited", [4]bool{false, true, true, false}, false},
		{"joined", [4]bool{false, false, true, false}, false},
	} {
		t.Run(v.visibility, func(t *testing.T) {
			anna, bert, eve, dora := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "eve"), h.Register(t, "dora")
			room := anna.CreateRoom(M{"initial_state": []M{
				{"type": "m.room.history_visibility", "content": M{"history_visibility": v.visibility}}}})
			root := anna.Say(room, "root")
			var said []string
			say := func() {
				said = append(said, anna.Send(room, "m.room.message", M{"msgtype": "m.text", "body": moments[len(said)],
					"m.relates_to": M{"rel_type": "org.example.rel", "event_id": root}}))
			}
			say()
			anna.Invite(room, bert.ID)
			anna.Invite(room, dora.ID)
			say()
			bert.Join(room)
			say()
			bert.Leave(room)
			say()
			all := [4]bool{true, true, true, true}
			readEverywhere(t, "the member", anna, room, root, said, all, true)
			readEverywhere(t, "who left", bert, room, root, said, v.leaver, v.leaver[0])
			outside := [4]bool{v.stranger, v.stranger, v.stranger, v.stranger}
			readEverywhere(t, "the stranger", eve, room, root, said, outside, v.stranger)
			readEverywhere(t, "the invited", dora, room, root, said, outside, v.stranger)
		})
	}
}

// readEverywhere reads the events by /event, /context, /messages both ways and
// /relations, and compares what is seen.
func readEverywhere(t *testing.T, who string, u *User, room, root string, said []string, want [4]bool, seesRoot bool) {
	t.Helper()
	u = u.In(t)
	var any bool
	for i, id := range said {
		any = any || want[i]
		equal(t, who+" by /event "+moments[i], u.Do("GET", Path("/rooms/%s/event/%s", room, id), nil).Status == 200, want[i])
		equal(t, who+" by /context "+moments[i], u.Do("GET", Path("/rooms/%s/context/%s", room, id), nil).Status == 200, want[i])
	}
	for _, dir := range []string{"b", "f"} {
		a := u.Do("GET", Query(Path("/rooms/%s/messages", room), "dir", dir, "limit", "100"), nil)
		equal(t, who+" by /messages", a.Status == 200, any)
		ids := IDs(Events(a.Body, "chunk"))
		for i, id := range said {
			equal(t, who+" by /messages "+dir+" "+moments[i], slices.Contains(ids, id), want[i])
		}
	}
	related := u.Do("GET", V1("/rooms/%s/relations/%s", room, root), nil)
	equal(t, who+" by /relations", related.Status == 200, seesRoot)
	for i, id := range said {
		equal(t, who+" by /relations "+moments[i], strings.Contains(string(related.Raw), id), want[i] && seesRoot)
	}
	for _, path := range []string{"/rooms/%s/state", "/rooms/%s/members", "/rooms/%s/state/m.room.create"} {
		equal(t, who+" by "+path, u.Do("GET", Path(path, room), nil).Status == 200, any)
	}
	for i, id := range said { // no context leaks its neighbours
		a := u.Do("GET", Query(Path("/rooms/%s/context/%s", room, id), "limit", "20"), nil)
		for j, other := range said {
			if a.Status == 200 && strings.Contains(string(a.Raw), other) != want[j] {
				t.Errorf("%s: the context of %q shows or hides %q", who, moments[i], moments[j])
			}
		}
	}
}

func visibilityChanges(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := anna.CreateRoom(M{"preset": "public_chat"})
	set := func(v string) { anna.Set(room, "m.room.history_visibility", "", M{"history_visibility": v}) }
	shared := anna.Say(room, "shared")
	set("joined")
	closed := anna.Say(room, "for members")
	set("shared")
	again := anna.Say(room, "shared again")
	bert.Join(room)
	ids, _ := bert.pages(room, "b", "", "", 50)
	for what, id := range map[string]string{"shared": shared, "shared again": again} {
		if !slices.Contains(ids, id) {
			t.Errorf("what was %s is hidden", what)
		}
	}
	if slices.Contains(ids, closed) {
		t.Error("what was said to members alone is shown to who came later")
	}
	m, _ := bert.SeesJoined(room)
	if Find(Timeline(m, room), closed) != nil {
		t.Error("/sync shows what was said to members alone")
	}
}

// foreignRoomsAlike asks everything of a room one is not in and of one that
// does not exist: nothing may tell the two apart.
func foreignRoomsAlike(t *testing.T, h *Home) {
	anna, eve := h.Register(t, "anna"), h.Register(t, "eve")
	for _, version := range []string{"11", "12"} {
		foreign := anna.CreateRoom(M{"room_version": version, "name": "secret"})
		event := anna.Say(foreign, "secret")
		unknown, none := "!AAAAAAAAAAAAAAAAAA:"+h.ServerName, "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		if version == "12" {
			unknown = "!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		}
		v3, v1, nheko := "/_matrix/client/v3", "/_matrix/client/v1", "/_matrix/client/unstable/im.nheko.summary"
		for _, q := range []struct {
			method, path string
			body         any
		}{
			{"GET", v3 + "/rooms/%s/event/%s", nil}, {"GET", v3 + "/rooms/%s/context/%s", nil},
			{"GET", v3 + "/rooms/%s/state", nil}, {"GET", v3 + "/rooms/%s/state/m.room.name", nil},
			{"GET", v3 + "/rooms/%s/state/m.room.none/", nil}, {"GET", v3 + "/rooms/%s/state/m.room.create?format=event", nil},
			{"GET", v3 + "/rooms/%s/members", nil}, {"GET", v3 + "/rooms/%s/joined_members", nil},
			{"GET", v3 + "/rooms/%s/messages?dir=b", nil}, {"GET", v3 + "/rooms/%s/aliases", nil},
			{"GET", v3 + "/rooms/%s/initialSync", nil}, {"GET", v1 + "/rooms/%s/relations/%s", nil},
			{"GET", v1 + "/rooms/%s/relations/%s/m.thread", nil}, {"GET", v1 + "/rooms/%s/relations/%s/m.thread/m.room.message", nil},
			{"GET", v1 + "/rooms/%s/threads", nil}, {"GET", v1 + "/rooms/%s/timestamp_to_event?ts=0&dir=f", nil},
			{"GET", v1 + "/rooms/%s/hierarchy", nil}, {"GET", v1 + "/room_summary/%s", nil},
			{"GET", nheko + "/summary/%s", nil}, {"GET", nheko + "/rooms/%s/summary", nil},
			{"GET", v3 + "/directory/list/room/%s", nil},
			{"PUT", v3 + "/directory/list/room/%s", M{"visibility": "public"}},
			{"PUT", v3 + "/rooms/%s/send/m.room.message/x", M{"body": "x"}}, {"PUT", v3 + "/rooms/%s/state/m.room.name/", M{"name": "x"}},
			{"PUT", v3 + "/rooms/%s/redact/%s/x", M{}}, {"POST", v3 + "/rooms/%s/leave", M{}}, {"POST", v3 + "/rooms/%s/forget", M{}},
			{"POST", v3 + "/rooms/%s/invite", M{"user_id": eve.ID}}, {"POST", v3 + "/rooms/%s/kick", M{"user_id": anna.ID}},
			{"POST", v3 + "/rooms/%s/ban", M{"user_id": anna.ID}}, {"POST", v3 + "/rooms/%s/unban", M{"user_id": anna.ID}},
			{"POST", v3 + "/rooms/%s/upgrade", M{"new_version": "11"}}, {"POST", v3 + "/rooms/%s/receipt/m.read/%s", M{}},
			{"POST", v3 + "/rooms/%s/read_markers", M{"m.fully_read": event}},
			{"PUT", v3 + "/rooms/%s/typing/" + Seg(eve.ID), M{"typing": true, "timeout": 1000}},
			{"PUT", v3 + "/directory/room/" + Seg("#"+Unique("alike")+":"+h.ServerName), nil},
		} {
			ask := func(room, id string) Answer {
				args := []any{Seg(room), Seg(id)}
				if q.body == nil && q.method == "PUT" {
					return eve.Do(q.method, q.path, M{"room_id": room})
				}
				return eve.Do(q.method, fmt.Sprintf(q.path, args[:strings.Count(q.path, "%s")]...), q.body)
			}
			a, b, c := ask(foreign, event), ask(unknown, none), ask(foreign, none)
			if a.Status < 400 || a.Status != b.Status || string(a.Raw) != string(b.Raw) {
				t.Errorf("%s %s: a foreign room answers %d %s, an unknown one %d %s", q.method, q.path, a.Status, a.Raw, b.Status, b.Raw)
			}
			if a.Status != c.Status || string(a.Raw) != string(c.Raw) {
				t.Errorf("%s %s: a foreign event answers %d %s, an unknown one %d %s", q.method, q.path, a.Status, a.Raw, c.Status, c.Raw)
			}
		}
	}
}

func ignoredReads(t *testing.T, h *Home) {
	anna, bert, carl := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "carl")
	room := group(anna, nil, bert, carl)
	root := bert.Say(room, "root")
	rude := carl.Send(room, "m.room.message", M{"msgtype": "m.text", "body": "rude", "m.relates_to": M{"rel_type": "m.thread", "event_id": root}})
	_, since := anna.Sees("", room, rude)
	anna.Must("PUT", Path("/user/%s/account_data/m.ignored_user_list", anna.ID), M{"ignored_users": M{carl.ID: M{}}})
	_, since = anna.Until(since, func(m M) bool {
		return slices.ContainsFunc(Events(m, "account_data", "events"), func(e M) bool { return e["type"] == "m.ignored_user_list" })
	})
	ruder, nice := carl.Say(room, "ruder"), bert.Say(room, "nice")
	named := carl.Set(room, "m.room.member", carl.ID, M{"membership": "join", "displayname": "Still a member"})
	end := bert.Say(room, "end")
	seen := map[string]bool{}
	anna.Until(since, func(m M) bool {
		for _, e := range Timeline(m, room) {
			seen[e["event_id"].(string)] = true
		}
		return seen[end]
	})
	if seen[ruder] || !seen[nice] || !seen[named] {
		t.Errorf("of the ignored: message shown %v, of others %v, state %v", seen[ruder], seen[nice], seen[named])
	}
	ids, _ := anna.pages(room, "b", "", "", 50)
	if slices.Contains(ids, rude) || slices.Contains(ids, ruder) || !slices.Contains(ids, nice) {
		t.Error("/messages shows the ignored or hides others")
	}
	rel := anna.Must("GET", V1("/rooms/%s/relations/%s", room, root), nil)
	equal(t, "relations by the ignored", len(Events(rel, "chunk")), 0)
	for _, c := range []struct {
		sender  *User
		invited bool
	}{{carl, false}, {bert, true}} {
		into := c.sender.CreateRoom(M{"invite": []string{anna.ID}})
		marker := c.sender.Say(room, "marker")
		if c.invited {
			anna.Until(since, func(m M) bool { return At(m, "rooms", "invite", into) != nil })
			continue
		}
		probe := bert.Say(room, "probe "+marker)
		anna.Until(since, func(m M) bool {
			if At(m, "rooms", "invite", into) != nil {
				t.Error("an invite of the ignored is shown")
			}
			return Find(Timeline(m, room), probe) != nil
		})
	}
}
