package pgd

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNoPrograms(t *testing.T) {
	_, err := Start(within(t), Options{DataDir: folder(t), BinDir: t.TempDir()})
	var missing *NoProgramsError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Fatalf("error: %v", err)
	}
}

// The upgrade command is executed as printed: from the version installed to itself, which pg_upgrade allows.
func TestOtherMajorVersion(t *testing.T) {
	dir := folder(t)
	s := start(t, Options{DataDir: dir})
	c := connect(t, s)
	run(t, c, "CREATE TABLE kept (v text)")
	run(t, c, "INSERT INTO kept VALUES ('here')")
	stop(t, s)

	version := filepath.Join(dir, "data", "PG_VERSION")
	was, err := os.ReadFile(version)
	if err != nil {
		t.Fatal(err)
	}
	write(t, version, "9\n")
	_, err = Start(within(t), Options{DataDir: dir})
	var ve *VersionError
	if !errors.As(err, &ve) || ve.Data != 9 || ve.Programs != s.bin.major {
		t.Fatalf("error: %v", err)
	}
	write(t, version, string(was))

	_, command, ok := strings.Cut(ve.Error(), "upgrade the database:\n")
	if !ok || !strings.Contains(command, "/usr/lib/postgresql/9/bin") {
		t.Fatalf("no command in: %v", err)
	}
	command = strings.ReplaceAll(command, "/usr/lib/postgresql/9/bin", s.bin.dir)
	if out, err := exec.Command("/bin/sh", "-ec", command).CombinedOutput(); err != nil {
		t.Fatalf("%s\n%v\n%s", command, err, out)
	}
	again := start(t, Options{DataDir: dir})
	if got := ask[string](t, connect(t, again), "SELECT v FROM kept"); got != "here" {
		t.Errorf("read %q after the upgrade", got)
	}
}

func TestForeignFolder(t *testing.T) {
	dir := folder(t)
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(within(t), Options{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "no PG_VERSION") {
		t.Fatalf("error: %v", err)
	}
}

func TestBrokenSettingIsExplained(t *testing.T) {
	dir := folder(t)
	_, err := Start(within(t), Options{DataDir: dir, DieWithParent: true, Settings: map[string]string{"shared_buffers": "much"}})
	if err == nil || !strings.Contains(err.Error(), "shared_buffers") {
		t.Fatalf("error: %v", err)
	}
	start(t, Options{DataDir: dir}) // the lock is free again, the cluster unharmed
}

func TestUnfinishedClusterIsMadeAgain(t *testing.T) {
	dir := folder(t)
	if err := os.MkdirAll(filepath.Join(dir, "data.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	connect(t, start(t, Options{DataDir: dir}))
}

func TestFirstShut(t *testing.T) {
	root := t.TempDir()
	inner := filepath.Join(root, "shut", "open")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{filepath.Dir(root), root} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a := &account{name: "stranger", uidN: 54321, gidN: 54321}
	if got := a.firstShut(inner); got != "" {
		t.Errorf("open way, but %s called shut", got)
	}
	shut := filepath.Dir(inner)
	if err := os.Chmod(shut, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := a.firstShut(inner); got != shut {
		t.Errorf("%q called shut, want %q", got, shut)
	}
	if os.Geteuid() == 0 {
		err := a.canEnter(inner, "/bin/true")
		if err == nil || !strings.Contains(err.Error(), "chmod o+x "+shut) {
			t.Errorf("error: %v", err)
		}
	}
}

func TestBackoff(t *testing.T) {
	var b backoff
	if first := b.next(); first != 50*time.Millisecond {
		t.Errorf("first delay %v", first)
	}
	for range 20 {
		b.next()
	}
	if b.next() != 30*time.Second {
		t.Errorf("delay grows to %v", b.last)
	}
	if next := b.resetAfter(time.Second); next.last != 30*time.Second {
		t.Error("a server that dies soon is restarted without pause")
	}
	if next := b.resetAfter(time.Hour); next.next() != 50*time.Millisecond {
		t.Error("a long run does not end the back-off")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
