package clientapi_test

import (
	"strings"
	"sync"
	"testing"

	"allmende/clientapi/api"
	"allmende/config"
	"allmende/internal/bus"
	"allmende/internal/matrix"
)

func closed(c *config.Config)  { c.Registration.Policy = config.RegistrationClosed }
func byToken(c *config.Config) { c.Registration.Policy = config.RegistrationToken }

func TestRegister(t *testing.T) {
	e := start(t)
	body := m{"username": "Anna", "password": password, "device_id": "PHONE", "initial_device_display_name": "My phone"}
	r := e.do("POST", "register", "", body).fails(401, "")
	if got := stages(r); len(got) != 1 || got[0] != "m.login.dummy" {
		t.Fatalf("flows are %v", got)
	}
	body["auth"] = m{"type": "m.login.dummy", "session": r.str("session")}
	r = e.do("POST", "register", "", body).ok()
	if r.str("user_id") != "@anna:example.org" || r.str("device_id") != "PHONE" || r.body["refresh_token"] != nil || r.body["expires_in_ms"] != nil {
		t.Fatalf("registered as %s", r.raw)
	}
	d := e.do("GET", "devices/PHONE", r.str("access_token"), nil).ok()
	if d.str("display_name") != "My phone" {
		t.Errorf("device is %s", d.raw)
	}
	// The session is over with the request it was for.
	body["username"] = "bert"
	e.do("POST", "register", "", body).fails(401, "M_FORBIDDEN")
	e.do("POST", "register", "", m{"username": "aNNa", "password": password}).fails(400, "M_USER_IN_USE")
	e.login("@anna:example.org", nil).ok()
}

// stages lists the first stage of each flow of a 401.
func stages(r *reply) (out []string) {
	r.t.Helper()
	flows, _ := r.body["flows"].([]any)
	for _, f := range flows {
		list := f.(map[string]any)["stages"].([]any)
		out = append(out, list[0].(string))
	}
	return out
}

func TestRegisterWithoutName(t *testing.T) {
	e := start(t)
	auth := m{"type": "m.login.dummy"}
	a := newUser(e.do("POST", "register", "", m{"password": password, "auth": auth}).ok())
	b := newUser(e.do("POST", "register", "", m{"password": password, "auth": auth, "refresh_token": true}).ok())
	if a.id == b.id || !matrix.ValidLocalpart(a.name) || len(a.device) != 10 || a.device == b.device {
		t.Errorf("registered %+v and %+v", a, b)
	}
	if b.refresh == "" || a.refresh != "" {
		t.Error("a refresh token is for who asks for one")
	}
	e.valid(a.token)
	r := e.do("POST", "register", "", m{"username": "carla", "password": password, "auth": auth, "inhibit_login": true}).ok()
	if len(r.body) != 1 || r.str("user_id") != "@carla:example.org" {
		t.Errorf("inhibited login answers %s", r.raw)
	}
	if n := query[int](e, `SELECT count(*) FROM clientapi.devices`); n != 2 {
		t.Errorf("%d devices, want 2", n)
	}
	e.login("carla", nil).ok()
}

