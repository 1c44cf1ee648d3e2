package roomtest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/internal/testkit"
)

// Edge serves routes over real HTTP. Access tokens are made by [Token]; a
// stand-in for clientapi answers for them on the bus.
type Edge struct {
	URL string
	Bus *bus.Bus
	t   testing.TB
}

// Serve starts an edge with the routes. It ends with the test.
func Serve(t testing.TB, b *bus.Bus, known []matrix.UserID, routes ...[]httpx.Route) *Edge {
	t.Helper()
	sessions := map[auth.Hash]auth.Session{}
	for i, u := range known {
		h := auth.HashToken(Token(u))
		sessions[h] = auth.Session{UserID: u, Account: int64(i) + 1, DeviceID: Device(u), TokenHash: h}
	}
	svc := b.Service("clientapi", bus.ServiceOptions{})
	bus.Handle(svc, auth.Authenticate, func(_ context.Context, r auth.AuthenticateReq) (auth.Session, error) {
		if s, ok := sessions[r.TokenHash]; ok {
			return s, nil
		}
		return auth.Session{}, matrix.UnknownToken(false)
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	<-svc.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stand-in for clientapi: %v", err)
		}
	})
	cache, err := auth.NewCache(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cache.Close)
	router, err := httpx.New(httpx.Options{Sessions: cache}, routes...)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(router)
	t.Cleanup(srv.Close)
	return &Edge{URL: srv.URL, Bus: b, t: t}
}

// ServeOnBus is Serve with a bus of its own.
func ServeOnBus(t testing.TB, known []matrix.UserID, routes ...[]httpx.Route) *Edge {
	t.Helper()
	return Serve(t, testkit.Bus(t), known, routes...)
}

// Token is the access token of a user's device.
func Token(u matrix.UserID) string { return "token of " + string(u) }

// Device is the device the token belongs to.
func Device(u matrix.UserID) string { return "DEV" + u.Localpart() }

// Answer is what came back.
type Answer struct {
	Status int
	Body   []byte
	Header http.Header
}

// Do sends a request as a user; "" sends no token.
func (e *Edge) Do(method string, u matrix.UserID, path, body string) Answer {
	e.t.Helper()
	req, err := http.NewRequest(method, e.URL+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	if u != "" {
		req.Header.Set("Authorization", "Bearer "+Token(u))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return Answer{resp.StatusCode, b, resp.Header}
}

// Get asks for a path, decodes a 200 into out, and fails on anything else.
func (e *Edge) Get(u matrix.UserID, path string, out any) {
	e.t.Helper()
	a := e.Do("GET", u, path, "")
	if a.Status != http.StatusOK {
		e.t.Fatalf("GET %s: %d %s", path, a.Status, a.Body)
	}
	if err := json.Unmarshal(a.Body, out); err != nil {
		e.t.Fatalf("GET %s: %v in %s", path, err, a.Body)
	}
}

// Refused asks for a path and fails unless it answers this error.
func (e *Edge) Refused(u matrix.UserID, path string, status int, code string) {
	e.t.Helper()
	a := e.Do("GET", u, path, "")
	var got struct {
		Code string `json:"errcode"`
	}
	if err := json.Unmarshal(a.Body, &got); err != nil || a.Status != status || got.Code != code {
		e.t.Errorf("GET %s: %d %s, want %d %s", path, a.Status, a.Body, status, code)
	}
}
