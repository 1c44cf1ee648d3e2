package pgd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// How often we look: while starting, for an adopted server that we are not the parent of, and how long
// a server that was told to end at once may take.
const (
	startPoll   = 5 * time.Millisecond
	adoptedPoll = 500 * time.Millisecond
	quitTime    = 5 * time.Second
)

// postmaster is one run of the server: our child, or one adopted.
type postmaster struct {
	pid     int
	began   time.Time
	exited  chan struct{} // closed when it is gone
	signal  func(os.Signal) error
	tail    *serverLog // nil for an adopted one: its log went with our former self
	waitErr error      // written before exited is closed
}

func (p *postmaster) age() time.Duration { return time.Since(p.began) }

// cause says why it ended; call it after exited.
func (p *postmaster) cause() string {
	text := "gone"
	if p.waitErr != nil {
		text = p.waitErr.Error()
	}
	if p.tail == nil {
		return text
	}
	if last := p.tail.last(); last != "" {
		return text + ": " + last
	}
	return text
}

// interrupt asks for a fast shutdown. An error means that it is gone, which exited tells.
func (p *postmaster) interrupt() {
	p.tail.calm()
	_ = p.signal(syscall.SIGINT)
}

// end stops it hard and waits. Its workers notice the parent's death by themselves.
func (p *postmaster) end() {
	p.tail.calm()
	for _, sig := range []os.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		_ = p.signal(sig)
		select {
		case <-p.exited:
			return
		case <-time.After(quitTime):
		}
	}
	<-p.exited
}

// launch starts the server and waits until it accepts connections.
func (s *Server) launch(ctx context.Context) (*postmaster, error) {
	if err := s.removeStale(); err != nil {
		return nil, err
	}
	// The life of the process is not bound to ctx: it is ended by signals, never by a kill.
	cmd := s.acct.command(context.WithoutCancel(ctx), s.lay.data, s.bin.postgres(),
		"-D", s.lay.data, "-c", "config_file="+s.lay.conf())
	if s.opts.DieWithParent {
		dieWithParent(cmd.SysProcAttr)
	}
	pm, err := spawn(cmd, &serverLog{log: s.log}, s.opts.DieWithParent)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	if err := s.awaitReady(ctx, pm); err != nil {
		pm.end()
		return nil, err
	}
	pm.tail.ready()
	return pm, nil
}

// spawn starts cmd and a goroutine that waits for its end.
func spawn(cmd *exec.Cmd, log *serverLog, bound bool) (*postmaster, error) {
	cmd.Stderr = log
	cmd.WaitDelay = time.Second // orphaned workers may hold the pipe a little longer
	pm := &postmaster{began: time.Now(), exited: make(chan struct{}), tail: log}
	started := make(chan error)
	go func() {
		if bound {
			// The kernel's "parent died" signal follows the thread that forked, not the process.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
		}
		err := cmd.Start()
		started <- err
		if err == nil {
			pm.waitErr = cmd.Wait()
			close(pm.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	pm.pid = cmd.Process.Pid
	pm.signal = cmd.Process.Signal
	return pm, nil
}

// awaitReady returns once pm accepts connections; recovery after a crash may take its time.
func (s *Server) awaitReady(ctx context.Context, pm *postmaster) error {
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		if f, err := s.readPidFile(); err == nil && f.pid == pm.pid && f.status == "ready" {
			err := s.ping(ctx, "postgres")
			if err == nil || !startingUp(err) {
				return err
			}
		}
		select {
		case <-pm.exited:
			return fmt.Errorf("PostgreSQL ended while starting: %s", pm.cause())
		case <-ctx.Done():
			return fmt.Errorf("wait for PostgreSQL (process %d) to accept connections: %w", pm.pid, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// ping connects once.
func (s *Server) ping(ctx context.Context, database string) error {
	c, err := s.connect(ctx, database)
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

func (s *Server) connect(ctx context.Context, database string) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := pgconn.Connect(ctx, s.urlOf(database))
	if err != nil {
		return nil, fmt.Errorf("connect to private PostgreSQL: %w", err)
	}
	return c, nil
}

// startingUp: the server answered that it is not ready yet, or no longer; or it does not listen yet.
func startingUp(err error) bool {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code == "57P03"
	}
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
}

// ensureDatabase creates our database inside the cluster the first time. It asks first: connecting to what is not there
// would put an alarming line into the log of every first start.
func (s *Server) ensureDatabase(ctx context.Context) (err error) {
	c, err := s.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close(ctx)) }()
	there := c.ExecParams(ctx, "SELECT 1 FROM pg_database WHERE datname = $1", [][]byte{[]byte(databaseName)}, nil, nil, nil).Read()
	if there.Err != nil {
		return fmt.Errorf("look for database: %w", there.Err)
	}
	if len(there.Rows) > 0 {
		return nil
	}
	if _, err := c.Exec(ctx, "CREATE DATABASE "+databaseName).ReadAll(); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	return nil
}

// pidFile is what a running server writes into its data folder.
type pidFile struct {
	pid    int
	socket string // folder
	status string // "starting", "ready", "stopping"
}

func (s *Server) pidPath() string { return filepath.Join(s.lay.data, "postmaster.pid") }

// readPidFile fails with fs.ErrNotExist when no server runs, and when the file is only half written.
func (s *Server) readPidFile() (pidFile, error) {
	b, err := os.ReadFile(s.pidPath())
	if err != nil {
		return pidFile{}, err
	}
	lines := strings.Split(string(b), "\n")
	var f pidFile
	if f.pid, err = strconv.Atoi(strings.TrimSpace(lines[0])); err != nil {
		return f, fmt.Errorf("read %s: %w", s.pidPath(), err)
	}
	f.pid = max(f.pid, -f.pid) // negative: a single-user session
	if len(lines) > 4 {
		f.socket = strings.TrimSpace(lines[4])
	}
	if len(lines) > 7 {
		f.status = strings.TrimSpace(lines[7])
	}
	return f, nil
}

// runs reports whether the process named in the pid file lives, is the account's and is a PostgreSQL. After
// a reboot, or in a new container, the number may belong to anything.
func (s *Server) runs(f pidFile) bool {
	if f.pid <= 1 || f.pid == os.Getpid() {
		return false
	}
	if err := syscall.Kill(f.pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	dir := "/proc/" + strconv.Itoa(f.pid)
	st, err := os.Stat(dir)
	if err != nil {
		return !procMounted() // no way to look closer: PostgreSQL's own checks decide
	}
	name, err := os.ReadFile(dir + "/comm")
	return err == nil && uidOf(st) == s.acct.uid() && strings.HasPrefix(string(name), "postgres") && !zombie(dir)
}

func procMounted() bool {
	_, err := os.Stat("/proc/self/comm")
	return err == nil
}

// zombie: ended, but its parent has not looked yet. It holds nothing any more.
func zombie(dir string) bool {
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return true
	}
	after := string(b[strings.LastIndexByte(string(b), ')')+1:])
	return strings.HasPrefix(strings.TrimSpace(after), "Z")
}

// removeStale deletes the pid file of a server that is gone. PostgreSQL does the same, but takes any living
// process of its account with that number for a server, which happens in containers.
func (s *Server) removeStale() error {
	f, err := s.readPidFile()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && s.runs(f) {
		return fmt.Errorf("a PostgreSQL (process %d) still runs in %s: wait for its end, or kill -INT %d", f.pid, s.lay.data, f.pid)
	}
	if err := os.Remove(s.pidPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove stale %s: %w", s.pidPath(), err)
	}
	return nil
}
