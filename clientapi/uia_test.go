package clientapi_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUIAChallenge(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	r := e.do("POST", "account/password", u.token, m{"new_password": "a new password"}).fails(401, "")
	session := r.str("session")
	want := m{"flows": []any{m{"stages": []any{"m.login.password"}}}, "params": m{}, "completed": []any{}, "session": session}
	if diff := cmp.Diff(want, r.body); diff != "" {
		t.Errorf("401 (-want +got):\n%s", diff)
	}
	if r := e.do("POST", "account/password", u.token, m{"new_password": "a new password"}).fails(401, ""); r.str("session") == session {
		t.Error("two requests share a session")
	}
	// A wrong password may be tried again, in the same session.
	body := m{"new_password": "a new password"}
	wrong := passwordAuth(u, session)
	wrong["password"] = "wrong"
	body["auth"] = wrong
	r = e.do("POST", "account/password", u.token, body).fails(401, "M_FORBIDDEN")
	if r.str("session") != session || r.str("error") == "" || r.body["flows"] == nil || r.body["params"] == nil || r.body["completed"] == nil {
		t.Errorf("after a wrong password: %s", r.raw)
	}
	body["auth"] = passwordAuth(u, session)
	e.do("POST", "account/password", u.token, body).ok()
}

func TestUIAIsBoundToItsRequest(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	bert := e.register("bert")
	body := m{"new_password": "a new password", "logout_devices": false}
	session := e.do("POST", "account/password", u.token, body).fails(401, "").str("session")
	for name, r := range map[string]*reply{
		"other body": e.do("POST", "account/password", u.token,
			m{"new_password": "another password", "logout_devices": false, "auth": passwordAuth(u, session)}),
		"field left out": e.do("POST", "account/password", u.token, m{"new_password": "a new password", "auth": passwordAuth(u, session)}),
		"other path": e.do("POST", "account/deactivate", u.token,
			m{"new_password": "a new password", "logout_devices": false, "auth": passwordAuth(u, session)}),
		"other user": e.do("POST", "account/password", bert.token,
			m{"new_password": "a new password", "logout_devices": false, "auth": passwordAuth(bert, session)}),
		"nobody": e.do("POST", "account/password", "",
			m{"new_password": "a new password", "logout_devices": false, "auth": passwordAuth(u, session)}),
	} {
		if r.status != 403 || r.body["errcode"] != "M_FORBIDDEN" {
			t.Errorf("%s: %d %s, want 403 M_FORBIDDEN", name, r.status, r.raw)
		}
	}
	e.login("anna", nil).ok()
	// The order of members and white space do not matter.
	e.do("POST", "account/password", u.token, ` { "auth" : {"type":"m.login.password", "user":"anna", "password":"`+password+`","session":"`+session+`"},`+
		` "logout_devices": false,  "new_password":"a new password"}`).ok()

	// Parameters of the path count too.
	d := newUser(e.login("bert", nil).ok())
	session = e.do("DELETE", "devices/"+d.device, bert.token, nil).fails(401, "").str("session")
	e.do("DELETE", "devices/"+bert.device, bert.token, m{"auth": passwordAuth(bert, session)}).fails(403, "M_FORBIDDEN")
	e.do("DELETE", "devices/"+d.device, bert.token, m{"auth": passwordAuth(bert, session)}).ok()
}

func TestUIAIsForTheUserWhoAsks(t *testing.T) {
	e := start(t)
	u, bert := e.register("anna"), e.register("bert")
	body := m{"new_password": "a new password", "auth": passwordAuth(bert, "")}
	e.do("POST", "account/password", u.token, body).fails(401, "M_FORBIDDEN")
	// The identifier may be left out by who is logged in.
	body["auth"] = m{"type": "m.login.password", "password": password}
	e.do("POST", "account/password", u.token, body).ok()
	e.login("bert", nil).ok()
	e.login("anna", nil).fails(403, "M_FORBIDDEN")
	e.login("anna", m{"password": "a new password"}).ok()
}

func TestUIAGoesOnAtAnotherInstance(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	other := e.instance()
	session := e.do("POST", "delete_devices", u.token, m{"devices": []string{"X"}}).fails(401, "").str("session")
	e.at(other, "POST", "delete_devices", u.token, m{"devices": []string{"X"}, "auth": passwordAuth(u, session)}).ok()
	e.at(e.url, "POST", "delete_devices", u.token, m{"devices": []string{"X"}, "auth": m{"session": session}}).fails(401, "M_FORBIDDEN")
}

func TestUIAExpires(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	session := e.do("POST", "delete_devices", u.token, m{"devices": []string{"X"}}).fails(401, "").str("session")
	if n := query[int](e, `SELECT count(*) FROM clientapi.uia_sessions WHERE expires BETWEEN now() + interval '14 minutes' AND now() + interval '15 minutes'`); n != 1 {
		t.Error("the session does not last 15 minutes")
	}
	e.exec(`UPDATE clientapi.uia_sessions SET expires = now() - interval '1 second'`)
	r := e.do("POST", "delete_devices", u.token, m{"devices": []string{"X"}, "auth": passwordAuth(u, session)}).fails(401, "M_FORBIDDEN")
	e.do("POST", "delete_devices", u.token, m{"devices": []string{"X"}, "auth": passwordAuth(u, r.str("session"))}).ok()
}
