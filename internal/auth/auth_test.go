package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/testkit"
)

// accounts answers Authenticate as clientapi does.
type accounts struct {
	mu       sync.Mutex
	sessions map[auth.Hash]auth.Session
	calls    int
	before   func() // runs between reading and answering
}

func (a *accounts) authenticate(_ context.Context, req auth.AuthenticateReq) (auth.Session, error) {
	a.mu.Lock()
	a.calls++
	s, ok := a.sessions[req.TokenHash]
	before := a.before
	a.mu.Unlock()
	if before != nil {
		before()
	}
	if !ok {
		return s, matrix.UnknownToken(true)
	}
	return s, nil
}

func (a *accounts) set(token string, s auth.Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.TokenHash = auth.HashToken(token)
	a.sessions[s.TokenHash] = s
}

func (a *accounts) remove(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, auth.HashToken(token))
}

func (a *accounts) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls
}

func start(t *testing.T) (*accounts, *bus.Bus) {
	t.Helper()
	b := testkit.Bus(t)
	a := &accounts{sessions: map[auth.Hash]auth.Session{}}
	s := b.Service("clientapi", bus.ServiceOptions{})
	bus.Handle(s, auth.Authenticate, a.authenticate)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return a, b
}

func newCache(t *testing.T, b *bus.Bus) *auth.Cache {
	t.Helper()
	c, err := auth.NewCache(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestSession(t *testing.T) {
	a, b := start(t)
	c := newCache(t, b)
	want := auth.Session{UserID: "@a:example.org", Account: 7, DeviceID: "D", Admin: true, TokenHash: auth.HashToken("tok")}
	a.set("tok", want)
	for range 3 {
		got, err := c.Session(t.Context(), "tok")
		if err != nil || got != want {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	if n := a.count(); n != 1 {
		t.Errorf("clientapi was asked %d times", n)
	}
	if _, err := c.Session(t.Context(), ""); !errors.Is(err, matrix.MissingToken()) {
		t.Errorf("no token: %v", err)
	}
	for range 2 { // not kept: the token may become known
		_, err := c.Session(t.Context(), "other")
		e := matrix.AsError(err)
		if e.Code != "M_UNKNOWN_TOKEN" || e.Status != 401 || e.Extra["soft_logout"] != true {
			t.Errorf("unknown token: %v %v", err, e.Extra)
		}
	}
	a.set("other", want)
	if _, err := c.Session(t.Context(), "other"); err != nil {
		t.Errorf("a new token: %v", err)
	}
}

func TestLockedAccount(t *testing.T) {
	a, b := start(t)
	c := newCache(t, b)
	a.set("tok", auth.Session{UserID: "@a:example.org", Locked: true})
	s, err := c.Session(t.Context(), "tok")
	e := matrix.AsError(err)
	if s.UserID != "@a:example.org" || e == nil || e.Code != "M_USER_LOCKED" || e.Extra["soft_logout"] != true {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestRevoke(t *testing.T) {
	a, b := start(t)
	here, there := newCache(t, b), newCache(t, b)
	for name, r := range map[string]auth.Revocation{
		"by token":   {Tokens: []auth.Hash{auth.HashToken("tok")}},
		"by account": {Account: 7},
	} {
		a.set("tok", auth.Session{UserID: "@a:example.org", Account: 7})
		a.set("stays", auth.Session{UserID: "@b:example.org", Account: 8})
		for _, c := range []*auth.Cache{here, there} {
			for _, token := range []string{"tok", "stays"} {
				if _, err := c.Session(t.Context(), token); err != nil {
					t.Fatal(err)
				}
			}
		}
		a.remove("tok")
		if err := here.Revoke(r); err != nil {
			t.Fatal(err)
		}
		if _, err := here.Session(t.Context(), "tok"); !errors.Is(err, matrix.UnknownToken(false)) {
			t.Errorf("%s: still known where it was revoked: %v", name, err)
		}
		deadline := time.Now().Add(10 * time.Second)
		for {
			if _, err := there.Session(t.Context(), "tok"); errors.Is(err, matrix.UnknownToken(false)) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: still known elsewhere", name)
			}
			time.Sleep(time.Millisecond)
		}
		before := a.count()
		if _, err := here.Session(t.Context(), "stays"); err != nil || a.count() != before {
			t.Errorf("%s: another account's session was forgotten: %v", name, err)
		}
	}
}

// An answer read before a revocation must not be kept after it.
func TestRevokeDuringLookup(t *testing.T) {
	a, b := start(t)
	c := newCache(t, b)
	a.set("tok", auth.Session{UserID: "@a:example.org", Account: 7})
	a.before = func() {
		a.remove("tok")
		if err := c.Revoke(auth.Revocation{Account: 7}); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Session(t.Context(), "tok"); err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	a.before = nil
	a.mu.Unlock()
	if s, err := c.Session(t.Context(), "tok"); err == nil {
		t.Errorf("the revoked session was kept: %+v", s)
	}
}

func TestExpiredSessionIsAskedAnew(t *testing.T) {
	a, b := start(t)
	c := newCache(t, b)
	a.set("tok", auth.Session{UserID: "@a:example.org", Expires: time.Now().Add(-time.Second)})
	if _, err := c.Session(t.Context(), "tok"); err != nil {
		t.Fatal(err)
	}
	a.remove("tok")
	if _, err := c.Session(t.Context(), "tok"); !errors.Is(err, matrix.UnknownToken(false)) {
		t.Errorf("got %v", err)
	}
}

func TestHashText(t *testing.T) {
	h := auth.HashToken("x")
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var back auth.Hash
	if err := json.Unmarshal(b, &back); err != nil || back != h {
		t.Errorf("%s: %v", b, err)
	}
	for _, bad := range []string{`""`, `"AAAA"`, `"!"`, `1`} {
		if json.Unmarshal([]byte(bad), &back) == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func BenchmarkSessionHit(b *testing.B) {
	nb := testkit.Bus(b)
	s := nb.Service("clientapi", bus.ServiceOptions{})
	bus.Handle(s, auth.Authenticate, func(_ context.Context, r auth.AuthenticateReq) (auth.Session, error) {
		return auth.Session{UserID: "@a:b", TokenHash: r.TokenHash}, nil
	})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	c, err := auth.NewCache(nb)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for b.Loop() {
		if _, err := c.Session(ctx, "token"); err != nil {
			b.Fatal(err)
		}
	}
}
