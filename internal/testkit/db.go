package testkit

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"allmende/internal/pg"

	"github.com/jackc/pgx/v5"
)

// Migrator brings one schema up to date, like the Migrate functions of the services' stores.
type Migrator = func(context.Context, *pg.DB) error

// Sizes for tests: many run at once against one small cluster.
const (
	poolConns = 8
	dbTimeout = 2 * time.Minute
)

// Database gives the test an empty database of its own, dropped when the test ends.
func Database(t testing.TB) *pg.DB {
	t.Helper()
	return open(t, "template0")
}

// Migrated gives the test a database of its own with the migrations applied. The migrations run once per test
// binary; each further test copies the result.
func Migrated(t testing.TB, migrators ...Migrator) *pg.DB {
	t.Helper()
	name, err := template(migrators)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, name)
}

// DatabaseURL is the address of a database of the test's own, for programs that open it themselves.
func DatabaseURL(t testing.TB, migrators ...Migrator) string {
	t.Helper()
	from := "template0"
	if len(migrators) > 0 {
		name, err := template(migrators)
		if err != nil {
			t.Fatal(err)
		}
		from = name
	}
	return create(t, from)
}

func open(t testing.TB, from string) *pg.DB {
	t.Helper()
	address := create(t, from)
	db, err := openPool(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close) // before the drop
	return db
}

func openPool(address string) (*pg.DB, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dbTimeout)
	defer cancel()
	return pg.Open(ctx, pg.Options{URL: address, MaxConns: poolConns, Name: "allmende-test"})
}

var databases atomic.Int64 // numbers them

// databaseName is unique among test binaries that share a server, and tells its age, should one be left.
func databaseName() string {
	return fmt.Sprintf("allmende_test_%d_%d_%d", time.Now().Unix(), os.Getpid(), databases.Add(1))
}

// create makes a database as a copy and has it dropped after the test.
func create(t testing.TB, from string) string {
	t.Helper()
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	name := databaseName()
	if err := s.exec("CREATE DATABASE " + name + " TEMPLATE " + from); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return s.address(name)
}

// templates are the migrated databases that tests copy, by their migrators.
var templates struct {
	sync.Mutex
	byKey map[string]func() (string, error)
}

// template makes the database for these migrators, once.
func template(migrators []Migrator) (string, error) {
	key := ""
	for _, m := range migrators {
		// The function's name tells them apart; a closure made in a loop would not do.
		key += runtime.FuncForPC(reflect.ValueOf(m).Pointer()).Name() + "\n"
	}
	templates.Lock()
	build, ok := templates.byKey[key]
	if !ok {
		build = sync.OnceValues(func() (string, error) { return makeTemplate(migrators) })
		if templates.byKey == nil {
			templates.byKey = map[string]func() (string, error){}
		}
		templates.byKey[key] = build
	}
	templates.Unlock()
	return build()
}

func makeTemplate(migrators []Migrator) (string, error) {
	s, err := server()
	if err != nil {
		return "", err
	}
	name := databaseName()
	if err := s.exec("CREATE DATABASE " + name + " TEMPLATE template0"); err != nil {
		return "", err
	}
	db, err := openPool(s.address(name))
	if err != nil {
		return "", err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), dbTimeout)
	defer cancel()
	for _, migrate := range migrators {
		if err := migrate(ctx, db); err != nil {
			return "", fmt.Errorf("migrate test database: %w", err)
		}
	}
	s.template(name)
	return name, nil
}

// testServer is where the test databases live.
type testServer struct {
	base string // URL of a database to give orders from
	stop func() // ends the private cluster; nil for a server of somebody else

	mu        sync.Mutex
	templates []string
}

func (s *testServer) template(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.templates = append(s.templates, name)
}

// address is the server's URL with another database.
func (s *testServer) address(database string) string {
	u, err := url.Parse(s.base)
	if err != nil {
		return s.base // has been parsed before
	}
	u.Path = "/" + database
	return u.String()
}

func (s *testServer) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), dbTimeout)
	defer cancel()
	c, err := pgx.Connect(ctx, s.base)
	if err != nil {
		return fmt.Errorf("connect to test database: %w", err)
	}
	defer func() { _ = c.Close(ctx) }()
	if _, err := c.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// isURL: only this form lets us swap the database's name.
func isURL(s string) bool {
	return strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://")
}
