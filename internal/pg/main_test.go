package pg_test

import (
	"context"
	"testing"
	"time"

	"allmende/internal/pg"
	"allmende/internal/pgd"
	"allmende/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// cluster is a server of the test's own, to be stopped at will.
func cluster(t *testing.T, dir string) *pgd.Server {
	t.Helper()
	s, err := pgd.Start(within(t), pgd.Options{DataDir: dir, DieWithParent: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(within(t)) })
	return s
}

func open(t *testing.T, url string) *pg.DB {
	t.Helper()
	db, err := pg.Open(within(t), pg.Options{URL: url, MaxConns: 4, Name: "pg-test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func count(t *testing.T, q pg.Querier, sql string, args ...any) (n int) {
	t.Helper()
	if err := q.QueryRow(within(t), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}
