package httpx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"allmende/internal/obs"

	"golang.org/x/sync/errgroup"
)

// stopPatience is how long requests in flight may take once the server stops.
const stopPatience = 10 * time.Second

// ServerOptions of Listen.
type ServerOptions struct {
	Addr    string      // host:port; port 0 takes a free one
	TLS     *tls.Config // nil: plain HTTP, behind a reverse proxy
	Handler http.Handler
	Log     *slog.Logger
}

// Server is a listening HTTP server.
type Server struct {
	listener net.Listener
	tls      bool
	handler  http.Handler
	log      *slog.Logger
}

// Listen opens the server's port. Requests are answered once Run is called.
func Listen(ctx context.Context, o ServerOptions) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", o.Addr, err)
	}
	if o.TLS != nil {
		cfg := o.TLS.Clone()
		if len(cfg.NextProtos) == 0 {
			cfg.NextProtos = []string{"h2", "http/1.1"}
		}
		l = tls.NewListener(l, cfg)
	}
	return &Server{listener: l, tls: o.TLS != nil, handler: o.Handler, log: o.Log}, nil
}

// Addr is the address the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is the server's base URL by address, without a trailing slash.
func (s *Server) URL() string {
	if s.tls {
		return "https://" + s.Addr().String()
	}
	return "http://" + s.Addr().String()
}

// Run answers requests until ctx ends, then stops: no new requests, long polls are told
// (Stopping), the others have stopPatience to finish.
func (s *Server) Run(ctx context.Context) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	base = obs.WithLogger(base, s.log)
	base = context.WithValue(base, stoppingKey{}, ctx.Done())
	hs := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return base },
		// net/http's own lines name addresses of clients: nobody's business.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	var g errgroup.Group
	stopped := make(chan struct{})
	g.Go(func() error {
		select {
		case <-ctx.Done():
		case <-stopped:
			return nil
		}
		wait, stop := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer stop()
		if err := hs.Shutdown(wait); err != nil {
			cancel()
			return hs.Close()
		}
		return nil
	})
	err := hs.Serve(s.listener)
	close(stopped)
	if waitErr := g.Wait(); waitErr != nil {
		return fmt.Errorf("stop HTTP server: %w", waitErr)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

type stoppingKey struct{}

func stoppingOf(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return c
}
