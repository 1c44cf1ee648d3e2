package pg

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// migration is one file.
type migration struct {
	version  int
	name     string
	sql      string
	checksum string // SHA-256, hex
	oldest   int    // the oldest binary, by the last migration it knows, that may run on the result
}

// applied is one row of <schema>.migrations.
type applied struct {
	Version  int
	Name     string
	Checksum string
	Oldest   int
}

// Migrate brings the schema up to date with files named 0001_name.sql, 0002_name.sql and so on, each in a
// transaction of its own. Unqualified names in a file mean the schema. Any number of processes may call
// it at once; they take turns.
//
// A binary older than the schema is refused, unless the migrations it does not know allow it: a file may begin
// with the line "-- oldest: N", saying that binaries that know migration N still work after it.
// Without the line, older binaries do not.
//
// A file that was changed after it was applied is refused too. The errors name the mend.
func Migrate(ctx context.Context, db *DB, schema string, files fs.FS) error {
	known, err := readMigrations(schema, files)
	if err != nil {
		return err
	}
	for {
		var done bool
		err := db.Tx(ctx, func(tx pgx.Tx) (err error) {
			done, err = step(ctx, tx, schema, known)
			return err
		})
		if err != nil {
			return err
		}
		if done {
			return nil
		}
	}
}

// migrationLock is the advisory lock, one for the whole database, under which schemas change.
const migrationLock = 0x416c6c6d656e6465 >> 1

const lockMigrations = `SELECT pg_advisory_xact_lock($1)`

// step applies the next missing migration; true means there was none.
func step(ctx context.Context, tx pgx.Tx, schema string, known []migration) (bool, error) {
	rows, exists, err := readApplied(ctx, tx, schema)
	if err != nil {
		return false, err
	}
	// The usual start finds all done, without taking the lock.
	if next, err := pending(schema, known, rows); err != nil || next == nil && exists {
		return err == nil, err
	}
	if _, err := tx.Exec(ctx, lockMigrations, int64(migrationLock)); err != nil {
		return false, fmt.Errorf("wait for other migrators: %w", err)
	}
	if rows, exists, err = readApplied(ctx, tx, schema); err != nil {
		return false, err
	}
	if !exists {
		if err := createTable(ctx, tx, schema); err != nil {
			return false, err
		}
	}
	next, err := pending(schema, known, rows)
	if err != nil || next == nil {
		return err == nil, err
	}
	return false, apply(ctx, tx, schema, next)
}

// tableExists reads the catalogue by the statement's snapshot: to_regclass would answer from a cache that
// is older than the lock just waited for.
const tableExists = `SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'migrations')`

func readApplied(ctx context.Context, tx pgx.Tx, schema string) ([]applied, bool, error) {
	table := tableName(schema)
	var exists bool
	if err := tx.QueryRow(ctx, tableExists, schema).Scan(&exists); err != nil {
		return nil, false, fmt.Errorf("look for %s: %w", table, err)
	}
	if !exists {
		return nil, false, nil
	}
	rows, err := tx.Query(ctx, `SELECT version, name, checksum, oldest FROM `+table+` ORDER BY version`)
	if err != nil {
		return nil, true, fmt.Errorf("read %s: %w", table, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[applied])
	if err != nil {
		return nil, true, fmt.Errorf("read %s: %w", table, err)
	}
	return list, true, nil
}

func createTable(ctx context.Context, tx pgx.Tx, schema string) error {
	_, err := tx.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+pgx.Identifier{schema}.Sanitize())
	if err != nil {
		return fmt.Errorf("create schema %s: %w", schema, err)
	}
	_, err = tx.Exec(ctx, `CREATE TABLE `+tableName(schema)+` (
		version    integer     PRIMARY KEY,
		name       text        NOT NULL,
		checksum   text        NOT NULL, -- SHA-256 of the file
		oldest     integer     NOT NULL, -- the oldest binary that may run on the result
		applied_at timestamptz NOT NULL DEFAULT now()
	)`)
	if err != nil {
		return fmt.Errorf("create %s: %w", tableName(schema), err)
	}
	_, err = tx.Exec(ctx, `COMMENT ON TABLE `+tableName(schema)+` IS 'migrations that were applied; no personal data'`)
	if err != nil {
		return fmt.Errorf("comment on %s: %w", tableName(schema), err)
	}
	return nil
}

