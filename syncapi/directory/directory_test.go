package directory_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"testing"

	"allmende/internal/matrix"
	"allmende/internal/testkit"
	"allmende/internal/testkit/roomtest"
	"allmende/syncapi/directory"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	alice    = matrix.UserID("@alice:example.org")
	bob      = matrix.UserID("@bob:example.org")
	carol    = matrix.UserID("@carol:example.org")
	stranger = matrix.UserID("@stranger:example.org")
)

type world struct {
	*roomtest.Rooms
	*roomtest.Edge
	t *testing.T
}

func open(t *testing.T) *world {
	t.Helper()
	w := &world{Rooms: roomtest.Open(t), t: t}
	s := directory.New(directory.Deps{Model: w.Model, ServerName: "example.org"})
	w.Edge = roomtest.ServeOnBus(t, []matrix.UserID{alice, bob, carol, stranger}, s.Routes())
	return w
}

type room struct {
	ID            matrix.RoomID   `json:"room_id"`
	Name          string          `json:"name"`
	Topic         string          `json:"topic"`
	AvatarURL     string          `json:"avatar_url"`
	Alias         string          `json:"canonical_alias"`
	JoinRule      string          `json:"join_rule"`
	Type          string          `json:"room_type"`
	Joined        int             `json:"num_joined_members"`
	WorldReadable *bool           `json:"world_readable"`
	GuestCanJoin  *bool           `json:"guest_can_join"`
	Allowed       []matrix.RoomID `json:"allowed_room_ids"`
	Encryption    string          `json:"encryption"`
	Version       string          `json:"room_version"`
	Membership    string          `json:"membership"`
	Children      []struct {
		Type     string          `json:"type"`
		StateKey matrix.RoomID   `json:"state_key"`
		Sender   matrix.UserID   `json:"sender"`
		TS       int64           `json:"origin_server_ts"`
		Content  json.RawMessage `json:"content"`
		ID       string          `json:"event_id"`
	} `json:"children_state"`
}

type rooms struct {
	Chunk []room `json:"chunk"`
	Rooms []room `json:"rooms"`
	Next  string `json:"next_batch"`
	Prev  string `json:"prev_batch"`
	Total int    `json:"total_room_count_estimate"`
}

func names(list []room) []string {
	out := []string{}
	for _, r := range list {
		out = append(out, r.Name)
	}
	return out
}

func esc[T ~string](s T) string { return url.PathEscape(string(s)) }

const publicPath = "/_matrix/client/v3/publicRooms"

func (w *world) search(body string) rooms {
	w.t.Helper()
	a := w.Do("POST", stranger, publicPath, body)
	var out rooms
	if err := json.Unmarshal(a.Body, &out); err != nil || a.Status != 200 {
		w.t.Fatalf("%s: %d %s", body, a.Status, a.Body)
	}
	return out
}

