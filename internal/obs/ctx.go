// Package obs is what can be seen of a running installation from outside its conversations: logs,
// metrics, health. It owns no tables and serves no subjects.
//
// Invariants: whatever identifies a person, a room or a message reaches a log only through the
// types User and IP, which shorten it; metric labels come from small fixed sets.
package obs

import (
	"context"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
)

// CallInfo names the request a context belongs to.
type CallInfo struct {
	Name        string // route template or endpoint, never a path with ids
	RequestID   string // made by NewID at the edge, handed on by the bus
	Traceparent string // W3C trace context, "" when tracing is off
}

type ctxKey struct{}

// scope is what a context carries. The logger with the request's attributes is made on demand:
// most requests never log.
type scope struct {
	log  *slog.Logger
	info CallInfo
}

func scopeOf(ctx context.Context) scope {
	if s, ok := ctx.Value(ctxKey{}).(*scope); ok {
		return *s
	}
	return scope{log: slog.Default()}
}

// Logger returns the context's logger; slog.Default() when it has none.
func Logger(ctx context.Context) *slog.Logger {
	s := scopeOf(ctx)
	if s.info.Name != "" {
		s.log = s.log.With("call", s.info.Name)
	}
	if s.info.RequestID != "" {
		s.log = s.log.With("request_id", s.info.RequestID)
	}
	return s.log
}

// WithLogger returns a context whose logger is l.
func WithLogger(ctx context.Context, l *slog.Logger) context.Context {
	s := scopeOf(ctx)
	s.log = l
	return context.WithValue(ctx, ctxKey{}, &s)
}

// With returns a context whose logger adds the attributes (pairs, as for slog) to each line.
func With(ctx context.Context, args ...any) context.Context {
	s := scopeOf(ctx)
	s.log = s.log.With(args...)
	return context.WithValue(ctx, ctxKey{}, &s)
}

// WithCall returns the context of one request.
func WithCall(ctx context.Context, info CallInfo) context.Context {
	s := scopeOf(ctx)
	s.info = info
	return context.WithValue(ctx, ctxKey{}, &s)
}

// RequestID is the id of the context's request, "" outside of one.
func RequestID(ctx context.Context) string { return scopeOf(ctx).info.RequestID }

// Traceparent is the context's W3C trace context, "" when there is none.
func Traceparent(ctx context.Context) string { return scopeOf(ctx).info.Traceparent }

// NewID makes an id for a request or an error: 16 hexadecimal digits, for finding lines in logs,
// not for secrets.
func NewID() string {
	var b [8]byte
	v := rand.Uint64()
	for i := range b {
		b[i] = byte(v >> (8 * i))
	}
	return hex.EncodeToString(b[:])
}
