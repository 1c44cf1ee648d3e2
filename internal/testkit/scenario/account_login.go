package scenario

import (
	"strings"
	"testing"
)

var metaScenarios = []Scenario{
	{"a client asks what the server can do", serverMeta},
	{"contacts are kept of nobody", noContacts},
}

var loginScenarios = []Scenario{
	{"people log in in every form", loginForms},
	{"a login that is wrong is refused", loginRefused},
	{"one device lets another in with a token", loginWithToken},
	{"a device that logs in again ends its old session", loginSameDevice},
}

const login = "/_matrix/client/v3/login"

func serverMeta(t *testing.T, h *Home) {
	c := h.Client(t)
	versions, _ := c.Must("GET", "/_matrix/client/versions", nil)["versions"].([]any)
	if len(versions) == 0 || versions[0] != "v1.1" {
		t.Errorf("versions: %v", versions)
	}
	base, _ := At(c.Must("GET", "/.well-known/matrix/client", nil), "m.homeserver", "base_url").(string)
	if !strings.HasPrefix(base, "http") {
		t.Errorf("base_url: %q", base)
	}
	const capabilities = "/_matrix/client/v3/capabilities"
	c.Refused("GET", capabilities, nil, 401, "M_MISSING_TOKEN")
	anna := h.Register(t, "anna")
	can := anna.Must("GET", capabilities, nil)["capabilities"]
	if got := At(can, "m.room_versions", "default"); got != "12" {
		t.Errorf("default room version: %v", got)
	}
	for _, version := range []string{"10", "11", "12"} {
		if got := At(can, "m.room_versions", "available", version); got != "stable" {
			t.Errorf("room version %s: %v", version, got)
		}
	}
	for name, want := range map[string]bool{
		"m.change_password": true, "m.set_displayname": true, "m.set_avatar_url": true,
		"m.profile_fields": true, "m.get_login_token": true, "m.3pid_changes": false,
	} {
		if got := At(can, name, "enabled"); got != want {
			t.Errorf("capability %s: %v, want %v", name, got, want)
		}
	}
	for _, path := range []string{"/_matrix/client/versions", login, "/_matrix/client/v3/sync"} {
		a := c.Do("OPTIONS", path, nil)
		if a.Status/100 != 2 || !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("OPTIONS %s: %d %v", path, a.Status, a.Header)
		}
	}
}

func noContacts(t *testing.T, h *Home) {
	const account = "/_matrix/client/v3/account/"
	anna, c := h.Register(t, "anna"), h.Client(t)
	if got := anna.Must("GET", account+"3pid", nil)["threepids"]; len(got.([]any)) != 0 {
		t.Errorf("contacts: %v", got)
	}
	for _, path := range []string{"3pid/add", "3pid/bind", "3pid/delete", "3pid/unbind"} {
		anna.Refused("POST", account+path, M{"medium": "email", "address": "a@example.net"}, 403, "M_THREEPID_DENIED")
	}
	asked := M{"client_secret": "monkeys", "email": "a@example.net", "send_attempt": 1}
	for path, status := range map[string]int{
		account + "3pid/email/requestToken": 400, account + "3pid/msisdn/requestToken": 400,
		account + "password/email/requestToken": 403, account + "password/msisdn/requestToken": 403,
		"/_matrix/client/v3/register/email/requestToken": 403, "/_matrix/client/v3/register/msisdn/requestToken": 403,
	} {
		code := map[int]string{400: "M_THREEPID_MEDIUM_NOT_SUPPORTED", 403: "M_THREEPID_DENIED"}[status]
		c.Refused("POST", path, asked, status, code)
	}
}

func loginForms(t *testing.T, h *Home) {
	anna, c := h.Register(t, "anna"), h.Client(t)
	flows := c.Must("GET", login, nil)
	var password, token bool
	for _, f := range Events(flows, "flows") {
		password = password || f["type"] == "m.login.password"
		token = token || f["type"] == "m.login.token" && f["get_login_token"] == true
	}
	if !password || !token {
		t.Errorf("flows: %v", flows)
	}
	name := strings.TrimPrefix(strings.Split(anna.ID, ":")[0], "@")
	for _, body := range []M{
		{"identifier": M{"type": "m.id.user", "user": name}},
		{"identifier": M{"type": "m.id.user", "user": anna.ID}},
		{"identifier": M{"type": "m.id.user", "user": strings.ToUpper(name)}},
		{"user": name},
		{"user": anna.ID},
	} {
		body["type"], body["password"] = "m.login.password", Password
		if got := c.Must("POST", login, body); got["user_id"] != anna.ID || got["refresh_token"] != nil || got["expires_in_ms"] != nil {
			t.Errorf("login with %v: %v", body, got)
		}
	}
	named := c.Must("POST", login, M{
		"type": "m.login.password", "password": Password, "identifier": M{"type": "m.id.user", "user": name},
		"device_id": "KITCHEN", "initial_device_display_name": "The kitchen's", "refresh_token": true,
	})
	if named["device_id"] != "KITCHEN" || named["refresh_token"] == nil || named["expires_in_ms"] == nil || At(named, "well_known", "m.homeserver", "base_url") == nil {
		t.Errorf("login: %v", named)
	}
	if got := anna.Must("GET", "/_matrix/client/v3/devices/KITCHEN", nil); got["display_name"] != "The kitchen's" {
		t.Errorf("device: %v", got)
	}
}

