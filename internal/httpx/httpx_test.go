package httpx_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"

	"github.com/google/go-cmp/cmp"
)

// tokens is an Authenticator that knows some tokens. (The real one needs clientapi; it has its
// own tests.)
type tokens map[string]auth.Session

func (k tokens) Session(_ context.Context, token string) (auth.Session, error) {
	s, ok := k[token]
	switch {
	case token == "":
		return s, matrix.MissingToken()
	case !ok:
		return s, matrix.UnknownToken(true)
	case s.Locked:
		return s, matrix.UserLocked("locked")
	}
	return s, nil
}

var known = tokens{
	"alice":  {UserID: "@alice:x"},
	"bob":    {UserID: "@bob:x"},
	"locked": {UserID: "@locked:x", Locked: true},
	"bridge": {UserID: "@bridge:x", Unlimited: true},
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) errcode() string {
	var e struct{ Errcode string }
	_ = json.Unmarshal([]byte(a.body), &e)
	return e.Errcode
}

func serve(t testing.TB, o httpx.Options, routes ...httpx.Route) *httptest.Server {
	t.Helper()
	o.Sessions = known
	rt, err := httpx.New(o, routes)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(rt)
	t.Cleanup(srv.Close)
	return srv
}

// do sends a request; headers are pairs.
func do(t testing.TB, srv *httptest.Server, method, path, body string, headers ...string) answer {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, r)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(got)}
}

type everything struct {
	Room   string          `path:"roomId" json:"room,omitempty"`
	Key    string          `path:"key" json:"key"`
	Limit  *int            `query:"limit" json:"limit,omitempty"`
	Via    []string        `query:"via" json:"via,omitempty"`
	Full   bool            `query:"full" json:"full,omitempty"`
	Dir    matrix.UserID   `query:"dir,required" json:"dir,omitempty"`
	Small  uint8           `query:"small" json:"small,omitempty"`
	Hash   *auth.Hash      `query:"hash" json:"hash,omitempty"`
	Header string          `header:"x-test" json:"header,omitempty"`
	Body   json.RawMessage `body:"optional" json:"body,omitempty"`
}

func echo[T any](_ context.Context, _ auth.Session, in T) (T, error) { return in, nil }

