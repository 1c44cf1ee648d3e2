// Package store holds the room server's SQL: it alone writes the tables of the
// roomserver schema. A committed transaction is the only way an event comes
// into being; see [Store.Commit].
package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"allmende/internal/pg"

	"github.com/jackc/pgx/v5"
	"github.com/maypok86/otter/v2"
)

// Schema is the PostgreSQL schema the room server owns.
const Schema = "roomserver"

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the schema up to date.
func Migrate(ctx context.Context, db *pg.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open room server migrations: %w", err)
	}
	return pg.Migrate(ctx, db, Schema, files)
}

// Store writes and reads the room server's tables. Safe for concurrent use.
type Store struct {
	db      *pg.DB
	strings *otter.Cache[string, int64]
}

const cachedStrings = 100_000

// New makes a store over a pool whose schema is migrated.
func New(db *pg.DB) *Store {
	return &Store{db: db, strings: otter.Must(&otter.Options[string, int64]{MaximumSize: cachedStrings})}
}

const selectStrings = `SELECT nid, value FROM roomserver.strings WHERE value = ANY($1)`

const insertStrings = `
INSERT INTO roomserver.strings (value)
SELECT DISTINCT v FROM unnest($1::text[]) AS u(v)
WHERE NOT EXISTS (SELECT 1 FROM roomserver.strings WHERE value = v)
ORDER BY v ON CONFLICT (value) DO NOTHING`

// Intern gives numbers to strings, making new ones as needed, in the order of
// the strings. Known strings cost no query.
func (s *Store) Intern(ctx context.Context, values ...string) ([]int64, error) {
	nids := make([]int64, len(values))
	known := true
	for i, v := range values {
		nid, ok := s.strings.GetIfPresent(v)
		nids[i] = nid
		known = known && ok
	}
	if known {
		return nids, nil
	}
	found, err := s.lookUp(ctx, values)
	if err != nil {
		return nil, err
	}
	if len(found) < len(values) { // perhaps only a string given twice: that costs a query, no more
		// Inserting and looking up are separate statements, so that a number made
		// by another instance in between is found too.
		if _, err := s.db.Exec(ctx, insertStrings, values); err != nil {
			return nil, fmt.Errorf("intern strings: %w", err)
		}
		if found, err = s.lookUp(ctx, values); err != nil {
			return nil, err
		}
	}
	for i, v := range values {
		nids[i] = found[v]
	}
	return nids, nil
}

func (s *Store) lookUp(ctx context.Context, values []string) (map[string]int64, error) {
	rows, err := s.db.Query(ctx, selectStrings, values)
	if err != nil {
		return nil, fmt.Errorf("look up strings: %w", err)
	}
	found := make(map[string]int64, len(values))
	var nid int64
	var value string
	_, err = pgx.ForEachRow(rows, []any{&nid, &value}, func() error {
		found[value] = nid
		s.strings.Set(value, nid)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up strings: %w", err)
	}
	return found, nil
}
