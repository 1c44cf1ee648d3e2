package testkit_test

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"allmende/internal/pg"
	"allmende/internal/testkit"
)

// childEnv makes this test binary one that asks for a database and then hangs.
const childEnv = "TESTKIT_TEST_CHILD"

func TestMain(m *testing.M) { testkit.Main(m) }

func query[T any](t *testing.T, db *pg.DB, sql string) (v T) {
	t.Helper()
	if err := db.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func TestDatabasesAreApartAndDropped(t *testing.T) {
	keeper := testkit.Database(t)
	var names []string
	for _, name := range []string{"a", "b"} {
		t.Run(name, func(t *testing.T) {
			db := testkit.Database(t)
			if _, err := db.Exec(t.Context(), "CREATE TABLE mine ()"); err != nil {
				t.Fatal(err)
			}
			names = append(names, query[string](t, db, "SELECT current_database()"))
		})
	}
	left := query[int](t, keeper, "SELECT count(*) FROM pg_database WHERE datname IN ('"+strings.Join(names, "','")+"')")
	if left != 0 || names[0] == names[1] {
		t.Errorf("%d of the databases %v are left", left, names)
	}
}

var migrations atomic.Int64

func migrateDemo(ctx context.Context, db *pg.DB) error {
	migrations.Add(1)
	_, err := db.Exec(ctx, "CREATE TABLE demo (v int)")
	return err
}

func migrateOther(ctx context.Context, db *pg.DB) error {
	_, err := db.Exec(ctx, "CREATE TABLE other (v int)")
	return err
}

func TestMigratedRunsMigrationsOnce(t *testing.T) {
	t.Run("group", func(t *testing.T) {
		for _, name := range []string{"a", "b", "c", "d"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				db := testkit.Migrated(t, migrateDemo)
				if n := query[int](t, db, "SELECT count(*) FROM demo"); n != 0 {
					t.Errorf("%d rows of another test", n)
				}
				if _, err := db.Exec(t.Context(), "INSERT INTO demo VALUES (1)"); err != nil {
					t.Fatal(err)
				}
			})
		}
	})
	if n := migrations.Load(); n != 1 {
		t.Errorf("migrated %d times", n)
	}
	both := testkit.Migrated(t, migrateDemo, migrateOther)
	if n := query[int](t, both, "SELECT count(*) FROM demo, other"); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// TestChild is the part of TestNothingIsLeft that is killed.
func TestChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		return // a process of its own runs this
	}
	dir := query[string](t, testkit.Database(t), "SELECT current_setting('data_directory')")
	_, _ = os.Stdout.WriteString("dir " + dir + "\n")
	time.Sleep(time.Hour)
}

func TestNothingIsLeft(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childEnv+"=1", "ALLMENDE_TEST_DATABASE_URL=")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir := ""
	for lines := bufio.NewScanner(out); dir == "" && lines.Scan(); {
		if after, ok := strings.CutPrefix(lines.Text(), "dir "); ok {
			dir = after
		}
	}
	root := filepath.Dir(filepath.Dir(dir))
	if !strings.HasPrefix(filepath.Base(root), "allmende-test-") {
		t.Fatalf("data directory %q", dir)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	deadline := time.Now().Add(time.Minute)
	for {
		if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there", root)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
