package pg_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/internal/testkit"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestTxRetriesLostRaces(t *testing.T) {
	db := testkit.Database(t)
	ctx := within(t)
	if _, err := db.Exec(ctx, "CREATE TABLE counter AS SELECT 0 AS n"); err != nil {
		t.Fatal(err)
	}
	tries := 0
	err := db.Tx(ctx, func(tx pgx.Tx) error {
		tries++
		if _, err := tx.Exec(ctx, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(ctx, "SELECT n FROM counter").Scan(&n); err != nil {
			return err
		}
		if tries == 1 { // somebody else is faster
			if _, err := db.Exec(ctx, "UPDATE counter SET n = n + 10"); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, "UPDATE counter SET n = $1", n+1)
		return err
	})
	if err != nil || tries != 2 {
		t.Fatalf("%d tries, %v", tries, err)
	}
	if n := count(t, db, "SELECT n FROM counter"); n != 11 {
		t.Errorf("counter is %d, want 11", n)
	}
}

func TestTxGivesUp(t *testing.T) {
	db := testkit.Database(t)
	for code, want := range map[string]int{"40001": 4, "40P01": 4, "23505": 1} {
		tries := 0
		err := db.Tx(within(t), func(tx pgx.Tx) error {
			tries++
			_, err := tx.Exec(within(t), "DO $$BEGIN RAISE SQLSTATE '"+code+"'; END$$")
			return err
		})
		var pe *pgconn.PgError
		if !errors.As(err, &pe) || pe.Code != code || tries != want {
			t.Errorf("%s: %d tries, want %d; %v", code, tries, want, err)
		}
	}
}

func TestTxRollsBack(t *testing.T) {
	db := testkit.Database(t)
	ctx := within(t)
	refused := errors.New("refused")
	err := db.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "CREATE TABLE gone ()"); err != nil {
			return err
		}
		return refused
	})
	if !errors.Is(err, refused) {
		t.Fatal(err)
	}
	if n := count(t, db, "SELECT count(*) FROM pg_tables WHERE tablename = 'gone'"); n != 0 {
		t.Error("the table was kept")
	}
}

func TestApplicationName(t *testing.T) {
	db := open(t, testkit.DatabaseURL(t))
	if n := count(t, db, "SELECT count(*) FROM pg_stat_activity WHERE pid = pg_backend_pid() AND application_name = 'pg-test'"); n != 1 {
		t.Error("the connection does not carry its name")
	}
}

func TestUnavailable(t *testing.T) {
	s := cluster(t, filepath.Join(testkit.Dir(t), "postgres"))
	db, closed := open(t, s.URL()), open(t, s.URL())
	closed.Close()
	ctx := within(t)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()

	ask := func(ctx context.Context, db *pg.DB, sql string) error {
		var n int
		return db.QueryRow(ctx, sql).Scan(&n)
	}
	open := func(url string) error {
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		opened, err := pg.Open(short, pg.Options{URL: url})
		if err == nil {
			opened.Close()
		}
		return err
	}
	terminated := ask(ctx, db, "SELECT 1 FROM pg_terminate_backend(pg_backend_pid())")
	cutOff := make(chan error, 1)
	go func() { cutOff <- ask(ctx, db, "SELECT 1 FROM pg_sleep(60)") }()
	for count(t, db, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND state = 'active'") == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	unknown := open(strings.Replace(s.URL(), "/allmende?", "/elsewhere?", 1))
	syntax, none, stopped := ask(ctx, db, "SELEKT"), ask(ctx, db, "SELECT 1 WHERE false"), ask(cancelled, db, "SELECT 1")
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"backend terminated", terminated, true},
		{"cut off by shutdown", <-cutOff, true},
		{"pool whose server is gone", ask(ctx, db, "SELECT 1"), true},
		{"closed pool", ask(ctx, closed, "SELECT 1"), true},
		{"no socket", open(s.URL()), true},
		{"refused", open("postgres://u@127.0.0.1:1/x?sslmode=disable"), true},
		{"unknown database", unknown, false},
		{"syntax", syntax, false},
		{"no rows", none, false},
		{"cancelled by the caller", stopped, false},
		{"nothing", nil, false},
	} {
		if c.err == nil && c.name != "nothing" {
			t.Errorf("%s: no error", c.name)
		}
		if got := pg.Unavailable(c.err); got != c.want {
			t.Errorf("%s: Unavailable is %v (%v)", c.name, got, c.err)
		}
		mapped := pg.Error(c.err)
		var me *matrix.Error
		if errors.As(mapped, &me) != c.want || c.want && (me.Status != 503 || me.RetryAfter <= 0) {
			t.Errorf("%s: mapped to %v", c.name, mapped)
		}
	}
	if err := pg.Error(none); !errors.Is(err, pg.ErrNotFound) {
		t.Errorf("no rows mapped to %v", err)
	}
	if err := pg.Error(syntax); err != syntax {
		t.Errorf("another error became %v", err)
	}
}

func TestOpenWaitsForTheServer(t *testing.T) {
	dir := filepath.Join(testkit.Dir(t), "postgres")
	s := cluster(t, dir)
	if err := s.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	type result struct {
		db  *pg.DB
		err error
	}
	opened := make(chan result, 1)
	go func() {
		db, err := pg.Open(within(t), pg.Options{URL: s.URL()})
		opened <- result{db, err}
	}()
	cluster(t, dir)
	r := <-opened
	if r.err != nil {
		t.Fatal(r.err)
	}
	r.db.Close()
}

func TestPoolRecovers(t *testing.T) {
	dir := filepath.Join(testkit.Dir(t), "postgres")
	s := cluster(t, dir)
	db := open(t, s.URL())
	if err := s.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	cluster(t, dir)
	// Broken connections are found out one by one; each costs at most one failed call.
	for range 5 {
		var n int
		err := db.QueryRow(within(t), "SELECT 1").Scan(&n)
		if err == nil {
			return
		}
		if !pg.Unavailable(err) {
			t.Fatal(err)
		}
	}
	t.Error("the pool did not recover")
}

func TestOpenRefusesAtOnce(t *testing.T) {
	if _, err := pg.Open(within(t), pg.Options{URL: "postgres://u:geheim@[::1/x"}); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("malformed URL: %v", err)
	}
	url := testkit.DatabaseURL(t)
	db := open(t, url)
	if _, err := db.Exec(within(t), "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	cfg := db.Config().ConnConfig
	_, err := pg.Open(within(t), pg.Options{URL: strings.Replace(url, "/"+cfg.Database, "/latin", 1)})
	if err == nil || !strings.Contains(err.Error(), "LATIN1") {
		t.Errorf("database in another encoding: %v", err)
	}
	if _, err := db.Exec(within(t), "DROP DATABASE latin WITH (FORCE)"); err != nil {
		t.Fatal(err)
	}
}