func TestPublicRooms(t *testing.T) {
	w := open(t)
	w.Room(alice, roomtest.Options{Name: "private"})
	for i := range 5 {
		r := w.Room(alice, roomtest.Options{Name: fmt.Sprint("room", i), Published: true, JoinRule: "public"})
		for j := range i {
			r.Join(matrix.UserID(fmt.Sprintf("@u%d:example.org", j)))
		}
	}
	big := w.Room(alice, roomtest.Options{Name: "Großer Raum", Published: true, JoinRule: "knock", Type: "m.space", Visibility: "world_readable", Version: "10"})
	for j := range 9 {
		big.Join(matrix.UserID(fmt.Sprintf("@u%d:example.org", j)))
	}
	big.State(alice, "m.room.topic", "", roomtest.C{"topic": "old", "m.topic": roomtest.C{"m.text": []any{
		roomtest.C{"mimetype": "text/html", "body": "<b>html</b>"}, roomtest.C{"body": "Gärten"}}}})
	big.State(alice, "m.room.avatar", "", roomtest.C{"url": "mxc://x/y"})
	big.State(alice, "m.room.canonical_alias", "", roomtest.C{"alias": "#gross:example.org"})
	big.State(alice, "m.room.guest_access", "", roomtest.C{"guest_access": "can_join"})
	big.State(alice, "m.room.encryption", "", roomtest.C{"algorithm": "m.megolm.v1.aes-sha2"})

	var all rooms
	w.Get("", publicPath, &all)
	want := []string{"Großer Raum", "room4", "room3", "room2", "room1", "room0"}
	if diff := cmp.Diff(want, names(all.Chunk)); diff != "" || all.Total != 6 || all.Next != "" || all.Prev != "" {
		t.Errorf("%s %+v", diff, all)
	}
	yes := true
	wantBig := room{ID: big.ID, Name: "Großer Raum", Topic: "Gärten", AvatarURL: "mxc://x/y", Alias: "#gross:example.org", JoinRule: "knock",
		Type: "m.space", Joined: 10, WorldReadable: &yes, GuestCanJoin: &yes}
	if diff := cmp.Diff(wantBig, all.Chunk[0]); diff != "" {
		t.Error(diff)
	}
	if last := all.Chunk[5]; last.WorldReadable == nil || *last.WorldReadable || last.GuestCanJoin == nil || *last.GuestCanJoin || last.Joined != 1 {
		t.Errorf("required members: %+v", last)
	}

	// Paging there and back, by both methods.
	var got []string
	var p rooms
	for since := ""; ; since = p.Next {
		p = rooms{}
		w.Get(bob, publicPath+"?limit=4&since="+since, &p)
		got = append(got, names(p.Chunk)...)
		if p.Next == "" {
			break
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("forwards: %s", diff)
	}
	back := rooms{}
	w.Get(bob, publicPath+"?limit=4&since="+p.Prev, &back)
	if diff := cmp.Diff(want[:4], names(back.Chunk)); diff != "" || back.Prev != "" {
		t.Errorf("back: %s", diff)
	}
	for _, tc := range []struct {
		body string
		want []string
	}{
		{`{}`, want},
		{``, want},
		{`{"limit":2}`, want[:2]},
		{`{"filter":{"generic_search_term":"ROOM"}}`, want[1:]},
		{`{"filter":{"generic_search_term":"gärten"}}`, want[:1]},
		{`{"filter":{"generic_search_term":"GROSS:"}}`, want[:1]},
		{`{"filter":{"generic_search_term":"private"}}`, nil},
		{`{"filter":{"room_types":["m.space"]}}`, want[:1]},
		{`{"filter":{"room_types":[null]}}`, want[1:]},
		{`{"filter":{"room_types":[null,"m.space"]}}`, want},
		{`{"filter":{"room_types":[]}}`, nil},
		{`{"filter":{"room_types":[""]}}`, nil},
		{`{"filter":{"room_types":null}}`, want},
		{`{"third_party_instance_id":"irc"}`, nil},
	} {
		if got := names(w.search(tc.body).Chunk); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v", tc.body, got)
		}
	}
	if p := w.search(`{"limit":2,"since":"p2","filter":{"generic_search_term":"room"}}`); !slices.Equal(names(p.Chunk), []string{"room2", "room1"}) ||
		p.Next != "p4" || p.Prev != "p0" || p.Total != 5 {
		t.Errorf("%+v", p)
	}
	for _, bad := range []string{"since=x", "since=p-1", "since=p01", "limit=-1", "limit=x", "server=" + url.QueryEscape("not a server")} {
		w.Refused(bob, publicPath+"?"+bad, 400, "M_INVALID_PARAM")
	}
	w.Refused(bob, publicPath+"?server=other.example", 403, "M_FORBIDDEN")
	var own rooms
	w.Get(bob, publicPath+"?server=example.org", &own)
	if len(own.Chunk) != 6 {
		t.Errorf("own server: %+v", own)
	}
	if a := w.Do("POST", "", publicPath, "{}"); a.Status != 401 {
		t.Errorf("POST without a token: %d", a.Status)
	}
}

func TestPublished(t *testing.T) {
	w := open(t)
	const path = "/_matrix/client/v3/directory/list/room/"
	r := w.Room(alice, roomtest.Options{})
	var got struct{ Visibility string }
	w.Get(alice, path+esc(r.ID), &got)
	if got.Visibility != "private" {
		t.Errorf("%+v", got)
	}
	unknown := w.Do("GET", stranger, path+esc("!none:example.org"), "")
	for _, u := range []matrix.UserID{stranger, ""} {
		if a := w.Do("GET", u, path+esc(r.ID), ""); a.Status != 404 || string(a.Body) != string(unknown.Body) {
			t.Errorf("an unpublished room can be told from none: %d %s", a.Status, a.Body)
		}
	}
	r.Publish()
	w.Get("", path+esc(r.ID), &got)
	if got.Visibility != "public" {
		t.Errorf("%+v", got)
	}
}

