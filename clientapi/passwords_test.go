package clientapi

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"allmende/config"
	"allmende/internal/matrix"
)

func cheapPasswords() *passwords {
	return newPasswords(config.Argon2{Memory: 64 << 10, Iterations: 1, Parallelism: 1})
}

func TestPasswordHash(t *testing.T) {
	p, ctx := cheapPasswords(), t.Context()
	a, err := p.hash(ctx, "secret")
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.hash(ctx, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if a == b {
		t.Error("two hashes of a password are the same: no salt")
	}
	for _, tc := range []struct {
		stored, password string
		match            bool
	}{
		{a, "secret", true}, {b, "secret", true}, {a, "Secret", false}, {a, "", false}, {"", "secret", false}, {"", "", false},
	} {
		match, stale, err := p.verify(ctx, tc.stored, tc.password)
		if err != nil || match != tc.match || stale {
			t.Errorf("verify(%q, %q) = %v, %v, %v", tc.stored, tc.password, match, stale, err)
		}
	}
}

// TestPasswordHashKnownAnswer compares with a hash made by the reference implementation's command line tool:
// echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32
func TestPasswordHashKnownAnswer(t *testing.T) {
	const stored = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	match, stale, err := cheapPasswords().verify(t.Context(), stored, "password")
	if err != nil || !match || !stale {
		t.Errorf("verify = %v, %v, %v, want a match at another cost", match, stale, err)
	}
}

func TestPasswordHashNotUnderstood(t *testing.T) {
	p := cheapPasswords()
	good, err := p.hash(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"x", "$argon2i$" + strings.TrimPrefix(good, "$argon2id$"), strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "t=1", "t=0", 1), strings.Replace(good, "p=1", "p=0", 1), good[:len(good)-30], good + "!", good + "$x",
	} {
		if match, _, err := p.verify(t.Context(), bad, "secret"); err == nil || match {
			t.Errorf("%q is taken for a hash", bad)
		}
	}
}

func TestNewPasswordRules(t *testing.T) {
	for password, code := range map[string]string{
		"1234567": "M_WEAK_PASSWORD", "": "M_WEAK_PASSWORD", "äöüßäöü": "M_WEAK_PASSWORD",
		"12345678": "", "äöüßäöüß": "", strings.Repeat("a", maxPassword): "", strings.Repeat("a", maxPassword+1): "M_INVALID_PARAM",
	} {
		got := ""
		if e := matrix.AsError(checkNewPassword(password)); e != nil {
			got = e.Code
		}
		if got != code {
			t.Errorf("%.20q: %q, want %q", password, got, code)
		}
	}
}

// TestPasswordWorkIsBounded holds all slots: so many requests wait, the rest is sent away, and who gives up waits no more.
func TestPasswordWorkIsBounded(t *testing.T) {
	p := cheapPasswords()
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	queue := cap(p.slots) * queuePerSlot
	outcomes := make(chan error, queue+3)
	for range queue + 3 {
		wg.Go(func() {
			_, err := p.hash(ctx, "secret")
			outcomes <- err
		})
	}
	for range 3 {
		if err := <-outcomes; !errors.Is(err, matrix.LimitExceeded(0)) {
			t.Errorf("beyond the queue: %v", err)
		}
	}
	cancel()
	wg.Wait()
	for range queue {
		if err := <-outcomes; !errors.Is(err, context.Canceled) {
			t.Errorf("in the queue: %v", err)
		}
	}
	<-p.slots
	if _, err := p.hash(t.Context(), "secret"); err != nil {
		t.Errorf("after all have gone: %v", err)
	}
}
