package clientapi

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"
	"net/url"

	"allmende/clientapi/store"
	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
)

// maxFallbackForm bounds the form a browser sends, in bytes.
const maxFallbackForm = 4096

func (s *Service) fallbackRoutes() []httpx.Route {
	const path = "/_matrix/client/v3/auth/{type}/fallback/web"
	return []httpx.Route{
		{Method: "GET", Path: path, Rate: httpx.RateRegister, Handler: httpx.Stream(s.fallback)},
		{Method: "POST", Path: path, Rate: httpx.RateRegister, Handler: httpx.Stream(s.fallback), MaxBody: maxFallbackForm},
	}
}

// fallbackScript is the one the specification asks for.
// spec: c-s §Fallback
const fallbackScript = `
if (window.onAuthDone) {
    window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
    window.opener.postMessage("authDone", "*");
}
`

const fallbackStyle = `body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:4rem auto;padding:0 1rem}` +
	`input,button{font:inherit;padding:.5rem;box-sizing:border-box;width:100%;margin-top:.75rem}`

// fallbackPolicy allows the page's own script and style, and its form, and nothing else.
var fallbackPolicy = "default-src 'none'; script-src '" + sourceHash(fallbackScript) + "'; style-src '" + sourceHash(fallbackStyle) +
	"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func sourceHash(s string) string {
	h := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(h[:])
}

var fallbackPage = template.Must(template.New("fallback").Parse(`<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Server}}</title><style>` + fallbackStyle + `</style></head>
<body><h1>{{.Server}}</h1>
{{- if .Done}}
<p>Thank you. You may close this window.</p><script>` + fallbackScript + `</script>
{{- else if .Gone}}
<p>This page has expired. Please begin again in your app.</p>
{{- else}}
{{- with .Problem}}<p role="alert">{{.}}</p>{{end}}
<form method="post"><input type="hidden" name="session" value="{{.Session}}">
{{- if .AskToken}}
<label>Registration token<input name="token" maxlength="64" autocomplete="off" required autofocus></label>
{{- end}}
<button type="submit">Continue</button></form>
{{- end}}
</body></html>
`))

type fallbackView struct {
	Server, Session, Problem string
	AskToken, Done, Gone     bool
}

// fallback lets a browser do a stage that the client does not know. Only stages that need no account are done here.
//
// spec: c-s §Fallback
func (s *Service) fallback(w http.ResponseWriter, r *http.Request, _ auth.Session) error {
	stage := r.PathValue("type")
	if stage != stageDummy && stage != stageRegistrationToken {
		return matrix.Unrecognized("There is no page for this authentication type")
	}
	form := r.URL.Query()
	if r.Method == http.MethodPost {
		body, err := httpx.ReadBody(w, r, maxFallbackForm)
		if err != nil {
			return err
		}
		if form, err = url.ParseQuery(string(body)); err != nil {
			return matrix.InvalidParam("The form cannot be read")
		}
	}
	view := fallbackView{Server: s.Config.ServerName, Session: form.Get("session"), AskToken: stage == stageRegistrationToken}
	status, err := s.fallbackStep(r, stage, form.Get("token"), &view)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", fallbackPolicy)
	h.Set("Referrer-Policy", "no-referrer") // the session is in the address
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return fallbackPage.Execute(w, view)
}

// fallbackStep does what the form asks for and says what the page is to show.
func (s *Service) fallbackStep(r *http.Request, stage, token string, view *fallbackView) (status int, err error) {
	ctx := r.Context()
	if view.Session == "" {
		return 0, matrix.MissingParam("The session is missing")
	}
	session := hashToken(view.Session)
	u, err := s.store.FindUIA(ctx, session)
	if errors.Is(err, store.ErrNotFound) {
		view.Gone = true
		return http.StatusNotFound, nil
	}
	if err != nil || r.Method != http.MethodPost {
		return http.StatusOK, err
	}
	done := false
	for _, c := range u.Completed {
		done = done || c == stage
	}
	if !done {
		var held *int64
		if stage == stageRegistrationToken {
			nid, err := s.store.ValidRegistrationToken(ctx, hashToken(token))
			if errors.Is(err, store.ErrNotFound) {
				view.Problem = "This registration token is not valid."
				return http.StatusForbidden, nil
			}
			if err != nil {
				return 0, err
			}
			held = &nid
		}
		if err := s.store.CompleteStage(ctx, session, stage, held); err != nil {
			return 0, err
		}
	}
	view.Done = true
	return http.StatusOK, nil
}
