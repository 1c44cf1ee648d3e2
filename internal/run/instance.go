package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"allmende/config"
	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/httpx"
	"allmende/internal/natsd"
	"allmende/internal/obs"
	"allmende/internal/pg"
	"allmende/internal/pgd"
	"allmende/roomserver/read"

	"golang.org/x/sync/errgroup"
)

// stopTime is how long an orderly stop may take before what is left is cut off.
const stopTime = 60 * time.Second

// Options of one process.
type Options struct {
	// Only names the services to run; empty: all of them.
	Only []string

	// Log receives everything logged; nil: nothing is logged.
	Log *slog.Logger

	// Hello is told how to go on once the server answers; nil: nobody. Admin is how an admin command begins there.
	Hello io.Writer
	Admin string

	// Offline opens no listener: for admin commands while no server runs.
	Offline bool

	// Fast gives up durability of the private database. For tests only.
	Fast bool
}

// Instance is a running process: one service of a cluster, some, or all of them.
type Instance struct {
	config *config.Config
	opts   Options
	log    *slog.Logger
	base   context.Context // of everything that runs; carries the logger, is never cancelled

	clients []*httpx.Server
	metrics *httpx.Server
	edge    late
	serving bool // the ports are in the hands of their own Run
	health  obs.Health
	private *pgd.Server // nil with database.url
	db      *pg.DB
	bus     *bus.Bus
	auth    *auth.Cache
	recent  read.Recent // from the room server to syncapi, when both run here
	baseURL string

	undo   []step // what Close does, last first
	failed chan error
	once   sync.Once
	closed error
}

// step undoes one thing that was started.
type step struct {
	name string
	stop func(context.Context) error
}

