package scenario

import (
	"testing"
)

var sessionScenarios = []Scenario{
	{"tokens are refreshed", refreshTokens},
	{"people log out", logout},
	{"a new password ends what the old one opened", changePassword},
	{"an account that is deactivated is gone", deactivate},
	{"an admin locks an account", lockAccount},
}

const refresh = "/_matrix/client/v3/refresh"

func refreshTokens(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	c := h.Client(t)
	first := c.Must("POST", login, M{
		"type": "m.login.password", "identifier": M{"type": "m.id.user", "user": anna.ID}, "password": Password, "refresh_token": true,
	})
	old := c.as(first)
	old.Warm()
	lost := c.Must("POST", refresh, M{"refresh_token": first["refresh_token"]})
	if lost["access_token"] == nil || lost["refresh_token"] == nil || lost["refresh_token"] == first["refresh_token"] {
		t.Fatalf("refresh: %v", lost)
	}
	// That answer never arrived: the client asks again with what it has.
	got := c.Must("POST", refresh, M{"refresh_token": first["refresh_token"]})
	fresh := *old
	fresh.Token, _ = got["access_token"].(string)
	fresh.Warm()
	// Now that the new token is in use, the old refresh token is over, and so is the lost answer.
	c.Refused("POST", refresh, M{"refresh_token": first["refresh_token"]}, 401, "M_UNKNOWN_TOKEN")
	c.Refused("POST", refresh, M{"refresh_token": lost["refresh_token"]}, 401, "M_UNKNOWN_TOKEN")
	next := c.Must("POST", refresh, M{"refresh_token": got["refresh_token"]})
	last := *old
	last.Token, _ = next["access_token"].(string)
	if who := last.Must("GET", "/_matrix/client/v3/account/whoami", nil); who["user_id"] != anna.ID || who["device_id"] != old.DeviceID {
		t.Errorf("whoami: %v", who)
	}
	c.Refused("POST", refresh, M{"refresh_token": "made up"}, 401, "M_UNKNOWN_TOKEN")
	c.Refused("POST", refresh, M{"refresh_token": last.Token}, 401, "M_UNKNOWN_TOKEN")
	c.Refused("POST", refresh, M{}, 400, "M_MISSING_PARAM")
	last.Must("POST", "/_matrix/client/v3/logout", M{})
	c.Refused("POST", refresh, M{"refresh_token": next["refresh_token"]}, 401, "M_UNKNOWN_TOKEN")
	fresh.LoggedOut()
}

func logout(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	second, third := h.Login(t, anna.ID), h.Login(t, anna.ID)
	who := second.Must("GET", "/_matrix/client/v3/account/whoami", nil)
	if who["user_id"] != anna.ID || who["device_id"] != second.DeviceID || who["is_guest"] == true {
		t.Errorf("whoami: %v", who)
	}
	for _, u := range []*User{anna, second, third} {
		u.Warm()
	}
	second.Must("POST", "/_matrix/client/v3/logout", M{})
	second.LoggedOut()
	anna.Refused("GET", Path("/devices/%s", second.DeviceID), nil, 404, "M_NOT_FOUND")
	anna.Must("POST", "/_matrix/client/v3/logout/all", nil)
	anna.LoggedOut()
	third.LoggedOut()
	if n := len(Events(h.Login(t, anna.ID).Must("GET", "/_matrix/client/v3/devices", nil), "devices")); n != 1 {
		t.Errorf("%d devices after all were logged out and one came back", n)
	}
}

func changePassword(t *testing.T, h *Home) {
	const path = "/_matrix/client/v3/account/password"
	anna := h.Register(t, "anna")
	second, third := h.Login(t, anna.ID), h.Login(t, anna.ID)
	for _, u := range []*User{anna, second, third} {
		u.Warm()
	}
	anna.Refused("POST", path, M{}, 400, "M_MISSING_PARAM")
	anna.Refused("POST", path, M{"new_password": "short"}, 400, "M_WEAK_PASSWORD")
	const next = "another good password"
	anna.Confirmed("POST", path, M{"new_password": next, "logout_devices": false})
	second.Warm()
	in := M{"type": "m.login.password", "identifier": M{"type": "m.id.user", "user": anna.ID}, "password": Password}
	anna.Client.Refused("POST", login, in, 403, "M_FORBIDDEN")
	// Back to the first one, and this time everybody else goes. Whoever forgot to log in may do it too.
	c := h.Client(t)
	body := M{"new_password": Password}
	challenge := c.Do("POST", path, body)
	if challenge.Status != 401 || challenge.Body["session"] == nil {
		t.Fatalf("want a challenge, got %d %s", challenge.Status, challenge.Raw)
	}
	anna.Must("POST", path, withAuth(body, passwordAuth(anna.ID, next, nil)))
	anna.Warm()
	second.LoggedOut()
	third.LoggedOut()
	h.Login(t, anna.ID)
	c.Must("POST", path, withAuth(M{"new_password": Password}, passwordAuth(anna.ID, Password, nil)))
	anna.LoggedOut()
}

func deactivate(t *testing.T, h *Home) {
	const path = "/_matrix/client/v3/account/deactivate"
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	second := h.Login(t, anna.ID)
	room := bert.CreateRoom(M{"preset": "public_chat"})
	anna.Join(room)
	asked := bert.CreateRoom(M{"preset": "private_chat", "invite": []string{anna.ID}})
	anna.Must("PUT", Path("/profile/%s/displayname", anna.ID), M{"displayname": "Anna"})
	anna.Warm()
	second.Warm()
	if got := anna.Confirmed("POST", path, M{"erase": true}); got["id_server_unbind_result"] == nil {
		t.Errorf("deactivate: %v", got)
	}
	anna.LoggedOut()
	second.LoggedOut()
	for _, id := range []string{room, asked} {
		eventually(t, "the rooms are left", func() bool {
			m := bert.Must("GET", Path("/rooms/%s/state/m.room.member/%s", id, anna.ID), nil)
			return m["membership"] == "leave"
		})
	}
	a := bert.Client.Do("POST", login, M{
		"type": "m.login.password", "identifier": M{"type": "m.id.user", "user": anna.ID}, "password": Password,
	})
	if a.Status != 403 || a.Errcode() != "M_FORBIDDEN" && a.Errcode() != "M_USER_DEACTIVATED" {
		t.Errorf("login of nobody: %d %s", a.Status, a.Raw)
	}
	name := anna.ID[1 : len(anna.ID)-len(h.ServerName)-1]
	c := h.Client(t)
	c.Refused("POST", register, M{"username": name, "password": Password, "auth": M{"type": "m.login.dummy"}}, 400, "M_USER_IN_USE")
	c.Refused("GET", register+"/available?username="+name, nil, 400, "M_USER_IN_USE")
	c.Refused("GET", Path("/profile/%s", anna.ID), nil, 404, "M_NOT_FOUND")
}
