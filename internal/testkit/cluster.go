package testkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"allmende/internal/pgd"
)

// server is the server of this test binary, started by the first test that asks.
var server = sync.OnceValues(func() (*testServer, error) {
	started.Store(true)
	if address := os.Getenv("ALLMENDE_TEST_DATABASE_URL"); address != "" {
		if !isURL(address) {
			return nil, errors.New("ALLMENDE_TEST_DATABASE_URL must have the form postgres://user@host/database")
		}
		return &testServer{base: address}, nil
	}
	return startCluster()
})

func startCluster() (*testServer, error) {
	dir, err := os.MkdirTemp("", "allmende-test-")
	if err != nil {
		return nil, fmt.Errorf("create folder of the test database: %w", err)
	}
	alive, err := removeAfterDeath(dir)
	if err := errors.Join(err, os.Chmod(dir, 0o711)); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ctx, cancel := context.WithTimeout(context.Background(), dbTimeout)
	defer cancel()
	s, err := pgd.Start(ctx, pgd.Options{
		DataDir:       filepath.Join(dir, "postgres"),
		DieWithParent: true,
		Settings: map[string]string{
			"max_connections": "200",
			"max_wal_size":    "1GB", // no checkpoints but those of DROP DATABASE
			"autovacuum":      "off", // it would sometimes hold the template that is to be copied
		},
	})
	if err != nil {
		return nil, fmt.Errorf("start the test database: %w", err)
	}
	return &testServer{base: s.URL(), stop: func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = s.Stop(ctx)
		_ = os.RemoveAll(dir)
		_ = alive.Close()
	}}, nil
}

// removeAfterDeath has a shell wait for the end of our process, however it ends, and then for PostgreSQL's,
// and remove the folder. Its standard input is a pipe whose other end, returned, only we hold open; keep it, for a
// collected file is a closed one.
func removeAfterDeath(dir string) (io.Closer, error) {
	const script = `cat >/dev/null
i=0
while [ -e "$0/postgres/data/postmaster.pid" ] && [ $i -lt 100 ]; do
	pid=$(head -n 1 "$0/postgres/data/postmaster.pid") && kill -0 "$pid" 2>/dev/null || break
	i=$((i+1)); sleep 0.1
done
rm -rf "$0"`
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("create pipe: %w", err)
	}
	cmd := exec.Command("/bin/sh", "-c", script, dir)
	cmd.Stdin = r
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for it
	if err := errors.Join(cmd.Start(), r.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("start shell: %w", err), w.Close())
	}
	return w, nil
}

var started atomic.Bool // whether a test asked for a database

// stopCluster ends what this test binary started; nothing when no test asked for a database.
func stopCluster() {
	if !started.Load() {
		return
	}
	s, err := server()
	if err != nil {
		return
	}
	if s.stop != nil {
		s.stop()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.templates {
		_ = s.exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)")
	}
}

// Dir is a temporary folder of the test that a private PostgreSQL can use: t.TempDir's cannot be entered by
// the account it runs under when the tests run as root.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "allmende-dir-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}
