package httpx

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"allmende/internal/auth"
	"allmende/internal/matrix"
)

// FuzzBody: any body is decoded or refused with a 400, never anything else; what is accepted raw
// is valid JSON and an object.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", "{}", "null", `{"name":"x","level":1}`, `{"a":{"b":[1,2,{"c":"\ud83d\ude00"}]}}`, `{"level":9007199254740993}`,
		`{"name":null}`, "\xef\xbb\xbf{}", `{"n":1e999}`, `{"user":"AAAA"}`, strings.Repeat(`{"deep":`, 120), `{"times":["2020-01-01T00:00:00Z"]}`} {
		f.Add([]byte(s))
	}
	type target struct {
		Name  string
		Level int64
		User  *auth.Hash
		Deep  map[string]any
		List  []json.RawMessage
		N     float32
		Any   any
	}
	raw := &bodyField{raw: true, optional: true}
	typed := &bodyField{optional: true}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r json.RawMessage
		var v target
		errRaw := raw.store(data, reflect.ValueOf(&r).Elem())
		errTyped := typed.store(data, reflect.ValueOf(&v).Elem())
		for _, err := range []error{errRaw, errTyped} {
			if err != nil && matrix.AsError(err).Status != http.StatusBadRequest {
				t.Errorf("%q: %v", data, err)
			}
		}
		if errRaw == nil && (!json.Valid(r) || r[0] != '{') {
			t.Errorf("%q was accepted as %q", data, r)
		}
		if errRaw != nil && errTyped == nil {
			t.Errorf("%q: raw %v, typed accepted", data, errRaw)
		}
	})
}

// FuzzPath: whatever the path, matching ends, and the values are the decoded segments.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/a/b", "/a/", "/a//", "/%2F/%25", "/rooms/!x/state/t/", "//", "/a/b/c/d/e/f/g/h/i/j", "/%ff"} {
		f.Add(s)
	}
	var root tree
	for _, p := range []string{"/a/{x}", "/a/{x}/b/{y?}", "/rooms/{id}/state/{t}/{k?}", "/f/{rest...}", "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}"} {
		if err := root.add(&boundRoute{Route: Route{Method: "GET", Path: p}}); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, path string) {
		m := match{method: "GET"}
		r := root.find(&m, path)
		if r == nil {
			return
		}
		if values, ok := m.values(r); ok && len(values) != len(r.names) {
			t.Errorf("%q: %v for %v", path, values, r.names)
		}
	})
}

func TestSlowBody(t *testing.T) {
	defer func(d time.Duration) { bodyTimeout = d }(bodyTimeout)
	bodyTimeout = 50 * time.Millisecond
	rt, err := New(Options{Sessions: nobody{}}, []Route{
		{Method: "PUT", Path: "/typed", Handler: Handle(func(context.Context, auth.Session, struct {
			Body json.RawMessage `body:""`
		}) (struct{}, error) {
			return struct{}{}, nil
		})},
		{Method: "PUT", Path: "/refused", Auth: Required, Handler: Handle(func(context.Context, auth.Session, struct{}) (struct{}, error) {
			return struct{}{}, nil
		})},
		{Method: "PUT", Path: "/stream", Handler: Stream(func(w http.ResponseWriter, r *http.Request, _ auth.Session) error {
			_, err := ReadBody(w, r, 100)
			return err
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(rt)
	defer srv.Close()
	for path, want := range map[string]string{"/typed": "408", "/stream": "408", "/refused": "401", "/unknown": "404"} {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "PUT "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(c) // ends: the server closes the connection
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+want+" ") {
			t.Errorf("%s: %q, %v", path, answer, err)
		}
		_ = c.Close()
	}
}

// A request whose body has come may take longer than the body may: its deadline is over.
func TestLongPollAfterBody(t *testing.T) {
	defer func(d time.Duration) { bodyTimeout = d }(bodyTimeout)
	bodyTimeout = 50 * time.Millisecond
	wait := func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
			return nil
		}
	}
	rt, err := New(Options{}, []Route{
		{Method: "PUT", Path: "/typed", Handler: Handle(func(ctx context.Context, _ auth.Session, _ struct {
			Body json.RawMessage `body:""`
		}) (struct{}, error) {
			return struct{}{}, wait(ctx)
		})},
		{Method: "PUT", Path: "/stream", Handler: Stream(func(w http.ResponseWriter, r *http.Request, _ auth.Session) error {
			if _, err := ReadBody(w, r, 100); err != nil {
				return err
			}
			if err := wait(r.Context()); err != nil {
				return err
			}
			return WriteJSON(w, 200, struct{}{})
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(rt)
	defer srv.Close()
	for _, path := range []string{"/typed", "/stream", "/typed"} {
		req, err := http.NewRequestWithContext(t.Context(), "PUT", srv.URL+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

type nobody struct{}

func (nobody) Session(context.Context, string) (auth.Session, error) {
	return auth.Session{}, matrix.MissingToken()
}

func benchmarkRouter(b *testing.B) *Router {
	type in struct {
		Room string          `path:"roomId"`
		Type string          `path:"type"`
		Txn  string          `path:"txn"`
		Body json.RawMessage `body:""`
	}
	type out struct {
		EventID string `json:"event_id"`
	}
	h := Handle(func(_ context.Context, _ auth.Session, in in) (out, error) { return out{in.Txn}, nil })
	other := Handle(func(context.Context, auth.Session, struct{}) (out, error) { return out{}, nil })
	routes := []Route{{Method: "PUT", Path: "/_matrix/client/v3/rooms/{roomId}/send/{type}/{txn}", Auth: Required, Rate: RateSend, Handler: h}}
	for i := range 250 {
		routes = append(routes, Route{Method: "GET", Path: fmt.Sprintf("/_matrix/client/v3/rooms/{roomId}/thing%d", i), Handler: other})
	}
	rt, err := New(Options{Sessions: oneSession{}, Limits: map[RateClass]Limit{RateSend: {1e9, 1e9}}}, routes)
	if err != nil {
		b.Fatal(err)
	}
	return rt
}

type oneSession struct{}

func (oneSession) Session(context.Context, string) (auth.Session, error) {
	return auth.Session{UserID: "@a:b"}, nil
}

const benchPath = "/_matrix/client/v3/rooms/%21abcdefghijklmnopqrstuvwxyz0123456789ABCDEF/send/m.room.message/txn-1234567890"

func BenchmarkRequest(b *testing.B) {
	rt := benchmarkRouter(b)
	body := `{"msgtype":"m.text","body":"` + strings.Repeat("hello ", 20) + `"}`
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("PUT", benchPath, strings.NewReader(body))
		r.Header["Authorization"] = []string{"Bearer token"}
		w := httptest.NewRecorder()
		rt.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}

// BenchmarkBare is the cost of the test's own request and recorder.
func BenchmarkBare(b *testing.B) {
	body := `{"msgtype":"m.text","body":"` + strings.Repeat("hello ", 20) + `"}`
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("PUT", benchPath, strings.NewReader(body))
		r.Header["Authorization"] = []string{"Bearer token"}
		_ = httptest.NewRecorder()
	}
}

func BenchmarkMatch(b *testing.B) {
	rt := benchmarkRouter(b)
	b.ReportAllocs()
	for b.Loop() {
		m := match{method: "PUT"}
		if rt.tree.find(&m, benchPath) == nil {
			b.Fatal("no match")
		}
	}
}
