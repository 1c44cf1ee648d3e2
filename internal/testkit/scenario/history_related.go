package scenario

import (
	"slices"
	"testing"
)

var relatedScenarios = []Scenario{
	{"relations are listed in three forms and deep", relations},
	{"threads are listed by when something was last said", threads},
	{"edits, reactions and threads come bundled", bundles},
}

func relatesTo(rel, id string, more ...any) M {
	return M{"msgtype": "m.text", "body": "* x", "m.relates_to": with(M{"rel_type": rel, "event_id": id}, more...)}
}

func relations(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := group(anna, nil, bert)
	root := anna.Say(room, "root")
	var replies []string
	for range 5 {
		replies = append(replies, bert.Send(room, "m.room.message", relatesTo("m.thread", root)))
	}
	like := anna.Send(room, "m.reaction", M{"m.relates_to": M{"rel_type": "m.annotation", "event_id": root, "key": "👍"}})
	deep := anna.Send(room, "m.reaction", M{"m.relates_to": M{"rel_type": "m.annotation", "event_id": replies[0], "key": "👍"}})
	base := V1("/rooms/%s/relations/%s", room, root)
	ids := func(path string, params ...string) []string {
		return IDs(Events(bert.Must("GET", Query(path, params...), nil), "chunk"))
	}
	newest := slices.Clone(replies)
	slices.Reverse(newest)
	same(t, "all", ids(base), append([]string{like}, newest...))
	same(t, "oldest first", ids(base, "dir", "f"), append(slices.Clone(replies), like))
	same(t, "threads", ids(base+"/m.thread"), newest)
	same(t, "threads of messages", ids(base+"/m.thread/m.room.message"), newest)
	same(t, "threads of reactions", ids(base+"/m.thread/m.reaction"), []string{})
	same(t, "annotations", ids(base+"/m.annotation/m.reaction"), []string{like})
	same(t, "deep", ids(base, "recurse", "true"), append([]string{deep, like}, newest...))
	deepest := bert.Must("GET", Query(base, "recurse", "true"), nil)
	if n, _ := deepest["recursion_depth"].(float64); n < 2 {
		t.Errorf("recursion_depth is %v", deepest["recursion_depth"])
	}
	for _, dir := range []string{"b", "f"} {
		var got []string
		from := []string{"dir", dir, "limit", "2"}
		for range 10 {
			m := bert.Must("GET", Query(base+"/m.thread", from...), nil)
			got = append(got, IDs(Events(m, "chunk"))...)
			next, more := m["next_batch"].(string)
			if !more {
				break
			}
			from = []string{"dir", dir, "limit", "2", "from", next}
		}
		want := newest
		if dir == "f" {
			want = replies
		}
		same(t, "paged "+dir, got, want)
	}
	anna.Must("PUT", Path("/rooms/%s/redact/%s/%s", room, replies[4], Unique("r")), M{})
	if bert.Do("GET", V1("/rooms/%s/relations/%s", room, "$none"), nil).Status != 404 {
		t.Error("relations of nothing are answered")
	}
	bert.Refused("GET", Query(base, "dir", "up"), nil, 400, "M_INVALID_PARAM")
	bert.Refused("GET", Query(base, "from", "nonsense"), nil, 400, "M_INVALID_PARAM")
}

func threads(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := group(anna, nil, bert)
	one, two, three := anna.Say(room, "one"), anna.Say(room, "two"), bert.Say(room, "three")
	anna.Send(room, "m.room.message", relatesTo("m.thread", one))
	anna.Send(room, "m.room.message", relatesTo("m.thread", two))
	anna.Send(room, "m.room.message", relatesTo("m.thread", three))
	last := bert.Send(room, "m.room.message", relatesTo("m.thread", one))
	path := V1("/rooms/%s/threads", room)
	all := bert.Must("GET", path, nil)
	same(t, "threads", IDs(Events(all, "chunk")), []string{one, three, two})
	thread := At(all, "chunk", 0, "unsigned", "m.relations", "m.thread")
	equal(t, "count", At(thread, "count"), any(2.0))
	equal(t, "latest", At(thread, "latest_event", "event_id"), any(last))
	equal(t, "participated", At(thread, "current_user_participated"), any(true))
	same(t, "own", IDs(Events(bert.Must("GET", path+"?include=participated", nil), "chunk")), []string{one, three})
	page := bert.Must("GET", path+"?limit=2", nil)
	next, _ := page["next_batch"].(string)
	same(t, "page", IDs(Events(page, "chunk")), []string{one, three})
	same(t, "next page", IDs(Events(bert.Must("GET", Query(path, "limit", "2", "from", next), nil), "chunk")), []string{two})
	bert.Refused("GET", path+"?include=some", nil, 400, "M_INVALID_PARAM")
	bert.Refused("GET", path+"?from=nonsense", nil, 400, "M_INVALID_PARAM")
	h.Register(t, "eve").Refused("GET", path, nil, 403, "M_FORBIDDEN")
}

// bundles looks for what is aggregated on every way an event can come.
//
// spec: c-s §Aggregations of child events
func bundles(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := group(anna, nil, bert)
	root := anna.Say(room, "typo")
	edit := anna.Send(room, "m.room.message", with(relatesTo("m.replace", root), "m.new_content", M{"msgtype": "m.text", "body": "fixed"}))
	bert.Send(room, "m.room.message", with(relatesTo("m.replace", root), "m.new_content", M{"msgtype": "m.text", "body": "not mine to fix"}))
	reply := bert.Send(room, "m.room.message", relatesTo("m.thread", root))
	bert.Send(room, "m.reaction", M{"m.relates_to": M{"rel_type": "m.reference", "event_id": root}})
	m, _ := bert.FirstSees(room, reply)
	ways := map[string]M{
		"/sync":     Find(Timeline(m, room), root),
		"/event":    bert.Event(room, root),
		"/messages": Find(Events(bert.Must("GET", Query(Path("/rooms/%s/messages", room), "dir", "b"), nil), "chunk"), root),
	}
	ways["/context"], _ = At(bert.Must("GET", Path("/rooms/%s/context/%s", room, root), nil), "event").(M)
	ways["/threads"] = Find(Events(bert.Must("GET", V1("/rooms/%s/threads", room), nil), "chunk"), root)
	for way, e := range ways {
		rel := At(e, "unsigned", "m.relations")
		equal(t, way+" edit", At(rel, "m.replace", "event_id"), any(edit))
		equal(t, way+" edited text", At(rel, "m.replace", "content", "m.new_content", "body"), any("fixed"))
		equal(t, way+" text stays", At(e, "content", "body"), any("typo"))
		equal(t, way+" thread", At(rel, "m.thread", "latest_event", "event_id"), any(reply))
		equal(t, way+" thread count", At(rel, "m.thread", "count"), any(1.0))
		equal(t, way+" participated", At(rel, "m.thread", "current_user_participated"), any(true))
	}
	anna.Must("PUT", Path("/rooms/%s/redact/%s/%s", room, edit, Unique("r")), M{})
	if got := At(bert.Event(room, root), "unsigned", "m.relations", "m.replace"); got != nil {
		t.Errorf("a redacted edit is still bundled: %v", got)
	}
}
