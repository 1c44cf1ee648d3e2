package scenario

import (
	"strings"
	"testing"

	"allmende/clientapi/api"
	"allmende/internal/matrix"
)

var deviceScenarios = []Scenario{
	{"people look after their devices", devices},
	{"people delete several devices at once", deleteDevices},
}

func devices(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	second := h.Login(t, anna.ID)
	list := Events(anna.Must("GET", "/_matrix/client/v3/devices", nil), "devices")
	if len(list) != 2 {
		t.Errorf("%d devices, want 2: %v", len(list), list)
	}
	for _, d := range list {
		if d["last_seen_ip"] != nil {
			t.Errorf("the server keeps addresses: %v", d)
		}
	}
	path := Path("/devices/%s", second.DeviceID)
	anna.Must("PUT", path, M{"display_name": "Garden"})
	if got := second.Must("GET", path, nil); got["display_name"] != "Garden" || got["device_id"] != second.DeviceID {
		t.Errorf("device: %v", got)
	}
	anna.Must("PUT", path, M{})
	if got := anna.Must("GET", path, nil); got["display_name"] != "Garden" {
		t.Errorf("a request without a name changed it: %v", got)
	}
	anna.Refused("PUT", path, M{"display_name": strings.Repeat("x", 1000)}, 400, "M_INVALID_PARAM")
	anna.Refused("PUT", path, M{"display_name": 7}, 400, "M_BAD_JSON")
	for _, u := range []*User{anna, bert} {
		other := Path("/devices/%s", "NOBODYS")
		if u == bert {
			other = path // somebody else's is like none
		}
		u.Refused("GET", other, nil, 404, "M_NOT_FOUND")
		u.Refused("PUT", other, M{"display_name": "x"}, 404, "M_NOT_FOUND")
	}
	whois := Path("/admin/whois/%s", anna.ID)
	if got := anna.Must("GET", whois, nil); At(got, "devices", second.DeviceID) == nil {
		t.Errorf("whois: %v", got)
	}
	bert.Refused("GET", whois, nil, 403, "M_FORBIDDEN")
	second.Warm()
	anna.Confirmed("DELETE", path, M{})
	second.LoggedOut()
	anna.Refused("GET", path, nil, 404, "M_NOT_FOUND")
	anna.Confirmed("DELETE", path, M{}) // to delete what is gone is no error
	anna.Warm()
}

func deleteDevices(t *testing.T, h *Home) {
	const path = "/_matrix/client/v3/delete_devices"
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	second, third := h.Login(t, anna.ID), h.Login(t, anna.ID)
	second.Warm()
	third.Warm()
	anna.Refused("POST", path, M{}, 400, "M_MISSING_PARAM")
	anna.Refused("POST", path, M{"devices": "all"}, 400, "M_BAD_JSON")
	anna.Refused("POST", path, M{"devices": []string{"a\x00b"}}, 400, "M_INVALID_PARAM")
	anna.Confirmed("POST", path, M{"devices": []string{second.DeviceID, third.DeviceID, bert.DeviceID, "NOBODYS"}})
	second.LoggedOut()
	third.LoggedOut()
	anna.Warm()
	bert.Warm()
}

func lockAccount(t *testing.T, h *Home) {
	anna := h.Register(t, "anna")
	anna.Warm()
	AdminCall(t, h, api.AdminLockUser, api.AdminLockUserReq{UserID: matrix.UserID(anna.ID), Locked: true})
	for range 3 { // processes in turn
		eventually(t, "every process knows of the lock", func() bool {
			a := anna.Do("GET", "/_matrix/client/v3/joined_rooms", nil)
			return a.Status == 401 && a.Errcode() == "M_USER_LOCKED" && a.Body["soft_logout"] == true
		})
	}
	in := M{"type": "m.login.password", "identifier": M{"type": "m.id.user", "user": anna.ID}, "password": Password}
	if a := anna.Client.Do("POST", login, in); a.Errcode() != "M_USER_LOCKED" {
		t.Errorf("login of a locked account: %d %s", a.Status, a.Raw)
	}
	AdminCall(t, h, api.AdminLockUser, api.AdminLockUserReq{UserID: matrix.UserID(anna.ID)})
	for range 3 {
		eventually(t, "every process knows that the lock is gone", func() bool {
			return anna.Do("GET", "/_matrix/client/v3/joined_rooms", nil).Status == 200
		})
	}
	AdminCall(t, h, api.AdminSetPassword, api.AdminSetPasswordReq{UserID: matrix.UserID(anna.ID), Password: Password, LogoutDevices: true})
	anna.LoggedOut()
	AdminRefused(t, h, api.AdminLockUser, api.AdminLockUserReq{UserID: matrix.UserID("@nobody:" + h.ServerName)}, "M_NOT_FOUND")
	AdminRefused(t, h, api.AdminLockUser, api.AdminLockUserReq{UserID: "@anna:elsewhere.example"}, "M_INVALID_PARAM")
	h.Login(t, anna.ID)
}
