// Package store holds clientapi's SQL. It alone writes the tables of the schema clientapi: accounts, devices, sessions,
// authentication in progress, registration tokens, jobs, and what belongs to an account: profile, account data, filters.
//
// Queries work on the pool or inside a transaction (see Store.Tx). Whatever a client must see in /sync takes its
// position with NextPosition inside the transaction that writes it: the head row stays locked until the commit, so
// positions appear in order and a reader that asks for "after" skips nothing.
package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"allmende/internal/pg"

	"github.com/jackc/pgx/v5"
)

// Schema is the PostgreSQL schema clientapi owns.
const Schema = "clientapi"

//go:embed migrations/*.sql
var migrations embed.FS

// ErrNotFound says that no row matched.
var ErrNotFound = pg.ErrNotFound

// Migrate brings the schema up to date.
func Migrate(ctx context.Context, db *pg.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open clientapi migrations: %w", err)
	}
	return pg.Migrate(ctx, db, Schema, files)
}

// Queries are all statements, on a pool or a transaction.
type Queries struct {
	q pg.Querier
}

// Store runs Queries on the pool, and in transactions. Safe for concurrent use.
type Store struct {
	*Queries
	db *pg.DB
}

// New makes a store over a pool whose schema is migrated.
func New(db *pg.DB) *Store {
	return &Store{Queries: &Queries{q: db}, db: db}
}

// Tx runs f in one transaction, again if the database asks for it: f must have no effects but its queries.
func (s *Store) Tx(ctx context.Context, f func(*Queries) error) error {
	return s.db.Tx(ctx, func(tx pgx.Tx) error { return f(&Queries{q: tx}) })
}

const nextPosition = `UPDATE clientapi.head SET pos = pos + $1 RETURNING pos`

// NextPosition takes n positions and returns the last. Call it late in the transaction: everybody else who writes waits
// for the commit.
func (q *Queries) NextPosition(ctx context.Context, n int) (int64, error) {
	var pos int64
	if err := q.q.QueryRow(ctx, nextPosition, n).Scan(&pos); err != nil {
		return 0, fmt.Errorf("take a position: %w", pg.Error(err))
	}
	return pos, nil
}

const position = `SELECT pos FROM clientapi.head`

// Position returns the newest committed position.
func (q *Queries) Position(ctx context.Context) (int64, error) {
	var pos int64
	if err := q.q.QueryRow(ctx, position).Scan(&pos); err != nil {
		return 0, fmt.Errorf("read the position: %w", pg.Error(err))
	}
	return pos, nil
}
