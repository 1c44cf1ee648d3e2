package clientapi_test

import (
	"strings"
	"testing"

	"allmende/config"

	"github.com/google/go-cmp/cmp"
)

func TestLoginFlows(t *testing.T) {
	e := start(t)
	got := e.do("GET", "login", "", nil).ok().body
	want := m{"flows": []any{m{"type": "m.login.password"}, m{"type": "m.login.token", "get_login_token": true}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("login flows (-want +got):\n%s", diff)
	}
}

func TestLogin(t *testing.T) {
	e := start(t, func(c *config.Config) { c.ClientBaseURL = "https://matrix.example.org/" })
	e.register("anna")
	for name, body := range map[string]m{
		"identifier, user id":   {"identifier": m{"type": "m.id.user", "user": "@anna:example.org"}},
		"identifier, localpart": {"identifier": m{"type": "m.id.user", "user": "anna"}},
		"identifier, capitals":  {"identifier": m{"type": "m.id.user", "user": "@Anna:Example.org"}},
		"old form, user id":     {"user": "@anna:example.org"},
		"old form, localpart":   {"user": "anna"},
	} {
		body["type"], body["password"] = "m.login.password", password
		r := e.do("POST", "login", "", body).ok()
		if r.str("user_id") != "@anna:example.org" || len(r.str("device_id")) != 10 || r.body["refresh_token"] != nil || r.body["expires_in_ms"] != nil {
			t.Errorf("%s: %s", name, r.raw)
		}
		if diff := cmp.Diff(any(m{"m.homeserver": m{"base_url": "https://matrix.example.org"}}), r.body["well_known"]); diff != "" {
			t.Errorf("%s: well_known (-want +got):\n%s", name, diff)
		}
		if r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: a token may be cached: %v", name, r.header)
		}
		e.valid(r.str("access_token"))
	}
}

func TestLoginRefused(t *testing.T) {
	e := start(t)
	e.register("anna")
	for name, tc := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"no body":         {``, 400, "M_NOT_JSON"},
		"no type":         {`{}`, 400, "M_MISSING_PARAM"},
		"unknown type":    {`{"type":"m.login.magic"}`, 400, "M_UNKNOWN"},
		"application":     {`{"type":"m.login.application_service","identifier":{"type":"m.id.user","user":"bot"}}`, 403, "M_FORBIDDEN"},
		"no identifier":   {`{"type":"m.login.password","password":"x"}`, 400, "M_MISSING_PARAM"},
		"empty name":      {`{"type":"m.login.password","password":"x","identifier":{"type":"m.id.user"}}`, 400, "M_MISSING_PARAM"},
		"no password":     {`{"type":"m.login.password","user":"anna"}`, 400, "M_MISSING_PARAM"},
		"wrong password":  {`{"type":"m.login.password","user":"anna","password":"wrong"}`, 403, "M_FORBIDDEN"},
		"empty password":  {`{"type":"m.login.password","user":"anna","password":""}`, 403, "M_FORBIDDEN"},
		"unknown name":    {`{"type":"m.login.password","user":"nobody","password":"correct horse"}`, 403, "M_FORBIDDEN"},
		"NUL in name":     {`{"type":"m.login.password","user":"an\u0000na","password":"correct horse"}`, 403, "M_FORBIDDEN"},
		"other server":    {`{"type":"m.login.password","user":"@anna:elsewhere.org","password":"correct horse"}`, 403, "M_FORBIDDEN"},
		"e-mail":          {`{"type":"m.login.password","password":"correct horse","identifier":{"type":"m.id.thirdparty","medium":"email","address":"a@b.org"}}`, 403, "M_FORBIDDEN"},
		"e-mail, old":     {`{"type":"m.login.password","password":"correct horse","medium":"email","address":"a@b.org"}`, 403, "M_FORBIDDEN"},
		"phone":           {`{"type":"m.login.password","password":"correct horse","identifier":{"type":"m.id.phone","country":"DE","phone":"1"}}`, 403, "M_FORBIDDEN"},
		"no token":        {`{"type":"m.login.token"}`, 400, "M_MISSING_PARAM"},
		"unknown token":   {`{"type":"m.login.token","token":"x"}`, 403, "M_FORBIDDEN"},
		"device id":       {`{"type":"m.login.password","user":"anna","password":"correct horse","device_id":"` + strings.Repeat("x", 300) + `"}`, 400, "M_INVALID_PARAM"},
		"wrong JSON type": {`{"type":"m.login.password","user":[]}`, 400, "M_BAD_JSON"},
		"list":            {`[]`, 400, "M_BAD_JSON"},
	} {
		r := e.do("POST", "login", "", tc.body)
		if code, _ := r.body["errcode"].(string); r.status != tc.status || code != tc.code {
			t.Errorf("%s: %d %s, want %d %s", name, r.status, r.raw, tc.status, tc.code)
		}
	}
	// Who guesses names learns nothing.
	known := e.do("POST", "login", "", m{"type": "m.login.password", "user": "anna", "password": "wrong"})
	unknown := e.do("POST", "login", "", m{"type": "m.login.password", "user": "nobody", "password": "wrong"})
	if string(known.raw) != string(unknown.raw) {
		t.Errorf("a known name is told %s, an unknown one %s", known.raw, unknown.raw)
	}
	if n := query[int](e, `SELECT count(*) FROM clientapi.devices`); n != 1 {
		t.Errorf("%d devices, want the one of registering", n)
	}
}