// Start brings up what the configuration asks for and returns once it answers. ctx bounds the start alone; end the
// instance with Close. When the start fails, everything begun is stopped again.
func Start(ctx context.Context, c *config.Config, o Options) (*Instance, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	chosen, err := choose(o.Only)
	if err != nil {
		return nil, err
	}
	i := &Instance{config: c, opts: o, log: o.Log, failed: make(chan error, 1)}
	i.base = obs.WithLogger(context.WithoutCancel(ctx), i.log)
	if err := i.start(ctx, chosen); err != nil {
		i.log.Debug("start did not succeed, stopping what was begun")
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

func (i *Instance) start(ctx context.Context, chosen []service) error {
	began := time.Now()
	if err := i.folder(); err != nil {
		return err
	}
	// Addresses first: one that is taken should be said before a database is made.
	if err := i.listen(ctx, chosen); err != nil {
		return err
	}
	if err := i.openDatabase(ctx); err != nil {
		return err
	}
	if err := migrate(ctx, i.db); err != nil {
		return err
	}
	if err := i.connectBus(ctx); err != nil {
		return err
	}
	if err := i.serve(ctx, chosen); err != nil {
		return err
	}
	i.log.Info("server is up", "services", names(chosen), "milliseconds", time.Since(began).Milliseconds())
	i.hello()
	return nil
}

// folder makes data_dir. Root keeps it passable, since the private PostgreSQL runs as somebody else; what lies in it has
// modes of its own.
func (i *Instance) folder() error {
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.MkdirAll(i.config.DataDir, mode); err != nil {
		return fmt.Errorf("make data_dir: %w", err)
	}
	return nil
}

func (i *Instance) openDatabase(ctx context.Context) error {
	url := i.config.Database.URL.Reveal()
	if url == "" {
		var err error
		i.private, err = pgd.Start(ctx, pgd.Options{
			DataDir: i.config.Path("postgres"), BinDir: i.config.Database.BinDir,
			Durable: !i.opts.Fast, DieWithParent: i.opts.Fast, Log: i.log.With("part", "postgresql"),
		})
		if err != nil {
			return err
		}
		i.undo = append(i.undo, step{"private PostgreSQL", i.private.Stop})
		url = i.private.URL()
	}
	var err error
	i.db, err = pg.Open(ctx, pg.Options{URL: url, MaxConns: i.config.Database.MaxConnections, Name: "allmende"})
	if err != nil {
		return err
	}
	i.undo = append(i.undo, step{"database pool", func(context.Context) error { i.db.Close(); return nil }})
	return nil
}

func (i *Instance) connectBus(ctx context.Context) error {
	o, err := busOptions(i.config, i.log)
	if err != nil {
		return err
	}
	if o.URL == "" {
		if o.Server, err = natsd.Start(ctx, natsd.Options{Log: o.Log}); err != nil {
			return err
		}
		i.undo = append(i.undo, step{"bus in the process", func(context.Context) error { o.Server.Close(); return nil }})
	}
	if i.bus, err = bus.Connect(ctx, o); err != nil {
		return err
	}
	i.undo = append(i.undo, step{"bus", func(context.Context) error { i.bus.Close(); return nil }})
	if i.auth, err = auth.NewCache(i.bus); err != nil {
		return err
	}
	i.undo = append(i.undo, step{"sessions", func(context.Context) error { i.auth.Close(); return nil }})
	return nil
}

func busOptions(c *config.Config, log *slog.Logger) (bus.Options, error) {
	conf, err := busTLS(c.NATS.TLS)
	return bus.Options{
		URL: c.NATS.URL, Name: "allmende", CredsFile: c.NATS.CredsFile, User: c.NATS.User,
		Password: c.NATS.Password.Reveal(), TLS: conf, Log: log.With("part", "bus"),
	}, err
}

// keep runs a part until Close. Whatever ends by itself takes the process with it: half a server is worse than a restart.
func (i *Instance) keep(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(i.base)
	var g errgroup.Group
	g.Go(func() error {
		err := run(ctx)
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("it ended without a reason")
			}
			i.fail(fmt.Errorf("%s: %w", name, err))
			return nil
		}
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
	i.undo = append(i.undo, step{name, func(stop context.Context) error {
		cancel()
		ended := make(chan error, 1)
		go func() { ended <- g.Wait() }()
		select {
		case err := <-ended:
			return err
		case <-stop.Done():
			return errors.New("it did not stop in time")
		}
	}})
}

func (i *Instance) fail(err error) {
	select {
	case i.failed <- err:
	default: // the first cause is the one to tell
	}
}

// Failed delivers the cause when a part of the instance ended by itself. The instance should then be closed.
func (i *Instance) Failed() <-chan error { return i.failed }

// Close stops everything in the reverse order of its start: requests are answered to their end first. It may be called twice.
func (i *Instance) Close() error {
	i.once.Do(func() {
		ctx, cancel := context.WithTimeout(i.base, stopTime)
		defer cancel()
		for _, s := range slices.Backward(i.undo) {
			began := time.Now()
			if err := s.stop(ctx); err != nil {
				i.closed = errors.Join(i.closed, fmt.Errorf("stop %s: %w", s.name, err))
			}
			i.log.Debug("stopped", "part", s.name, "milliseconds", time.Since(began).Milliseconds())
		}
	})
	return i.closed
}

// BaseURL is the address clients are told.
func (i *Instance) BaseURL() string { return i.baseURL }

// MetricsURL is the address of metrics and health, or empty when they are off.
func (i *Instance) MetricsURL() string {
	if i.metrics == nil {
		return ""
	}
	return i.metrics.URL()
}

// URL is the address under which this instance's first client listener answers, or empty without one.
func (i *Instance) URL() string {
	if len(i.clients) == 0 {
		return ""
	}
	scheme := "http"
	if i.config.WithTLS() {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(i.clients[0].Addr().String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// hello says what to do next, for whoever started the server by hand.
func (i *Instance) hello() {
	if i.opts.Hello == nil || len(i.clients) == 0 {
		return
	}
	var b strings.Builder
	at := i.URL()
	if i.config.Local() {
		at = i.baseURL // by name, as it is typed
	}
	fmt.Fprintf(&b, "\nAllmende answers on %s as %s.\n", at, i.config.ServerName)
	fmt.Fprintf(&b, "  first account   %s create-user anna --admin\n", i.opts.Admin)
	switch i.config.Registration.Policy {
	case config.RegistrationToken:
		fmt.Fprintf(&b, "  let people in   %s token create\n", i.opts.Admin)
	case config.RegistrationOpen:
		fmt.Fprintf(&b, "  let people in   registration is open to everyone\n")
	case config.RegistrationClosed:
		fmt.Fprintf(&b, "  let people in   %s create-user NAME\n", i.opts.Admin)
	}
	fmt.Fprintf(&b, "  log in          with Element or another Matrix client, homeserver %s\n", i.baseURL)
	fmt.Fprintf(&b, "  stop            Ctrl-C\n\n")
	if _, err := io.WriteString(i.opts.Hello, b.String()); err != nil {
		i.log.Debug("nobody reads the greeting", "error", err)
	}
}