// TestWhoSeesWhat asks for the summary of each kind of room as each kind of user.
func TestWhoSeesWhat(t *testing.T) {
	w := open(t)
	club := w.Room(alice, roomtest.Options{Name: "club"})
	club.Join(carol)
	allow := []any{roomtest.C{"type": "m.room_membership", "room_id": string(club.ID)}, roomtest.C{"type": "other"}, "nonsense"}
	with := func(o roomtest.Options, rule any) *roomtest.Room {
		r := w.Room(alice, o)
		if rule != nil {
			r.State(alice, "m.room.join_rules", "", rule)
		}
		r.Invite(bob)
		r.Ban("@banned:example.org")
		return r
	}
	for _, tc := range []struct {
		name     string
		room     *roomtest.Room
		carol    bool // joined to the club
		stranger bool
	}{
		{"invite", with(roomtest.Options{}, nil), false, false},
		{"public", with(roomtest.Options{JoinRule: "public"}, nil), true, true},
		{"knock", with(roomtest.Options{JoinRule: "knock"}, nil), true, true},
		{"knock before its time", with(roomtest.Options{JoinRule: "knock", Version: "6"}, nil), false, false},
		{"restricted", with(roomtest.Options{}, roomtest.C{"join_rule": "restricted", "allow": allow}), true, false},
		{"restricted before its time", with(roomtest.Options{Version: "7"}, roomtest.C{"join_rule": "restricted", "allow": allow}), false, false},
		{"knock_restricted", with(roomtest.Options{}, roomtest.C{"join_rule": "knock_restricted", "allow": allow}), true, true},
		{"world readable", with(roomtest.Options{Visibility: "world_readable"}, nil), true, true},
		{"private", with(roomtest.Options{JoinRule: "private"}, nil), false, false},
		{"rules of no meaning", with(roomtest.Options{}, roomtest.C{"join_rule": 1, "allow": "x"}), false, false},
	} {
		tc.room.Alias(matrix.RoomAlias(fmt.Sprintf("#%d:example.org", tc.room.NID)))
		for _, path := range []string{
			"/_matrix/client/v1/room_summary/" + esc(tc.room.ID),
			"/_matrix/client/v1/room_summary/" + esc(fmt.Sprintf("#%d:example.org", tc.room.NID)),
			"/_matrix/client/unstable/im.nheko.summary/summary/" + esc(tc.room.ID),
			"/_matrix/client/unstable/im.nheko.summary/rooms/" + esc(tc.room.ID) + "/summary",
		} {
			for u, may := range map[matrix.UserID]bool{alice: true, bob: true, carol: tc.carol, stranger: tc.stranger} {
				if !may {
					w.Refused(u, path, 404, "M_NOT_FOUND")
					continue
				}
				var got room
				w.Get(u, path, &got)
				if got.ID != tc.room.ID || got.Version != string(tc.room.Version) || got.Joined != 1 {
					t.Errorf("%s as %s: %+v", tc.name, u, got)
				}
				if want := map[matrix.UserID]string{alice: "join", bob: "invite"}[u]; got.Membership != want {
					t.Errorf("%s as %s: membership %q", tc.name, u, got.Membership)
				}
			}
		}
		// The same rules hold for hierarchies.
		for u, may := range map[matrix.UserID]bool{alice: true, bob: true, carol: tc.carol, stranger: tc.stranger} {
			path := "/_matrix/client/v1/rooms/" + esc(tc.room.ID) + "/hierarchy"
			if !may {
				w.Refused(u, path, 403, "M_FORBIDDEN")
				continue
			}
			var got rooms
			w.Get(u, path, &got)
			if len(got.Rooms) != 1 || got.Rooms[0].ID != tc.room.ID || got.Rooms[0].Children == nil {
				t.Errorf("%s as %s: %+v", tc.name, u, got)
			}
		}
		// Who is banned cannot come in.
		tc.room.Ban(stranger)
		if tc.name != "world readable" {
			w.Refused(stranger, "/_matrix/client/v1/room_summary/"+esc(tc.room.ID), 404, "M_NOT_FOUND")
		}
	}
	w.Refused(alice, "/_matrix/client/v1/room_summary/"+esc("#none:example.org"), 404, "M_NOT_FOUND")
	w.Refused(alice, "/_matrix/client/v1/room_summary/nonsense", 400, "M_INVALID_PARAM")
	w.Refused("", "/_matrix/client/v1/room_summary/"+esc(club.ID), 401, "M_MISSING_TOKEN")
	w.Refused(alice, "/_matrix/client/v1/rooms/"+esc("!none:example.org")+"/hierarchy", 403, "M_FORBIDDEN")
}

func TestSummaryFields(t *testing.T) {
	w := open(t)
	r := w.Room(alice, roomtest.Options{Name: "n"})
	r.State(alice, "m.room.encryption", "", roomtest.C{"algorithm": "m.megolm.v1.aes-sha2"})
	r.State(alice, "m.room.join_rules", "", roomtest.C{"join_rule": "restricted", "allow": []any{
		roomtest.C{"type": "m.room_membership", "room_id": "!a:b"}}})
	r.State(alice, "m.room.topic", "", roomtest.C{"topic": "plain"})
	var got room
	w.Get(alice, "/_matrix/client/v1/room_summary/"+esc(r.ID), &got)
	no := false
	want := room{ID: r.ID, Name: "n", Topic: "plain", JoinRule: "restricted", Joined: 1, WorldReadable: &no, GuestCanJoin: &no,
		Allowed: []matrix.RoomID{"!a:b"}, Encryption: "m.megolm.v1.aes-sha2", Version: "12", Membership: "join"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
