package clientapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"allmende/clientapi/api"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/pushrules"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
)

func TestTags(t *testing.T) {
	e := newEdge(t)
	anna, bert := e.person("anna"), e.person("bert")
	const tags = "/v3/user/@anna:example.org/rooms/!r:example.org/tags"
	anna.do("GET", tags, nil).ok(`{"tags":{}}`)
	anna.do("PUT", tags+"/m.favourite", `{"order":0.25,"more":[1]}`).ok("{}")
	anna.do("PUT", tags+"/u.with%2Fslash", nil).ok("{}")
	anna.do("GET", tags, nil).ok(`{"tags":{"m.favourite":{"order":0.25,"more":[1]},"u.with/slash":{}}}`)
	anna.do("GET", "/v3/user/@anna:example.org/rooms/!r:example.org/account_data/m.tag", nil).
		ok(`{"tags":{"m.favourite":{"order":0.25,"more":[1]},"u.with/slash":{}}}`)
	anna.do("DELETE", tags+"/m.favourite", nil).ok("{}")
	anna.do("DELETE", tags+"/never", nil).ok("{}")
	anna.do("GET", tags, nil).ok(`{"tags":{"u.with/slash":{}}}`)

	anna.do("PUT", tags+"/x", `{"order":"0.5"}`).fails(400, "M_BAD_JSON")
	anna.do("PUT", tags+"/x", `{"order":1.5}`).fails(400, "M_INVALID_PARAM")
	anna.do("PUT", tags+"/"+strings.Repeat("x", 256), `{}`).fails(400, "M_INVALID_PARAM")
	bert.do("GET", tags, nil).fails(403, "M_FORBIDDEN")
	bert.do("PUT", tags+"/x", "{}").fails(403, "M_FORBIDDEN")
	bert.do("DELETE", tags+"/x", nil).fails(403, "M_FORBIDDEN")
	anna.do("GET", "/v3/user/@anna:example.org/rooms/r/tags", nil).fails(400, "M_INVALID_PARAM")
}

