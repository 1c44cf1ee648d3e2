package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/obs"
	"allmende/internal/testkit"

	"github.com/google/go-cmp/cmp"
)

var echoEndpoint = bus.New[echo, echo]("echo", "Echo", 5*time.Second)

func TestCall(t *testing.T) {
	b := serve(t, echoEndpoint, func(_ context.Context, in echo) (echo, error) { return in, nil })
	want := echo{Room: "!a:b", Text: "grüß dich <&>\u2028"}
	got, err := bus.Call(t.Context(), b, echoEndpoint, want)
	if err != nil || got != want {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestRawJSONKeepsItsBytes(t *testing.T) {
	e := bus.New[json.RawMessage, json.RawMessage]("raw", "Echo", 5*time.Second)
	b := serve(t, e, func(_ context.Context, in json.RawMessage) (json.RawMessage, error) { return in, nil })
	want := "{\"a\":\"<b>&\u2028é\\u0000\",\"n\":1.0e2}"
	got, err := bus.Call(t.Context(), b, e, json.RawMessage(want))
	if err != nil || string(got) != want {
		t.Fatalf("got %s, %v; want %s", got, err, want)
	}
}

func TestErrorsCrossTheWire(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want *matrix.Error
	}{
		"plain":   {matrix.Forbidden("no"), matrix.Forbidden("no")},
		"wrapped": {fmt.Errorf("join room 5: %w", matrix.NotFound("gone")), matrix.NotFound("gone")},
		"retry":   {matrix.LimitExceeded(1500 * time.Millisecond), matrix.LimitExceeded(1500 * time.Millisecond)},
		"extra":   {matrix.UnknownToken(true), matrix.UnknownToken(true)},
		"status":  {matrix.Forbidden("x").WithStatus(418), matrix.Forbidden("x").WithStatus(418)},
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, echoEndpoint, func(context.Context, echo) (echo, error) { return echo{}, tc.err })
			_, err := bus.Call(t.Context(), b, echoEndpoint, echo{})
			var got *matrix.Error
			if !errors.As(err, &got) {
				t.Fatalf("got %v", err)
			}
			if d := cmp.Diff(view(tc.want), view(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

func view(e *matrix.Error) string {
	body, _ := json.Marshal(e)
	return fmt.Sprint(e.Status, " ", string(body))
}

func TestUnforeseenErrorsStayPrivate(t *testing.T) {
	for name, h := range map[string]func(context.Context, echo) (echo, error){
		"error": func(context.Context, echo) (echo, error) { return echo{}, fmt.Errorf("secret: %w", io.EOF) },
		"panic": func(context.Context, echo) (echo, error) { panic("secret") },
		"index": func(_ context.Context, in echo) (echo, error) { return echo{Text: in.Text[5:]}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, echoEndpoint, h)
			for range 2 { // a panic does not end the service
				_, err := bus.Call(t.Context(), b, echoEndpoint, echo{})
				e := matrix.AsError(err)
				id, _ := e.Extra[obs.ErrorIDKey].(string)
				if e.Status != 500 || e.Code != "M_UNKNOWN" || len(id) != 16 || strings.Contains(view(e), "secret") {
					t.Errorf("got %s", view(e))
				}
			}
		})
	}
}

func TestSlowHandlerDoesNotBlockOthers(t *testing.T) {
	release := make(chan struct{})
	b := serve(t, echoEndpoint, func(ctx context.Context, in echo) (echo, error) {
		if in.Text == "slow" {
			select {
			case <-release:
			case <-ctx.Done():
				return echo{}, ctx.Err()
			}
		}
		return in, nil
	})
	slow := make(chan error, 1)
	go func() {
		_, err := bus.Call(context.Background(), b, echoEndpoint, echo{Text: "slow"})
		slow <- err
	}()
	for range 100 {
		if _, err := bus.Call(t.Context(), b, echoEndpoint, echo{}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-slow:
		t.Fatalf("the slow call ended early: %v", err)
	default:
	}
	close(release)
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
}

func TestConcurrencyIsBounded(t *testing.T) {
	b := testkit.Bus(t)
	s := b.Service("echo", bus.ServiceOptions{Concurrency: 3})
	var now, most atomic.Int32
	bus.Handle(s, echoEndpoint, func(context.Context, echo) (echo, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(time.Millisecond)
		return echo{}, nil
	})
	run(t, s)
	errs := make(chan error, 50)
	for range cap(errs) {
		go func() {
			_, err := bus.Call(context.Background(), b, echoEndpoint, echo{})
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if m := most.Load(); m != 3 {
		t.Errorf("%d handlers at once, want 3", m)
	}
}

func TestDeadlines(t *testing.T) {
	type deadline struct{ Left time.Duration }
	release := make(chan struct{})
	e := bus.New[echo, deadline]("echo", "Deadline", time.Minute)
	b := serve(t, e, func(ctx context.Context, in echo) (deadline, error) {
		if in.Text == "wait" {
			select {
			case <-ctx.Done():
			case <-release:
			}
			return deadline{}, ctx.Err()
		}
		d, ok := ctx.Deadline()
		if !ok {
			return deadline{}, errors.New("no deadline")
		}
		return deadline{time.Until(d)}, nil
	})
	got, err := bus.Call(t.Context(), b, e, echo{})
	if err != nil || got.Left <= 0 || got.Left > time.Minute {
		t.Errorf("the endpoint's own timeout: %v, %v", got.Left, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	got, err = bus.Call(ctx, b, e, echo{})
	if err != nil || got.Left <= 0 || got.Left > 5*time.Second {
		t.Errorf("the caller's deadline: %v, %v", got.Left, err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err = bus.Call(ctx, b, e, echo{Text: "wait"}); matrix.AsError(err).Status != 504 {
		t.Errorf("a call past its deadline: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err = bus.Call(ctx, b, e, echo{Text: "wait"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call: %v", err)
	}
	close(release)
}

func TestNobodyAnswers(t *testing.T) {
	b := testkit.Bus(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := bus.Call(ctx, b, echoEndpoint, echo{})
	if e := matrix.AsError(err); e.Status != 503 || e.RetryAfter <= 0 {
		t.Errorf("got %v", err)
	}
}

func TestCallWaitsForTheServiceToStart(t *testing.T) {
	b := testkit.Bus(t)
	result := make(chan error, 1)
	go func() {
		_, err := bus.Call(context.Background(), b, echoEndpoint, echo{})
		result <- err
	}()
	time.Sleep(50 * time.Millisecond)
	s := b.Service("echo", bus.ServiceOptions{})
	bus.Handle(s, echoEndpoint, func(_ context.Context, in echo) (echo, error) { return in, nil })
	run(t, s)
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestPayloadLimits(t *testing.T) {
	var calls atomic.Int32
	b := serve(t, echoEndpoint, func(_ context.Context, in echo) (echo, error) {
		calls.Add(1)
		if in.Text == "grow" {
			return echo{Text: strings.Repeat("x", bus.MaxPayload)}, nil
		}
		return in, nil
	})
	envelope := len(`{"text":""}`)
	full := echo{Text: strings.Repeat("x", bus.MaxPayload-envelope)}
	if got, err := bus.Call(t.Context(), b, echoEndpoint, full); err != nil || got != full {
		t.Errorf("the largest request: %v", err)
	}
	before := calls.Load()
	_, err := bus.Call(t.Context(), b, echoEndpoint, echo{Text: full.Text + "x"})
	if e := matrix.AsError(err); e.Code != "M_TOO_LARGE" || calls.Load() != before {
		t.Errorf("one byte more: %v, %d calls", err, calls.Load()-before)
	}
	_, err = bus.Call(t.Context(), b, echoEndpoint, echo{Text: "grow"})
	if e := matrix.AsError(err); e.Status != 500 || e.Extra[obs.ErrorIDKey] == nil {
		t.Errorf("a reply that is too large: %v", err)
	}
}

func TestDrain(t *testing.T) {
	b := testkit.Bus(t)
	s := b.Service("echo", bus.ServiceOptions{})
	begun, release := make(chan struct{}), make(chan struct{})
	bus.Handle(s, echoEndpoint, func(ctx context.Context, in echo) (echo, error) {
		close(begun)
		<-release
		return in, ctx.Err()
	})
	stop := run(t, s)
	result := make(chan error, 1)
	go func() {
		_, err := bus.Call(context.Background(), b, echoEndpoint, echo{})
		result <- err
	}()
	<-begun
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Fatal("Run returned with a call in flight")
	case <-time.After(150 * time.Millisecond):
	}
	close(release)
	<-stopped
	if err := <-result; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := bus.Call(ctx, b, echoEndpoint, echo{}); matrix.AsError(err).Status != 503 {
		t.Errorf("a call after the end: %v", err)
	}
}

func TestRequestIDIsHandedOn(t *testing.T) {
	b := serve(t, echoEndpoint, func(ctx context.Context, _ echo) (echo, error) {
		return echo{Text: obs.RequestID(ctx) + " " + obs.Traceparent(ctx)}, nil
	})
	ctx := obs.WithCall(t.Context(), obs.CallInfo{RequestID: "id1", Traceparent: "00-1-2-01"})
	got, err := bus.Call(ctx, b, echoEndpoint, echo{})
	if err != nil || got.Text != "id1 00-1-2-01" {
		t.Errorf("got %q, %v", got.Text, err)
	}
}

func TestProgramErrorsPanic(t *testing.T) {
	b := testkit.Bus(t)
	h := func(_ context.Context, in echo) (echo, error) { return in, nil }
	for name, f := range map[string]func(){
		"bad method":      func() { bus.New[echo, echo]("echo", "a.b", time.Second) },
		"bad service":     func() { bus.PerRoom[echo, echo](">", "A", time.Second) },
		"bad topic":       func() { bus.NewTopic[echo]("a..b") },
		"foreign service": func() { bus.Handle(b.Service("other", bus.ServiceOptions{}), echoEndpoint, h) },
		"twice": func() {
			s := b.Service("echo", bus.ServiceOptions{})
			bus.Handle(s, echoEndpoint, h)
			bus.Handle(s, echoEndpoint, h)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func BenchmarkCall(b *testing.B) {
	nb := serve(b, echoEndpoint, func(_ context.Context, in echo) (echo, error) { return in, nil })
	for _, size := range []int{0, 500} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			req := echo{Text: strings.Repeat("x", size)}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bus.Call(b.Context(), nb, echoEndpoint, req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// twice is a request that says by itself that it may be made again.
type twice struct {
	Again bool `json:"again"`
}

func (r twice) Repeatable() bool { return r.Again }

// TestRepeatableCallIsMadeAgain asks somebody who takes the first call to the grave.
func TestRepeatableCallIsMadeAgain(t *testing.T) {
	e := bus.New[twice, int64]("svc", "Twice", 8*time.Second)
	var calls atomic.Int64
	lost := make(chan struct{})
	b := serve(t, e, func(ctx context.Context, _ twice) (int64, error) {
		if n := calls.Add(1); n > 1 {
			return n, nil
		}
		<-lost
		return 0, ctx.Err()
	})
	defer close(lost)
	n, err := bus.Call(t.Context(), b, e, twice{Again: true})
	if err != nil || n != 2 {
		t.Errorf("a call that may be repeated answered %d, %v; want the second answer", n, err)
	}
}
