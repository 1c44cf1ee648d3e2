// Package pg is the way to PostgreSQL: the pool, transactions that retry, migrations, and the translation of
// database trouble into errors of the protocol.
//
// It alone writes the table <schema>.migrations of each service's schema; everything else in a schema
// belongs to the service. It serves no subjects. Invariants: a migration is applied once, whole, by
// one migrator at a time; a schema that the binary does not understand is refused before anything is
// written to it; an error for clients never carries SQL, values or addresses.
package pg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// minVersion is the oldest PostgreSQL whose SQL we use.
const minVersion = 14

// Querier is what a statement needs: a pool or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}

var (
	_ Querier = (*DB)(nil)
	_ Querier = pgx.Tx(nil)
)

// DB is the pool of connections. Statements are prepared once per connection and cached.
type DB struct{ *pgxpool.Pool }

// Options of a pool.
type Options struct {
	URL      string // postgres://… or a libpq keyword string
	MaxConns int    // 0: 20
	Name     string // application_name, seen in pg_stat_activity
}

// Idle connections are given back soon: each costs the server two to three MiB.
const (
	defaultConns = 20
	maxIdle      = time.Minute
	checkPeriod  = 20 * time.Second
	dialTimeout  = 5 * time.Second
	retryPeriod  = 100 * time.Millisecond
)

// Open connects, and waits while the server is not reachable yet or still starting, until ctx ends.
// Anything else (a wrong password, an unknown database, a too old server) is reported at once.
func Open(ctx context.Context, o Options) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("read database.url: %w", err) // pgx leaves the password out
	}
	cfg.MaxConns = int32(min(o.MaxConns, 10_000))
	if o.MaxConns <= 0 {
		cfg.MaxConns = defaultConns
	}
	cfg.MaxConnIdleTime = maxIdle
	cfg.HealthCheckPeriod = checkPeriod
	if cfg.ConnConfig.ConnectTimeout == 0 || cfg.ConnConfig.ConnectTimeout > dialTimeout {
		cfg.ConnConfig.ConnectTimeout = dialTimeout
	}
	if o.Name != "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = o.Name
	}
	cfg.AfterConnect = planOnce
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database pool: %w", err)
	}
	db := &DB{Pool: pool}
	if err := db.await(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return db, nil
}

// planOnce makes PostgreSQL plan each prepared statement once. Left to itself it plans many of ours anew at each call,
// because lists of unknown length look dear to it: that took more of its time than running them. Our statements find
// rows by index, whatever their parameters.
func planOnce(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, "SET plan_cache_mode = force_generic_plan")
	return err
}

// await returns once a connection stands and the server on the other side is one we can use.
func (db *DB) await(ctx context.Context) error {
	for {
		err := db.AcquireFunc(ctx, func(c *pgxpool.Conn) error { return usable(c.Conn().PgConn()) })
		if err == nil {
			return nil
		}
		if !Unavailable(err) {
			return fmt.Errorf("connect to database: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("connect to database: %w", err) // the reason, not that we ran out of time
		case <-time.After(retryPeriod):
		}
	}
}

func usable(c *pgconn.PgConn) error {
	version := c.ParameterStatus("server_version") // "15.18 (Debian …)", "17beta1"
	digits := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if major, err := strconv.Atoi(version[:max(digits, 0)]); err == nil && major < minVersion {
		return fmt.Errorf("the database server is PostgreSQL %s, at least %d is needed", version, minVersion)
	}
	if enc := c.ParameterStatus("server_encoding"); enc != "" && enc != "UTF8" {
		return fmt.Errorf("the database is encoded in %s: create it with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0", enc)
	}
	return nil
}

// maxRetries is how often a transaction is tried again after the first time.
const maxRetries = 3

// Tx runs fn in a transaction: committed when fn returns nil, rolled back otherwise. When PostgreSQL aborts it
// as a victim of concurrency (serialisation failure, deadlock), it is run again, up to three times; so fn
// must have no effects but on the transaction.
func (db *DB) Tx(ctx context.Context, fn func(pgx.Tx) error) error {
	for try := 0; ; try++ {
		err := pgx.BeginFunc(ctx, db.Pool, fn)
		if err == nil || try == maxRetries || !retryable(err) {
			return err
		}
		pause := 5 * time.Millisecond << try
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause + rand.N(pause)):
		}
	}
}

func retryable(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && (pe.Code == "40001" || pe.Code == "40P01")
}