func TestLoginAgainOnTheSameDevice(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	other := newUser(e.login("anna", nil).ok())
	e.valid(u.token)
	r := e.login("anna", m{"device_id": u.device, "initial_device_display_name": "Second name", "refresh_token": true}).ok()
	if r.str("device_id") != u.device {
		t.Fatalf("device is %s", r.raw)
	}
	e.gone(u.token)
	e.valid(other.token)
	again := newUser(r)
	r = e.login("anna", m{"device_id": u.device, "initial_device_display_name": "Third name"}).ok()
	e.gone(again.token)
	e.do("POST", "refresh", "", m{"refresh_token": again.refresh}).fails(401, "M_UNKNOWN_TOKEN")
	// A device that is known keeps its name, here none.
	if d := e.do("GET", "devices/"+u.device, r.str("access_token"), nil).ok(); d.body["display_name"] != nil {
		t.Errorf("device is %s", d.raw)
	}
	// The same device id of somebody else is another device.
	bert := e.register("bert")
	e.login("bert", m{"device_id": u.device}).ok()
	e.valid(r.str("access_token"))
	e.valid(bert.token)
}

func TestLoginWhenLocked(t *testing.T) {
	e := start(t)
	e.register("anna")
	e.exec(`UPDATE clientapi.accounts SET locked = true`)
	r := e.login("anna", nil).fails(401, "M_USER_LOCKED")
	if r.body["soft_logout"] != true {
		t.Errorf("soft_logout is missing: %s", r.raw)
	}
	e.login("anna", m{"password": "wrong"}).fails(403, "M_FORBIDDEN")
}

func TestGuessingIsSlowedDown(t *testing.T) {
	e := start(t, func(c *config.Config) { c.RateLimits.Login = config.Rate{PerSecond: 0.001, Burst: 3} })
	u := e.register("anna")
	e.register("bert")
	for _, name := range []string{"anna", "nobody"} {
		for range 3 {
			e.login(name, m{"password": "wrong"}).fails(403, "M_FORBIDDEN")
		}
		r := e.login(name, m{"password": "wrong"}).fails(429, "M_LIMIT_EXCEEDED")
		if ms, _ := r.body["retry_after_ms"].(float64); ms <= 0 || r.header.Get("Retry-After") == "" {
			t.Errorf("no time to wait in %s", r.raw)
		}
	}
	e.login("anna", nil).fails(429, "M_LIMIT_EXCEEDED")
	e.do("POST", "account/password", u.token, m{"new_password": "other password", "auth": passwordAuth(u, "")}).fails(429, "M_LIMIT_EXCEEDED")
	e.valid(u.token)
	// Being right is no guess: any number of times.
	for range 6 {
		e.login("bert", nil).ok()
	}
}

