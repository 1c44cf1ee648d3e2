package clientapi_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"allmende/clientapi/api"
)

// form sends a form as a browser does.
func (e *env) form(path string, values url.Values) *http.Response {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), "POST", e.url+path, strings.NewReader(values.Encode()))
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

const (
	dummyPage = "/_matrix/client/v3/auth/m.login.dummy/fallback/web"
	tokenPage = "/_matrix/client/v3/auth/m.login.registration_token/fallback/web"
)

func TestFallbackDummy(t *testing.T) {
	e := start(t)
	body := m{"username": "anna", "password": password}
	session := e.do("POST", "register", "", body).fails(401, "").str("session")
	r := e.do("GET", dummyPage+"?session="+session, "", nil).ok()
	if ct := r.header.Get("Content-Type"); ct != "text/html; charset=utf-8" || !strings.Contains(string(r.raw), session) {
		t.Fatalf("page of type %s: %s", ct, r.raw)
	}
	csp := r.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy is %q", csp)
	}
	// Looking at the page does nothing yet.
	body["auth"] = m{"session": session}
	e.do("POST", "register", "", body).fails(401, "")
	if resp := e.form(dummyPage, url.Values{"session": {session}}); resp.StatusCode != 200 {
		t.Fatalf("form: %s", resp.Status)
	}
	e.do("POST", "register", "", body).ok()
	e.do("POST", "register", "", body).fails(400, "M_USER_IN_USE")
}

// TestFallbackPolicyFitsThePage: a script or style whose hash is not in the policy would not run.
func TestFallbackPolicyFitsThePage(t *testing.T) {
	e := start(t)
	session := e.do("POST", "register", "", m{}).fails(401, "").str("session")
	r := e.do("POST", dummyPage, "", url.Values{"session": {session}}.Encode()).ok()
	for _, tag := range []string{"script", "style"} {
		found := regexp.MustCompile(`(?s)<` + tag + `>(.*?)</` + tag + `>`).FindSubmatch(r.raw)
		if found == nil {
			t.Fatalf("no %s in %s", tag, r.raw)
		}
		h := sha256.Sum256(found[1])
		want := tag + "-src 'sha256-" + base64.StdEncoding.EncodeToString(h[:]) + "'"
		if csp := r.header.Get("Content-Security-Policy"); !strings.Contains(csp, want) {
			t.Errorf("policy %q does not allow the page's %s", csp, tag)
		}
	}
	if !strings.Contains(string(r.raw), "window.onAuthDone") || !strings.Contains(string(r.raw), `postMessage("authDone", "*")`) {
		t.Errorf("the page does not tell the client: %s", r.raw)
	}
}

func TestFallbackRegistrationToken(t *testing.T) {
	e := start(t, byToken)
	once := 1
	token := e.registrationToken(api.AdminCreateRegistrationTokenReq{UsesAllowed: &once}).Token
	body := m{"username": "anna", "password": password}
	session := e.do("POST", "register", "", body).fails(401, "").str("session")
	if r := e.do("GET", tokenPage+"?session="+session, "", nil).ok(); !strings.Contains(string(r.raw), `name="token"`) {
		t.Errorf("the page asks for no token: %s", r.raw)
	}
	if resp := e.form(tokenPage, url.Values{"session": {session}, "token": {"wrong"}}); resp.StatusCode != 403 {
		t.Errorf("wrong token: %s", resp.Status)
	}
	if resp := e.form(tokenPage, url.Values{"session": {session}, "token": {token}}); resp.StatusCode != 200 {
		t.Fatalf("right token: %s", resp.Status)
	}
	// The use is held for this session.
	if r := e.do("GET", validity+token, "", nil).ok(); r.body["valid"] != false {
		t.Errorf("a use that is held is given again: %s", r.raw)
	}
	list := admin(e, api.AdminListRegistrationTokens, api.AdminListRegistrationTokensReq{}).Tokens
	if len(list) != 1 || list[0].Pending != 1 || list[0].Completed != 0 {
		t.Errorf("tokens: %+v", list)
	}
	other := e.do("POST", "register", "", m{"username": "bert", "password": password}).fails(401, "").str("session")
	if resp := e.form(tokenPage, url.Values{"session": {other}, "token": {token}}); resp.StatusCode != 403 {
		t.Errorf("a token for one, held by one, taken by another: %s", resp.Status)
	}
	body["auth"] = m{"session": session}
	e.do("POST", "register", "", body).ok()
	list = admin(e, api.AdminListRegistrationTokens, api.AdminListRegistrationTokensReq{}).Tokens
	if len(list) != 1 || list[0].Pending != 0 || list[0].Completed != 1 {
		t.Errorf("tokens after registering: %+v", list)
	}
}

func TestFallbackRefused(t *testing.T) {
	e := start(t)
	e.do("GET", dummyPage, "", nil).fails(400, "M_MISSING_PARAM")
	e.do("GET", "auth/m.login.password/fallback/web?session=x", "", nil).fails(404, "M_UNRECOGNIZED")
	e.do("GET", "auth/m.login.sso/fallback/web?session=x", "", nil).fails(404, "M_UNRECOGNIZED")
	if r := e.do("GET", dummyPage+`?session="><script>`, "", nil); r.status != 404 || strings.Contains(string(r.raw), "<script>") {
		t.Errorf("unknown session: %d %s", r.status, r.raw)
	}
	e.do("POST", dummyPage, "", strings.Repeat("a", 5000)).fails(413, "M_TOO_LARGE")
}
