package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// home is one server under measurement.
type home struct {
	dir, binary, addr, profileAddr string
	args, env                      []string
	log                            *os.File
	cmd                            *exec.Cmd
	cpuBefore                      float64 // seconds, of processes that have ended
}

// The password hash is the weakest the configuration allows: the scenarios need thousands of accounts, and what the
// hash itself costs is measured apart.
const configuration = `server_name: bench.example
data_dir: %s
listen: {client: ["%s"]}
registration: {policy: open}
auth: {argon2: {memory: 8MiB, iterations: 1, parallelism: 1}}
rate_limits:
  login: {per_second: 0}
  write: {per_second: 0}
  read: {per_second: 0}
  expensive: {per_second: 0}
log: {format: json}
`

func newHome(ctx context.Context, o options) (*home, error) {
	dir, err := os.MkdirTemp("", "allmende-bench-")
	if err != nil {
		return nil, err
	}
	// The private PostgreSQL of a server that root starts runs as somebody else, who must be able to pass.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	h := &home{dir: dir}
	if h.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	if h.addr, err = freePort(ctx); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "allmende.yaml")
	text := fmt.Sprintf(configuration, filepath.Join(dir, "data"), h.addr)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	if o.profile != "" {
		return h, h.profiled(ctx, conf)
	}
	h.binary, h.args = filepath.Join(dir, "allmende"), []string{"serve", "--config", conf}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", h.binary, "./cmd/allmende")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build the server (run bench in the repository's root): %w", err)
	}
	return h, nil
}

func freePort(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start starts the server and answers how long it took until it answered a request.
func (h *home) start(ctx context.Context) (time.Duration, error) {
	h.cmd = exec.Command(h.binary, h.args...)
	h.cmd.Env = append(os.Environ(), h.env...)
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	began := time.Now()
	if err := h.cmd.Start(); err != nil {
		return 0, err
	}
	for time.Since(began) < 2*time.Minute {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.addr+"/_matrix/client/versions", nil)
		if err != nil {
			return 0, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Since(began), nil
			}
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, errors.New("the server does not answer")
}

func (h *home) stop() error {
	if h.cmd == nil {
		return nil
	}
	h.cpuBefore = h.cpu()
	cmd := h.cmd
	h.cmd = nil
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return cmd.Wait()
}

func (h *home) close(keep bool) error {
	err := errors.Join(h.stop(), h.log.Close())
	if keep {
		fmt.Fprintln(os.Stderr, "kept:", h.dir)
		return err
	}
	return errors.Join(err, os.RemoveAll(h.dir))
}

// lastLog is the end of the server's log, for when something goes wrong.
func (h *home) lastLog() string {
	raw, err := os.ReadFile(h.log.Name())
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// database connects to the private PostgreSQL.
func (h *home) database(ctx context.Context, name string) (*pgx.Conn, error) {
	root := filepath.Join(h.dir, "data", "postgres")
	socket := filepath.Join(root, "run")
	if raw, err := os.ReadFile(filepath.Join(root, "socket")); err == nil {
		socket = strings.TrimSpace(string(raw))
	}
	return pgx.Connect(ctx, fmt.Sprintf("host=%s user=allmende dbname=%s", socket, name))
}
