package clientapi_test

import (
	"testing"
)

func TestChangePassword(t *testing.T) {
	e := start(t)
	u := e.refreshing("anna")
	other := newUser(e.login("anna", nil).ok())
	login := e.do("POST", "/_matrix/client/v1/login/get_token", u.token, m{"auth": passwordAuth(u, "")}).ok().str("login_token")
	e.valid(other.token)
	e.do("POST", "account/password", u.token, m{"new_password": "a new password", "auth": passwordAuth(u, "")}).ok()
	e.valid(u.token)
	e.gone(other.token)
	e.valid(e.refresh(u.refresh).ok().str("access_token"))
	e.login("anna", nil).fails(403, "M_FORBIDDEN")
	e.do("POST", "login", "", m{"type": "m.login.token", "token": login}).fails(403, "M_FORBIDDEN")
	e.login("anna", m{"password": "a new password"}).ok()
}

func TestChangePasswordKeepsDevices(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	other := newUser(e.login("anna", nil).ok())
	e.do("POST", "account/password", u.token,
		m{"new_password": "a new password", "logout_devices": false, "auth": passwordAuth(u, "")}).ok()
	e.valid(u.token)
	e.valid(other.token)
}

func TestChangePasswordWithoutSession(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	r := e.do("POST", "account/password", "", m{"new_password": "a new password"}).fails(401, "")
	e.do("POST", "account/password", "", m{"new_password": "a new password", "auth": passwordAuth(u, r.str("session"))}).ok()
	e.gone(u.token)
	e.login("anna", m{"password": "a new password"}).ok()
	e.do("POST", "account/password", "", m{"new_password": "a new password", "auth": m{"type": "m.login.password", "password": "a new password"}}).
		fails(401, "M_FORBIDDEN")
}

func TestChangePasswordRefused(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	e.do("POST", "account/password", u.token, m{"auth": passwordAuth(u, "")}).fails(400, "M_MISSING_PARAM")
	e.do("POST", "account/password", u.token, m{"new_password": "short", "auth": passwordAuth(u, "")}).fails(400, "M_WEAK_PASSWORD")
	e.do("POST", "account/password", u.token, m{"new_password": 1}).fails(400, "M_BAD_JSON")
	e.do("POST", "account/password", u.token, nil).fails(400, "M_NOT_JSON")
	e.do("POST", "account/password", "nonsense", m{"new_password": "a new password"}).fails(401, "M_UNKNOWN_TOKEN")
	e.do("POST", "account/password", u.token, m{"new_password": "a new password", "auth": m{"type": "m.login.dummy"}}).fails(401, "M_FORBIDDEN")
	e.do("POST", "account/password", "", m{"new_password": "a new password",
		"auth": m{"type": "m.login.password", "user": "nobody", "password": password}}).fails(401, "M_FORBIDDEN")
	e.login("anna", nil).ok()
}

func TestDeactivate(t *testing.T) {
	e := start(t)
	u := e.refreshing("anna")
	other, bert := newUser(e.login("anna", nil).ok()), e.register("bert")
	login := e.do("POST", "/_matrix/client/v1/login/get_token", u.token, m{"auth": passwordAuth(u, "")}).ok().str("login_token")
	e.do("PUT", "user/"+u.id+"/account_data/org.example.note", u.token, m{"text": "mine"}).ok()
	e.valid(other.token)

	r := e.do("POST", "account/deactivate", u.token, m{"erase": true}).fails(401, "")
	e.valid(u.token)
	// The room server is away, and refuses at first when it is back: the user leaves all the same.
	r = e.do("POST", "account/deactivate", u.token, m{"erase": true, "auth": passwordAuth(u, r.str("session"))}).ok()
	if string(r.raw) != `{"id_server_unbind_result":"success"}` {
		t.Errorf("deactivate answers %s", r.raw)
	}
	e.gone(u.token)
	e.gone(other.token)
	e.valid(bert.token)
	e.refresh(u.refresh).fails(401, "M_UNKNOWN_TOKEN")
	e.login("anna", nil).fails(403, "M_FORBIDDEN")
	e.do("POST", "login", "", m{"type": "m.login.token", "token": login}).fails(403, "M_FORBIDDEN")
	e.do("POST", "register", "", m{"username": "anna", "password": password}).fails(400, "M_USER_IN_USE")
	e.do("GET", "register/available?username=anna", "", nil).fails(400, "M_USER_IN_USE")
	for what, n := range map[string]int{
		"devices and data of the account": query[int](e, `SELECT (SELECT count(*) FROM clientapi.devices JOIN clientapi.accounts USING (account_nid) WHERE localpart = 'anna')
			+ (SELECT count(*) FROM clientapi.account_data)`),
		"passwords": query[int](e, `SELECT count(password_hash) FROM clientapi.accounts WHERE localpart = 'anna'`),
	} {
		if n != 0 {
			t.Errorf("%d %s are left", n, what)
		}
	}
	if !query[bool](e, `SELECT erased FROM clientapi.accounts WHERE localpart = 'anna'`) {
		t.Error("the wish for erasure is forgotten")
	}
}

