package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"allmende/config"
	"allmende/internal/bus"
	"allmende/internal/httpx"
	"allmende/internal/pg"
	"allmende/internal/pgd"
	rooms "allmende/roomserver/api"
)

// checkTime bounds each thing that Check asks of others; making a database takes longer on a slow disk.
const (
	checkTime   = 5 * time.Second
	privateTime = 2 * time.Minute
	dataTime    = 15 * time.Minute
)

// Check tries what a configuration names: folder, ports, database, bus, and, while the server runs, its address from
// outside. If all of that works it reads what the rooms left in the database and holds it against what always holds. It
// lists everything that does not work.
func Check(ctx context.Context, c *config.Config) []config.Problem {
	k := &checker{config: c}
	running := false
	if conn, err := dialDoor(ctx, c.Path(doorFolder)); err == nil {
		running = errors.Join(conn.Close()) == nil
	}
	k.try(ctx, checkTime, "data_dir", "let the server's account write there", k.folder)
	if running {
		k.try(ctx, checkTime, "client_base_url", "look at the DNS entry, the reverse proxy and the certificate", k.baseURL)
		k.try(ctx, checkTime, "server_name", "let https://"+c.ServerName+"/.well-known/matrix/client reach this server", k.wellKnown)
	} else {
		for _, addr := range c.Listen.Client {
			k.try(ctx, checkTime, "listen.client", "stop the program that holds it, or choose another address", port(addr))
		}
		if c.Listen.Metrics != "" {
			k.try(ctx, checkTime, "listen.metrics", "stop the program that holds it, or choose another address", port(c.Listen.Metrics))
		}
	}
	if c.Database.URL != "" {
		k.try(ctx, checkTime, "database.url", "see that PostgreSQL runs there and lets this account in", k.database)
	} else if !running {
		k.try(ctx, privateTime, "database", "do what the text says, or set database.url", k.private)
	}
	if c.NATS.URL != "" {
		k.try(ctx, checkTime, "nats.url", "see that NATS runs there and lets this account in", k.bus)
	}
	if len(k.problems) == 0 {
		k.try(ctx, dataTime, "database", "restore the last backup, and keep a copy of this database for whoever looks for the cause", k.rooms)
	}
	return k.problems
}

type checker struct {
	config   *config.Config
	problems []config.Problem
}

func (k *checker) try(ctx context.Context, limit time.Duration, path, mend string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := f(ctx); err != nil {
		k.problems = append(k.problems, config.Problem{Path: path, Text: err.Error(), Mend: mend})
	}
}

func (k *checker) folder(context.Context) error {
	if err := (&Instance{config: k.config}).folder(); err != nil {
		return err
	}
	f, err := os.CreateTemp(k.config.DataDir, ".check")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func port(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return l.Close()
	}
}

func (k *checker) database(ctx context.Context) error {
	db, err := pg.Open(ctx, pg.Options{URL: k.config.Database.URL.Reveal(), MaxConns: 1, Name: "allmende check"})
	if err != nil {
		return err
	}
	db.Close()
	return nil
}

func (k *checker) private(ctx context.Context) error {
	s, err := pgd.Start(ctx, pgd.Options{
		DataDir: k.config.Path("postgres"), BinDir: k.config.Database.BinDir, Durable: true, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	return s.Stop(ctx)
}

// rooms lets the room server check its tables: a running one, or one started for the purpose.
func (k *checker) rooms(ctx context.Context) (err error) {
	way, err := OpenAdmin(ctx, k.config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, way.Close()) }()
	found, err := AdminCall(ctx, way, rooms.Check, struct{}{})
	if err != nil {
		return err
	}
	for _, v := range found.Violations {
		err = errors.Join(err, fmt.Errorf("%s: not so %d times, first at %d", v.Rule, v.Count, v.First))
	}
	return err
}

func (k *checker) bus(ctx context.Context) error {
	o, err := busOptions(k.config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	b, err := bus.Connect(ctx, o)
	if err != nil {
		return err
	}
	b.Close()
	return nil
}

func (k *checker) baseURL(ctx context.Context) error {
	base := k.config.BaseURL(nil)
	if k.config.Local() && k.config.ClientBaseURL == "" {
		return nil // known to nobody but this machine
	}
	_, err := fetch(ctx, base+"/_matrix/client/versions")
	return err
}

func (k *checker) wellKnown(ctx context.Context) error {
	if k.config.Local() {
		return nil
	}
	body, err := fetch(ctx, "https://"+k.config.ServerName+"/.well-known/matrix/client")
	if err != nil {
		return err
	}
	var doc wellKnownClient
	if err := json.Unmarshal(body, &doc); err != nil {
		return fmt.Errorf("/.well-known/matrix/client is not JSON: %w", err)
	}
	if want := k.config.BaseURL(nil); doc.Homeserver.BaseURL != want {
		return fmt.Errorf("/.well-known/matrix/client sends clients to %q instead of %q", doc.Homeserver.BaseURL, want)
	}
	return nil
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d", url, resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, httpx.DefaultMaxBody))
}