func TestRegisterRefused(t *testing.T) {
	e := start(t)
	e.register("anna")
	for name, tc := range map[string]struct {
		query, body string
		status      int
		code        string
	}{
		"guest":            {"?kind=guest", `{}`, 403, "M_GUEST_ACCESS_FORBIDDEN"},
		"unknown kind":     {"?kind=robot", `{}`, 400, "M_INVALID_PARAM"},
		"application":      {"", `{"type":"m.login.application_service","username":"bot"}`, 403, "M_FORBIDDEN"},
		"taken":            {"", `{"username":"anna","password":"correct horse"}`, 400, "M_USER_IN_USE"},
		"characters":       {"", `{"username":"ann a"}`, 400, "M_INVALID_USERNAME"},
		"umlaut":           {"", `{"username":"änne"}`, 400, "M_INVALID_USERNAME"},
		"NUL":              {"", `{"username":"a\u0000"}`, 400, "M_INVALID_USERNAME"},
		"user id":          {"", `{"username":"@anna:example.org"}`, 400, "M_INVALID_USERNAME"},
		"long":             {"", `{"username":"` + strings.Repeat("a", 250) + `"}`, 400, "M_INVALID_USERNAME"},
		"reserved":         {"", `{"username":"Allmende"}`, 400, "M_EXCLUSIVE"},
		"weak":             {"", `{"username":"bert","password":"1234567"}`, 400, "M_WEAK_PASSWORD"},
		"endless password": {"", `{"username":"bert","password":"` + strings.Repeat("a", 1025) + `"}`, 400, "M_INVALID_PARAM"},
		"device id":        {"", `{"device_id":"` + strings.Repeat("a", 256) + `"}`, 400, "M_INVALID_PARAM"},
		"device NUL":       {"", `{"device_id":"\u0000"}`, 400, "M_INVALID_PARAM"},
		"device name":      {"", `{"initial_device_display_name":"` + strings.Repeat("ä", 256) + `"}`, 400, "M_INVALID_PARAM"},
		"type":             {"", `{"username":7}`, 400, "M_BAD_JSON"},
		"auth type":        {"", `{"auth":7}`, 400, "M_BAD_JSON"},
		"not JSON":         {"", `{`, 400, "M_NOT_JSON"},
		"twice":            {"", `{"username":"a","username":"b"}`, 400, "M_BAD_JSON"},
		"no body":          {"", ``, 401, ""},
		"empty auth":       {"", `{"username":"bert","password":"correct horse","auth":{}}`, 401, ""},
		"no password":      {"", `{"username":"bert","auth":{"type":"m.login.dummy"}}`, 400, "M_MISSING_PARAM"},
		"other stage":      {"", `{"username":"bert","auth":{"type":"m.login.password"}}`, 401, "M_FORBIDDEN"},
		"unknown session":  {"", `{"username":"bert","auth":{"type":"m.login.dummy","session":"x"}}`, 401, "M_FORBIDDEN"},
	} {
		r := e.do("POST", "register"+tc.query, "", tc.body)
		if code, _ := r.body["errcode"].(string); r.status != tc.status || code != tc.code {
			t.Errorf("%s: %d %s, want %d %s", name, r.status, r.raw, tc.status, tc.code)
		}
	}
	if n := query[int](e, `SELECT count(*) FROM clientapi.accounts`); n != 1 {
		t.Errorf("%d accounts were made, want the first alone", n)
	}
}