func TestDeactivatedUserLeavesRooms(t *testing.T) {
	e := start(t)
	rooms := e.roomserver()
	rooms.refuse = 1
	u := e.register("anna")
	e.do("POST", "account/deactivate", u.token, m{"auth": passwordAuth(u, "")}).ok()
	eventually(t, "the first attempt fails and is put off", func() bool {
		return query[int](e, `SELECT count(*) FROM clientapi.jobs WHERE attempts = 1 AND run_after < now() + interval '10 seconds'`) == 1
	})
	if rooms.hasLeft(u.id) {
		t.Fatal("left although refused")
	}
	// Any instance takes it up, this one when it is started.
	e.exec(`UPDATE clientapi.jobs SET run_after = now()`)
	e.instance()
	eventually(t, "the user leaves all rooms", func() bool { return rooms.hasLeft(u.id) })
	eventually(t, "the job is done", func() bool { return query[int](e, `SELECT count(*) FROM clientapi.jobs`) == 0 })
}

func TestDeactivateRefused(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	wrong := passwordAuth(u, "")
	wrong["password"] = "wrong"
	e.do("POST", "account/deactivate", u.token, m{"auth": wrong}).fails(401, "M_FORBIDDEN")
	e.do("POST", "account/deactivate", "nonsense", m{}).fails(401, "M_UNKNOWN_TOKEN")
	e.do("POST", "account/deactivate", u.token, m{"erase": "yes"}).fails(400, "M_BAD_JSON")
	e.valid(u.token)
	if n := query[int](e, `SELECT count(*) FROM clientapi.jobs`); n != 0 {
		t.Errorf("%d jobs", n)
	}
	// Without a session the password alone says who it is.
	e.do("POST", "account/deactivate", "", m{"auth": passwordAuth(u, "")}).ok()
	e.gone(u.token)
}

func TestSweep(t *testing.T) {
	e := start(t)
	anna, bert := e.refreshing("anna"), e.refreshing("bert")
	e.do("POST", "delete_devices", anna.token, m{"devices": []string{"X"}}).fails(401, "")
	e.do("POST", "/_matrix/client/v1/login/get_token", anna.token, m{"auth": passwordAuth(anna, "")}).ok()
	e.exec(`UPDATE clientapi.uia_sessions SET expires = now() - interval '1 second'`)
	e.exec(`UPDATE clientapi.login_tokens SET expires = now() - interval '1 second'`)
	e.exec(`INSERT INTO clientapi.registration_tokens (token_hash, expires) VALUES ('\x00', now() - interval '31 days'), ('\x01', now() - interval '29 days')`)
	const anna1 = ` FROM clientapi.devices d WHERE d.device_nid = s.device_nid AND d.device_id = $1`
	e.exec(`UPDATE clientapi.sessions s SET access_expires = now() - interval '1 second', refresh_expires = now() - interval '1 second'`+anna1, anna.device)
	e.exec(`UPDATE clientapi.sessions s SET access_expires = now() - interval '1 second'`+anna1, bert.device)
	e.exec(`UPDATE clientapi.devices SET last_seen = last_seen - 400`)
	e.instance() // sweeps when it starts
	const left = `SELECT format('%s authentications, %s login tokens, %s registration tokens, %s sessions, %s devices',
		(SELECT count(*) FROM clientapi.uia_sessions), (SELECT count(*) FROM clientapi.login_tokens), (SELECT count(*) FROM clientapi.registration_tokens),
		(SELECT count(*) FROM clientapi.sessions), (SELECT count(*) FROM clientapi.devices))`
	want := "0 authentications, 0 login tokens, 1 registration tokens, 1 sessions, 1 devices"
	eventually(t, want, func() bool { return query[string](e, left) == want })
	e.valid(e.refresh(bert.refresh).ok().str("access_token"))
}
