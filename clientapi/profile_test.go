package clientapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"allmende/clientapi/api"
	"allmende/clientapi/store"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	rooms "allmende/roomserver/api"

	"github.com/google/go-cmp/cmp"
)

const annaProfile = "/v3/profile/@anna:example.org"

func TestProfile(t *testing.T) {
	e := newEdge(t, &neighbour{})
	anna, bert := e.person("anna"), e.person("bert")

	e.as("", "GET", annaProfile, nil).ok("{}")
	e.as("", "GET", annaProfile+"/displayname", nil).fails(404, "M_NOT_FOUND")
	anna.do("PUT", annaProfile+"/displayname", `{"displayname":"Änna"}`).ok("{}")
	anna.do("PUT", annaProfile+"/avatar_url", `{"avatar_url":"mxc://example.org/abc"}`).ok("{}")
	anna.do("PUT", annaProfile+"/m.tz", `{"m.tz":"Europe/Berlin"}`).ok("{}")
	anna.do("PUT", annaProfile+"/org.example.any-thing", `{"org.example.any-thing":{"a":[1.5,null]}}`).ok("{}")
	anna.do("PUT", annaProfile+"/org.example.null", `{"org.example.null":null}`).ok("{}")
	const all = `{"displayname":"Änna","avatar_url":"mxc://example.org/abc","m.tz":"Europe/Berlin","org.example.any-thing":{"a":[1.5,null]},"org.example.null":null}`
	e.as("", "GET", annaProfile, nil).ok(all)
	bert.do("GET", annaProfile+"/org.example.any-thing", nil).ok(`{"org.example.any-thing":{"a":[1.5,null]}}`)
	bert.do("GET", annaProfile+"/org.example.null", nil).ok(`{"org.example.null":null}`)
	e.as("", "GET", "/v3/profile/@bert:example.org", nil).ok("{}")

	resp, err := bus.Call(t.Context(), e.bus, api.Profile, api.ProfileReq{UserID: anna.id})
	if err != nil || string(resp.Fields["displayname"]) != `"Änna"` || len(resp.Fields) != 5 {
		t.Errorf("%s, %v", resp.Fields, err)
	}
	for _, nobody := range []matrix.UserID{"@nobody:example.org", "@anna:elsewhere.org"} {
		e.as("", "GET", "/v3/profile/"+string(nobody), nil).fails(404, "M_NOT_FOUND")
		e.as("", "GET", "/v3/profile/"+string(nobody)+"/displayname", nil).fails(404, "M_NOT_FOUND")
		if _, err := bus.Call(t.Context(), e.bus, api.Profile, api.ProfileReq{UserID: nobody}); !errors.Is(err, matrix.NotFound("")) {
			t.Errorf("%s: %v", nobody, err)
		}
	}
	e.as("", "GET", "/v3/profile/anna", nil).fails(400, "M_INVALID_PARAM")

	const unstable = "/unstable/uk.tcpip.msc4133/profile/@anna:example.org"
	anna.do("PUT", unstable+"/org.example.x", `{"org.example.x":1}`).ok("{}")
	e.as("", "GET", unstable+"/org.example.x", nil).ok(`{"org.example.x":1}`)
	anna.do("DELETE", unstable+"/org.example.x", nil).ok("{}")
	e.as("", "GET", unstable, nil).ok(all)

	anna.do("DELETE", annaProfile+"/displayname", nil).ok("{}")
	anna.do("DELETE", annaProfile+"/displayname", nil).ok("{}")
	anna.do("DELETE", annaProfile+"/org.example.null", nil).ok("{}")
	anna.do("PUT", annaProfile+"/avatar_url", `{"avatar_url":""}`).ok("{}") // as older clients remove it
	e.as("", "GET", annaProfile, nil).ok(`{"m.tz":"Europe/Berlin","org.example.any-thing":{"a":[1.5,null]}}`)
}