func loginRefused(t *testing.T, h *Home) {
	anna, c := h.Register(t, "anna"), h.Client(t)
	user := func(id string) M { return M{"type": "m.id.user", "user": id} }
	for _, tc := range []struct {
		body   M
		status int
		code   string
	}{
		{M{"type": "m.login.password", "identifier": user(anna.ID), "password": "wrong"}, 403, "M_FORBIDDEN"},
		{M{"type": "m.login.password", "identifier": user(anna.ID), "password": ""}, 403, "M_FORBIDDEN"},
		{M{"type": "m.login.password", "identifier": user("@nobody:" + h.ServerName), "password": Password}, 403, "M_FORBIDDEN"},
		{M{"type": "m.login.password", "identifier": user("@anna:elsewhere.example"), "password": Password}, 403, "M_FORBIDDEN"},
		{M{"type": "m.login.password", "identifier": user("not: a name"), "password": Password}, 403, "M_FORBIDDEN"},
		{M{"type": "m.login.password", "password": Password, "identifier": M{"type": "m.id.thirdparty", "medium": "email", "address": "a@example.net"}}, 403, "M_FORBIDDEN"},
		{M{"type": "m.login.password", "password": Password, "identifier": M{"type": "m.id.phone", "country": "DE", "phone": "030"}}, 403, "M_FORBIDDEN"},
		{M{"type": "m.login.password", "password": Password}, 400, "M_MISSING_PARAM"},
		{M{"type": "m.login.password", "identifier": user(anna.ID)}, 400, "M_MISSING_PARAM"},
		{M{"type": "m.login.token"}, 400, "M_MISSING_PARAM"},
		{M{"type": "m.login.token", "token": "made up"}, 403, "M_FORBIDDEN"},
		{M{"type": "m.login.application_service", "identifier": user(anna.ID)}, 403, "M_FORBIDDEN"},
		{M{"type": "org.example.wish"}, 400, "M_UNKNOWN"},
		{M{}, 400, "M_MISSING_PARAM"},
		{M{"type": "m.login.password", "identifier": user(anna.ID), "password": 7}, 400, "M_BAD_JSON"},
		{M{"type": "m.login.password", "identifier": user(anna.ID), "password": Password, "device_id": strings.Repeat("x", 300)}, 400, "M_INVALID_PARAM"},
	} {
		if a := c.Do("POST", login, tc.body); a.Status != tc.status || a.Errcode() != tc.code {
			t.Errorf("login with %v: want %d %s, got %d %s", tc.body, tc.status, tc.code, a.Status, a.Raw)
		}
	}
}

func loginWithToken(t *testing.T, h *Home) {
	anna, c := h.Register(t, "anna"), h.Client(t)
	const path = "/_matrix/client/v1/login/get_token"
	c.Refused("POST", path, M{}, 401, "M_MISSING_TOKEN")
	token := anna.Confirmed("POST", path, M{})
	if ms, _ := token["expires_in_ms"].(float64); ms <= 0 {
		t.Errorf("get_token: %v", token)
	}
	body := M{"type": "m.login.token", "token": token["login_token"]}
	other := c.as(c.Must("POST", login, body))
	if other.ID != anna.ID || other.DeviceID == anna.DeviceID {
		t.Errorf("logged in as %s on %s", other.ID, other.DeviceID)
	}
	c.Refused("POST", login, body, 403, "M_FORBIDDEN")
}

func loginSameDevice(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	anna.Warm()
	again := anna.as(anna.Client.Must("POST", login, M{
		"type": "m.login.password", "identifier": M{"type": "m.id.user", "user": anna.ID}, "password": Password, "device_id": anna.DeviceID,
	}))
	if again.DeviceID != anna.DeviceID {
		t.Errorf("device %s, want %s", again.DeviceID, anna.DeviceID)
	}
	anna.LoggedOut()
	if n := len(Events(again.Must("GET", "/_matrix/client/v3/devices", nil), "devices")); n != 1 {
		t.Errorf("%d devices, want 1", n)
	}
}
