package scenario_test

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"allmende/clientapi/api"
	"allmende/config"
	"allmende/internal/testkit"
	"allmende/internal/testkit/scenario"
)

type M = scenario.M

// home is a process of its own on a database of the test's server.
func home(t *testing.T, change func(*config.Config)) *scenario.Home {
	t.Helper()
	c := scenario.Config(t)
	c.Database.URL = config.Secret(testkit.DatabaseURL(t))
	change(c)
	return scenario.SingleWith(t, c)
}

const register = "/_matrix/client/v3/register"

func TestRegistrationByToken(t *testing.T) {
	h := home(t, func(c *config.Config) { c.Registration.Policy = config.RegistrationToken })
	c := h.Client(t)
	valid := func(token string) any {
		return c.Must("GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token="+token, nil)["valid"]
	}
	with := func(token string) M {
		return M{"username": scenario.Unique("anna"), "password": scenario.Password, "auth": M{"type": "m.login.registration_token", "token": token}}
	}
	once := 1
	made := scenario.AdminCall(t, h, api.AdminCreateRegistrationToken, api.AdminCreateRegistrationTokenReq{UsesAllowed: &once})
	if got := valid(made.Token); got != true {
		t.Errorf("a new token is valid: %v", got)
	}
	for what, auth := range map[string]M{
		"no token": {"type": "m.login.registration_token"}, "a wrong token": {"type": "m.login.registration_token", "token": "wrong"},
		"no stage of this server": {"type": "m.login.dummy"},
	} {
		body := M{"username": scenario.Unique("anna"), "password": scenario.Password, "auth": auth}
		if a := c.Do("POST", register, body); a.Status != http.StatusUnauthorized || a.Errcode() != "M_FORBIDDEN" {
			t.Errorf("%s: %d %s", what, a.Status, a.Raw)
		}
	}
	// Many want the one use at once: one gets it.
	const many = 8
	var got sync.Map
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			a, err := c.Try("POST", register, with(made.Token))
			got.Store(i, fmt.Sprint(a.Status, err))
		})
	}
	wg.Wait()
	won := 0
	got.Range(func(_, v any) bool {
		if v == "200 <nil>" {
			won++
		}
		return true
	})
	if won != 1 {
		t.Errorf("%d people registered with a token for one", won)
	}
	if got := valid(made.Token); got != false {
		t.Errorf("a used token is valid: %v", got)
	}
	list := scenario.AdminCall(t, h, api.AdminListRegistrationTokens, api.AdminListRegistrationTokensReq{})
	if len(list.Tokens) != 1 || list.Tokens[0].Completed != 1 {
		t.Errorf("tokens: %+v", list.Tokens)
	}

	soon := time.Now().Add(1500 * time.Millisecond)
	short := scenario.AdminCall(t, h, api.AdminCreateRegistrationToken, api.AdminCreateRegistrationTokenReq{Token: "short-lived", ExpiresAt: &soon})
	for valid(short.Token) == true {
		if time.Since(soon) > time.Minute {
			t.Fatal("the token does not end")
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.Refused("POST", register, with(short.Token), 401, "M_FORBIDDEN")
	past := time.Now().Add(-time.Hour)
	scenario.AdminRefused(t, h, api.AdminCreateRegistrationToken, api.AdminCreateRegistrationTokenReq{ExpiresAt: &past}, "M_INVALID_PARAM")
	scenario.AdminRefused(t, h, api.AdminCreateRegistrationToken, api.AdminCreateRegistrationTokenReq{Token: "short-lived"}, "M_UNKNOWN")

	open := scenario.AdminCall(t, h, api.AdminCreateRegistrationToken, api.AdminCreateRegistrationTokenReq{})
	for range 3 {
		c.Must("POST", register, with(open.Token))
	}
	scenario.AdminCall(t, h, api.AdminRevokeRegistrationToken, api.AdminRevokeRegistrationTokenReq{Token: open.Token})
	c.Refused("POST", register, with(open.Token), 401, "M_FORBIDDEN")
	scenario.AdminRefused(t, h, api.AdminRevokeRegistrationToken, api.AdminRevokeRegistrationTokenReq{Token: open.Token}, "M_NOT_FOUND")
}

// TestSoftLogout lets access tokens run out.
func TestSoftLogout(t *testing.T) {
	h := home(t, func(c *config.Config) { c.Auth.AccessTokenLifetime = config.Duration(2 * time.Second) })
	anna := h.Register(t, "anna")
	in := M{"type": "m.login.password", "identifier": M{"type": "m.id.user", "user": anna.ID}, "password": scenario.Password, "refresh_token": true}
	m := h.Client(t).Must("POST", "/_matrix/client/v3/login", in)
	token, _ := m["access_token"].(string)
	for range 2 {
		began := time.Now()
		for {
			a := h.Client(t).Do("GET", "/_matrix/client/v3/joined_rooms", nil, "Authorization", "Bearer "+token)
			if a.Status == http.StatusOK && time.Since(began) < time.Minute {
				time.Sleep(50 * time.Millisecond)
				continue
			}
			if a.Status != 401 || a.Errcode() != "M_UNKNOWN_TOKEN" || a.Body["soft_logout"] != true {
				t.Fatalf("a token that has run out: %d %s", a.Status, a.Raw)
			}
			break
		}
		m = h.Client(t).Must("POST", "/_matrix/client/v3/refresh", M{"refresh_token": m["refresh_token"]})
		token, _ = m["access_token"].(string)
		h.Client(t).Must("GET", "/_matrix/client/v3/account/whoami", nil, "Authorization", "Bearer "+token)
	}
	anna.Warm() // whoever cannot refresh is not logged out
}

// TestClosedAndLimited has a server that nobody can register at and that lets
// nobody ask too often.
func TestClosedAndLimited(t *testing.T) {
	few := config.Rate{PerSecond: 1, Burst: 5}
	h := home(t, func(c *config.Config) {
		c.Registration.Policy = config.RegistrationClosed
		c.RateLimits = config.RateLimits{Login: few, Write: few, Read: few, Expensive: few}
	})
	c := h.Client(t)
	c.Refused("POST", register, M{"username": "anna", "password": scenario.Password, "auth": M{"type": "m.login.dummy"}}, 403, "M_FORBIDDEN")
	c.Refused("GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token=x", nil, 403, "M_FORBIDDEN")
	for _, name := range []string{"anna", "bert"} {
		scenario.AdminCall(t, h, api.AdminCreateUser, api.AdminCreateUserReq{Localpart: name, Password: scenario.Password})
	}
	scenario.AdminRefused(t, h, api.AdminCreateUser, api.AdminCreateUserReq{Localpart: "anna", Password: scenario.Password}, "M_USER_IN_USE")
	anna := h.Login(t, "anna")
	limited(t, "joined_rooms", func() scenario.Answer { return anna.Do("GET", "/_matrix/client/v3/joined_rooms", nil) })
	limited(t, "filter", func() scenario.Answer { return anna.Do("POST", scenario.Path("/user/%s/filter", anna.ID), M{}) })
	limited(t, "createRoom", func() scenario.Answer { return anna.Do("POST", "/_matrix/client/v3/createRoom", M{}) })
	// Another account has buckets of its own, and so has another address without one.
	bert := M{"type": "m.login.password", "identifier": M{"type": "m.id.user", "user": "bert"}, "password": "wrong"}
	limited(t, "login", func() scenario.Answer { return c.Do("POST", "/_matrix/client/v3/login", bert) })
	bert["password"] = scenario.Password
	b := c.Do("POST", "/_matrix/client/v3/login", bert, "X-Forwarded-For", "203.0.113.9")
	if b.Status != http.StatusOK && b.Errcode() != "M_LIMIT_EXCEEDED" {
		t.Errorf("from another address: %d %s", b.Status, b.Raw)
	}
}

// limited asks until it is too often, and then as told.
func limited(t *testing.T, what string, ask func() scenario.Answer) {
	t.Helper()
	for range 200 {
		a := ask()
		if a.Status != http.StatusTooManyRequests {
			continue
		}
		seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
		ms, _ := a.Body["retry_after_ms"].(float64)
		if a.Errcode() != "M_LIMIT_EXCEEDED" || err != nil || seconds < 1 || ms <= 0 || ms > float64(seconds)*1000 {
			t.Errorf("%s: %d %s, Retry-After %q", what, a.Status, a.Raw, a.Header.Get("Retry-After"))
		}
		time.Sleep(time.Duration(seconds) * time.Second)
		if a := ask(); a.Status == http.StatusTooManyRequests {
			t.Errorf("%s: still too often after the time we were told", what)
		}
		return
	}
	t.Errorf("%s is not limited", what)
}