func TestRegisterSameNameAtOnce(t *testing.T) {
	e := start(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[any]int{}
	for range 8 {
		wg.Go(func() {
			r := e.do("POST", "register", "", m{"username": "anna", "password": password, "auth": m{"type": "m.login.dummy"}})
			mu.Lock()
			defer mu.Unlock()
			codes[r.body["errcode"]]++
		})
	}
	wg.Wait()
	if codes[nil] != 1 || codes["M_USER_IN_USE"] != 7 {
		t.Errorf("outcomes %v, want one account", codes)
	}
}

func TestRegistrationClosed(t *testing.T) {
	e := start(t, closed)
	e.do("POST", "register", "", m{"username": "anna", "password": password}).fails(403, "M_FORBIDDEN")
	e.do("POST", "register?kind=guest", "", m{}).fails(403, "M_GUEST_ACCESS_FORBIDDEN")
	e.do("GET", validity+"x", "", nil).fails(403, "M_FORBIDDEN")
}

func TestUsernameAvailable(t *testing.T) {
	e := start(t)
	e.register("anna")
	if r := e.do("GET", "register/available?username=bert", "", nil).ok(); r.body["available"] != true {
		t.Errorf("available: %s", r.raw)
	}
	e.do("GET", "register/available?username=Anna", "", nil).fails(400, "M_USER_IN_USE")
	e.do("GET", "register/available?username=a%20b", "", nil).fails(400, "M_INVALID_USERNAME")
	e.do("GET", "register/available?username=", "", nil).fails(400, "M_INVALID_USERNAME")
	e.do("GET", "register/available?username=allmende", "", nil).fails(400, "M_EXCLUSIVE")
	e.do("GET", "register/available", "", nil).fails(400, "M_MISSING_PARAM")
}

const validity = "/_matrix/client/v1/register/m.login.registration_token/validity?token="

func (e *env) registrationToken(req api.AdminCreateRegistrationTokenReq) api.AdminCreateRegistrationTokenResp {
	e.t.Helper()
	resp, err := bus.Call(e.t.Context(), e.bus, api.AdminCreateRegistrationToken, req)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp
}

func TestRegistrationToken(t *testing.T) {
	e := start(t, byToken)
	once := 1
	token := e.registrationToken(api.AdminCreateRegistrationTokenReq{UsesAllowed: &once}).Token
	if r := e.do("GET", validity+token, "", nil).ok(); r.body["valid"] != true {
		t.Fatalf("new token: %s", r.raw)
	}
	e.do("GET", strings.TrimSuffix(validity, "?token="), "", nil).fails(400, "M_MISSING_PARAM")
	body := m{"username": "anna", "password": password}
	r := e.do("POST", "register", "", body).fails(401, "")
	if got := stages(r); len(got) != 1 || got[0] != "m.login.registration_token" {
		t.Fatalf("flows are %v", got)
	}
	session := r.str("session")
	body["auth"] = m{"type": "m.login.dummy", "session": session}
	e.do("POST", "register", "", body).fails(401, "M_FORBIDDEN")
	body["auth"] = m{"type": "m.login.registration_token", "session": session}
	e.do("POST", "register", "", body).fails(401, "M_FORBIDDEN")
	body["auth"] = m{"type": "m.login.registration_token", "session": session, "token": "wrong"}
	if r = e.do("POST", "register", "", body).fails(401, "M_FORBIDDEN"); r.str("session") != session {
		t.Error("a wrong attempt lost the session")
	}
	body["auth"] = m{"type": "m.login.registration_token", "session": session, "token": token}
	e.do("POST", "register", "", body).ok()
	if r := e.do("GET", validity+token, "", nil).ok(); r.body["valid"] != false {
		t.Errorf("a token for one is valid for two: %s", r.raw)
	}
	e.do("POST", "register", "", m{"username": "bert", "password": password,
		"auth": m{"type": "m.login.registration_token", "token": token}}).fails(401, "M_FORBIDDEN")
}

func TestRegistrationTokenUsedAtOnce(t *testing.T) {
	e := start(t, byToken)
	three := 3
	token := e.registrationToken(api.AdminCreateRegistrationTokenReq{UsesAllowed: &three}).Token
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for i := range 10 {
		wg.Go(func() {
			r := e.do("POST", "register", "", m{"username": "user" + string(rune('a'+i)), "password": password,
				"auth": m{"type": "m.login.registration_token", "token": token}})
			mu.Lock()
			defer mu.Unlock()
			if r.status == 200 {
				made++
			} else if r.body["errcode"] != "M_FORBIDDEN" {
				t.Errorf("refused with %s", r.raw)
			}
		})
	}
	wg.Wait()
	if made != three {
		t.Errorf("%d accounts were made with a token for %d", made, three)
	}
	if n := query[int](e, `SELECT count(*) FROM clientapi.accounts`); n != three {
		t.Errorf("%d accounts, want %d", n, three)
	}
}

func TestRegistrationTokenExpires(t *testing.T) {
	e := start(t, byToken)
	token := e.registrationToken(api.AdminCreateRegistrationTokenReq{Token: "summer-camp"}).Token
	if token != "summer-camp" {
		t.Fatalf("token is %q", token)
	}
	e.exec(`UPDATE clientapi.registration_tokens SET expires = now() - interval '1 second'`)
	if r := e.do("GET", validity+token, "", nil).ok(); r.body["valid"] != false {
		t.Errorf("expired token: %s", r.raw)
	}
	e.do("POST", "register", "", m{"username": "bert", "password": password,
		"auth": m{"type": "m.login.registration_token", "token": token}}).fails(401, "M_FORBIDDEN")
}
