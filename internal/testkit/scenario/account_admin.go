package scenario

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/run"
)

var accountScenarios = slices.Concat(
	metaScenarios,
	loginScenarios,
	registerScenarios,
	sessionScenarios,
	deviceScenarios,
	accountDataScenarios,
	profileScenarios,
	pushRuleScenarios,
)

// AdminCall does what the command line does on behalf of an admin.
func AdminCall[Req, Resp any](t testing.TB, h *Home, e bus.Endpoint[Req, Resp], req Req) Resp {
	t.Helper()
	resp, err := tryAdmin(t, h, e, req)
	if err != nil {
		t.Fatalf("admin call: %v", err)
	}
	return resp
}

// AdminRefused makes an admin call that has to fail with a code.
func AdminRefused[Req, Resp any](t testing.TB, h *Home, e bus.Endpoint[Req, Resp], req Req, code string) {
	t.Helper()
	_, err := tryAdmin(t, h, e, req)
	var known *matrix.Error
	if !errors.As(err, &known) || known.Code != code {
		t.Errorf("admin call: want %s, got %v", code, err)
	}
}

func tryAdmin[Req, Resp any](t testing.TB, h *Home, e bus.Endpoint[Req, Resp], req Req) (resp Resp, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	way, err := run.OpenAdmin(ctx, h.config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("open the way of the admin: %v", err)
	}
	resp, err = run.AdminCall(ctx, way, e, req)
	if err := way.Close(); err != nil {
		t.Errorf("close the way of the admin: %v", err)
	}
	return resp, err
}

// passwordAuth is the auth of a user who gives the password.
func passwordAuth(user, password string, session any) M {
	return M{
		"type": "m.login.password", "password": password, "session": session,
		"identifier": M{"type": "m.id.user", "user": user},
	}
}

// Confirmed sends a request that asks for the password, and gives it.
func (u *User) Confirmed(method, path string, body M) M {
	u.t.Helper()
	body = withAuth(body, nil)
	a := u.Do(method, path, body)
	if a.Status != 401 || a.Body["session"] == nil {
		u.t.Fatalf("%s %s: want a challenge, got %d %s", method, path, a.Status, a.Raw)
	}
	if got := At(a.Body, "flows", 0, "stages", 0); got != "m.login.password" {
		u.t.Errorf("%s %s: the first flow asks for %v", method, path, got)
	}
	return u.Must(method, path, withAuth(body, passwordAuth(u.ID, Password, a.Body["session"])))
}

// withAuth is a copy of a body with another auth.
func withAuth(body, auth M) M {
	out := M{}
	for k, v := range body {
		out[k] = v
	}
	delete(out, "auth")
	if auth != nil {
		out["auth"] = auth
	}
	return out
}

// LoggedOut waits until no process knows the token any more: those that had it
// in memory are told over the bus.
func (u *User) LoggedOut() {
	u.t.Helper()
	paths := []string{"/_matrix/client/v3/account/whoami", "/_matrix/client/v3/joined_rooms"}
	const enough = 6 // in a row: several processes answer in turn
	dead := 0
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		a := u.Do("GET", paths[dead%len(paths)], nil)
		if a.Status == 200 {
			dead = 0
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if a.Status != 401 || a.Errcode() != "M_UNKNOWN_TOKEN" {
			u.t.Fatalf("a token that is gone was answered %d %s", a.Status, a.Raw)
		}
		if a.Body["soft_logout"] == true {
			u.t.Error("a session that ended for good looks like one that can be refreshed")
		}
		if dead++; dead == 2*enough {
			return
		}
	}
	u.t.Fatal("the token is still taken somewhere")
}

// Warm has every process that answers reads learn the user's token.
func (u *User) Warm() {
	u.t.Helper()
	for range 4 {
		u.Must("GET", "/_matrix/client/v3/joined_rooms", nil)
	}
}

// eventually waits until ok is true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}
