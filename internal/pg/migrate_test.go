package pg_test

import (
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"allmende/internal/pg"
	"allmende/internal/testkit"
)

func files(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

var two = files(
	"migrations/0001_begin.sql", "CREATE TABLE word (v text);\nINSERT INTO word VALUES ('one');",
	"migrations/0002_more.sql", "INSERT INTO demo.word VALUES ('two');",
)

func migrate(t *testing.T, db *pg.DB, m fstest.MapFS) error {
	t.Helper()
	return pg.Migrate(within(t), db, "demo", m)
}

func mustMigrate(t *testing.T, db *pg.DB, m fstest.MapFS) {
	t.Helper()
	if err := migrate(t, db, m); err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Fatalf("error %v, want one with %q", err, p)
		}
	}
}

func TestManyMigratorsAtOnce(t *testing.T) {
	url := testkit.DatabaseURL(t)
	var wg sync.WaitGroup
	for range 8 {
		db := open(t, url)
		wg.Go(func() {
			if err := migrate(t, db, two); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	db := open(t, url)
	if n := count(t, db, "SELECT count(*) FROM demo.word"); n != 2 {
		t.Errorf("%d rows, want 2: a migration ran twice or not at all", n)
	}
	if n := count(t, db, "SELECT count(*) FROM demo.migrations"); n != 2 {
		t.Errorf("%d migrations recorded", n)
	}
}

func TestMigrateGoesOn(t *testing.T) {
	db := testkit.Database(t)
	mustMigrate(t, db, files("0001_begin.sql", string(two["migrations/0001_begin.sql"].Data)))
	mustMigrate(t, db, two)
	mustMigrate(t, db, two)
	if n := count(t, db, "SELECT count(*) FROM demo.word"); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

func TestChangedMigrationIsRefused(t *testing.T) {
	db := testkit.Database(t)
	mustMigrate(t, db, two)
	err := migrate(t, db, files("0001_begin.sql", "CREATE TABLE word (v text);", "0002_more.sql", "", "0003_next.sql", "CREATE TABLE demo.never ()"))
	wantError(t, err, "demo", "0001_begin", "changed")
	if n := count(t, db, "SELECT count(*) FROM demo.migrations"); n != 2 {
		t.Error("went on after the refusal")
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	first := files("0001_begin.sql", "CREATE TABLE word (v text)")
	for name, c := range map[string]struct {
		second string
		third  string
		refuse bool
	}{
		"says nothing":             {"ALTER TABLE word ADD w int", "", true},
		"allows the older":         {"-- oldest: 1\nALTER TABLE word ADD w int", "", false},
		"allowed, then not":        {"-- oldest: 1\nALTER TABLE word ADD w int", "ALTER TABLE word DROP v", true},
		"allowed, then not so old": {"-- oldest: 1\nALTER TABLE word ADD w int", "-- oldest: 2\nALTER TABLE word DROP v", true},
	} {
		t.Run(name, func(t *testing.T) {
			db := testkit.Database(t)
			newer := files("0001_begin.sql", "CREATE TABLE word (v text)", "0002_more.sql", c.second)
			if c.third != "" {
				newer["0003_yet.sql"] = &fstest.MapFile{Data: []byte(c.third)}
			}
			mustMigrate(t, db, newer)
			err := migrate(t, db, first)
			if c.refuse {
				wantError(t, err, "newer Allmende", "backup")
			} else if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestFailedMigrationLeavesNothing(t *testing.T) {
	db := testkit.Database(t)
	bad := files("0001_begin.sql", "CREATE TABLE word (v text)", "0002_bad.sql", "CREATE TABLE half (); SELEKT;")
	wantError(t, migrate(t, db, bad), "demo/0002_bad")
	if n := count(t, db, "SELECT count(*) FROM pg_tables WHERE schemaname = 'demo' AND tablename = 'half'"); n != 0 {
		t.Error("half a migration was kept")
	}
	mustMigrate(t, db, files("0001_begin.sql", "CREATE TABLE word (v text)", "0002_bad.sql", "CREATE TABLE half ()"))
}

func TestMalformedMigrations(t *testing.T) {
	db := testkit.Database(t)
	wantError(t, migrate(t, db, files()), "no .sql files")
	wantError(t, migrate(t, db, files("1_short.sql", "")), "0001_name.sql")
	wantError(t, migrate(t, db, files("0001_a.sql", "", "0003_c.sql", "")), "0002")
	wantError(t, migrate(t, db, files("0001_a.sql", "", "0001_b.sql", "")), "twice")
	wantError(t, migrate(t, db, files("0001_a.sql", "-- oldest: 2\n")), "oldest")
	wantError(t, migrate(t, db, files("0001_a.sql", "CREATE TABLE x (); COMMIT;")), "ends the transaction")
}
