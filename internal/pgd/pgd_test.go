package pgd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// childDir, when set, turns this test binary into a process that runs a private PostgreSQL until killed.
const childDir = "PGD_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		s, err := Start(context.Background(), Options{DataDir: dir, DieWithParent: os.Getenv("PGD_TEST_BOUND") != ""})
		if err != nil {
			_, _ = os.Stdout.WriteString("error " + err.Error() + "\n")
			os.Exit(1)
		}
		_, _ = os.Stdout.WriteString("up\n")
		<-s.Done()
	}
	os.Exit(m.Run())
}

// folder is a temporary one that PostgreSQL's account can reach, unlike t.TempDir when we are root.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "postgres")
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, o Options) *Server {
	t.Helper()
	o.DieWithParent = true
	s, err := Start(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(within(t)) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(within(t)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	default:
		t.Fatal("stopped, but not done")
	}
}

func connect(t *testing.T, s *Server) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(within(t), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func run(t *testing.T, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := c.Exec(within(t), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func ask[T any](t *testing.T, c *pgx.Conn, sql string, args ...any) (v T) {
	t.Helper()
	if err := c.QueryRow(within(t), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func pid(t *testing.T, s *Server) int {
	t.Helper()
	f, err := s.readPidFile()
	if err != nil {
		t.Fatal(err)
	}
	return f.pid
}

func TestDataSurvivesStopAndStart(t *testing.T) {
	dir := folder(t)
	s := start(t, Options{DataDir: dir, Durable: true})
	c := connect(t, s)
	run(t, c, "CREATE TABLE kept (v text)")
	run(t, c, "INSERT INTO kept VALUES ('here')")
	first := pid(t, s)
	stop(t, s)
	if err := syscall.Kill(first, 0); !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("process %d after Stop: %v", first, err)
	}

	again := start(t, Options{DataDir: dir, Durable: true})
	if again.URL() != s.URL() {
		t.Errorf("URL changed from %s to %s", s.URL(), again.URL())
	}
	if got := ask[string](t, connect(t, again), "SELECT v FROM kept"); got != "here" {
		t.Errorf("read %q", got)
	}
}

func TestSettings(t *testing.T) {
	s := start(t, Options{DataDir: folder(t), Durable: true, Settings: map[string]string{"work_mem": "3MB"}})
	c := connect(t, s)
	want := map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on",
		"listen_addresses": "", "unix_socket_permissions": "0700",
		"log_parameter_max_length": "0", "log_parameter_max_length_on_error": "0", "log_min_error_statement": "panic",
		"log_min_messages": "log", "log_error_verbosity": "terse", "log_statement": "none", "logging_collector": "off",
		"log_min_duration_statement": "-1", "wal_recycle": "off", "wal_level": "minimal", "autovacuum": "on", "jit": "off",
		"server_encoding": "UTF8", "lc_collate": "C", "work_mem": "3MB", "TimeZone": "UTC",
	}
	got := map[string]string{}
	for name := range want {
		got[name] = ask[string](t, c, "SELECT current_setting($1)", name)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := ask[int](t, c, "SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL"); n != 0 {
		t.Errorf("%d settings are not understood", n)
	}
	for _, dir := range []string{s.socket, s.lay.data} {
		st, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != 0o700 || uidOf(st) == 0 {
			t.Errorf("%s has mode %o and owner %d", dir, st.Mode().Perm(), uidOf(st))
		}
	}
	st, err := os.Stat("/proc/" + strconv.Itoa(pid(t, s)))
	if err == nil && uidOf(st) == 0 {
		t.Error("PostgreSQL runs as root")
	}
}

func TestRestartsWhenItDies(t *testing.T) {
	s := start(t, Options{DataDir: folder(t), Durable: true})
	c := connect(t, s)
	run(t, c, "CREATE TABLE kept (v int)")
	for i := range 2 {
		run(t, c, "INSERT INTO kept VALUES ($1)", i)
		died := pid(t, s)
		if err := syscall.Kill(died, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c = reconnect(t, s, died)
		if got := ask[int](t, c, "SELECT count(*) FROM kept"); got != i+1 {
			t.Fatalf("%d of %d committed rows survived", got, i+1)
		}
	}
	stop(t, s)
}

// reconnect waits for a server other than the one that died.
func reconnect(t *testing.T, s *Server, died int) *pgx.Conn {
	t.Helper()
	ctx := within(t)
	for ctx.Err() == nil {
		c, err := pgx.Connect(ctx, s.URL())
		if err == nil && pid(t, s) != died {
			t.Cleanup(func() { _ = c.Close(context.Background()) })
			return c
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("not restarted")
	return nil
}

// child runs a private PostgreSQL in a process of its own, to be killed.
func child(t *testing.T, dir string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childDir+"="+dir), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "up\n" {
		t.Fatalf("child: %q, %v", line, err)
	}
	return cmd
}

func TestAdoptsAfterOurCrash(t *testing.T) {
	dir := folder(t)
	crashed := child(t, dir)
	_, err := Start(within(t), Options{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "process "+strconv.Itoa(crashed.Process.Pid)) {
		t.Fatalf("second process beside a living one: %v", err)
	}
	if err := crashed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = crashed.Wait()
	lay, err := newLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	before := pid(t, &Server{lay: lay})

	s := start(t, Options{DataDir: dir, Settings: map[string]string{"work_mem": "2MB"}})
	if got := pid(t, s); got != before {
		t.Errorf("process %d, want the old one, %d", got, before)
	}
	if got := ask[string](t, eventually(t, s, "work_mem", "2MB"), "SELECT current_setting('work_mem')"); got != "2MB" {
		t.Errorf("new settings not taken over: work_mem is %s", got)
	}

	// It is supervised like one we started ourselves.
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	reconnect(t, s, before)
	stop(t, s)
	if _, err := s.readPidFile(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pid file after Stop: %v", err)
	}
}

// eventually reconnects until the setting has the value: a reload is asynchronous.
func eventually(t *testing.T, s *Server, name, want string) *pgx.Conn {
	t.Helper()
	ctx := within(t)
	for {
		c := connect(t, s)
		if ctx.Err() != nil || ask[string](t, c, "SELECT current_setting($1)", name) == want {
			return c
		}
		_ = c.Close(ctx)
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAdoptedServerIsStopped(t *testing.T) {
	dir := folder(t)
	crashed := child(t, dir)
	_ = crashed.Process.Kill()
	_ = crashed.Wait()
	s := start(t, Options{DataDir: dir})
	stop(t, s)
	if _, err := s.readPidFile(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pid file after Stop: %v", err)
	}
}

func TestDiesWithParent(t *testing.T) {
	dir := folder(t)
	crashed := child(t, dir, "PGD_TEST_BOUND=1")
	lay, err := newLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{lay: lay}
	f, err := s.readPidFile()
	if err != nil {
		t.Fatal(err)
	}
	_ = crashed.Process.Kill()
	_ = crashed.Wait()
	for ctx := within(t); syscall.Kill(f.pid, 0) == nil && !zombie("/proc/"+strconv.Itoa(f.pid)); time.Sleep(10 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("PostgreSQL (process %d) outlived its parent", f.pid)
		}
	}
}

func TestStalePidFile(t *testing.T) {
	dir := folder(t)
	s := start(t, Options{DataDir: dir})
	stop(t, s)
	// The number now belongs to another process of the same account, as it happens in containers.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	other := s.acct.command(ctx, "/", "/bin/sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = other.Wait() }()
	stale := strings.Join([]string{strconv.Itoa(other.Process.Pid), s.lay.data, "1700000000", "5432", s.socket, "", "", "ready   "}, "\n")
	if err := os.WriteFile(s.pidPath(), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	again := start(t, Options{DataDir: dir})
	if got := pid(t, again); got == other.Process.Pid {
		t.Error("took a stranger for PostgreSQL")
	}
	connect(t, again)
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(folder(t), strings.Repeat("long", 30), "with, comma")
	for d := filepath.Dir(dir); strings.Contains(d, "postgres"); d = filepath.Dir(d) {
		defer func() { _ = os.Chmod(d, 0o700) }()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := start(t, Options{DataDir: dir})
	t.Cleanup(func() { _ = os.RemoveAll(s.socket) })
	if strings.HasPrefix(s.socket, dir) || !isOwn(s.socket, s.acct) {
		t.Errorf("socket folder %s", s.socket)
	}
	connect(t, s)
	stop(t, s)
	if again := start(t, Options{DataDir: dir}); again.URL() != s.URL() {
		t.Errorf("URL changed from %s to %s", s.URL(), again.URL())
	}
}

func TestHardStopLosesNothing(t *testing.T) {
	dir := folder(t)
	s := start(t, Options{DataDir: dir, Durable: true})
	c := connect(t, s)
	run(t, c, "CREATE TABLE kept (v int)")
	run(t, c, "INSERT INTO kept VALUES (1)")
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Stop(ended); err != nil && !strings.Contains(err.Error(), "stopped hard") {
		t.Fatal(err)
	}
	again := start(t, Options{DataDir: dir, Durable: true})
	if got := ask[int](t, connect(t, again), "SELECT count(*) FROM kept"); got != 1 {
		t.Errorf("%d rows", got)
	}
}

func TestLogKeepsSilent(t *testing.T) {
	var out lockedBuffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := start(t, Options{DataDir: folder(t), Log: log})
	c := connect(t, s)
	run(t, c, "CREATE TABLE u (v text PRIMARY KEY, n int)")
	run(t, c, "INSERT INTO u VALUES ($1)", "needle")
	for _, q := range []string{"INSERT INTO u VALUES ('needle')", "SELECT 'needle'::int", "SELECT needle", "DO $$BEGIN RAISE WARNING 'needle'; END$$"} {
		_, err := c.Exec(within(t), q)
		if err == nil && !strings.HasPrefix(q, "DO") {
			t.Fatalf("%s: no error", q)
		}
	}
	stop(t, s)
	if text := out.String(); strings.Contains(text, "needle") || !strings.Contains(text, "ready to accept connections") {
		t.Errorf("log:\n%s", text)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
