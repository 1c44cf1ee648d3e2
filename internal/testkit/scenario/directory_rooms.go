package scenario

import (
	"fmt"
	"slices"
	"testing"
)

var directoryScenarios = []Scenario{
	{"an alias is made, found, listed and taken away", aliasLife},
	{"the public directory is searched and paged", publicDirectory},
	{"who may publish a room", publishing},
	{"a room is summed up for who could come in", roomSummary},
	{"a space shows the rooms in it, page by page", spaceHierarchy},
}

func aliasLife(t *testing.T, h *Home) {
	anna, bert, eve := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "eve")
	room := group(anna, nil, bert)
	name := Unique("alias")
	alias := "#" + name + "/with-slash:" + h.ServerName
	path := Path("/directory/room/%s", alias)
	anon := h.Client(t)
	anon.Refused("GET", path, nil, 404, "M_NOT_FOUND")
	bert.Must("PUT", path, M{"room_id": room})
	got := anon.Must("GET", path, nil)
	equal(t, "room", got["room_id"], any(room))
	equal(t, "servers", At(got, "servers", 0), any(h.ServerName))
	anna.Refused("PUT", path, M{"room_id": room}, 409, "M_UNKNOWN")
	anna.Refused("PUT", Path("/directory/room/%s", "#"+name+":elsewhere.example"), M{"room_id": room}, 400, "M_INVALID_PARAM")
	anna.Refused("PUT", Path("/directory/room/%s", "nonsense"), M{"room_id": room}, 400, "M_INVALID_PARAM")
	anon.Refused("GET", Path("/directory/room/%s", "nonsense"), nil, 400, "M_INVALID_PARAM")
	anna.Refused("PUT", Path("/directory/room/%s", "#new-"+name+":"+h.ServerName), M{}, 400, "M_MISSING_PARAM")
	anna.Refused("PUT", Path("/directory/room/%s", "#new-"+name+":"+h.ServerName), M{"room_id": "nonsense"}, 400, "M_INVALID_PARAM")
	anon.Refused("PUT", path, M{"room_id": room}, 401, "M_MISSING_TOKEN")

	list := Path("/rooms/%s/aliases", room)
	equal(t, "listed", At(anna.Must("GET", list, nil), "aliases", 0), any(alias))
	eve.Refused("GET", list, nil, 403, "M_FORBIDDEN")
	eve.Refused("DELETE", path, nil, 403, "M_FORBIDDEN")
	anna.Set(room, "m.room.canonical_alias", "", M{"alias": alias, "alt_aliases": []string{alias}})
	anna.Must("DELETE", path, nil) // not hers, but she may name the room
	anna.Refused("DELETE", path, nil, 404, "M_NOT_FOUND")
	anon.Refused("GET", path, nil, 404, "M_NOT_FOUND")
	if a := anna.State(room, "m.room.canonical_alias", "")["alias"]; a != nil {
		t.Errorf("the room still calls itself %v", a)
	}
	own := Path("/directory/room/%s", "#own-"+name+":"+h.ServerName)
	bert.Must("PUT", own, M{"room_id": room})
	bert.Must("DELETE", own, nil)
	if n, ok := anna.Must("GET", list, nil)["aliases"].([]any); !ok || len(n) != 0 {
		t.Errorf("the room has aliases %v", n)
	}
}

