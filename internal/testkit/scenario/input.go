package scenario

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"allmende/internal/httpx"
	"allmende/internal/run"
)

var inputScenarios = []Scenario{
	{"requests without a valid token are refused on every route", tokensRefused},
	{"bodies that are wrong are refused on every route", bodiesRefused},
	{"paths that are wrong are refused on every route", pathsRefused},
	{"queries that are wrong are refused on every route", queriesRefused},
	{"unknown routes and wrong methods are refused", routesRefused},
}

// routes are those of all services, in an order that stays.
func routes() []httpx.Route {
	var all []httpx.Route
	for _, table := range run.Tables() {
		all = append(all, table...)
	}
	slices.SortFunc(all, func(a, b httpx.Route) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
	return all
}

// stage is somebody with something of everything a path can name.
type stage struct {
	t    testing.TB
	h    *Home
	user *User
	// What is there before and must be there after.
	name, room, event string
}

func newStage(t testing.TB, h *Home) *stage {
	s := &stage{t: t, h: h, user: h.Register(t, "mallory"), name: "Mallory"}
	s.user.Must("PUT", Path("/profile/%s/displayname", s.user.ID), M{"displayname": s.name})
	s.fresh()
	return s
}

// fresh gives the stage another room: some routes change or leave it.
func (s *stage) fresh() {
	s.room = s.user.CreateRoom(M{"preset": "private_chat"})
	s.event = s.user.Say(s.room, "hello")
}

// values are what the names in paths stand for.
func (s *stage) values() map[string]string {
	return map[string]string{
		"userId": s.user.ID, "roomId": s.room, "roomIdOrAlias": s.room, "eventId": s.event,
		"roomAlias": "#" + Unique("nowhere") + ":" + s.h.ServerName, "eventType": "org.example.type", "stateKey": "key",
		"txnId": Unique("t"), "type": "org.example.type", "filterId": "none", "deviceId": "NOBODYS", "keyName": "org.example.key",
		"kind": "override", "ruleId": "org.example.rule", "tag": "u.tag", "relType": "m.thread", "receiptType": "m.read",
	}
}

// path fills the template of a route; replace, when not empty, is a name whose
// value, already escaped, is to be another.
func (s *stage) path(r httpx.Route, replace, value string) string {
	s.t.Helper()
	values := s.values()
	parts := strings.Split(r.Path, "/")
	for i, p := range parts {
		name, isName := strings.CutPrefix(strings.TrimRight(p, "?.}"), "{")
		switch {
		case !isName:
		case name == replace:
			parts[i] = value
		case values[name] == "":
			s.t.Fatalf("no value for {%s} in %s: give values one", name, r.Path)
		default:
			parts[i] = Seg(values[name])
		}
	}
	return strings.Join(parts, "/")
}

func names(r httpx.Route) []string {
	var out []string
	for p := range strings.SplitSeq(r.Path, "/") {
		if name, ok := strings.CutPrefix(strings.TrimRight(p, "?.}"), "{"); ok {
			out = append(out, name)
		}
	}
	return out
}

// do sends a request and holds the answer against what every answer must be:
// success, or an error of the client's with its code.
func (s *stage) do(method, path string, body any) Answer {
	s.t.Helper()
	a := s.user.Do(method, path, body)
	s.judge(method, path, a)
	if strings.Contains(path, "/logout") && a.Status == http.StatusOK {
		s.user = s.h.Login(s.t, s.user.ID)
	}
	return a
}

func (s *stage) judge(method, path string, a Answer) {
	s.t.Helper()
	switch {
	case a.Status >= 500, a.Status < 200, a.Status/100 == 3:
		s.t.Errorf("%s %s answered %d %s", method, brief(path), a.Status, brief(string(a.Raw)))
	case a.Status >= 400 && a.Errcode() == "" && a.Body["flows"] == nil && !strings.Contains(path, "/fallback/"):
		s.t.Errorf("%s %s answered %d without a code: %s", method, brief(path), a.Status, brief(string(a.Raw)))
	}
}

func brief(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}

// unharmed checks that the one whose token was used still has what they had.
func (s *stage) unharmed() {
	s.t.Helper()
	if got := s.user.Must("GET", Path("/profile/%s/displayname", s.user.ID), nil)["displayname"]; got != s.name {
		s.t.Errorf("the display name became %v", got)
	}
	m := s.user.Must("GET", Path("/user/%s/account_data/m.push_rules", s.user.ID), nil)
	if At(m, "global", "override", 0, "enabled") != false {
		s.t.Errorf("push rules: %v", m)
	}
	s.user.Must("GET", "/_matrix/client/v3/sync", nil)
}

func tokensRefused(t *testing.T, h *Home) {
	s := newStage(t, h)
	c := h.Client(t)
	for _, r := range routes() {
		path := s.path(r, "", "")
		for what, header := range map[string][]string{
			"no token":          nil,
			"a token in query":  nil,
			"a made-up token":   {"Authorization", "Bearer almt_" + strings.Repeat("x", 43)},
			"another scheme":    {"Authorization", "Basic " + s.user.Token},
			"an enormous token": {"Authorization", "Bearer " + strings.Repeat("x", 20000)},
		} {
			send := path
			if what == "a token in query" {
				send += "?access_token=" + s.user.Token
			}
			a := c.Do(r.Method, send, M{}, header...)
			s.judge(r.Method, send, a)
			want := "M_MISSING_TOKEN"
			if len(header) > 0 && strings.HasPrefix(header[1], "Bearer") {
				want = "M_UNKNOWN_TOKEN"
			}
			refused := r.Auth == httpx.Required || r.Auth == httpx.Optional && want == "M_UNKNOWN_TOKEN"
			if refused && (a.Status != 401 || a.Errcode() != want) {
				t.Errorf("%s %s with %s: want 401 %s, got %d %s", r.Method, r.Path, what, want, a.Status, brief(string(a.Raw)))
			}
		}
	}
	s.unharmed()
}

// bodyless are the routes that take no body, and so do not look at one.
func bodyless(r httpx.Route) bool {
	switch {
	case r.Method == "GET" || r.Method == "DELETE" && !strings.Contains(r.Path, "/devices/"):
		return true
	case strings.HasSuffix(r.Path, "/forget") || strings.HasSuffix(r.Path, "/logout") || strings.HasSuffix(r.Path, "/logout/all"):
		return true
	case strings.Contains(r.Path, "/3pid") || strings.HasSuffix(r.Path, "/requestToken"):
		return true // refused whatever is asked
	}
	return strings.Contains(r.Path, "/fallback/") // a form
}

func bodiesRefused(t *testing.T, h *Home) {
	s := newStage(t, h)
	deep := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	for _, r := range routes() {
		if r.Method == "GET" {
			continue
		}
		s.fresh()
		path := s.path(r, "", "")
		before := s.stored(r, path)
		for _, tc := range []struct {
			what, body string
			status     int
			codes      []string
		}{
			{"no JSON", "hello", 400, []string{"M_NOT_JSON"}},
			{"half JSON", `{"a":{"b":1}`, 400, []string{"M_NOT_JSON"}},
			{"two bodies", `{}{}`, 400, []string{"M_NOT_JSON"}},
			{"a list", `[{}]`, 400, []string{"M_BAD_JSON"}},
			{"a string", `"x"`, 400, []string{"M_BAD_JSON"}},
			{"a number", `1`, 400, []string{"M_BAD_JSON"}},
			{"null", `null`, 400, []string{"M_BAD_JSON"}},
			{"a key twice", `{"a":1,"a":2}`, 400, []string{"M_BAD_JSON", "M_NOT_JSON"}},
			{"invalid UTF-8", "{\"a\":\"\xff\xfe\"}", 400, []string{"M_BAD_JSON", "M_NOT_JSON"}},
			{"200 levels", deep, 400, []string{"M_BAD_JSON", "M_NOT_JSON"}},
			{"a list of 200 levels", `{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}", 400, []string{"M_BAD_JSON", "M_NOT_JSON"}},
			{"2 MiB", `{"a":"` + strings.Repeat("x", 2<<20) + `"}`, 413, []string{"M_TOO_LARGE"}},
		} {
			a := s.do(r.Method, path, []byte(tc.body))
			if !bodyless(r) && (a.Status != tc.status || !slices.Contains(tc.codes, a.Errcode())) {
				t.Errorf("%s %s with %s: want %d %v, got %d %s", r.Method, r.Path, tc.what, tc.status, tc.codes, a.Status, brief(string(a.Raw)))
			}
		}
		if after := s.stored(r, path); after != before && r.Method == "PUT" {
			t.Errorf("%s %s: bodies that were refused changed %s to %s", r.Method, r.Path, before, after)
		}
		s.unknownFields(r)
		s.wrongTypes(r)
	}
	s.unharmed()
}

// stored is what can be read under the path that a route writes.
func (s *stage) stored(r httpx.Route, path string) string {
	for _, other := range routes() {
		if other.Path == r.Path && other.Method == "GET" {
			return string(s.do("GET", path, nil).Raw)
		}
	}
	return ""
}

// unknownFields checks that fields nobody knows change nothing.
func (s *stage) unknownFields(r httpx.Route) {
	s.t.Helper()
	s.fresh()
	without := s.do(r.Method, s.path(r, "", ""), M{})
	s.fresh()
	with := s.do(r.Method, s.path(r, "", ""), M{"org.example.unknown": M{"a": []any{1, "x", nil}}})
	if without.Status != with.Status || without.Errcode() != with.Errcode() {
		s.t.Errorf("%s %s: {} is answered %d %s, with an unknown field %d %s", r.Method, r.Path,
			without.Status, brief(string(without.Raw)), with.Status, brief(string(with.Raw)))
	}
}

// fields are names that bodies of the specification use.
var fields = []string{
	"auth", "type", "identifier", "user", "password", "new_password", "token", "refresh_token", "device_id", "devices",
	"display_name", "displayname", "avatar_url", "username", "logout_devices", "inhibit_login", "reason", "user_id",
	"room_id", "room_version", "new_version", "preset", "invite", "invite_3pid", "initial_state", "creation_content",
	"power_level_content_override", "visibility", "room_alias_name", "name", "topic", "is_direct", "body", "msgtype",
	"membership", "users", "users_default", "m.relates_to", "m.fully_read", "m.read", "m.read.private", "thread_id",
	"typing", "timeout", "presence", "status_msg", "enabled", "actions", "conditions", "pattern", "order", "filter",
	"limit", "since", "room", "event_fields", "servers", "org.example.key", "via", "aliases", "alias", "join_rule", "erase",
}

// wrongTypes sends each known field with each type of JSON: nothing may break.
func (s *stage) wrongTypes(r httpx.Route) {
	s.t.Helper()
	for _, value := range []any{nil, true, -1, 1.5, 1e300, "\u0000x", strings.Repeat("y", 2000), []any{M{}, 1, nil}, M{"a": nil, "type": 1, "session": M{}}} {
		all := M{}
		for _, f := range fields {
			all[f] = value
		}
		s.do(r.Method, s.path(r, "", ""), all)
	}
	s.fresh()
}

func pathsRefused(t *testing.T, h *Home) {
	s := newStage(t, h)
	long := strings.Repeat("a", 300)
	for _, r := range routes() {
		s.fresh()
		for _, name := range names(r) {
			for _, bad := range []string{"%00", "a%00b", "%FF", "%C3%28"} {
				a := s.do(r.Method, s.path(r, name, bad), M{})
				if a.Status != 400 || a.Errcode() != "M_INVALID_PARAM" {
					t.Errorf("%s %s with %s for %s: want 400 M_INVALID_PARAM, got %d %s", r.Method, r.Path, bad, name, a.Status, brief(string(a.Raw)))
				}
			}
			for _, odd := range []string{
				"%01%02%7F", "%F0%9F%A6%84", "%20", ".", "..", "%2F", "%2e%2e%2F", "-1", "99999999999999999999", "%E2%80%AE", "%ED%A0%80",
				"!" + long + ":example.org", "@" + long + ":example.org", "%23" + long + ":example.org", "$" + long, long,
				strings.Repeat("b", 20000), "!", "@", "$", "%23", "!:", "@:", "%23:", "@a:b:c", "!a:[::1", "%27%3B--", "@:example.org",
			} {
				s.do(r.Method, s.path(r, name, odd), M{})
			}
		}
	}
	s.unharmed()
}

// parameters are names that queries of the specification use.
var parameters = []string{
	"limit", "from", "to", "dir", "since", "ts", "at", "filter", "membership", "not_membership", "timeout", "full_state",
	"set_presence", "max_depth", "suggested_only", "include", "recurse", "via", "server_name", "before", "after", "kind",
	"username", "token", "session", "user_id", "format", "use_state_after", "unknown",
}

func queriesRefused(t *testing.T, h *Home) {
	s := newStage(t, h)
	values := []string{
		"99999999999999999999999999", "\x00", "-1", "x", "", "9223372036854775807", "-9223372036854775808", "1e400", "NaN", "true",
		"\xff\xfe", "{", "[]", `{"room":7}`, strings.Repeat("{\"a\":", 101), "%", strings.Repeat("z", 1000), "s0_1", "s99999999999999999_1", "’;--",
	}
	for _, r := range routes() {
		s.fresh()
		path := s.path(r, "", "")
		for i, value := range values {
			all := url.Values{}
			for _, p := range parameters {
				all.Set(p, value)
				// One by one too: of many that are wrong, the first is answered.
				if r.Method == "GET" && i < 2 {
					s.do(r.Method, path+"?"+p+"="+url.QueryEscape(value), nil)
				}
			}
			all.Del("timeout") // a valid one may wait
			s.do(r.Method, path+"?"+all.Encode(), M{})
		}
		s.do(r.Method, path+"?limit=%zz&;;&=&&dir=%", M{})
	}
	s.unharmed()
}

func routesRefused(t *testing.T, h *Home) {
	s := newStage(t, h)
	for _, path := range []string{
		"/", "/nothing", "/_matrix", "/_matrix/", "/_matrix/client", "/_matrix/client/v3", "/_matrix/client/v3/", "/_matrix/client/v3/nothing",
		"/_matrix/client/v99/sync", "/_matrix/client/r0/sync", "/_matrix/client/v3/sync/", "/_matrix/client/v3//sync", "//_matrix/client/v3/sync",
		"/_matrix/client/v3/rooms", "/_matrix/client/v3/rooms//state", "/_matrix/client/v3/rooms/x/nothing", "/_matrix/client/v3/../v3/sync",
		"/_matrix/client/v3/%2E%2E/sync", "/_matrix/federation/v1/version", "/_synapse/admin/v1/users", "/metrics", "/debug/pprof/", "/.git/config", "/%00",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"} {
			a := s.user.Do(method, path, nil)
			if a.Status != 404 || method != "HEAD" && a.Errcode() != "M_UNRECOGNIZED" {
				t.Errorf("%s %s: want 404 M_UNRECOGNIZED, got %d %s", method, path, a.Status, brief(string(a.Raw)))
			}
		}
	}
	known := map[string][]string{}
	for _, r := range routes() {
		known[r.Path] = append(known[r.Path], r.Method)
	}
	for _, r := range routes() {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "PROPFIND"} {
			path := s.path(r, "", "")
			if matchesOther(method, path, r) || slices.Contains(known[r.Path], method) {
				continue
			}
			a := s.user.Do(method, path, nil)
			if a.Status != 405 || a.Errcode() != "M_UNRECOGNIZED" {
				t.Errorf("%s %s: want 405 M_UNRECOGNIZED, got %d %s", method, r.Path, a.Status, brief(string(a.Raw)))
			}
			if allow := a.Header.Get("Allow"); a.Status == 405 && !strings.Contains(allow, r.Method) && len(known[r.Path]) == 1 {
				t.Errorf("%s %s: Allow is %q", method, r.Path, allow)
			}
		}
	}
}

// matchesOther tells whether the path is another route's too, for this method.
func matchesOther(method, path string, than httpx.Route) bool {
	for _, r := range routes() {
		if r.Path != than.Path && r.Method == method && pattern(r).MatchString(path) {
			return true
		}
	}
	return false
}
