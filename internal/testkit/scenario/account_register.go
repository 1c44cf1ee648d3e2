package scenario

import (
	"strings"
	"testing"
)

var registerScenarios = []Scenario{
	{"people register", registerForms},
	{"a registration that is wrong is refused", registerRefused},
	{"stages of authentication come in every order", stagesInEveryOrder},
	{"a name is available or says why not", nameAvailable},
}

const register = "/_matrix/client/v3/register"

func dummy(session any) M { return M{"type": "m.login.dummy", "session": session} }

// challenged sends a request that has to be answered with flows, and answers the session.
func challenged(t testing.TB, c Client, body M) string {
	t.Helper()
	a := c.Do("POST", register, body)
	session, _ := a.Body["session"].(string)
	if a.Status != 401 || session == "" || At(a.Body, "flows", 0, "stages") == nil {
		t.Fatalf("want a challenge, got %d %s", a.Status, a.Raw)
	}
	return session
}

func registerForms(t *testing.T, h *Home) {
	c := h.Client(t)
	session := challenged(t, c, M{"password": Password})
	nameless := c.as(c.Must("POST", register, M{"password": Password, "auth": dummy(session)}))
	if !strings.HasSuffix(nameless.ID, ":"+h.ServerName) {
		t.Errorf("the server chose %s", nameless.ID)
	}
	name := Unique("carla")
	quiet := c.Must("POST", register, M{"username": strings.ToUpper(name), "password": Password, "inhibit_login": true, "auth": M{"type": "m.login.dummy"}})
	if quiet["user_id"] != "@"+name+":"+h.ServerName || quiet["access_token"] != nil || quiet["device_id"] != nil {
		t.Errorf("registered without a login: %v", quiet)
	}
	full := c.Must("POST", register+"?kind=user", M{
		"username": Unique("dora"), "password": Password, "device_id": "PHONE", "initial_device_display_name": "Dora's phone",
		"refresh_token": true, "auth": M{"type": "m.login.dummy"}, "org.example.unknown": []int{1},
	})
	if full["device_id"] != "PHONE" || full["refresh_token"] == nil || full["expires_in_ms"] == nil {
		t.Errorf("registered: %v", full)
	}
}

func registerRefused(t *testing.T, h *Home) {
	anna, c := h.Register(t, "anna"), h.Client(t)
	name := strings.TrimPrefix(strings.Split(anna.ID, ":")[0], "@")
	ok := M{"type": "m.login.dummy"}
	for _, tc := range []struct {
		query  string
		body   M
		status int
		code   string
	}{
		{"", M{"username": name, "password": Password, "auth": ok}, 400, "M_USER_IN_USE"},
		{"", M{"username": strings.ToUpper(name), "password": Password, "auth": ok}, 400, "M_USER_IN_USE"},
		{"", M{"username": "two words", "password": Password, "auth": ok}, 400, "M_INVALID_USERNAME"},
		{"", M{"username": "größe", "password": Password, "auth": ok}, 400, "M_INVALID_USERNAME"},
		{"", M{"username": anna.ID, "password": Password, "auth": ok}, 400, "M_INVALID_USERNAME"},
		{"", M{"username": strings.Repeat("a", 255), "password": Password, "auth": ok}, 400, "M_INVALID_USERNAME"},
		{"", M{"username": "server", "password": Password, "auth": ok}, 400, "M_EXCLUSIVE"},
		{"", M{"username": Unique("e"), "password": "short", "auth": ok}, 400, "M_WEAK_PASSWORD"},
		{"", M{"username": Unique("e"), "password": strings.Repeat("p", 5000), "auth": ok}, 400, "M_INVALID_PARAM"},
		{"", M{"username": Unique("e"), "auth": ok}, 400, "M_MISSING_PARAM"},
		{"", M{"username": 7, "password": Password, "auth": ok}, 400, "M_BAD_JSON"},
		{"", M{"username": Unique("e"), "password": Password, "device_id": strings.Repeat("d", 300), "auth": ok}, 400, "M_INVALID_PARAM"},
		{"", M{"type": "m.login.application_service", "username": Unique("e")}, 403, "M_FORBIDDEN"},
		{"?kind=guest", M{}, 403, "M_GUEST_ACCESS_FORBIDDEN"},
		{"?kind=robot", M{"username": Unique("e"), "password": Password, "auth": ok}, 400, "M_INVALID_PARAM"},
	} {
		if a := c.Do("POST", register+tc.query, tc.body); a.Status != tc.status || a.Errcode() != tc.code {
			t.Errorf("register%s with %v: want %d %s, got %d %s", tc.query, tc.body, tc.status, tc.code, a.Status, a.Raw)
		}
	}
}

