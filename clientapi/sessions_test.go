package clientapi_test

import (
	"sync"
	"testing"
	"time"

	"allmende/internal/auth"
	"allmende/internal/bus"

	"github.com/google/go-cmp/cmp"
)

func (e *env) refreshing(name string) user {
	e.t.Helper()
	return newUser(e.do("POST", "register", "", m{"username": name, "password": password, "refresh_token": true,
		"auth": m{"type": "m.login.dummy"}}).ok())
}

func (e *env) refresh(token string) *reply {
	e.t.Helper()
	return e.do("POST", "refresh", "", m{"refresh_token": token})
}

func TestWhoami(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	got := e.do("GET", "account/whoami", u.token, nil).ok().body
	if diff := cmp.Diff(m{"user_id": u.id, "device_id": u.device, "is_guest": false}, got); diff != "" {
		t.Errorf("whoami (-want +got):\n%s", diff)
	}
	e.do("GET", "account/whoami", "", nil).fails(401, "M_MISSING_TOKEN")
	e.gone("nonsense")
	e.do("GET", "account/whoami?access_token="+u.token, "", nil).fails(401, "M_MISSING_TOKEN")
}

func TestRefresh(t *testing.T) {
	e := start(t)
	u := e.refreshing("anna")
	first := e.refresh(u.refresh).ok()
	if first.body["expires_in_ms"] != float64(24*3600*1000) || first.str("refresh_token") == u.refresh || first.str("access_token") == u.token {
		t.Fatalf("refreshed to %s", first.raw)
	}
	// The answer may have been lost: the old token works until the new ones are used.
	second := e.refresh(u.refresh).ok()
	e.valid(u.token)
	e.valid(second.str("access_token"))
	e.refresh(u.refresh).fails(401, "M_UNKNOWN_TOKEN")
	// The pair nobody used is gone with it.
	e.gone(first.str("access_token"))
	e.refresh(first.str("refresh_token")).fails(401, "M_UNKNOWN_TOKEN")
	e.valid(second.str("access_token"))

	// Using the new refresh token counts too.
	third := e.refresh(second.str("refresh_token")).ok()
	fourth := e.refresh(third.str("refresh_token")).ok()
	e.refresh(second.str("refresh_token")).fails(401, "M_UNKNOWN_TOKEN")
	e.valid(fourth.str("access_token"))
	if got := e.do("GET", "account/whoami", fourth.str("access_token"), nil).ok(); got.str("device_id") != u.device {
		t.Errorf("the session changed its device: %s", got.raw)
	}
	// What was replaced ends soon: requests on their way may still arrive.
	n := query[int](e, `SELECT count(*) FROM clientapi.sessions WHERE access_expires <= now() + interval '5 minutes'`)
	if n != 3 {
		t.Errorf("%d sessions are about to end, want the three that were replaced", n)
	}
}

func TestRefreshRefused(t *testing.T) {
	e := start(t)
	u := e.refreshing("anna")
	e.do("POST", "refresh", "", m{}).fails(400, "M_MISSING_PARAM")
	e.do("POST", "refresh", "", nil).fails(400, "M_NOT_JSON")
	if r := e.refresh("nonsense").fails(401, "M_UNKNOWN_TOKEN"); r.body["soft_logout"] != false {
		t.Errorf("unknown refresh token: %s", r.raw)
	}
	e.refresh(u.token).fails(401, "M_UNKNOWN_TOKEN") // an access token is no refresh token
	e.exec(`UPDATE clientapi.accounts SET locked = true`)
	e.refresh(u.refresh).fails(401, "M_USER_LOCKED")
	e.exec(`UPDATE clientapi.accounts SET locked = false`)
	e.exec(`UPDATE clientapi.sessions SET refresh_expires = now() - interval '1 second'`)
	if r := e.refresh(u.refresh).fails(401, "M_UNKNOWN_TOKEN"); r.body["soft_logout"] != true {
		t.Errorf("expired refresh token: %s", r.raw)
	}
	e.valid(u.token)
	e.do("POST", "logout", u.token, nil).ok()
	e.refresh(u.refresh).fails(401, "M_UNKNOWN_TOKEN")
}

func TestAccessTokenExpires(t *testing.T) {
	e := start(t)
	u := e.refreshing("anna")
	e.exec(`UPDATE clientapi.sessions SET access_expires = now() - interval '1 second'`)
	if r := e.do("GET", "account/whoami", u.token, nil).fails(401, "M_UNKNOWN_TOKEN"); r.body["soft_logout"] != true {
		t.Errorf("an expired token is answered %s", r.raw)
	}
	e.valid(e.refresh(u.refresh).ok().str("access_token"))
}

