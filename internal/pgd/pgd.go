// Package pgd runs the private PostgreSQL of a small installation.
//
// An installation that names no database.url gets a PostgreSQL cluster of its own below the data
// directory. This package finds the server's programs, creates the cluster, writes its settings,
// starts it, restarts it with back-off when it dies, adopts it when our own process died and left
// it running, and stops it in good order. It owns this folder and nothing else:
//
//	DataDir/lock             held (flock) by the one process that may run the cluster
//	DataDir/data             the cluster (PGDATA)
//	DataDir/postgresql.conf  settings, rewritten at every start; ALTER SYSTEM overrides them
//	DataDir/pg_hba.conf      who may connect: whoever can enter the socket's folder
//	DataDir/run              the socket's folder (0700), unless its path is too long
//	DataDir/socket           names the short socket folder used in that case
//
// Invariants: PostgreSQL never runs as root; it listens on one Unix socket in a 0700 folder and on no
// network address; its log carries no statement, no parameter and no row; with Durable set, a
// commit that was answered survives a power cut.
//
// The package writes no tables and serves no subjects.
package pgd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Role and database of the private cluster. Only the account that runs the server, and root, reach it.
const (
	roleName     = "allmende"
	databaseName = "allmende"
	socketPort   = 5432 // names the socket file only; nothing listens on the network
)

// Options say where the cluster lives and how it is run.
type Options struct {
	DataDir string // folder owned by this package; created when missing
	BinDir  string // folder of initdb and postgres; empty: PATH, then the usual places
	Durable bool   // fsync and synchronous commit; off only for tests
	Log     *slog.Logger

	// Settings override or add PostgreSQL settings, by name.
	Settings map[string]string

	// DieWithParent lets the kernel stop PostgreSQL when our process dies for whatever reason (Linux).
	// For tests; in production a surviving PostgreSQL is adopted by the next start.
	DieWithParent bool
}

// Server is a running private PostgreSQL.
type Server struct {
	opts   Options
	log    *slog.Logger
	bin    binaries
	lay    layout
	acct   *account
	socket string // folder of the socket
	lock   *os.File

	cancel  context.CancelFunc // asks supervise to stop PostgreSQL
	quit    chan struct{}      // closed when patience is over
	once    sync.Once
	done    chan struct{}
	stopErr error // written before done is closed
}

// Start brings the cluster up, creating it the first time, and returns once it accepts connections.
// ctx bounds the start, not the life of the server: end that with Stop.
//
// Errors worth telling apart: *NoProgramsError, *VersionError; all others name the mend in their text.
func Start(ctx context.Context, o Options) (*Server, error) {
	s, err := prepare(o)
	if err != nil {
		return nil, err
	}
	pm, err := s.begin(ctx)
	if err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	go s.supervise(life, pm)
	return s, nil
}

// prepare does everything that needs no running server: folders, lock, programs, account.
func prepare(o Options) (_ *Server, err error) {
	s := &Server{opts: o, log: o.Log, quit: make(chan struct{}), done: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if s.lay, err = newLayout(o.DataDir); err != nil {
		return nil, err
	}
	if s.lock, err = lockFile(filepath.Join(s.lay.root, "lock")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.lock.Close())
		}
	}()
	major, err := s.lay.major()
	if err != nil {
		return nil, err
	}
	if s.bin, err = findBinaries(o.BinDir, major, s.lay); err != nil {
		return nil, err
	}
	if s.acct, err = chooseAccount(s.lay.data); err != nil {
		return nil, err
	}
	if err := s.acct.canEnter(s.lay.root, s.bin.postgres()); err != nil {
		return nil, err
	}
	return s, nil
}

// begin adopts a server left running, or starts one, and makes sure that our database exists.
func (s *Server) begin(ctx context.Context) (*postmaster, error) {
	pm, err := s.adopt(ctx)
	if err != nil {
		return nil, err
	}
	if pm == nil {
		if err := s.ensureCluster(ctx); err != nil {
			return nil, err
		}
		if s.socket, err = s.lay.socketDir(s.acct); err != nil {
			return nil, err
		}
		if err := s.writeSettings(); err != nil {
			return nil, err
		}
		if pm, err = s.launch(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.ensureDatabase(ctx); err != nil {
		pm.end()
		return nil, err
	}
	return pm, nil
}

// URL is the connection string of the private database. It stays the same over restarts.
func (s *Server) URL() string { return s.urlOf(databaseName) }

func (s *Server) urlOf(database string) string {
	q := url.Values{"host": {s.socket}, "port": {strconv.Itoa(socketPort)}, "sslmode": {"disable"}}
	u := url.URL{Scheme: "postgres", User: url.User(roleName), Path: "/" + database, RawQuery: q.Encode()}
	return u.String()
}

// Done is closed when PostgreSQL has stopped for good, that is after Stop.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop shuts PostgreSQL down: open transactions are rolled back, everything committed is written
// out. When ctx ends first, it is stopped hard; nothing committed is lost, the next start recovers.
func (s *Server) Stop(ctx context.Context) error {
	s.cancel()
	select {
	case <-s.done:
	case <-ctx.Done():
		s.once.Do(func() { close(s.quit) })
		<-s.done
	}
	return s.stopErr
}

// supervise keeps PostgreSQL running until ctx ends, then stops it.
func (s *Server) supervise(ctx context.Context, pm *postmaster) {
	defer close(s.done)
	delay := backoff{}
	for {
		select {
		case <-ctx.Done():
			s.stopErr = errors.Join(s.shutdown(pm), s.lock.Close())
			return
		case <-pm.exited:
		}
		s.log.Error("private PostgreSQL stopped unexpectedly, starting it again",
			"after", pm.age().Round(time.Second), "cause", pm.cause())
		if pm = s.relaunch(ctx, delay.resetAfter(pm.age())); pm == nil {
			s.stopErr = s.lock.Close()
			return
		}
		s.log.Warn("private PostgreSQL runs again")
	}
}

// relaunch tries until PostgreSQL runs again; nil means ctx ended first.
func (s *Server) relaunch(ctx context.Context, delay backoff) *postmaster {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay.next()):
		}
		pm, err := s.launch(ctx)
		if err == nil {
			return pm
		}
		if ctx.Err() == nil {
			s.log.Error("private PostgreSQL does not start", "err", err)
		}
	}
}

// shutdown asks for a fast shutdown and turns hard when Stop's patience is over.
func (s *Server) shutdown(pm *postmaster) error {
	pm.interrupt()
	select {
	case <-pm.exited:
		return nil
	case <-s.quit:
	}
	pm.end()
	return fmt.Errorf("stop private PostgreSQL: not done in time, stopped hard (the next start recovers)")
}

// backoff spaces restarts: 50 ms, doubling to 30 s.
type backoff struct{ last time.Duration }

func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, 50*time.Millisecond), 30*time.Second)
	return b.last
}

// resetAfter forgets earlier failures when the server had run for a while.
func (b *backoff) resetAfter(ran time.Duration) backoff {
	if ran > time.Minute {
		b.last = 0
	}
	return *b
}