func TestPasswordHashFollowsTheConfiguredCost(t *testing.T) {
	e := start(t)
	e.register("anna")
	before := query[string](e, `SELECT password_hash FROM clientapi.accounts`)
	if !strings.HasPrefix(before, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatalf("stored as %s", before)
	}
	e.cfg.Auth.Argon2 = config.Argon2{Memory: 128 << 10, Iterations: 2, Parallelism: 1}
	e.url = e.instance()
	e.login("anna", m{"password": "wrong"}).fails(403, "M_FORBIDDEN")
	if now := query[string](e, `SELECT password_hash FROM clientapi.accounts`); now != before {
		t.Fatal("a wrong password changed the hash")
	}
	e.login("anna", nil).ok()
	if now := query[string](e, `SELECT password_hash FROM clientapi.accounts`); !strings.HasPrefix(now, "$argon2id$v=19$m=128,t=2,p=1$") {
		t.Errorf("after a login at the new cost: %s", now)
	}
	e.login("anna", nil).ok()
}

func TestLoginToken(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	const path = "/_matrix/client/v1/login/get_token"
	e.do("POST", path, "", m{}).fails(401, "M_MISSING_TOKEN")
	session := e.do("POST", path, u.token, m{}).fails(401, "").str("session")
	r := e.do("POST", path, u.token, m{"auth": passwordAuth(u, session)}).ok()
	if r.body["expires_in_ms"] != float64(120000) {
		t.Errorf("lifetime in %s", r.raw)
	}
	token := r.str("login_token")
	// Each token asks for consent of its own.
	e.do("POST", path, u.token, m{"auth": m{"session": session}}).fails(401, "M_FORBIDDEN")

	l := e.do("POST", "login", "", m{"type": "m.login.token", "token": token, "refresh_token": true}).ok()
	if l.str("user_id") != u.id || l.str("device_id") == u.device || l.str("refresh_token") == "" {
		t.Errorf("logged in as %s", l.raw)
	}
	e.do("POST", "login", "", m{"type": "m.login.token", "token": token}).fails(403, "M_FORBIDDEN")

	token = e.do("POST", path, u.token, m{"auth": passwordAuth(u, "")}).ok().str("login_token")
	e.exec(`UPDATE clientapi.login_tokens SET expires = now() - interval '1 second'`)
	e.do("POST", "login", "", m{"type": "m.login.token", "token": token}).fails(403, "M_FORBIDDEN")

	token = e.do("POST", path, u.token, m{"auth": passwordAuth(u, "")}).ok().str("login_token")
	e.exec(`UPDATE clientapi.accounts SET locked = true`)
	e.do("POST", "login", "", m{"type": "m.login.token", "token": token}).fails(401, "M_USER_LOCKED")
}

func TestNothingButHashesIsStored(t *testing.T) {
	e := start(t)
	u := newUser(e.do("POST", "register", "", m{"username": "anna", "password": password, "refresh_token": true,
		"auth": m{"type": "m.login.dummy"}}).ok())
	login := e.do("POST", "/_matrix/client/v1/login/get_token", u.token, m{"auth": passwordAuth(u, "")}).ok().str("login_token")
	session := e.do("POST", "account/password", u.token, m{"new_password": "a new password"}).fails(401, "").str("session")
	var dump strings.Builder
	for _, table := range []string{"accounts", "devices", "sessions", "login_tokens", "registration_tokens", "uia_sessions", "jobs"} {
		dump.WriteString(query[string](e, `SELECT COALESCE(string_agg(t::text, E'\n'), '') FROM clientapi.`+table+` t`))
	}
	for what, secret := range map[string]string{"access token": u.token, "refresh token": u.refresh, "login token": login,
		"authentication session": session, "password": password, "new password": "a new password", "address": "127.0.0.1", "user agent": "Go-http-client"} {
		if strings.Contains(dump.String(), secret) {
			t.Errorf("the database holds the %s", what)
		}
	}
	if !strings.Contains(dump.String(), "anna") {
		t.Error("the dump shows nothing")
	}
}
