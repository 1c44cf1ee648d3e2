package scenario

import (
	"net/url"
	"slices"
	"testing"
	"time"
)

// Query puts parameters behind a path.
func Query(path string, params ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(params); i += 2 {
		q.Add(params[i], params[i+1])
	}
	return path + "?" + q.Encode()
}

// V1 is Path for endpoints under /v1.
func V1(format string, segments ...string) string {
	return "/_matrix/client/v1" + Path(format, segments...)[len("/_matrix/client/v3"):]
}

// State is the content of a state event.
func (u *User) State(room, typ, key string) M {
	u.t.Helper()
	return u.Must("GET", Path("/rooms/%s/state/%s/%s", room, typ, key), nil)
}

// Event is one event as the user may read it.
func (u *User) Event(room, id string) M {
	u.t.Helper()
	return u.Must("GET", Path("/rooms/%s/event/%s", room, id), nil)
}

// Leave leaves a room.
func (u *User) Leave(room string) {
	u.t.Helper()
	u.Must("POST", Path("/rooms/%s/leave", room), M{})
}

// Act kicks, bans, unbans or invites.
func (u *User) Act(action, room, id string) {
	u.t.Helper()
	u.Must("POST", Path("/rooms/%s/"+action, room), M{"user_id": id})
}

// Sees syncs until an event stands in the timeline of a joined room.
func (u *User) Sees(since, room, id string, query ...string) (M, string) {
	u.t.Helper()
	return u.Until(since, func(m M) bool { return Find(Timeline(m, room), id) != nil }, query...)
}

// SeesJoined syncs from nothing until the user's own join is there.
func (u *User) SeesJoined(room string, query ...string) (M, string) {
	u.t.Helper()
	return u.Until("", func(m M) bool { return At(m, "rooms", "join", room) != nil }, query...)
}

// First syncs from nothing, again and again, until the answer satisfies ok: in a
// cluster another instance may know a little less.
func (u *User) First(ok func(M) bool, query ...string) (M, string) {
	u.t.Helper()
	for deadline := time.Now().Add(waitLimit); time.Now().Before(deadline); {
		if m := u.Sync("", 0, query...); ok(m) {
			since, _ := m["next_batch"].(string)
			return m, since
		}
	}
	u.t.Fatal("no first answer shows what was waited for")
	return nil, ""
}

// FirstSees is First until an event stands in the timeline of a joined room.
func (u *User) FirstSees(room, id string, query ...string) (M, string) {
	u.t.Helper()
	return u.First(func(m M) bool { return Find(Timeline(m, room), id) != nil }, query...)
}

// Timeline is a joined room's timeline in an answer of /sync.
func Timeline(m M, room string) []M { return Events(m, "rooms", "join", room, "timeline", "events") }

// IDs are the ids of events.
func IDs(events []M) []string {
	out := make([]string, 0, len(events))
	for _, e := range events {
		id, _ := e["event_id"].(string)
		out = append(out, id)
	}
	return out
}

// FindState is the event of a type and key in a list, or nil.
func FindState(events []M, typ, key string) M {
	for _, e := range events {
		if e["type"] == typ && e["state_key"] == key {
			return e
		}
	}
	return nil
}

// Keys are the state keys of the events of a type, sorted.
func Keys(events []M, typ string) []string {
	var out []string
	for _, e := range events {
		if key, ok := e["state_key"].(string); ok && e["type"] == typ {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// sorted is a sorted copy.
func sorted(list ...string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return out
}

// equal compares what was got with what was wanted, in words.
func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// same compares two lists, in words.
func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// group makes a room of an owner and joined members.
func group(owner *User, content M, members ...*User) string {
	owner.t.Helper()
	if content == nil {
		content = M{"preset": "public_chat"}
	}
	room := owner.CreateRoom(content)
	for _, m := range members {
		m.Join(room)
	}
	return room
}

// with adds entries to a copy of an object.
func with(m M, entries ...any) M {
	out := M{}
	for k, v := range m {
		out[k] = v
	}
	for i := 0; i+1 < len(entries); i += 2 {
		out[entries[i].(string)] = entries[i+1]
	}
	return out
}
