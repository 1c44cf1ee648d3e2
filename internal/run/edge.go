package run

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"syscall"

	"allmende/config"
	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/obs"
)

// late is what the open ports need but is known only once the services are built: set by serve, before the first
// request is taken.
type late struct {
	handler http.Handler
	tls     *tls.Config
}

func (l *late) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.handler.ServeHTTP(w, r) }

func (l *late) config(*tls.ClientHelloInfo) (*tls.Config, error) { return l.tls, nil }

// listen opens the ports for clients, if one of the services answers them, and the one for metrics.
func (i *Instance) listen(ctx context.Context, chosen []service) error {
	if i.opts.Offline {
		return nil
	}
	if slices.ContainsFunc(chosen, func(s service) bool { return s.http }) {
		var secure *tls.Config
		if i.config.WithTLS() {
			secure = &tls.Config{GetConfigForClient: i.edge.config}
		}
		for _, addr := range i.config.Listen.Client {
			s, err := i.open(ctx, "listen.client", httpx.ServerOptions{Addr: addr, TLS: secure, Handler: &i.edge, Log: i.log})
			if err != nil {
				return err
			}
			i.clients = append(i.clients, s)
		}
	}
	i.baseURL = i.config.BaseURL(nil)
	if len(i.clients) > 0 {
		i.baseURL = i.config.BaseURL(i.clients[0].Addr())
	}
	if addr := i.config.Listen.Metrics; addr != "" {
		s, err := i.open(ctx, "listen.metrics", httpx.ServerOptions{Addr: addr, Handler: i.health.Handler(obs.MetricsHandler(obs.Metrics)), Log: i.log})
		if err != nil {
			return err
		}
		i.metrics = s
	}
	return nil
}

func (i *Instance) open(ctx context.Context, option string, o httpx.ServerOptions) (*httpx.Server, error) {
	s, err := httpx.Listen(ctx, o)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w: stop the program that holds it, or choose another address in %s", err, option)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%w: ports below 1024 need the capability net_bind_service (the systemd unit gives it)", err)
	case err != nil:
		return nil, fmt.Errorf("%w (%s)", err, option)
	}
	i.undo = append(i.undo, step{"port", func(ctx context.Context) error {
		if i.serving {
			return nil // closed by its own Run
		}
		over, cancel := context.WithCancel(ctx)
		cancel()
		return s.Run(over)
	}})
	return s, nil
}

// serve builds the services and lets them and the ports run.
func (i *Instance) serve(ctx context.Context, chosen []service) error {
	i.health.Add("database", i.db.Ping)
	i.health.Add("bus", i.bus.Check)
	tables := [][]httpx.Route{i.routes()}
	for _, s := range chosen {
		p, err := s.build(ctx, i)
		if err != nil {
			return fmt.Errorf("build %s: %w", s.name, err)
		}
		if r, ok := p.(routed); ok {
			tables = append(tables, r.Routes())
		}
		i.keep(s.name, p.Run)
	}
	if err := i.openDoor(); err != nil {
		return err
	}
	if len(i.clients) > 0 {
		var err error
		if i.edge.handler, err = httpx.New(httpx.Options{
			Sessions: i.auth, Limits: limits(i.config.RateLimits), TrustedProxies: i.config.TrustedProxies,
		}, tables...); err != nil {
			return err
		}
		if i.edge.tls, err = i.listenerTLS(); err != nil {
			return err
		}
	}
	i.serving = true
	for _, s := range i.clients {
		i.keep("client listener", s.Run)
	}
	if i.metrics != nil {
		i.keep("metrics listener", i.metrics.Run)
	}
	return nil
}

func (i *Instance) listenerTLS() (*tls.Config, error) {
	ctx, cancel := context.WithCancel(i.base)
	i.undo = append(i.undo, step{"certificates", func(context.Context) error { cancel(); return nil }})
	return listenerTLS(ctx, i.config, i.clients[0].Addr(), i.log)
}

// limits gives each class of requests the bucket of the option that speaks of it; 0 per second is no limit.
func limits(r config.RateLimits) map[httpx.RateClass]httpx.Limit {
	out := map[httpx.RateClass]httpx.Limit{}
	for class, rate := range map[httpx.RateClass]config.Rate{
		httpx.RateLogin: r.Login, httpx.RateRegister: r.Login,
		httpx.RateSend: r.Write, httpx.RateWrite: r.Write,
		httpx.RateRead: r.Read,
		httpx.RateJoin: r.Expensive, httpx.RateExpensive: r.Expensive,
	} {
		if rate.PerSecond > 0 {
			out[class] = httpx.Limit{PerSecond: rate.PerSecond, Burst: rate.Burst}
		}
	}
	return out
}

// routes are the answers of the process itself.
func (i *Instance) routes() []httpx.Route {
	return []httpx.Route{
		{Method: "GET", Path: "/.well-known/matrix/client", Handler: httpx.Handle(i.wellKnownClient)},
		{Method: "GET", Path: "/.well-known/matrix/server", Handler: httpx.Handle(i.wellKnownServer)},
		{Method: "GET", Path: "/health/live", Handler: httpx.Stream(i.healthy)},
		{Method: "GET", Path: "/health/ready", Handler: httpx.Stream(i.healthy)},
	}
}

func (i *Instance) healthy(w http.ResponseWriter, r *http.Request, _ auth.Session) error {
	i.health.Handler(obs.MetricsHandler(obs.Metrics)).ServeHTTP(w, r)
	return nil
}

// spec: c-s §GET /.well-known/matrix/client
type wellKnownClient struct {
	Homeserver struct {
		BaseURL string `json:"base_url"`
	} `json:"m.homeserver"`
}

func (i *Instance) wellKnownClient(context.Context, auth.Session, struct{}) (out wellKnownClient, err error) {
	out.Homeserver.BaseURL = i.baseURL
	return out, nil
}

// spec: s-s §GET /.well-known/matrix/server
type wellKnownServer struct {
	Server string `json:"m.server"`
}

func (i *Instance) wellKnownServer(context.Context, auth.Session, struct{}) (wellKnownServer, error) {
	return wellKnownServer{Server: config.Delegate(i.baseURL)}, nil
}
