package scenario

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var profileScenarios = []Scenario{
	{"people show what they like of themselves", profileFields},
	{"rooms show a new name and picture", profileInRooms},
}

var pushRuleScenarios = []Scenario{
	{"people change their push rules", pushRules},
}

func profileFields(t *testing.T, h *Home) {
	anna, bert, c := h.Register(t, "anna"), h.Register(t, "bert"), h.Client(t)
	profile := Path("/profile/%s", anna.ID)
	fields := M{
		"displayname": "Anna von der Alm", "avatar_url": "mxc://example.org/anna", "m.tz": "Europe/Berlin",
		"org.example.pronouns": []any{M{"language": "de", "summary": "sie"}}, "org.example.lucky": 7.0,
	}
	for name, value := range fields {
		c.Refused("GET", profile+"/"+Seg(name), nil, 404, "M_NOT_FOUND")
		anna.Must("PUT", profile+"/"+Seg(name), M{name: value})
		if diff := cmp.Diff(M{name: value}, c.Must("GET", profile+"/"+Seg(name), nil)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(fields, c.Must("GET", profile, nil)); diff != "" {
		t.Errorf("profile: -want +got\n%s", diff)
	}
	anna.Must("DELETE", profile+"/m.tz", nil)
	anna.Must("DELETE", profile+"/m.tz", nil)
	anna.Must("PUT", profile+"/displayname", M{"displayname": ""})
	c.Refused("GET", profile+"/m.tz", nil, 404, "M_NOT_FOUND")
	c.Refused("GET", profile+"/displayname", nil, 404, "M_NOT_FOUND")

	bert.Refused("PUT", profile+"/displayname", M{"displayname": "x"}, 403, "M_FORBIDDEN")
	bert.Refused("DELETE", profile+"/displayname", nil, 403, "M_FORBIDDEN")
	c.Refused("PUT", profile+"/displayname", M{"displayname": "x"}, 401, "M_MISSING_TOKEN")
	c.Refused("GET", Path("/profile/%s", "@nobody:"+h.ServerName), nil, 404, "M_NOT_FOUND")
	c.Refused("GET", Path("/profile/%s", "@anna:elsewhere.example"), nil, 404, "M_NOT_FOUND")
	c.Refused("GET", Path("/profile/%s", "anna"), nil, 400, "M_INVALID_PARAM")
	anna.Refused("PUT", profile+"/displayname", M{}, 400, "M_MISSING_PARAM")
	anna.Refused("PUT", profile+"/displayname", M{"displayname": 7}, 400, "M_BAD_JSON")
	anna.Refused("PUT", profile+"/avatar_url", M{"avatar_url": "https://example.net/spy.png"}, 400, "M_INVALID_PARAM")
	anna.Refused("PUT", profile+"/displayname", M{"displayname": strings.Repeat("ü", 257)}, 400, "M_INVALID_PARAM")
	anna.Refused("PUT", profile+"/Loud", M{"Loud": 1}, 400, "M_INVALID_PARAM")
	long := "org.example." + strings.Repeat("k", 255)
	anna.Refused("PUT", profile+"/"+long, M{long: 1}, 400, "M_KEY_TOO_LARGE")
	anna.Refused("PUT", profile+"/org.example.big", M{"org.example.big": strings.Repeat("x", 65<<10)}, 400, "M_PROFILE_TOO_LARGE")
	anna.Refused("PUT", profile+"/org.example.big", M{"org.example.big": strings.Repeat("x", 200<<10)}, 413, "M_TOO_LARGE")
}

func profileInRooms(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	rooms := []string{anna.CreateRoom(M{"preset": "public_chat"}), anna.CreateRoom(M{"preset": "public_chat"})}
	for _, room := range rooms {
		bert.Join(room)
	}
	for _, change := range []M{
		{"displayname": "Anna"},
		{"displayname": "Anna", "avatar_url": "mxc://example.org/anna"},
		{"displayname": "Anna Alm", "avatar_url": "mxc://example.org/anna"},
		{"avatar_url": "mxc://example.org/anna"},
	} {
		for _, field := range []string{"displayname", "avatar_url"} {
			path := Path("/profile/%s/%s", anna.ID, field)
			if v, set := change[field]; set {
				anna.Must("PUT", path, M{field: v})
			} else {
				anna.Must("DELETE", path, nil)
			}
		}
		for _, room := range rooms {
			eventually(t, "the room shows the profile", func() bool {
				m := bert.Must("GET", Path("/rooms/%s/state/m.room.member/%s", room, anna.ID), nil)
				return m["membership"] == "join" && m["displayname"] == change["displayname"] && m["avatar_url"] == change["avatar_url"]
			})
		}
	}
	_, _ = bert.Until("", func(m M) bool {
		for _, room := range rooms {
			seen := false
			for _, list := range []string{"state", "timeline"} {
				for _, e := range Events(m, "rooms", "join", room, list, "events") {
					seen = seen || e["type"] == "m.room.member" && e["state_key"] == anna.ID && At(e, "content", "avatar_url") == "mxc://example.org/anna"
				}
			}
			if !seen {
				return false
			}
		}
		return true
	})
}

func pushRules(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	const all = "/_matrix/client/v3/pushrules/"
	_, since := anna.Until("", func(M) bool { return true })
	if At(anna.Must("GET", all, nil), "global", "override", 0, "rule_id") != ".m.rule.master" {
		t.Error("the master rule is not the first")
	}
	content := all + "global/content/"
	notify := M{"actions": []any{"notify"}, "pattern": "cheese"}
	anna.Must("PUT", content+"first", notify)
	anna.Must("PUT", content+"second", notify)
	anna.Must("PUT", content+"third?before=first", notify)
	anna.Must("PUT", content+"fourth?after=first", notify)
	var order []string
	for _, r := range Events(anna.Must("GET", all+"global/", nil), "content") {
		if r["default"] == false {
			order = append(order, r["rule_id"].(string))
		}
	}
	if diff := cmp.Diff([]string{"second", "third", "first", "fourth"}, order); diff != "" {
		t.Errorf("order: -want +got\n%s", diff)
	}
	anna.Must("PUT", content+"first/enabled", M{"enabled": false})
	anna.Must("PUT", content+"first/actions", M{"actions": []any{}})
	if got := anna.Must("GET", content+"first", nil); got["enabled"] != false || len(got["actions"].([]any)) != 0 || got["pattern"] != "cheese" {
		t.Errorf("rule: %v", got)
	}
	if got := anna.Must("GET", content+"first/enabled", nil)["enabled"]; got != false {
		t.Errorf("enabled: %v", got)
	}
	anna.Must("PUT", all+"global/override/.m.rule.master/enabled", M{"enabled": true})
	if got := anna.Must("GET", all+"global/override/.m.rule.master/actions", nil)["actions"]; got == nil {
		t.Errorf("actions: %v", got)
	}
	anna.Until(since, func(m M) bool {
		e := ofType(Events(m, "account_data", "events"), "m.push_rules")
		return At(e, "content", "global", "override", 0, "enabled") == true
	})
	anna.Must("DELETE", content+"first", nil)
	for _, method := range []string{"GET", "DELETE"} {
		anna.Refused(method, content+"first", nil, 404, "M_NOT_FOUND")
	}
	for _, what := range []string{"enabled", "actions"} {
		anna.Refused("GET", content+"first/"+what, nil, 404, "M_NOT_FOUND")
	}
	anna.Refused("PUT", content+"first/enabled", M{"enabled": true}, 404, "M_NOT_FOUND")
	anna.Refused("PUT", content+"first/actions", M{"actions": []any{}}, 404, "M_NOT_FOUND")
	anna.Refused("PUT", content+"second/enabled", M{}, 400, "M_MISSING_PARAM")
	anna.Refused("PUT", content+"fifth?before=nothing", notify, 400, "M_UNKNOWN")
	for _, bad := range []struct {
		path string
		body M
	}{
		{"global/content/.mine", notify},
		{"global/content/x", M{"actions": []any{"notify"}}},
		{"global/content/x", M{"pattern": "x"}},
		{"global/content/x", M{"actions": []any{7}, "pattern": "x"}},
		{"global/wish/x", notify},
		{"global/override/x", M{"actions": []any{}, "conditions": []any{7}}},
	} {
		if a := anna.Do("PUT", all+bad.path, bad.body); a.Status != 400 || a.Errcode() == "" {
			t.Errorf("PUT %s %v: %d %s", bad.path, bad.body, a.Status, a.Raw)
		}
	}
}
