package obs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"allmende/internal/matrix"

	"github.com/google/go-cmp/cmp"
)

func TestLogNamesNobody(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out, LogOptions{Level: slog.LevelInfo})
	ip4, ip6 := netip.MustParseAddr("203.0.113.77"), netip.MustParseAddr("2001:db8:1:2::3")
	log.Info("x", "user", User("@alice:example.org"), "ip", IP(ip4), "ip6", IP(ip6),
		"text", fmt.Sprintf("%v %s %d %+v", IP(ip4), IP(ip4), IP(ip4), struct{ A IP }{IP(ip6)}))
	for _, secret := range []string{"alice", "203.0.113.77", "2001:db8:1:2"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is in the log: %s", secret, out.String())
		}
	}
	for _, want := range []string{`"user":"user-`, `"ip":"203.0.113.0/24"`, `"ip6":"2001:db8:1::/48"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is not in the log: %s", want, out.String())
		}
	}
	out.Reset()
	NewLogger(&out, LogOptions{Level: slog.LevelDebug, Text: true}).Debug("x", "user", User("@alice:example.org"), "ip", IP{})
	if !strings.Contains(out.String(), "@alice:example.org") || !strings.Contains(out.String(), "ip=unknown") {
		t.Errorf("at level debug: %s", out.String())
	}
	debugging.Store(false)
}

func TestPseudonymsChangeDaily(t *testing.T) {
	p := &pseudonymKey{}
	day := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	a := p.of("@a:b", day)
	if a != p.of("@a:b", day.Add(time.Hour)) || a == p.of("@b:b", day) {
		t.Error("within a day a user has one pseudonym of their own")
	}
	if a == p.of("@a:b", day.Add(24*time.Hour)) {
		t.Error("the pseudonym is the same the next day")
	}
}

func TestContext(t *testing.T) {
	var out bytes.Buffer
	ctx := WithLogger(t.Context(), slog.New(slog.NewJSONHandler(&out, nil)))
	ctx = With(WithCall(ctx, CallInfo{Name: "GET /x", RequestID: "r1", Traceparent: "tp"}), "k", 1)
	Logger(ctx).Info("m")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	delete(line, "time")
	want := map[string]any{"level": "INFO", "msg": "m", "call": "GET /x", "request_id": "r1", "k": 1.0}
	if d := cmp.Diff(want, line); d != "" {
		t.Error(d)
	}
	if RequestID(ctx) != "r1" || Traceparent(ctx) != "tp" || RequestID(t.Context()) != "" {
		t.Error("the request's ids are lost")
	}
	if Logger(t.Context()) != slog.Default() {
		t.Error("a bare context has another logger than the default")
	}
}

func TestPublic(t *testing.T) {
	var out bytes.Buffer
	ctx := WithLogger(t.Context(), slog.New(slog.NewJSONHandler(&out, nil)))
	for name, tc := range map[string]struct {
		err    error
		status int
		logged bool
	}{
		"known":         {matrix.Forbidden("no"), 403, false},
		"unforeseen":    {fmt.Errorf("read: %w", io.EOF), 500, true},
		"deadline":      {fmt.Errorf("x: %w", context.DeadlineExceeded), 504, false},
		"unavailable":   {matrix.Unavailable(time.Second).Wrap(io.EOF), 503, false},
		"logged before": {matrix.Unknown("x").With(ErrorIDKey, "1"), 500, false},
		"panic":         {PanicError(errors.New("secret")), 500, true},
	} {
		out.Reset()
		e := Public(ctx, tc.err)
		if e.Status != tc.status || (out.Len() > 0) != tc.logged {
			t.Errorf("%s: status %d, log %q", name, e.Status, out.String())
		}
		if tc.logged && (e.Extra[ErrorIDKey] == nil || !strings.Contains(out.String(), e.Extra[ErrorIDKey].(string))) {
			t.Errorf("%s: the id of the answer is not in the log: %v, %s", name, e.Extra, out.String())
		}
		if name == "panic" && (strings.Contains(out.String(), "secret") || !strings.Contains(out.String(), "TestPublic")) {
			t.Errorf("the log of a panic needs the stack and not the value: %s", out.String())
		}
	}
	if Public(ctx, nil) != nil {
		t.Error("Public(nil) is not nil")
	}
}

func TestMetricsAreServed(t *testing.T) {
	c := NewCounter("allmende_test_total", "Things that happened in this test.", "kind")
	c.WithLabelValues("good").Add(3)
	h := NewHistogram("allmende_test_seconds", "Times in this test.", []float64{1, 2}, "kind")
	h.WithLabelValues("good").Observe(1.5)
	rec := httptest.NewRecorder()
	MetricsHandler(Metrics).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`allmende_test_total{kind="good"} 3`, `allmende_test_seconds_bucket{kind="good",le="2"} 1`, "go_goroutines",
	} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("the answer lacks %s:\n%s", want, rec.Body)
		}
	}
}

func TestHealth(t *testing.T) {
	var h Health
	srv := httptest.NewServer(h.Handler(MetricsHandler(Metrics)))
	defer srv.Close()
	get := func(path string) (int, string) {
		resp, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, strings.TrimSpace(string(body))
	}
	for path, want := range map[string]int{"/health/live": 200, "/health/ready": 200, "/metrics": 200, "/": 404} {
		if status, body := get(path); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	h.Add("good", func(context.Context) error { return nil })
	h.Add("bad", func(context.Context) error { return errors.New("secret") })
	h.Add("worse", func(context.Context) error { panic("x") })
	status, body := get("/health/ready")
	if status != 503 || !strings.Contains(body, `"bad"`) || !strings.Contains(body, `"worse"`) || strings.Contains(body, "good") || strings.Contains(body, "secret") {
		t.Errorf("ready: %d %s", status, body)
	}
	h.Add("bad", func(context.Context) error { return nil })
	h.Add("worse", func(context.Context) error { return nil })
	if status, body := get("/health/ready"); status != 200 || body != `{"ok":true}` {
		t.Errorf("mended: %d %s", status, body)
	}
}
