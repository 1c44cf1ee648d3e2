package httpx_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"allmende/internal/auth"
	"allmende/internal/httpx"
)

func TestTrustedProxies(t *testing.T) {
	where := httpx.Handle(func(ctx context.Context, _ auth.Session, _ struct{}) (string, error) {
		return httpx.ClientAddr(ctx).String(), nil
	})
	routes := []httpx.Route{{Method: "GET", Path: "/", Handler: where}}
	for _, tc := range []struct {
		trusted, remote string
		forwarded       []string
		want            string
	}{
		{"", "203.0.113.1:5", []string{"198.51.100.1"}, "203.0.113.1"},
		{"10.0.0.0/8", "203.0.113.1:5", []string{"198.51.100.1"}, "203.0.113.1"},
		{"10.0.0.0/8", "10.0.0.1:5", nil, "10.0.0.1"},
		{"10.0.0.0/8", "10.0.0.1:5", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.0/8", "10.0.0.1:5", []string{"6.6.6.6, 198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.0/8", "10.0.0.1:5", []string{"6.6.6.6", "198.51.100.1,10.0.0.2"}, "198.51.100.1"},
		{"10.0.0.0/8", "10.0.0.1:5", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"10.0.0.0/8", "10.0.0.1:5", []string{"6.6.6.6, nonsense, 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.0/8", "[::ffff:10.0.0.1]:5", []string{"[2001:db8::1]:99"}, "2001:db8::1"},
		{"::1/128", "[::1]:5", []string{"198.51.100.1:1234"}, "198.51.100.1"},
	} {
		o := httpx.Options{}
		if tc.trusted != "" {
			o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(tc.trusted)}
		}
		rt, err := httpx.New(o, routes)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tc.remote
		for _, f := range tc.forwarded {
			r.Header.Add("X-Forwarded-For", f)
		}
		w := httptest.NewRecorder()
		rt.ServeHTTP(w, r)
		if got := w.Body.String(); got != strconv.Quote(tc.want) {
			t.Errorf("%+v: got %s", tc, got)
		}
	}
}

func TestRateLimits(t *testing.T) {
	limits := map[httpx.RateClass]httpx.Limit{httpx.RateSend: {PerSecond: 0.01, Burst: 2}, httpx.RateLogin: {PerSecond: 0.01, Burst: 1}}
	ok := httpx.Handle(echo[struct{}])
	rt, err := httpx.New(httpx.Options{Sessions: known, Limits: limits}, []httpx.Route{
		{Method: "GET", Path: "/send", Auth: httpx.Required, Rate: httpx.RateSend, Handler: ok},
		{Method: "GET", Path: "/login", Rate: httpx.RateLogin, Handler: ok},
		{Method: "GET", Path: "/free", Rate: httpx.RateRead, Handler: ok},
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path, token, addr string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr = addr
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		rt.ServeHTTP(w, r)
		return w
	}
	for i, tc := range []struct {
		path, token, addr string
		status            int
	}{
		{"/send", "alice", "1.1.1.1:1", 200},
		{"/send", "alice", "2.2.2.2:1", 200},
		{"/send", "alice", "3.3.3.3:1", 429}, // by account, wherever she is
		{"/send", "bob", "1.1.1.1:1", 200},   // another account
		{"/send", "bridge", "1.1.1.1:1", 200},
		{"/send", "bridge", "1.1.1.1:1", 200},
		{"/send", "bridge", "1.1.1.1:1", 200}, // unlimited
		{"/login", "", "1.1.1.1:1", 200},      // another class
		{"/login", "", "1.1.1.1:2", 429},
		{"/login", "", "1.1.1.2:1", 200},
		{"/login", "", "[2001:db8::1]:1", 200},
		{"/login", "", "[2001:db8::2]:1", 429}, // one household
		{"/login", "", "[2001:db8:0:1::1]:1", 200},
		{"/free", "", "1.1.1.1:1", 200},
		{"/free", "", "1.1.1.1:1", 200}, // no limit configured
	} {
		w := ask(tc.path, tc.token, tc.addr)
		if w.Code != tc.status {
			t.Errorf("%d %+v: %d %s", i, tc, w.Code, w.Body)
		}
		if w.Code != 429 {
			continue
		}
		var body struct {
			Errcode    string
			RetryAfter int64 `json:"retry_after_ms"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		seconds, err := strconv.ParseInt(w.Header().Get("Retry-After"), 10, 64)
		if err != nil || body.Errcode != "M_LIMIT_EXCEEDED" || body.RetryAfter <= 0 || body.RetryAfter > 100_000 || seconds*1000 < body.RetryAfter {
			t.Errorf("%s, Retry-After %v", w.Body, w.Header()["Retry-After"])
		}
	}
}

func startServer(t *testing.T, log *slog.Logger, routes ...httpx.Route) (srv *httpx.Server, stop func() error) {
	t.Helper()
	rt, err := httpx.New(httpx.Options{Sessions: known}, routes)
	if err != nil {
		t.Fatal(err)
	}
	srv, err = httpx.Listen(t.Context(), httpx.ServerOptions{Addr: "127.0.0.1:0", Handler: rt, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(cancel)
	return srv, func() error { cancel(); return <-done }
}

func TestServerStopsGracefully(t *testing.T) {
	begun := make(chan struct{}, 2)
	release := make(chan struct{})
	srv, stop := startServer(t, nil,
		httpx.Route{Method: "GET", Path: "/poll", Handler: httpx.Handle(func(ctx context.Context, _ auth.Session, _ struct{}) (string, error) {
			begun <- struct{}{}
			select {
			case <-httpx.Stopping(ctx):
				close(release)
				return "stopping", ctx.Err()
			case <-time.After(time.Minute):
				return "late", nil
			}
		})},
		httpx.Route{Method: "GET", Path: "/work", Handler: httpx.Handle(func(ctx context.Context, _ auth.Session, _ struct{}) (string, error) {
			begun <- struct{}{}
			<-release
			return "done", ctx.Err()
		})})
	answers := make(chan string, 2)
	for _, path := range []string{"/poll", "/work"} {
		go func() {
			resp, err := http.Get(srv.URL() + path)
			if err != nil {
				answers <- err.Error()
				return
			}
			defer func() { _ = resp.Body.Close() }()
			body, _ := io.ReadAll(resp.Body)
			answers <- string(body)
		}()
	}
	<-begun
	<-begun
	if err := stop(); err != nil {
		t.Error(err)
	}
	got := []string{<-answers, <-answers}
	if s := strings.Join(got, " "); s != `"stopping" "done"` && s != `"done" "stopping"` {
		t.Errorf("got %s", s)
	}
	if _, err := http.Get(srv.URL() + "/poll"); err == nil {
		t.Error("the port is still open")
	}
}

// The log of a request that fails names neither path, address, token nor content.
func TestLogNamesNobody(t *testing.T) {
	var out bytes.Buffer
	srv, stop := startServer(t, slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		httpx.Route{Method: "POST", Path: "/room/{id}", Auth: httpx.Required, Handler: httpx.Handle(func(context.Context, auth.Session, struct {
			ID   string `path:"id"`
			Body any    `body:""`
		}) (int, error) {
			return 0, fmt.Errorf("query: %w", io.EOF)
		})})
	req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL()+"/room/NEEDLE?q=NEEDLE", strings.NewReader(`{"x":"NEEDLE"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer alice")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	log := out.String()
	id, _ := body["org.allmende.error_id"].(string)
	if id == "" || !strings.Contains(log, id) || !strings.Contains(log, `"call":"POST /room/{id}"`) || !strings.Contains(log, "query: EOF") {
		t.Errorf("the log does not explain the answer %v: %s", body, log)
	}
	for _, needle := range []string{"NEEDLE", "alice", "127.0.0.1"} {
		if strings.Contains(log, needle) {
			t.Errorf("%s is in the log: %s", needle, log)
		}
	}
}

// Requests as no library would send them: each gets an answer or a closed connection, and the
// server lives on.
func TestOddRequests(t *testing.T) {
	srv, _ := startServer(t, nil, httpx.Route{Method: "PUT", Path: "/x", Handler: httpx.Handle(func(context.Context, auth.Session, struct {
		Body json.RawMessage `body:""`
	}) (struct{}, error) {
		return struct{}{}, nil
	})})
	for request, want := range map[string]string{
		"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{}":            "400", // and closes
		"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n":    "413",
		"PUT * HTTP/1.1\r\nHost: x\r\n\r\n":                                    "404",
		"PUT http://evil/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}": "200",
		"PUT /%zz HTTP/1.1\r\nHost: x\r\n\r\n":                                 "400",
		"PUT /x%00 HTTP/1.1\r\nHost: x\r\n\r\n":                                "404",
		"BREW /x HTTP/1.1\r\nHost: x\r\n\r\n":                                  "405",
	} {
		c, err := net.Dial("tcp", srv.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+want) {
			t.Errorf("%q: %q, %v", request, line, err)
		}
		_ = c.Close()
	}
}

func TestTLSSpeaksHTTP2(t *testing.T) {
	donor := httptest.NewTLSServer(nil) // for its certificate
	defer donor.Close()
	rt, err := httpx.New(httpx.Options{}, []httpx.Route{{Method: "PUT", Path: "/", Handler: httpx.Handle(echo[struct {
		Body json.RawMessage `body:""`
	}])}})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := httpx.Listen(t.Context(), httpx.ServerOptions{Addr: "127.0.0.1:0", Handler: rt, TLS: &tls.Config{Certificates: donor.TLS.Certificates}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	client := donor.Client()
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	req, err := http.NewRequestWithContext(t.Context(), "PUT", srv.URL()+"/", strings.NewReader(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.ProtoMajor != 2 || string(body) != `{"Body":{"a":1}}` {
		t.Errorf("HTTP/%d %s, %v", resp.ProtoMajor, body, err)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