// Two devices that tag at the same time both succeed.
func TestTagsConcurrently(t *testing.T) {
	e := newEdge(t)
	anna := e.person("anna")
	var g errgroup.Group
	for i := range 8 {
		g.Go(func() error {
			if r := anna.do("PUT", fmt.Sprintf("/v3/user/@anna:example.org/rooms/!r:example.org/tags/u.%d", i), "{}"); r.status != 200 {
				return fmt.Errorf("%s", r.raw)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	var got struct{ Tags map[string]json.RawMessage }
	anna.do("GET", "/v3/user/@anna:example.org/rooms/!r:example.org/tags", nil).ok("").into(&got)
	if len(got.Tags) != 8 {
		t.Errorf("%d tags are left of 8", len(got.Tags))
	}
}

func TestFilters(t *testing.T) {
	e := newEdge(t)
	anna, bert := e.person("anna"), e.person("bert")
	const filters = "/v3/user/@anna:example.org/filter"
	const full = `{"room":{"state":{"types":["m.room.*"],"not_rooms":["!a:b"],"lazy_load_members":true},"timeline":{"limit":10,
		"not_senders":["@spam:example.com"],"unread_thread_notifications":true},"include_leave":true},
		"presence":{"types":["m.presence"]},"event_format":"client","event_fields":["type"],"org.example":{"kept":1}}`
	create := func(p *person, body string) string {
		t.Helper()
		var out struct {
			ID string `json:"filter_id"`
		}
		p.do("POST", "/v3/user/"+string(p.id)+"/filter", body).ok("").into(&out)
		if out.ID == "" || strings.HasPrefix(out.ID, "{") {
			t.Fatalf("filter id %q", out.ID)
		}
		return out.ID
	}
	id, other := create(anna, full), create(anna, `{}`)
	if id == other || create(anna, full) != id {
		t.Error("a filter does not have one id of its own")
	}
	anna.do("GET", filters+"/"+id, nil).ok(full)
	anna.do("GET", filters+"/nope", nil).fails(404, "M_NOT_FOUND")
	bert.do("GET", filters+"/"+id, nil).fails(403, "M_FORBIDDEN")
	bert.do("POST", filters, "{}").fails(403, "M_FORBIDDEN")
	bert.do("GET", "/v3/user/@bert:example.org/filter/"+id, nil).fails(404, "M_NOT_FOUND")

	for body, code := range map[string]string{
		`[]`:                                   "M_BAD_JSON",
		`{`:                                    "M_NOT_JSON",
		`{"room":[]}`:                          "M_BAD_JSON",
		`{"room":{"timeline":{"limit":"10"}}}`: "M_BAD_JSON",
		`{"room":{"timeline":{"limit":1.5}}}`:  "M_BAD_JSON",
		`{"room":{"timeline":{"limit":-1}}}`:   "M_INVALID_PARAM",
		`{"room":{"state":{"types":"m.room.*"}}}`:    "M_BAD_JSON",
		`{"room":{"state":{"types":[1]}}}`:           "M_BAD_JSON",
		`{"room":{"rooms":["room"]}}`:                "M_INVALID_PARAM",
		`{"room":{"ephemeral":{"not_rooms":["x"]}}}`: "M_INVALID_PARAM",
		`{"presence":{"senders":["anna"]}}`:          "M_INVALID_PARAM",
		`{"event_format":"csv"}`:                     "M_INVALID_PARAM",
		`{"event_fields":"type"}`:                    "M_BAD_JSON",
		`{"room":{"include_leave":"yes"}}`:           "M_BAD_JSON",
	} {
		r := anna.do("POST", filters, body)
		if r.status != 400 || !strings.Contains(string(r.raw), code) {
			t.Errorf("%s: %d %s, want %s", body, r.status, r.raw, code)
		}
	}
	got, err := bus.Call(t.Context(), e.bus, api.Filter, api.FilterReq{AccountNID: anna.account, FilterID: id})
	if err != nil || !sameJSON(got.Filter, []byte(full)) {
		t.Errorf("%s, %v", got.Filter, err)
	}
	if _, err := bus.Call(t.Context(), e.bus, api.Filter, api.FilterReq{AccountNID: bert.account, FilterID: id}); !errors.Is(err, matrix.NotFound("")) {
		t.Errorf("another's filter: %v", err)
	}
}

func TestPushRules(t *testing.T) {
	e := newEdge(t)
	anna := e.person("anna")
	const global = "/v3/pushrules/global"
	defaults, err := json.Marshal(pushrules.Defaults(anna.id))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v3/pushrules", "/v3/pushrules/"} {
		anna.do("GET", path, nil).ok(`{"global":` + string(defaults) + `}`)
	}
	for _, path := range []string{global, global + "/"} {
		anna.do("GET", path, nil).ok(string(defaults))
	}
	e.as("", "GET", "/v3/pushrules/", nil).fails(401, "M_MISSING_TOKEN")

	anna.do("PUT", global+"/content/cake", `{"pattern":"cake*lie","actions":["notify","dont_notify"]}`).ok("{}")
	anna.do("GET", global+"/content/cake", nil).
		ok(`{"rule_id":"cake","default":false,"enabled":true,"pattern":"cake*lie","actions":["notify"]}`)
	anna.do("PUT", global+"/room/!r:example.org", `{"actions":[]}`).ok("{}")
	anna.do("PUT", global+"/override/one", `{"actions":["notify"],"conditions":[{"kind":"org.example","x":1}]}`).ok("{}")
	anna.do("PUT", global+"/override/two?after=one", `{"actions":[]}`).ok("{}")
	anna.do("PUT", global+"/override/three?before=two", `{"actions":[]}`).ok("{}")
	var set pushrules.Ruleset
	anna.do("GET", global+"/", nil).ok("").into(&set)
	var order []string
	for _, r := range set.Override[:5] {
		order = append(order, r.ID)
	}
	if diff := cmp.Diff([]string{".m.rule.master", "one", "three", "two", ".m.rule.suppress_notices"}, order); diff != "" {
		t.Error(diff)
	}
	anna.do("GET", global+"/override/one", nil).
		ok(`{"rule_id":"one","default":false,"enabled":true,"conditions":[{"kind":"org.example","x":1}],"actions":["notify"]}`)

	for _, rule := range []string{"/override/one", "/underride/.m.rule.message"} {
		anna.do("GET", global+rule+"/enabled", nil).ok(`{"enabled":true}`)
		anna.do("PUT", global+rule+"/enabled", `{"enabled":false}`).ok("{}")
		anna.do("GET", global+rule+"/enabled", nil).ok(`{"enabled":false}`)
		anna.do("GET", global+rule+"/actions", nil).ok(`{"actions":["notify"]}`)
		anna.do("PUT", global+rule+"/actions", `{"actions":["notify",{"set_tweak":"sound","value":"bing"}]}`).ok("{}")
		anna.do("GET", global+rule+"/actions", nil).ok(`{"actions":["notify",{"set_tweak":"sound","value":"bing"}]}`)
	}
	all := anna.do("GET", "/v3/pushrules/", nil).ok("")
	anna.do("GET", "/v3/user/@anna:example.org/account_data/m.push_rules", nil).ok(string(all.raw))
	items, _ := anna.changes(0, 0)
	if len(items) != 1 || !sameJSON(items[0].Content, all.raw) {
		t.Error("m.push_rules in the stream is not the ruleset:", summary(items))
	}

	anna.do("DELETE", global+"/override/two", nil).ok("{}")
	anna.do("GET", global+"/override/two", nil).fails(404, "M_NOT_FOUND")
	anna.do("DELETE", global+"/override/two", nil).fails(404, "M_NOT_FOUND")
	anna.do("DELETE", global+"/override/.m.rule.master", nil).fails(404, "M_NOT_FOUND")
	for _, suffix := range []string{"", "/enabled", "/actions"} {
		anna.do("GET", global+"/sender/nope"+suffix, nil).fails(404, "M_NOT_FOUND")
		anna.do("GET", global+"/wrong/one"+suffix, nil).fails(400, "M_INVALID_PARAM")
	}
	anna.do("PUT", global+"/sender/nope/enabled", `{"enabled":true}`).fails(404, "M_NOT_FOUND")
	anna.do("PUT", global+"/sender/nope/actions", `{"actions":[]}`).fails(404, "M_NOT_FOUND")
	anna.do("PUT", global+"/override/one/enabled", `{}`).fails(400, "M_MISSING_PARAM")
	anna.do("PUT", global+"/override/one/enabled", `{"enabled":"no"}`).fails(400, "M_BAD_JSON")
	anna.do("PUT", global+"/override/one/actions", `{}`).fails(400, "M_MISSING_PARAM")
	anna.do("PUT", global+"/override/one/actions", `{"actions":[7]}`).fails(400, "M_BAD_JSON")
	anna.do("PUT", global+"/override/.mine", `{"actions":[]}`).fails(400, "M_INVALID_PARAM")
	anna.do("PUT", global+"/override/a%2Fb", `{"actions":[]}`).fails(400, "M_INVALID_PARAM")
	anna.do("PUT", global+"/override/x", `{}`).fails(400, "M_MISSING_PARAM")
	anna.do("PUT", global+"/override/x?before=nope", `{"actions":[]}`).fails(400, "M_UNKNOWN")
	anna.do("PUT", global+"/override/x?after=.m.rule.master", `{"actions":[]}`).fails(400, "M_UNKNOWN")
	anna.do("PUT", global+"/content/x", `{"actions":[]}`).fails(400, "M_MISSING_PARAM")
}

func TestPushRulesOnTheBus(t *testing.T) {
	e := newEdge(t)
	anna, bert := e.person("anna"), e.person("bert")
	anna.do("PUT", "/v3/pushrules/global/room/!r:example.org", `{"actions":[]}`).ok("{}")
	resp, err := bus.Call(t.Context(), e.bus, api.PushRules, api.PushRulesReq{
		UserIDs: []matrix.UserID{anna.id, bert.id, "@nobody:example.org", "@anna:elsewhere.org"}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[matrix.UserID]api.UserPushRules{}
	for _, u := range resp.Users {
		got[u.UserID] = u
	}
	if len(got) != 2 || got[anna.id].AccountNID != anna.account || got[bert.id].AccountNID != bert.account || len(resp.Rest) != 0 {
		t.Fatalf("got %+v", resp)
	}
	muted := &pushrules.Event{RoomID: "!r:example.org", Sender: "@carl:example.org", Type: "m.room.message", Content: []byte(`{"body":"x"}`)}
	for user, want := range map[matrix.UserID]bool{anna.id: false, bert.id: true} {
		custom, err := pushrules.ParseCustom(got[user].Custom)
		if err != nil {
			t.Fatal(err)
		}
		if res := pushrules.Compile(user, custom).Evaluate(muted, pushrules.Member{}); res.Notify != want {
			t.Errorf("%s is notified: %t", user, res.Notify)
		}
	}
}

// Large sets of rules come in several replies, and none is lost.
func TestPushRulesOnTheBusArePaged(t *testing.T) {
	e := newEdge(t)
	want := map[matrix.UserID]bool{}
	var ask []matrix.UserID
	pattern := strings.Repeat("x", 1000)
	for i := range 6 {
		p := e.person(fmt.Sprintf("user%d", i))
		custom := &pushrules.Custom{}
		for j := range 50 {
			rule := pushrules.Rule{ID: fmt.Sprint(j), Pattern: &pattern, Actions: []json.RawMessage{}}
			if err := custom.Put(pushrules.Content, rule, "", ""); err != nil {
				t.Fatal(err)
			}
		}
		raw, err := custom.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.db.Exec(t.Context(), `INSERT INTO clientapi.account_data VALUES ($1, '', 'm.push_rules', $2, $3)`, p.account, raw, 10+i); err != nil {
			t.Fatal(err)
		}
		want[p.id], ask = true, append(ask, p.id)
	}
	for calls := 0; len(ask) > 0; calls++ {
		resp, err := bus.Call(t.Context(), e.bus, api.PushRules, api.PushRulesReq{UserIDs: ask})
		if err != nil || calls > 6 {
			t.Fatal(calls, err)
		}
		for _, u := range resp.Users {
			if !want[u.UserID] || len(u.Custom) < 50_000 {
				t.Errorf("%s came twice or without rules", u.UserID)
			}
			delete(want, u.UserID)
		}
		ask = resp.Rest
	}
	if len(want) > 0 {
		t.Errorf("%d users are missing", len(want))
	}
}