func TestProfileRefusals(t *testing.T) {
	e := newEdge(t, &neighbour{})
	anna, bert := e.person("anna"), e.person("bert")
	bert.do("PUT", annaProfile+"/displayname", `{"displayname":"x"}`).fails(403, "M_FORBIDDEN")
	bert.do("DELETE", annaProfile+"/displayname", nil).fails(403, "M_FORBIDDEN")
	e.as("", "PUT", annaProfile+"/displayname", `{"displayname":"x"}`).fails(401, "M_MISSING_TOKEN")
	for _, c := range []struct{ field, body, code string }{
		{"displayname", `{}`, "M_MISSING_PARAM"},
		{"displayname", `{"avatar_url":"x"}`, "M_MISSING_PARAM"},
		{"displayname", `{"displayname":null}`, "M_BAD_JSON"},
		{"displayname", `{"displayname":1}`, "M_BAD_JSON"},
		{"displayname", `{"displayname":"` + strings.Repeat("ü", 257) + `"}`, "M_INVALID_PARAM"},
		{"displayname", `{`, "M_NOT_JSON"},
		{"displayname", `[]`, "M_BAD_JSON"},
		{"avatar_url", `{"avatar_url":"https://example.org/a"}`, "M_INVALID_PARAM"},
		{"avatar_url", `{"avatar_url":"mxc://` + strings.Repeat("x", 1000) + `"}`, "M_INVALID_PARAM"},
		{"m.tz", `{"m.tz":7}`, "M_BAD_JSON"},
		{"Upper.case", `{"Upper.case":1}`, "M_INVALID_PARAM"},
		{"nodot", `{"nodot":1}`, "M_INVALID_PARAM"},
		{"1.digit", `{"1.digit":1}`, "M_INVALID_PARAM"},
		{"a.b%20c", `{"a.b c":1}`, "M_INVALID_PARAM"},
		{"a." + strings.Repeat("x", 254), `{}`, "M_KEY_TOO_LARGE"},
		{"a.b", `{"a.b":"` + strings.Repeat("x", 64<<10) + `"}`, "M_PROFILE_TOO_LARGE"},
	} {
		anna.do("PUT", annaProfile+"/"+c.field, c.body).fails(400, c.code)
	}
	anna.do("DELETE", annaProfile+"/Upper", nil).fails(400, "M_INVALID_PARAM")
	anna.do("PUT", annaProfile+"/displayname", `{"displayname":"`+strings.Repeat("ü", 256)+`"}`).ok("{}")
}

// The profile may have 64 KiB as a whole; a field that is replaced does not count twice.
func TestProfileSize(t *testing.T) {
	e := newEdge(t, &neighbour{})
	anna := e.person("anna")
	put := func(field string, n int) result {
		return anna.do("PUT", annaProfile+"/"+field, fmt.Sprintf(`{%q: "%s"}`, field, strings.Repeat("x", n)))
	}
	put("a.a", 40_000).ok("{}")
	put("a.b", 30_000).fails(400, "M_PROFILE_TOO_LARGE")
	put("a.a", 60_000).ok("{}")
	put("a.a", 10).ok("{}")
	put("a.b", 30_000).ok("{}")
	// {"a.a":"…10…","a.b":"…30000…","a.c":"…"} to the byte.
	rest := 64<<10 - len(`{"a.a":"","a.b":"","a.c":"",`) - 10 - 30_000 - len(`}`)
	put("a.c", rest+2).fails(400, "M_PROFILE_TOO_LARGE")
	put("a.c", rest).ok("{}")
}

// shown is a room server that remembers what rooms show.
type shown struct {
	mu       sync.Mutex
	profiles map[matrix.RoomID]rooms.Profile
	changed  chan struct{} // one value after each change
}

func newShown() *shown {
	return &shown{profiles: map[matrix.RoomID]rooms.Profile{}, changed: make(chan struct{}, 1000)}
}

func (s *shown) show(req rooms.UpdateProfileReq) (rooms.EventResp, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.profiles[req.RoomID] = req.Profile
	s.changed <- struct{}{}
	return rooms.EventResp{EventID: "$event"}, nil
}

// await waits until all rooms show the profile and no job is left.
func (s *shown) await(e *edge, want rooms.Profile, ids ...matrix.RoomID) {
	e.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		all := !slices.ContainsFunc(ids, func(id matrix.RoomID) bool { return s.profiles[id] != want })
		got := fmt.Sprint(s.profiles)
		s.mu.Unlock()
		if all && query[int](e.env, "SELECT count(*) FROM clientapi.jobs") == 0 {
			return
		}
		select {
		case <-deadline:
			e.t.Fatalf("rooms show %s, want %+v", got, want)
		case <-s.changed:
		case <-time.After(10 * time.Millisecond): // the job's own end is not told
		}
	}
}

