package clientapi_test

import (
	"errors"
	"testing"
	"time"

	"allmende/clientapi/api"
	"allmende/internal/bus"
	"allmende/internal/matrix"

	"github.com/google/go-cmp/cmp"
)

// admin makes a call that an admin's command makes.
func admin[Req, Resp any](e *env, call bus.Endpoint[Req, Resp], req Req) Resp {
	e.t.Helper()
	resp, err := bus.Call(e.t.Context(), e.bus, call, req)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp
}

// refused makes a call that must fail with a code and status.
func refused[Req, Resp any](e *env, call bus.Endpoint[Req, Resp], req Req, status int, code string) {
	e.t.Helper()
	_, err := bus.Call(e.t.Context(), e.bus, call, req)
	var me *matrix.Error
	if !errors.As(err, &me) || me.Status != status || me.Code != code {
		e.t.Errorf("%+v: %v, want %d %s", req, err, status, code)
	}
}

func (e *env) lock(id string, locked bool) {
	e.t.Helper()
	admin(e, api.AdminLockUser, api.AdminLockUserReq{UserID: matrix.UserID(id), Locked: locked})
}

func TestAdminCreateUser(t *testing.T) {
	e := start(t, closed)
	got := admin(e, api.AdminCreateUser, api.AdminCreateUserReq{Localpart: "Anna", Password: password, Admin: true})
	if got.UserID != "@anna:example.org" {
		t.Errorf("user id is %s", got.UserID)
	}
	e.login("anna", nil).ok()
	admin(e, api.AdminCreateUser, api.AdminCreateUserReq{Localpart: "robot"})
	e.login("robot", m{"password": ""}).fails(403, "M_FORBIDDEN")
	refused(e, api.AdminCreateUser, api.AdminCreateUserReq{Localpart: "anna", Password: password}, 400, "M_USER_IN_USE")
	refused(e, api.AdminCreateUser, api.AdminCreateUserReq{Localpart: "an na", Password: password}, 400, "M_INVALID_USERNAME")
	refused(e, api.AdminCreateUser, api.AdminCreateUserReq{Password: password}, 400, "M_INVALID_USERNAME")
	refused(e, api.AdminCreateUser, api.AdminCreateUserReq{Localpart: "allmende", Password: password}, 400, "M_EXCLUSIVE")
	refused(e, api.AdminCreateUser, api.AdminCreateUserReq{Localpart: "bert", Password: "short"}, 400, "M_WEAK_PASSWORD")
}

func TestAdminSetPassword(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	id := matrix.UserID(u.id)
	admin(e, api.AdminSetPassword, api.AdminSetPasswordReq{UserID: id, Password: "a new password"})
	e.valid(u.token)
	e.login("anna", nil).fails(403, "M_FORBIDDEN")
	admin(e, api.AdminSetPassword, api.AdminSetPasswordReq{UserID: id, Password: "a third password", LogoutDevices: true})
	e.gone(u.token)
	e.login("anna", m{"password": "a third password"}).ok()
	refused(e, api.AdminSetPassword, api.AdminSetPasswordReq{UserID: id, Password: "short"}, 400, "M_WEAK_PASSWORD")
	refused(e, api.AdminSetPassword, api.AdminSetPasswordReq{UserID: "@nobody:example.org", Password: password}, 404, "M_NOT_FOUND")
	refused(e, api.AdminSetPassword, api.AdminSetPasswordReq{UserID: "@anna:elsewhere.org", Password: password}, 400, "M_INVALID_PARAM")
	refused(e, api.AdminSetPassword, api.AdminSetPasswordReq{UserID: "anna", Password: password}, 400, "M_INVALID_PARAM")
	e.exec(`UPDATE clientapi.accounts SET deactivated = true`)
	refused(e, api.AdminSetPassword, api.AdminSetPasswordReq{UserID: id, Password: password}, 404, "M_NOT_FOUND")
}

func TestAdminListUsers(t *testing.T) {
	e := start(t)
	e.register("carla")
	e.login("carla", nil).ok()
	e.register("anna")
	e.exec(`UPDATE clientapi.accounts SET locked = true, admin = true WHERE localpart = 'anna'`)
	e.exec(`INSERT INTO clientapi.accounts (localpart, created, deactivated) VALUES ('bert', '2026-03-01', true)`)
	now := time.Now().UTC()
	month, day := now.Format("2006-01"), now.Format(time.DateOnly)
	want := []api.AdminUser{
		{UserID: "@anna:example.org", Admin: true, Locked: true, Created: month, LastSeen: day, Devices: 1},
		{UserID: "@bert:example.org", Deactivated: true, Created: "2026-03"},
		{UserID: "@carla:example.org", Created: month, LastSeen: day, Devices: 2},
	}
	got := admin(e, api.AdminListUsers, api.AdminListUsersReq{})
	if diff := cmp.Diff(api.AdminListUsersResp{Users: want}, got); diff != "" {
		t.Errorf("all users (-want +got):\n%s", diff)
	}
	got = admin(e, api.AdminListUsers, api.AdminListUsersReq{Limit: 2})
	if diff := cmp.Diff(api.AdminListUsersResp{Users: want[:2], More: true}, got); diff != "" {
		t.Errorf("first page (-want +got):\n%s", diff)
	}
	got = admin(e, api.AdminListUsers, api.AdminListUsersReq{After: "bert", Limit: 2})
	if diff := cmp.Diff(api.AdminListUsersResp{Users: want[2:]}, got); diff != "" {
		t.Errorf("second page (-want +got):\n%s", diff)
	}
	refused(e, api.AdminListUsers, api.AdminListUsersReq{After: "\x00"}, 400, "M_INVALID_PARAM")
}