// pending compares what the binary knows with what the schema has, and returns the next one to apply.
func pending(schema string, known []migration, rows []applied) (*migration, error) {
	for i, row := range rows {
		switch {
		case row.Version != i+1:
			return nil, fmt.Errorf("schema %s: migration %d is missing from %s: restore the database from a backup", schema, i+1, tableName(schema))
		case i >= len(known):
			if row.Oldest > len(known) {
				return nil, fmt.Errorf("schema %s is at version %d, made by a newer Allmende; this one knows versions up to %d: "+
					"start the newer one again, or restore the backup made before its first start", schema, len(rows), len(known))
			}
		case row.Checksum != known[i].checksum:
			return nil, fmt.Errorf("schema %s: migration %04d_%s was changed after it had been applied: "+
				"start the Allmende that applied it; a change of the schema needs a new migration file", schema, row.Version, row.Name)
		}
	}
	if len(rows) >= len(known) {
		return nil, nil
	}
	return &known[len(rows)], nil
}

// apply runs the file and records it.
func apply(ctx context.Context, tx pgx.Tx, schema string, m *migration) error {
	if _, err := tx.Exec(ctx, `SET LOCAL search_path TO `+pgx.Identifier{schema}.Sanitize()); err != nil {
		return fmt.Errorf("set search path: %w", err)
	}
	conn := tx.Conn().PgConn()
	if _, err := conn.Exec(ctx, m.sql).ReadAll(); err != nil {
		return fmt.Errorf("apply migration %s/%04d_%s: %w", schema, m.version, m.name, err)
	}
	if conn.TxStatus() != 'T' {
		return fmt.Errorf("apply migration %s/%04d_%s: the file ends the transaction it runs in; remove COMMIT and ROLLBACK", schema, m.version, m.name)
	}
	_, err := tx.Exec(ctx, `INSERT INTO `+tableName(schema)+` (version, name, checksum, oldest) VALUES ($1, $2, $3, $4)`,
		m.version, m.name, m.checksum, m.oldest)
	if err != nil {
		return fmt.Errorf("record migration %s/%04d_%s: %w", schema, m.version, m.name, err)
	}
	return nil
}

func tableName(schema string) string { return pgx.Identifier{schema, "migrations"}.Sanitize() }

var (
	filePattern   = regexp.MustCompile(`^(\d{4})_([a-z0-9_]+)\.sql$`)
	oldestPattern = regexp.MustCompile(`\A-- oldest: (\d+)\n`)
)

// readMigrations reads every .sql file; the numbers must run from 1 without a gap.
func readMigrations(schema string, files fs.FS) ([]migration, error) {
	var list []migration
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".sql" {
			return err
		}
		m, err := readMigration(files, name)
		list = append(list, m)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read migrations of %s: %w", schema, err)
	}
	slices.SortFunc(list, func(a, b migration) int { return cmp.Compare(a.version, b.version) })
	for i, m := range list {
		if m.version != i+1 {
			return nil, fmt.Errorf("read migrations of %s: number %04d is missing or %04d comes twice", schema, i+1, m.version)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("read migrations of %s: %w", schema, errNoFiles)
	}
	return list, nil
}

var errNoFiles = errors.New("no .sql files")

func readMigration(files fs.FS, name string) (migration, error) {
	m := filePattern.FindStringSubmatch(path.Base(name))
	if m == nil {
		return migration{}, fmt.Errorf("%s: the name must look like 0001_name.sql", name)
	}
	version, err := strconv.Atoi(m[1])
	if err != nil {
		return migration{}, fmt.Errorf("%s: %w", name, err)
	}
	b, err := fs.ReadFile(files, name)
	if err != nil {
		return migration{}, err
	}
	sum := sha256.Sum256(b)
	out := migration{version: version, name: m[2], sql: string(b), checksum: hex.EncodeToString(sum[:]), oldest: version}
	if o := oldestPattern.FindSubmatch(b); o != nil {
		if out.oldest, err = strconv.Atoi(string(o[1])); err != nil || out.oldest > version || out.oldest < 1 {
			return migration{}, fmt.Errorf("%s: oldest must name a migration from 1 to %d", name, version)
		}
	}
	return out, nil
}
