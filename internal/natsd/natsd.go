// Package natsd runs the NATS server inside the binary when no external one is configured. It has
// no listener, no JetStream and no files: connections are in-process pipes, and what it carries is
// gone when the process ends. It owns no tables and serves no subjects of its own.
//
// Invariant: nothing outside this process can reach the server, and it never logs a message's
// subject or payload (tracing cannot be turned on).
package natsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Options of the embedded server; the zero value is good.
type Options struct {
	// Log receives the server's warnings and errors; nil means slog.Default().
	Log *slog.Logger
}

// Server is a running embedded NATS server.
type Server struct {
	s *server.Server
}

// Start runs a server until Close. It returns when connections are accepted.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s, err := server.NewServer(&server.Options{
		ServerName:      "allmende-embedded",
		DontListen:      true,
		JetStream:       false,
		NoSigs:          true,
		NoLog:           true, // replaced by SetLoggerV2 below, without debug and trace
		NoSystemAccount: true, // its statistics are of no use to a single process
		MaxPayload:      1 << 20,
		WriteDeadline:   10 * time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("configure embedded NATS: %w", err)
	}
	s.SetLoggerV2(logger{o.Log}, false, false, false)
	s.Start()
	wait := 10 * time.Second
	if d, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(d))
	}
	if !s.ReadyForConnections(wait) {
		s.Shutdown()
		return nil, errors.New("embedded NATS was not ready in time")
	}
	return &Server{s: s}, nil
}

// Conn opens an in-process connection.
func (s *Server) Conn(opts ...nats.Option) (*nats.Conn, error) {
	opts = append(opts[:len(opts):len(opts)], nats.InProcessServer(s.s))
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to embedded NATS: %w", err)
	}
	return nc, nil
}

// Close ends every connection and the server. It returns when all is released.
func (s *Server) Close() {
	s.s.Shutdown()
	s.s.WaitForShutdown()
}

// logger passes what an administrator may need to slog. Notices (start, stop) are debug: the
// embedded server is an implementation detail.
type logger struct{ l *slog.Logger }

func (l logger) Noticef(format string, v ...any) { l.log(slog.LevelDebug, format, v) }
func (l logger) Warnf(format string, v ...any)   { l.log(slog.LevelWarn, format, v) }
func (l logger) Fatalf(format string, v ...any)  { l.log(slog.LevelError, format, v) }
func (l logger) Errorf(format string, v ...any)  { l.log(slog.LevelError, format, v) }
func (l logger) Debugf(string, ...any)           {}
func (l logger) Tracef(string, ...any)           {}

func (l logger) log(level slog.Level, format string, v []any) {
	ctx := context.Background()
	if l.l.Enabled(ctx, level) {
		l.l.Log(ctx, level, "embedded NATS: "+fmt.Sprintf(format, v...))
	}
}