// stagesInEveryOrder walks through authentication the wrong ways and then the right ones.
func stagesInEveryOrder(t *testing.T, h *Home) {
	c := h.Client(t)
	body := M{"username": Unique("frieda"), "password": Password}
	session := challenged(t, c, body)
	// An empty auth, or one that names only the session, asks what is missing.
	challenged(t, c, withAuth(body, M{}))
	if a := c.Do("POST", register, withAuth(body, M{"session": session})); a.Status != 401 || a.Errcode() != "" || a.Body["session"] != session {
		t.Errorf("a session alone: %d %s", a.Status, a.Raw)
	}
	for what, auth := range map[string]M{
		"a stage that is not offered": {"type": "m.login.password", "session": session, "password": Password},
		"a stage nobody knows":        {"type": "org.example.stage", "session": session},
		"a session nobody knows":      {"type": "m.login.dummy", "session": "made up"},
	} {
		a := c.Do("POST", register, withAuth(body, auth))
		if a.Status != 401 || a.Errcode() != "M_FORBIDDEN" || a.Body["session"] == nil || a.Body["flows"] == nil {
			t.Errorf("%s: %d %s", what, a.Status, a.Raw)
		}
	}
	other := M{"username": Unique("frieda"), "password": Password, "auth": dummy(session)}
	c.Refused("POST", register, other, 403, "M_FORBIDDEN")
	frieda := c.as(c.Must("POST", register, withAuth(body, dummy(session))))

	// With an account: a wrong password may be followed by the right one.
	path := Path("/devices/%s", frieda.DeviceID)
	second := h.Login(t, frieda.ID)
	challenge := second.Do("DELETE", path, nil)
	for _, wrong := range []M{
		passwordAuth(frieda.ID, "wrong", challenge.Body["session"]),
		passwordAuth(h.Register(t, "gerd").ID, Password, challenge.Body["session"]),
		dummy(challenge.Body["session"]),
	} {
		if a := second.Do("DELETE", path, M{"auth": wrong}); a.Status != 401 || a.Errcode() != "M_FORBIDDEN" || a.Body["session"] != challenge.Body["session"] {
			t.Errorf("wrong auth %v: %d %s", wrong, a.Status, a.Raw)
		}
	}
	// The session is for this request alone, and for this user.
	right := passwordAuth(frieda.ID, Password, challenge.Body["session"])
	second.Refused("DELETE", Path("/devices/%s", second.DeviceID), M{"auth": right}, 403, "M_FORBIDDEN")
	second.Must("DELETE", path, M{"auth": right})
	frieda.LoggedOut()
	// A session is used up; without one, the password is enough in one go.
	if a := second.Do("DELETE", path, M{"auth": right}); a.Status != 401 {
		t.Errorf("a used session: %d %s", a.Status, a.Raw)
	}
	second.Must("DELETE", Path("/devices/%s", second.DeviceID), M{"auth": M{"type": "m.login.password", "user": frieda.ID, "password": Password}})
	second.LoggedOut()
}

func nameAvailable(t *testing.T, h *Home) {
	anna, c := h.Register(t, "anna"), h.Client(t)
	const path = register + "/available"
	if got := c.Must("GET", path+"?username="+Unique("free"), nil)["available"]; got != true {
		t.Errorf("available: %v", got)
	}
	taken := strings.TrimPrefix(strings.Split(anna.ID, ":")[0], "@")
	c.Refused("GET", path+"?username="+taken, nil, 400, "M_USER_IN_USE")
	c.Refused("GET", path+"?username=two%20words", nil, 400, "M_INVALID_USERNAME")
	c.Refused("GET", path+"?username=", nil, 400, "M_INVALID_USERNAME")
	c.Refused("GET", path+"?username=system", nil, 400, "M_EXCLUSIVE")
	c.Refused("GET", path, nil, 400, "M_MISSING_PARAM")
}