func TestAdminLockUser(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	e.valid(u.token)
	e.lock(u.id, true)
	e.do("GET", "account/whoami", u.token, nil).fails(401, "M_USER_LOCKED")
	e.lock(u.id, false)
	e.valid(u.token)
	refused(e, api.AdminLockUser, api.AdminLockUserReq{UserID: "@nobody:example.org"}, 404, "M_NOT_FOUND")
	refused(e, api.AdminLockUser, api.AdminLockUserReq{UserID: "@anna:elsewhere.org"}, 400, "M_INVALID_PARAM")
}

func TestAdminRegistrationTokens(t *testing.T) {
	e := start(t, byToken)
	two, soon := 2, time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	first := e.registrationToken(api.AdminCreateRegistrationTokenReq{Token: "spring.2026", UsesAllowed: &two, ExpiresAt: &soon})
	second := e.registrationToken(api.AdminCreateRegistrationTokenReq{})
	if first.Token != "spring.2026" || len(second.Token) < 20 || first.ID == second.ID {
		t.Errorf("made %+v and %+v", first, second)
	}
	e.do("POST", "register", "", m{"username": "anna", "password": password,
		"auth": m{"type": "m.login.registration_token", "token": first.Token}}).ok()
	used := first.RegistrationToken
	used.Completed = 1
	want := api.AdminListRegistrationTokensResp{Tokens: []api.RegistrationToken{used, second.RegistrationToken}}
	got := admin(e, api.AdminListRegistrationTokens, api.AdminListRegistrationTokensReq{})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
	got = admin(e, api.AdminListRegistrationTokens, api.AdminListRegistrationTokensReq{Limit: 1})
	if diff := cmp.Diff(api.AdminListRegistrationTokensResp{Tokens: want.Tokens[:1], More: true}, got); diff != "" {
		t.Errorf("first page (-want +got):\n%s", diff)
	}

	admin(e, api.AdminRevokeRegistrationToken, api.AdminRevokeRegistrationTokenReq{Token: first.Token})
	admin(e, api.AdminRevokeRegistrationToken, api.AdminRevokeRegistrationTokenReq{ID: second.ID})
	if r := e.do("GET", validity+first.Token, "", nil).ok(); r.body["valid"] != false {
		t.Errorf("revoked token: %s", r.raw)
	}
	refused(e, api.AdminRevokeRegistrationToken, api.AdminRevokeRegistrationTokenReq{Token: first.Token}, 404, "M_NOT_FOUND")
	refused(e, api.AdminRevokeRegistrationToken, api.AdminRevokeRegistrationTokenReq{}, 400, "M_INVALID_PARAM")
	refused(e, api.AdminRevokeRegistrationToken, api.AdminRevokeRegistrationTokenReq{Token: "x", ID: 1}, 400, "M_INVALID_PARAM")
}

func TestAdminRegistrationTokenRefused(t *testing.T) {
	e := start(t, byToken)
	none, past := 0, time.Now().Add(-time.Hour)
	e.registrationToken(api.AdminCreateRegistrationTokenReq{Token: "twice"})
	refused(e, api.AdminCreateRegistrationToken, api.AdminCreateRegistrationTokenReq{Token: "twice"}, 409, "M_UNKNOWN")
	refused(e, api.AdminCreateRegistrationToken, api.AdminCreateRegistrationTokenReq{Token: "a b"}, 400, "M_INVALID_PARAM")
	refused(e, api.AdminCreateRegistrationToken, api.AdminCreateRegistrationTokenReq{Token: string(make([]byte, 65))}, 400, "M_INVALID_PARAM")
	refused(e, api.AdminCreateRegistrationToken, api.AdminCreateRegistrationTokenReq{UsesAllowed: &none}, 400, "M_INVALID_PARAM")
	refused(e, api.AdminCreateRegistrationToken, api.AdminCreateRegistrationTokenReq{ExpiresAt: &past}, 400, "M_INVALID_PARAM")
}