func publicDirectory(t *testing.T, h *Home) {
	anna, eve := h.Register(t, "anna"), h.Register(t, "eve")
	word := Unique("Needle")
	var rooms []string
	for i := range 5 {
		body := M{"visibility": "public", "name": fmt.Sprint(word, " ", i), "topic": "All about it"}
		if i == 0 {
			body["creation_content"] = M{"type": "m.space"}
		}
		rooms = append(rooms, anna.CreateRoom(body))
	}
	anna.CreateRoom(M{"name": word + " hidden"})
	eve.Join(rooms[3])
	search := func(body M) M { return eve.Must("POST", "/_matrix/client/v3/publicRooms", body) }
	term := M{"generic_search_term": "nEEdLE" + word[len("Needle"):] + " "}
	ids := func(m M) (out []string) {
		for _, r := range Events(m, "chunk") {
			id, _ := r["room_id"].(string)
			out = append(out, id)
		}
		return out
	}
	all := search(M{"filter": term})
	same(t, "found", sorted(ids(all)...), sorted(rooms...))
	equal(t, "how many", all["total_room_count_estimate"], any(5.0))
	if ids(all)[0] != rooms[3] {
		t.Errorf("the room with most members is not the first of %v", ids(all))
	}
	equal(t, "its members", At(all, "chunk", 0, "num_joined_members"), any(2.0))
	equal(t, "its topic", At(all, "chunk", 0, "topic"), any("All about it"))
	same(t, "spaces", ids(search(M{"filter": with(term, "room_types", []any{"m.space"})})), rooms[:1])
	equal(t, "rooms without type", len(ids(search(M{"filter": with(term, "room_types", []any{nil})}))), 4)
	var paged []string
	body := M{"filter": term, "limit": 2}
	for range 5 {
		m := search(body)
		paged = append(paged, ids(m)...)
		next, more := m["next_batch"].(string)
		if !more {
			break
		}
		body = with(body, "since", next)
	}
	same(t, "paged", paged, ids(all))
	list := h.Client(t).Must("GET", "/_matrix/client/v3/publicRooms?limit=500", nil)
	for _, r := range rooms {
		if !slices.Contains(ids(list), r) {
			t.Errorf("%s is not in the list for everybody", r)
		}
	}
	eve.Refused("POST", "/_matrix/client/v3/publicRooms", M{"since": "nonsense"}, 400, "M_INVALID_PARAM")
	eve.Refused("POST", "/_matrix/client/v3/publicRooms", M{"limit": "x"}, 400, "M_BAD_JSON")
	h.Client(t).Refused("POST", "/_matrix/client/v3/publicRooms", M{}, 401, "M_MISSING_TOKEN")
}

func publishing(t *testing.T, h *Home) {
	anna, bert, eve := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "eve")
	room := group(anna, nil, bert)
	path := Path("/directory/list/room/%s", room)
	equal(t, "at first", bert.Must("GET", path, nil)["visibility"], any("private"))
	bert.Refused("PUT", path, M{"visibility": "public"}, 403, "M_FORBIDDEN")
	eve.Refused("PUT", path, M{"visibility": "public"}, 404, "M_NOT_FOUND")
	anna.Refused("PUT", path, M{"visibility": "dim"}, 400, "M_INVALID_PARAM")
	anna.Must("PUT", path, M{}) // public is what is meant by nothing
	equal(t, "published", h.Client(t).Must("GET", path, nil)["visibility"], any("public"))
	anna.Must("PUT", path, M{"visibility": "private"})
	equal(t, "taken back", anna.Must("GET", path, nil)["visibility"], any("private"))
	eve.Refused("GET", path, nil, 404, "M_NOT_FOUND")
}

func roomSummary(t *testing.T, h *Home) {
	anna, bert, eve := h.Register(t, "anna"), h.Register(t, "bert"), h.Register(t, "eve")
	name := Unique("summary")
	alias := "#" + name + ":" + h.ServerName
	open := group(anna, M{"preset": "public_chat", "name": "Open", "topic": "T", "room_alias_name": name, "room_version": "12",
		"initial_state": []M{{"type": "m.room.encryption", "content": M{"algorithm": "m.megolm.v1.aes-sha2"}}}}, bert)
	closed := anna.CreateRoom(M{"name": "Closed", "invite": []string{bert.ID}})
	nheko := "/_matrix/client/unstable/im.nheko.summary"
	for _, path := range []string{
		V1("/room_summary/%s", open), Query(V1("/room_summary/%s", alias), "via", h.ServerName),
		nheko + "/summary/" + Seg(open), nheko + "/rooms/" + Seg(alias) + "/summary",
	} {
		m := eve.Must("GET", path, nil)
		equal(t, "room", m["room_id"], any(open))
		equal(t, "name", m["name"], any("Open"))
		equal(t, "topic", m["topic"], any("T"))
		equal(t, "members", m["num_joined_members"], any(2.0))
		equal(t, "join rule", m["join_rule"], any("public"))
		equal(t, "version", m["room_version"], any("12"))
		equal(t, "encryption", m["encryption"], any("m.megolm.v1.aes-sha2"))
		equal(t, "alias", m["canonical_alias"], any(alias))
	}
	equal(t, "membership", bert.Must("GET", V1("/room_summary/%s", open), nil)["membership"], any("join"))
	equal(t, "invited", bert.Must("GET", V1("/room_summary/%s", closed), nil)["membership"], any("invite"))
	eve.Refused("GET", V1("/room_summary/%s", closed), nil, 404, "M_NOT_FOUND")
	eve.Refused("GET", V1("/room_summary/%s", "#none-"+name+":"+h.ServerName), nil, 404, "M_NOT_FOUND")
	eve.Refused("GET", V1("/room_summary/%s", "nonsense"), nil, 400, "M_INVALID_PARAM")
}