func TestDecoding(t *testing.T) {
	srv := serve(t, httpx.Options{}, httpx.Route{Method: "POST", Path: "/e/{roomId}/{key?}", Handler: httpx.Handle(echo[everything])})
	hash := "2rO6lsYaaPuKIDKKG6P4Si1fjKCr2OE2ry0fp-7Q2aE"
	for _, tc := range []struct{ query, body, want, code string }{
		{"dir=b", "", `{"room":"r","key":"k","dir":"b","body":{}}`, ""},
		{"dir=b&limit=5&via=a&via=b&full=true&small=255&hash=" + hash, ` {"a": 1} `,
			`{"room":"r","key":"k","limit":5,"via":["a","b"],"full":true,"dir":"b","small":255,"hash":"` + hash + `","body":{"a":1}}`, ""},
		{"dir=%25%C3%BC+x", "{}", `{"room":"r","key":"k","dir":"%ü x","body":{}}`, ""},
		{"dir=", "{}", `{"room":"r","key":"k","body":{}}`, ""},
		{"", "{}", "", "M_MISSING_PARAM"},
		{"dir=b&limit=x", "", "", "M_INVALID_PARAM"},
		{"dir=b&limit=", "", "", "M_INVALID_PARAM"},
		{"dir=b&limit=99999999999999999999", "", "", "M_INVALID_PARAM"},
		{"dir=b&small=256", "", "", "M_INVALID_PARAM"},
		{"dir=b&full=1", "", "", "M_INVALID_PARAM"},
		{"dir=b&hash=AA", "", "", "M_INVALID_PARAM"},
		{"dir=%ff", "", "", "M_INVALID_PARAM"},
		{"dir=%00", "", "", "M_INVALID_PARAM"},
		{"dir=b", "{", "", "M_NOT_JSON"},
		{"dir=b", "[]", "", "M_BAD_JSON"},
		{"dir=b", "null", "", "M_BAD_JSON"},
		{"dir=b", `{"a":1,"a":2}`, "", "M_BAD_JSON"},
		{"dir=b", "{} x", "", "M_NOT_JSON"},
		{"dir=b", "{\"a\":\"\xff\"}", "", "M_NOT_JSON"},
		{"dir=b", `{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}", "", "M_BAD_JSON"},
	} {
		got := do(t, srv, "POST", "/e/r/k?"+tc.query, tc.body)
		if tc.code != "" {
			if got.status != 400 || got.errcode() != tc.code {
				t.Errorf("?%s %.40s: %d %s, want %s", tc.query, tc.body, got.status, got.body, tc.code)
			}
			continue
		}
		if got.status != 200 || got.body != tc.want {
			t.Errorf("?%s %s:\n got %d %s\nwant %s", tc.query, tc.body, got.status, got.body, tc.want)
		}
	}
	if got := do(t, srv, "POST", "/e/r/k?dir=b", "", "X-Test", "h"); !strings.Contains(got.body, `"header":"h"`) {
		t.Errorf("header: %s", got.body)
	}
}

func TestTypedBody(t *testing.T) {
	type body struct {
		Name  string     `json:"name"`
		Level int64      `json:"level"`
		User  *auth.Hash `json:"user"`
		Deep  struct{ A []struct{ B bool } }
	}
	type in struct {
		Body body `body:""`
	}
	srv := serve(t, httpx.Options{}, httpx.Route{Method: "PUT", Path: "/b", MaxBody: 100, Handler: httpx.Handle(
		func(_ context.Context, _ auth.Session, in in) (struct{}, error) { return struct{}{}, nil })},
		httpx.Route{Method: "PUT", Path: "/any", Handler: httpx.Handle(
			func(_ context.Context, _ auth.Session, in struct {
				Body json.RawMessage `body:"any"`
			}) (json.RawMessage, error) {
				return in.Body, nil
			})})
	for body, want := range map[string]string{
		`{"name":"n","level":1,"unknown":[]}`: "",
		`{}`:                                  "",
		``:                                    "M_NOT_JSON",
		`x`:                                   "M_NOT_JSON",
		`{"name":1}`:                          "M_BAD_JSON",
		`{"level":1.5}`:                       "M_BAD_JSON",
		`{"level":"1"}`:                       "M_BAD_JSON",
		`{"level":1e400}`:                     "M_BAD_JSON",
		`{"user":"x"}`:                        "M_BAD_JSON",
		`{"Deep":{"A":[{"B":0}]}}`:            "M_BAD_JSON",
		`"x"`:                                 "M_BAD_JSON",
		`{"name":"` + strings.Repeat("x", 100) + `"}`: "M_TOO_LARGE",
	} {
		got := do(t, srv, "PUT", "/b", body)
		wantStatus := map[string]int{"": 200, "M_TOO_LARGE": 413}[want]
		if wantStatus == 0 {
			wantStatus = 400
		}
		if got.status != wantStatus || got.errcode() != want {
			t.Errorf("%s: %d %s, want %q", body, got.status, got.body, want)
		}
	}
	if got := do(t, srv, "PUT", "/any", "[1, 2]"); got.body != "[1, 2]" {
		t.Errorf("any: %s", got.body)
	}
	// Without a Content-Length the limit holds too.
	req, _ := http.NewRequestWithContext(t.Context(), "PUT", srv.URL+"/b", io.MultiReader(strings.NewReader(`{"name":"`+strings.Repeat("x", 200)+`"}`)))
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Errorf("chunked: %d", resp.StatusCode)
	}
}

func TestPaths(t *testing.T) {
	type room struct {
		Alias string `path:"alias"`
	}
	type state struct {
		Room string `path:"roomId"`
		Type string `path:"type"`
		Key  string `path:"key"`
	}
	type rest struct {
		Rest string `path:"rest"`
	}
	srv := serve(t, httpx.Options{},
		httpx.Route{Method: "GET", Path: "/room/{alias}", Handler: httpx.Handle(echo[room])},
		httpx.Route{Method: "GET", Path: "/room/special", Handler: httpx.Handle(func(context.Context, auth.Session, struct{}) (string, error) { return "special", nil })},
		httpx.Route{Method: "GET", Path: "/rooms/{roomId}/state/{type}/{key?}", Handler: httpx.Handle(echo[state])},
		httpx.Route{Method: "PUT", Path: "/rooms/{roomId}/state/{type}/{key?}", Handler: httpx.Handle(echo[state])},
		httpx.Route{Method: "GET", Path: "/pushrules/", Handler: httpx.Handle(func(context.Context, auth.Session, struct{}) (string, error) { return "slash", nil })},
		httpx.Route{Method: "GET", Path: "/files/{rest...}", Handler: httpx.Handle(echo[rest])},
	)
	for path, want := range map[string]string{
		"/room/%23a%2Fb:x.org":                    `{"Alias":"#a/b:x.org"}`,
		"/room/%2523":                             `{"Alias":"%23"}`,
		"/room/a+b%20c":                           `{"Alias":"a+b c"}`,
		"/room/$x:y@z!":                           `{"Alias":"$x:y@z!"}`,
		"/room/special":                           `"special"`,
		"/r%6Fom/speci%61l":                       `"special"`,
		"/rooms/!a:b/state/m.room.name":           `{"Room":"!a:b","Type":"m.room.name","Key":""}`,
		"/rooms/!a:b/state/m.room.name/":          `{"Room":"!a:b","Type":"m.room.name","Key":""}`,
		"/rooms/%21a:b/state/m.room.name/k%2F%2F": `{"Room":"!a:b","Type":"m.room.name","Key":"k//"}`,
		"/rooms/!a:b/state/t/@u:x?q=1":            `{"Room":"!a:b","Type":"t","Key":"@u:x"}`,
		"/rooms/!a:b/state/t/k/":                  "404",
		"/rooms//state/t/k":                       "404",
		"/room/":                                  "404",
		"/room":                                   "404",
		"/room/a/":                                "404",
		"/pushrules/":                             `"slash"`,
		"/pushrules":                              "404",
		"/files/a/b%2Fc/":                         `{"Rest":"a/b/c/"}`,
		"/files/":                                 `{"Rest":""}`,
		"/../room/x":                              "404",
		"//room/x":                                "404",
		"/room/%ff":                               "400",
		"/room/%00":                               "400",
		"/":                                       "404",
	} {
		got := do(t, srv, "GET", path, "")
		switch want {
		case "404":
			if got.status != 404 || got.errcode() != "M_UNRECOGNIZED" {
				t.Errorf("%s: %d %s", path, got.status, got.body)
			}
		case "400":
			if got.status != 400 || got.errcode() != "M_INVALID_PARAM" {
				t.Errorf("%s: %d %s", path, got.status, got.body)
			}
		default:
			if got.status != 200 || got.body != want {
				t.Errorf("%s: %d %s, want %s", path, got.status, got.body, want)
			}
		}
	}
	got := do(t, srv, "DELETE", "/rooms/!a/state/t", "")
	if got.status != 405 || got.errcode() != "M_UNRECOGNIZED" || got.header.Get("Allow") != "GET, HEAD, OPTIONS, PUT" {
		t.Errorf("wrong method: %d %s %v", got.status, got.body, got.header)
	}
	got = do(t, srv, "HEAD", "/room/abc", "")
	if got.status != 200 || got.body != "" || got.header.Get("Content-Length") != "15" {
		t.Errorf("HEAD: %d %q %v", got.status, got.body, got.header)
	}
}

func TestErrorShapes(t *testing.T) {
	fail := func(err error) httpx.Handler {
		return httpx.Handle(func(context.Context, auth.Session, struct{}) (struct{}, error) { return struct{}{}, err })
	}
	for name, tc := range map[string]struct {
		handler    httpx.Handler
		status     int
		body       string
		retryAfter string
	}{
		"plain":        {fail(matrix.Forbidden("No")), 403, `{"errcode":"M_FORBIDDEN","error":"No"}`, ""},
		"wrapped":      {fail(fmt.Errorf("secret: %w", matrix.NotFound("x"))), 404, `{"errcode":"M_NOT_FOUND","error":"x"}`, ""},
		"limit":        {fail(matrix.LimitExceeded(1200e6)), 429, `{"errcode":"M_LIMIT_EXCEEDED","error":"Too many requests","retry_after_ms":1200}`, "2"},
		"unavailable":  {fail(matrix.Unavailable(2e9)), 503, `{"errcode":"M_UNKNOWN","error":"The server is temporarily unavailable","retry_after_ms":2000}`, "2"},
		"extra":        {fail(matrix.WrongBackupVersion("old").With("current_version", "3")), 403, `{"current_version":"3","errcode":"M_WRONG_ROOM_KEYS_VERSION","error":"old"}`, ""},
		"UIA":          {fail((&matrix.Error{Status: 401}).With("session", "s").With("flows", []int{})), 401, `{"flows":[],"session":"s"}`, ""},
		"own status":   {fail(matrix.Unknown("slow").WithStatus(408)), 408, `{"errcode":"M_UNKNOWN","error":"slow"}`, ""},
		"deadline":     {fail(fmt.Errorf("x: %w", context.DeadlineExceeded)), 504, `{"errcode":"M_UNKNOWN","error":"The server did not answer in time"}`, ""},
		"no status":    {fail(&matrix.Error{Code: "M_X"}), 500, `{"errcode":"M_X","error":""}`, ""},
		"bad extra":    {fail(matrix.Forbidden("x").With("f", func() {})), 403, `{"errcode":"M_UNKNOWN","error":"Internal server error"}`, ""},
		"unforeseen":   {fail(errors.New("secret")), 500, "", ""},
		"panic":        {httpx.Handle(func(context.Context, auth.Session, struct{}) (int, error) { panic("secret") }), 500, "", ""},
		"stream panic": {httpx.Stream(func(http.ResponseWriter, *http.Request, auth.Session) error { panic("secret") }), 500, "", ""},
		"stream error": {httpx.Stream(func(http.ResponseWriter, *http.Request, auth.Session) error { return matrix.NotFound("x") }), 404, `{"errcode":"M_NOT_FOUND","error":"x"}`, ""},
		"not JSON":     {httpx.Handle(func(context.Context, auth.Session, struct{}) (any, error) { return func() {}, nil }), 500, "", ""},
	} {
		srv := serve(t, httpx.Options{}, httpx.Route{Method: "GET", Path: "/", Handler: tc.handler})
		for range 2 {
			got := do(t, srv, "GET", "/", "")
			if got.status != tc.status || got.header.Get("Retry-After") != tc.retryAfter || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %d %s %v", name, got.status, got.body, got.header)
			}
			if tc.body != "" && got.body != tc.body {
				t.Errorf("%s:\n got %s\nwant %s", name, got.body, tc.body)
			}
			if tc.body == "" && (got.errcode() != "M_UNKNOWN" || !strings.Contains(got.body, "error_id") || strings.Contains(got.body, "secret")) {
				t.Errorf("%s: %s", name, got.body)
			}
		}
	}
}

func TestAuthentication(t *testing.T) {
	who := httpx.Handle(func(_ context.Context, s auth.Session, _ struct{}) (string, error) { return string(s.UserID), nil })
	srv := serve(t, httpx.Options{},
		httpx.Route{Method: "GET", Path: "/none", Handler: who},
		httpx.Route{Method: "GET", Path: "/optional", Auth: httpx.Optional, Handler: who},
		httpx.Route{Method: "GET", Path: "/required", Auth: httpx.Required, Handler: who},
		httpx.Route{Method: "GET", Path: "/logout", Auth: httpx.Required, AllowLocked: true, Handler: who},
	)
	for _, tc := range []struct {
		path, authorization string
		status              int
		want                string
	}{
		{"/none", "", 200, `""`},
		{"/none", "Bearer wrong", 200, `""`},
		{"/optional", "", 200, `""`},
		{"/optional", "Bearer alice", 200, `"@alice:x"`},
		{"/optional", "Bearer wrong", 401, "M_UNKNOWN_TOKEN"},
		{"/required", "Bearer alice", 200, `"@alice:x"`},
		{"/required", "bearer  alice ", 200, `"@alice:x"`},
		{"/required", "", 401, "M_MISSING_TOKEN"},
		{"/required", "Bearer ", 401, "M_MISSING_TOKEN"},
		{"/required", "Basic alice", 401, "M_MISSING_TOKEN"},
		{"/required?access_token=alice", "", 401, "M_MISSING_TOKEN"},
		{"/required", "Bearer wrong", 401, "M_UNKNOWN_TOKEN"},
		{"/required", "Bearer locked", 401, "M_USER_LOCKED"},
		{"/logout", "Bearer locked", 200, `"@locked:x"`},
		{"/logout", "Bearer wrong", 401, "M_UNKNOWN_TOKEN"},
	} {
		var headers []string
		if tc.authorization != "" {
			headers = []string{"Authorization", tc.authorization}
		}
		got := do(t, srv, "GET", tc.path, "", headers...)
		if got.status != tc.status || (got.status == 200 && got.body != tc.want) || (got.status != 200 && got.errcode() != tc.want) {
			t.Errorf("%s %q: %d %s", tc.path, tc.authorization, got.status, got.body)
		}
		if strings.HasPrefix(tc.want, "M_UNKNOWN_TOKEN") && !strings.Contains(got.body, `"soft_logout":true`) {
			t.Errorf("%s: no soft_logout: %s", tc.path, got.body)
		}
	}
}

func TestCORSOnEverything(t *testing.T) {
	srv := serve(t, httpx.Options{}, httpx.Route{Method: "PUT", Path: "/x", Auth: httpx.Required, Handler: httpx.Handle(echo[struct{}])})
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"OPTIONS", "/x", 204}, {"OPTIONS", "/unknown", 204}, {"PUT", "/x", 401}, {"GET", "/x", 405}, {"GET", "/unknown", 404},
	} {
		got := do(t, srv, tc.method, tc.path, "")
		want := map[string]string{
			"Access-Control-Allow-Origin":  "*",
			"Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS",
			"Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
		}
		have := map[string]string{}
		for k := range want {
			have[k] = got.header.Get(k)
		}
		if d := cmp.Diff(want, have); d != "" || got.status != tc.status {
			t.Errorf("%s %s: %d %s", tc.method, tc.path, got.status, d)
		}
	}
}

type created struct {
	ID string `json:"id"`
}

func (created) Status() int         { return 201 }
func (created) Header() http.Header { return http.Header{"etag": {`"1"`}} }

func TestAnswers(t *testing.T) {
	route := func(path string, a httpx.AuthKind, h httpx.Handler) httpx.Route {
		return httpx.Route{Method: "GET", Path: path, Auth: a, Handler: h}
	}
	srv := serve(t, httpx.Options{},
		route("/created", httpx.None, httpx.Handle(func(context.Context, auth.Session, struct{}) (created, error) { return created{"a&b<"}, nil })),
		route("/raw", httpx.None, httpx.Handle(func(context.Context, auth.Session, struct{}) (httpx.Raw, error) {
			return httpx.Raw{Code: 202, ContentType: "text/plain", Body: []byte("hi")}, nil
		})),
		route("/json", httpx.Required, httpx.Handle(func(context.Context, auth.Session, struct{}) (json.RawMessage, error) {
			return json.RawMessage(`{"a": 1}`), nil
		})),
		route("/cached", httpx.Required, httpx.Handle(func(context.Context, auth.Session, struct{}) (httpx.Raw, error) {
			return httpx.Raw{Head: http.Header{"Cache-Control": {"max-age=1"}}, Body: []byte("{}")}, nil
		})),
		route("/stream/{name}", httpx.Required, httpx.Stream(func(w http.ResponseWriter, r *http.Request, s auth.Session) error {
			_, err := fmt.Fprint(w, r.PathValue("name"), " ", s.UserID, " ", httpx.ClientAddr(r.Context()))
			return err
		})),
	)
	for path, want := range map[string][5]string{
		"/created":     {"201", `{"id":"a&b<"}`, "application/json", "", `"1"`},
		"/raw":         {"202", "hi", "text/plain", "", ""},
		"/json":        {"200", `{"a": 1}`, "application/json", "no-store", ""},
		"/cached":      {"200", "{}", "application/json", "max-age=1", ""},
		"/stream/a%2F": {"200", "a/ @alice:x 127.0.0.1", "text/plain; charset=utf-8", "", ""},
	} {
		got := do(t, srv, "GET", path, "", "Authorization", "Bearer alice")
		have := [5]string{fmt.Sprint(got.status), got.body, got.header.Get("Content-Type"), got.header.Get("Cache-Control"), got.header.Get("Etag")}
		if d := cmp.Diff(want, have); d != "" {
			t.Errorf("%s: %s", path, d)
		}
	}
}

func TestStreamCutsOffHalfAnAnswer(t *testing.T) {
	srv := serve(t, httpx.Options{}, httpx.Route{Method: "GET", Path: "/", Handler: httpx.Stream(func(w http.ResponseWriter, _ *http.Request, _ auth.Session) error {
		if _, err := io.WriteString(w, "half"); err != nil {
			return err
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		return errors.New("disk on fire")
	})}, httpx.Route{Method: "PUT", Path: "/", MaxBody: 10, Handler: httpx.Stream(func(_ http.ResponseWriter, r *http.Request, _ auth.Session) error {
		_, err := io.Copy(io.Discard, r.Body)
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return matrix.TooLarge("x").Wrap(err)
		}
		return err
	})})
	resp, err := srv.Client().Get(srv.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the client took %q for whole", body)
	}
	if got := do(t, srv, "PUT", "/", strings.Repeat("x", 11)); got.status != 413 {
		t.Errorf("a stream past its limit: %d %s", got.status, got.body)
	}
}

func TestWrongTables(t *testing.T) {
	ok := httpx.Handle(echo[struct{}])
	type needsID struct {
		ID string `path:"id"`
	}
	type twoBodies struct {
		A any `body:""`
		B any `body:""`
	}
	type odd struct {
		M map[string]int `query:"m"`
	}
	for name, r := range map[string]httpx.Route{
		"no method":        {Path: "/", Handler: ok},
		"small method":     {Method: "get", Path: "/", Handler: ok},
		"no handler":       {Method: "GET", Path: "/"},
		"no slash":         {Method: "GET", Path: "x", Handler: ok},
		"optional inside":  {Method: "GET", Path: "/{a?}/x", Handler: ok},
		"name twice":       {Method: "GET", Path: "/{a}/{a}", Handler: ok},
		"brace":            {Method: "GET", Path: "/{a", Handler: ok},
		"name missing":     {Method: "GET", Path: "/{x}", Handler: httpx.Handle(echo[needsID])},
		"two bodies":       {Method: "GET", Path: "/", Handler: httpx.Handle(echo[twoBodies])},
		"unsupported type": {Method: "GET", Path: "/", Handler: httpx.Handle(echo[odd])},
		"not a struct":     {Method: "GET", Path: "/", Handler: httpx.Handle(echo[int])},
		"auth":             {Method: "GET", Path: "/", Auth: httpx.Required, Handler: ok},
	} {
		if _, err := httpx.New(httpx.Options{}, []httpx.Route{r}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	twice := httpx.Route{Method: "GET", Path: "/a/{x?}", Handler: ok}
	if _, err := httpx.New(httpx.Options{}, []httpx.Route{twice}, []httpx.Route{{Method: "GET", Path: "/a/{y}", Handler: ok}}); err == nil {
		t.Error("two routes for one path: no error")
	}
	if _, err := httpx.New(httpx.Options{Limits: map[httpx.RateClass]httpx.Limit{"x": {}}}); err == nil {
		t.Error("an empty limit: no error")
	}
}