func TestProfileReachesRooms(t *testing.T) {
	s := newShown()
	ids := []matrix.RoomID{"!a:example.org", "!b:example.org", "!c:example.org"}
	n := &neighbour{joined: ids, show: func(req rooms.UpdateProfileReq) (rooms.EventResp, error) {
		if req.RoomID == "!b:example.org" {
			_, _ = s.show(req)
			return rooms.EventResp{}, matrix.Forbidden("banned just now") // must not keep the others waiting
		}
		return s.show(req)
	}}
	e := newEdge(t, n)
	anna := e.person("anna")
	anna.do("PUT", annaProfile+"/displayname", `{"displayname":"Anna"}`).ok("{}")
	s.await(e, rooms.Profile{DisplayName: "Anna"}, ids...)
	anna.do("PUT", annaProfile+"/avatar_url", `{"avatar_url":"mxc://example.org/a"}`).ok("{}")
	s.await(e, rooms.Profile{DisplayName: "Anna", AvatarURL: "mxc://example.org/a"}, ids...)
	anna.do("DELETE", annaProfile+"/displayname", nil).ok("{}")
	s.await(e, rooms.Profile{AvatarURL: "mxc://example.org/a"}, ids...)

	n.take()
	anna.do("PUT", annaProfile+"/m.tz", `{"m.tz":"Europe/Berlin"}`).ok("{}")                   // rooms do not show it
	anna.do("PUT", annaProfile+"/avatar_url", `{"avatar_url":"mxc://example.org/a"}`).ok("{}") // the same as before
	anna.do("DELETE", annaProfile+"/displayname", nil).ok("{}")
	if jobs := query[int](e.env, "SELECT count(*) FROM clientapi.jobs"); jobs != 0 || len(n.take()) != 0 {
		t.Error("rooms are told of what they do not show")
	}
}

// A profile that changes while rooms are being told ends up the same everywhere.
func TestProfileChangesMeanwhile(t *testing.T) {
	s := newShown()
	ids := []matrix.RoomID{"!a:example.org", "!b:example.org"}
	var e *edge
	var anna *person
	var once sync.Once
	e = newEdge(t, &neighbour{joined: ids, show: func(req rooms.UpdateProfileReq) (rooms.EventResp, error) {
		once.Do(func() {
			anna.do("PUT", annaProfile+"/displayname", `{"displayname":"Second"}`)
			// Whoever else would run the second job is too slow: the first run must notice by itself.
			e.exec("DELETE FROM clientapi.jobs")
		})
		return s.show(req)
	}})
	anna = e.person("anna")
	anna.do("PUT", annaProfile+"/displayname", `{"displayname":"First"}`).ok("{}")
	s.await(e, rooms.Profile{DisplayName: "Second"}, ids...)
}

// The wish to show a profile is a row: a server that stops before it has told the rooms tells them after its next start.
func TestProfileSurvivesRestart(t *testing.T) {
	s := newShown()
	e := stoppedEdge(t)
	anna := e.person("anna")
	err := e.store.Tx(t.Context(), func(q *store.Queries) error {
		if err := q.SetProfileField(t.Context(), anna.account, "displayname", json.RawMessage(`"Anna"`)); err != nil {
			return err
		}
		return q.AddJob(t.Context(), "profile", anna.account)
	})
	if err != nil {
		t.Fatal(err)
	}
	e.join(&neighbour{joined: []matrix.RoomID{"!a:example.org"}, show: s.show})
	e.url = e.instance()
	s.await(e, rooms.Profile{DisplayName: "Anna"}, "!a:example.org")
}

// A room server that is away postpones the job instead of losing it.
func TestProfileJobIsKept(t *testing.T) {
	failed := make(chan struct{}, 10)
	e := newEdge(t, &neighbour{joined: []matrix.RoomID{"!a:example.org"}, show: func(rooms.UpdateProfileReq) (rooms.EventResp, error) {
		failed <- struct{}{}
		return rooms.EventResp{}, matrix.Unavailable(time.Second)
	}})
	anna := e.person("anna")
	anna.do("PUT", annaProfile+"/displayname", `{"displayname":"Anna"}`).ok("{}")
	<-failed
	if diff := cmp.Diff(1, query[int](e.env, "SELECT count(*) FROM clientapi.jobs WHERE kind = 'profile'")); diff != "" {
		t.Error(diff)
	}
}