func TestLogout(t *testing.T) {
	e := start(t)
	u := e.refreshing("anna")
	other := newUser(e.login("anna", nil).ok())
	far := e.instance() // with a cache of its own
	e.at(far, "GET", "account/whoami", u.token, nil).ok()
	e.valid(u.token)
	r := e.do("POST", "logout", u.token, nil).ok()
	if string(r.raw) != "{}" {
		t.Errorf("logout answers %s", r.raw)
	}
	e.gone(u.token)
	eventually(t, "the other instance learns of the logout", func() bool {
		return e.at(far, "GET", "account/whoami", u.token, nil).status == 401
	})
	e.refresh(u.refresh).fails(401, "M_UNKNOWN_TOKEN")
	e.do("GET", "devices/"+u.device, other.token, nil).fails(404, "M_NOT_FOUND")
	e.do("POST", "logout", u.token, nil).fails(401, "M_UNKNOWN_TOKEN")
	e.do("POST", "logout", "", nil).fails(401, "M_MISSING_TOKEN")
	e.valid(other.token)

	third := newUser(e.login("anna", nil).ok())
	bert := e.register("bert")
	e.valid(third.token)
	e.do("POST", "logout/all", other.token, m{}).ok()
	e.gone(other.token)
	e.gone(third.token)
	e.valid(bert.token)
	if n := query[int](e, `SELECT count(*) FROM clientapi.devices`); n != 1 {
		t.Errorf("%d devices are left, want bert's", n)
	}
}

func TestLockedUserMayLogOut(t *testing.T) {
	e := start(t)
	u, other := e.register("anna"), newUser(e.login("anna", nil).ok())
	e.lock(u.id, true)
	r := e.do("GET", "account/whoami", u.token, nil).fails(401, "M_USER_LOCKED")
	if r.body["soft_logout"] != true {
		t.Errorf("soft_logout is missing: %s", r.raw)
	}
	e.do("POST", "logout", u.token, nil).ok()
	e.gone(u.token)
	e.lock(u.id, false)
	e.valid(other.token)
	e.lock(u.id, true)
	e.do("POST", "logout/all", other.token, nil).ok()
	e.gone(other.token)
}

func TestLastUseIsKnownByDay(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	today := time.Now().UTC().Truncate(24 * time.Hour)
	e.exec(`UPDATE clientapi.devices SET last_seen = last_seen - 3`)
	seen := func() int64 {
		t.Helper()
		return int64(e.do("GET", "devices/"+u.device, u.token, nil).ok().body["last_seen_ts"].(float64))
	}
	// The session is still cached from nothing: its first use of the day is written down.
	if got := seen(); got < today.UnixMilli() || got%(24*3600*1000) != 0 {
		t.Errorf("last seen %v, want the beginning of a day", time.UnixMilli(got).UTC())
	}
	// The second is not.
	version := query[string](e, `SELECT xmin::text FROM clientapi.devices`)
	if err := e.sessions.Revoke(auth.Revocation{Tokens: []auth.Hash{auth.HashToken(u.token)}}); err != nil {
		t.Fatal(err)
	}
	seen()
	if now := query[string](e, `SELECT xmin::text FROM clientapi.devices`); now != version {
		t.Error("the device's row is written on every use")
	}
}

func TestAuthenticate(t *testing.T) {
	e := start(t)
	u := e.refreshing("anna")
	e.exec(`UPDATE clientapi.accounts SET admin = true`)
	s, err := bus.Call(t.Context(), e.bus, auth.Authenticate, auth.AuthenticateReq{TokenHash: auth.HashToken(u.token)})
	if err != nil {
		t.Fatal(err)
	}
	if string(s.UserID) != u.id || s.DeviceID != u.device || !s.Admin || s.Locked || s.Account == 0 || s.Expires.Before(time.Now().Add(23*time.Hour)) {
		t.Errorf("session %+v", s)
	}
}

// TestRefreshedPairsUsedAtOnce: of several answers to one refresh exactly one lives on.
func TestRefreshedPairsUsedAtOnce(t *testing.T) {
	e := start(t)
	u := e.refreshing("anna")
	var pairs []user
	for range 4 {
		r := e.refresh(u.refresh).ok()
		pairs = append(pairs, user{token: r.str("access_token"), refresh: r.str("refresh_token")})
	}
	var wg sync.WaitGroup
	for _, p := range pairs {
		wg.Go(func() { e.do("GET", "account/whoami", p.token, nil) })
	}
	wg.Wait()
	alive := 0
	for _, p := range pairs {
		access, refresh := e.do("GET", "account/whoami", p.token, nil).status == 200, e.refresh(p.refresh).status == 200
		if access != refresh {
			t.Errorf("half a pair is left: access token %v, refresh token %v", access, refresh)
		}
		if access {
			alive++
		}
	}
	if alive != 1 {
		t.Errorf("%d pairs are left, want one", alive)
	}
}
