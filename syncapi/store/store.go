// Package store holds syncapi's SQL: it alone writes the tables of the syncapi
// schema, which are the head of the receipts' stream and the receipts. A receipt
// only moves forwards, and positions appear in commit order, because every
// writing transaction locks the head first.
package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"allmende/internal/pg"
)

// Schema is the PostgreSQL schema syncapi owns.
const Schema = "syncapi"

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the schema up to date.
func Migrate(ctx context.Context, db *pg.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open syncapi migrations: %w", err)
	}
	return pg.Migrate(ctx, db, Schema, files)
}

// Store reads and writes syncapi's tables. Safe for concurrent use.
type Store struct {
	db *pg.DB
}

// New makes a store over a pool whose schema is migrated.
func New(db *pg.DB) *Store { return &Store{db: db} }