func spaceHierarchy(t *testing.T, h *Home) {
	anna, eve := h.Register(t, "anna"), h.Register(t, "eve")
	space := func(body M) string { return anna.CreateRoom(with(body, "creation_content", M{"type": "m.space"})) }
	root := space(M{"preset": "public_chat", "name": "root"})
	inner := space(M{"preset": "public_chat", "name": "inner"})
	room := func(preset string) string { return anna.CreateRoom(M{"preset": preset}) }
	first, second, deep, closed := room("public_chat"), room("public_chat"), room("public_chat"), room("private_chat")
	child := func(of, id string, content M) {
		anna.Set(of, "m.space.child", id, with(M{"via": []string{h.ServerName}}, sortedEntries(content)...))
	}
	child(root, second, M{"order": "b"})
	child(root, first, M{"order": "a", "suggested": true})
	child(root, inner, M{"order": "c"})
	child(root, closed, M{"order": "d"})
	anna.Set(root, "m.space.child", "!gone:example.org", M{})
	child(inner, deep, nil)
	child(inner, root, nil) // a circle
	path := V1("/rooms/%s/hierarchy", root)
	ids := func(m M) (out []string) {
		for _, r := range Events(m, "rooms") {
			id, _ := r["room_id"].(string)
			out = append(out, id)
		}
		return out
	}
	same(t, "anna", ids(anna.Must("GET", path, nil)), []string{root, first, second, inner, deep, closed})
	whole := eve.Must("GET", path, nil)
	same(t, "eve", ids(whole), []string{root, first, second, inner, deep})
	equal(t, "children of the root", len(Events(whole, "rooms", 0, "children_state")), 4)
	equal(t, "type", At(whole, "rooms", 0, "room_type"), any("m.space"))
	same(t, "suggested", ids(eve.Must("GET", path+"?suggested_only=true", nil)), []string{root, first})
	same(t, "one deep", ids(eve.Must("GET", path+"?max_depth=1", nil)), []string{root, first, second, inner})
	var paged []string
	q := []string{"limit", "2"}
	var token string
	for range 5 {
		m := eve.Must("GET", Query(path, q...), nil)
		paged = append(paged, ids(m)...)
		next, more := m["next_batch"].(string)
		if !more {
			break
		}
		token, q = next, []string{"limit", "2", "from", next}
	}
	same(t, "paged", paged, ids(whole))
	eve.Refused("GET", Query(path, "from", token, "max_depth", "3"), nil, 400, "M_INVALID_PARAM")
	eve.Refused("GET", Query(path, "from", token, "suggested_only", "true"), nil, 400, "M_INVALID_PARAM")
	eve.Refused("GET", Query(path, "from", "nonsense"), nil, 400, "M_INVALID_PARAM")
	eve.Refused("GET", V1("/rooms/%s/hierarchy", closed), nil, 403, "M_FORBIDDEN")
}

// sortedEntries are the entries of an object as a list of keys and values.
func sortedEntries(m M) (out []any) {
	for k, v := range m {
		out = append(out, k, v)
	}
	return out
}
