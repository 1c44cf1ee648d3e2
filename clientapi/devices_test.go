package clientapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDevices(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	two := newUser(e.login("anna", m{"device_id": "TWO/2", "initial_device_display_name": "Two"}).ok())
	bert := e.register("bert")
	day := float64(time.Now().UTC().Truncate(24 * time.Hour).UnixMilli())
	got := e.do("GET", "devices", u.token, nil).ok().body
	want := m{"devices": []any{
		m{"device_id": u.device, "last_seen_ts": day},
		m{"device_id": "TWO/2", "display_name": "Two", "last_seen_ts": day},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	if d := e.do("GET", "devices/TWO%2F2", u.token, nil).ok(); d.str("device_id") != "TWO/2" {
		t.Errorf("device: %s", d.raw)
	}
	e.do("GET", "devices/NONE", u.token, nil).fails(404, "M_NOT_FOUND")
	e.do("GET", "devices/TWO%2F2", bert.token, nil).fails(404, "M_NOT_FOUND")
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		e.do(method, "devices/X", "", m{}).fails(401, "M_MISSING_TOKEN")
	}
	e.do("GET", "devices", "", nil).fails(401, "M_MISSING_TOKEN")

	e.do("PUT", "devices/TWO%2F2", u.token, m{"display_name": "Zwei"}).ok()
	e.do("PUT", "devices/TWO%2F2", u.token, m{}).ok()
	if d := e.do("GET", "devices/TWO%2F2", two.token, nil).ok(); d.str("display_name") != "Zwei" {
		t.Errorf("renamed: %s", d.raw)
	}
	e.do("PUT", "devices/TWO%2F2", u.token, m{"display_name": ""}).ok()
	if d := e.do("GET", "devices/TWO%2F2", two.token, nil).ok(); d.body["display_name"] != nil {
		t.Errorf("name taken away: %s", d.raw)
	}
	e.do("PUT", "devices/NONE", u.token, m{"display_name": "x"}).fails(404, "M_NOT_FOUND")
	e.do("PUT", "devices/TWO%2F2", bert.token, m{"display_name": "x"}).fails(404, "M_NOT_FOUND")
	e.do("PUT", "devices/TWO%2F2", u.token, m{"display_name": strings.Repeat("x", 256)}).fails(400, "M_INVALID_PARAM")
	e.do("PUT", "devices/TWO%2F2", u.token, m{"display_name": "a\x00b"}).fails(400, "M_INVALID_PARAM")
	e.do("PUT", "devices/TWO%2F2", u.token, m{"display_name": 7}).fails(400, "M_BAD_JSON")
	e.do("PUT", "devices/TWO%2F2", u.token, nil).fails(400, "M_NOT_JSON")
	if r := e.do("GET", "devices/a%00b", u.token, nil); r.status/100 != 4 {
		t.Errorf("a NUL in the path is answered %d %s", r.status, r.raw)
	}
}

func TestDeleteDevice(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	two := newUser(e.login("anna", nil).ok())
	e.valid(two.token)
	r := e.do("DELETE", "devices/"+two.device, u.token, nil).fails(401, "")
	e.valid(two.token)
	e.do("DELETE", "devices/"+two.device, u.token, m{"auth": passwordAuth(u, r.str("session"))}).ok()
	e.gone(two.token)
	e.do("GET", "devices/"+two.device, u.token, nil).fails(404, "M_NOT_FOUND")
	// Deleting what is gone is no error, but is asked about like everything.
	e.do("DELETE", "devices/"+two.device, u.token, nil).fails(401, "")
	e.do("DELETE", "devices/"+two.device, u.token, m{"auth": passwordAuth(u, "")}).ok()
	// Nobody deletes a device of somebody else.
	bert := e.register("bert")
	e.do("DELETE", "devices/"+bert.device, u.token, m{"auth": passwordAuth(u, "")}).ok()
	e.valid(bert.token)
}

func TestDeleteDevices(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	two, three := newUser(e.login("anna", nil).ok()), newUser(e.login("anna", nil).ok())
	list := []string{two.device, u.device, "NONE"}
	r := e.do("POST", "delete_devices", u.token, m{"devices": list}).fails(401, "")
	e.do("POST", "delete_devices", u.token, m{"devices": list, "auth": passwordAuth(u, r.str("session"))}).ok()
	e.gone(u.token)
	e.gone(two.token)
	e.valid(three.token)
	e.do("POST", "delete_devices", three.token, m{}).fails(400, "M_MISSING_PARAM")
	e.do("POST", "delete_devices", three.token, m{"devices": "x"}).fails(400, "M_BAD_JSON")
	e.do("POST", "delete_devices", three.token, m{"devices": []string{"\x00"}}).fails(400, "M_INVALID_PARAM")
	e.do("POST", "delete_devices", three.token, m{"devices": make([]string, 1001)}).fails(400, "M_INVALID_PARAM")
	e.do("POST", "delete_devices", three.token, nil).fails(400, "M_NOT_JSON")
	e.do("POST", "delete_devices", "", m{"devices": list}).fails(401, "M_MISSING_TOKEN")
}

func TestWhois(t *testing.T) {
	e := start(t)
	u, bert := e.register("anna"), e.register("bert")
	day := float64(time.Now().UTC().Truncate(24 * time.Hour).UnixMilli())
	got := e.do("GET", "admin/whois/"+u.id, u.token, nil).ok().body
	want := m{"user_id": u.id, "devices": m{u.device: m{"sessions": []any{m{"connections": []any{m{"last_seen": day}}}}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("whois (-want +got):\n%s", diff)
	}
	e.do("GET", "admin/whois/"+bert.id, u.token, nil).fails(403, "M_FORBIDDEN")
	e.do("GET", "admin/whois/@nobody:example.org", u.token, nil).fails(403, "M_FORBIDDEN")
	e.do("GET", "admin/whois/"+u.id, "", nil).fails(401, "M_MISSING_TOKEN")
}
