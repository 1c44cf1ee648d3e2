package clientapi_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVersions(t *testing.T) {
	e := start(t)
	for _, token := range []string{"", "nonsense"} {
		r := e.do("GET", "/_matrix/client/versions", token, nil).ok()
		list, _ := r.body["versions"].([]any)
		for _, v := range []string{"v1.1", "v1.4", "v1.11", "v1.12"} {
			if !slices.Contains(list, any(v)) {
				t.Errorf("%s is not among %v", v, list)
			}
		}
		flags, ok := r.body["unstable_features"].(map[string]any)
		if !ok {
			t.Fatalf("no unstable_features in %s", r.raw)
		}
		for name, on := range flags {
			if _, ok := on.(bool); !ok {
				t.Errorf("%s is %v, want a boolean", name, on)
			}
		}
	}
}

func TestCapabilities(t *testing.T) {
	e := start(t)
	e.do("GET", "capabilities", "", nil).fails(401, "M_MISSING_TOKEN")
	got := e.do("GET", "capabilities", e.register("anna").token, nil).ok().body
	yes, no := m{"enabled": true}, m{"enabled": false}
	want := m{"capabilities": m{
		"m.room_versions":   m{"default": "12", "available": m{"10": "stable", "11": "stable", "12": "stable"}},
		"m.change_password": yes, "m.set_displayname": yes, "m.set_avatar_url": yes, "m.profile_fields": yes,
		"m.get_login_token": yes, "m.3pid_changes": no,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("capabilities (-want +got):\n%s", diff)
	}
}

func TestWhatIsNotOffered(t *testing.T) {
	e := start(t)
	u := e.register("anna")
	e.do("GET", "login/sso/redirect?redirectUrl=x", "", nil).fails(404, "M_UNRECOGNIZED")
	e.do("GET", "/_matrix/client/v1/auth_metadata", "", nil).fails(404, "M_UNRECOGNIZED")
	e.do("GET", "register", "", nil).fails(405, "M_UNRECOGNIZED")
	for _, path := range []string{"3pid", "3pid/add", "3pid/bind", "3pid/delete", "3pid/unbind"} {
		e.do("POST", "account/"+path, u.token, m{}).fails(403, "M_THREEPID_DENIED")
		e.do("POST", "account/"+path, "", m{}).fails(401, "M_MISSING_TOKEN")
	}
	for _, medium := range []string{"email", "msisdn"} {
		e.do("POST", "register/"+medium+"/requestToken", "", m{}).fails(403, "M_THREEPID_DENIED")
		e.do("POST", "account/password/"+medium+"/requestToken", "", m{}).fails(403, "M_THREEPID_DENIED")
		e.do("POST", "account/3pid/"+medium+"/requestToken", "", m{}).fails(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED")
	}
	got := e.do("GET", "account/3pid", u.token, nil).ok()
	if string(got.raw) != `{"threepids":[]}` {
		t.Errorf("account/3pid: %s", got.raw)
	}
}
