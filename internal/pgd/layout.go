package pgd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// layout is where the parts of the private PostgreSQL lie on disk.
type layout struct {
	root string // Options.DataDir, absolute and without symlinks
	data string // PGDATA
}

func newLayout(dir string) (layout, error) {
	if dir == "" {
		return layout{}, errors.New("private PostgreSQL: no data directory named")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return layout{}, fmt.Errorf("resolve %s: %w", dir, err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return layout{}, fmt.Errorf("create database folder: %w", err)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return layout{}, fmt.Errorf("resolve %s: %w", dir, err)
	}
	return layout{root: abs, data: filepath.Join(abs, "data")}, nil
}

func (l layout) conf() string { return filepath.Join(l.root, "postgresql.conf") }
func (l layout) hba() string  { return filepath.Join(l.root, "pg_hba.conf") }

// major is the version that made the cluster; 0 when there is none yet.
func (l layout) major() (int, error) {
	b, err := os.ReadFile(filepath.Join(l.data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(l.data); err == nil {
			return 0, fmt.Errorf("%s exists but is no PostgreSQL database (no PG_VERSION): restore it from a backup, or move it away to begin anew", l.data)
		}
		return 0, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return 0, fmt.Errorf("%s belongs to another account: run Allmende as that account, or chown -R the folder: %w", l.data, err)
	}
	if err != nil {
		return 0, fmt.Errorf("read database version: %w", err)
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return 0, fmt.Errorf("read database version in %s: %w", l.data, err)
	}
	return n, nil
}

// lockFile takes the lock that keeps a second process from running, or stopping, the same cluster. It is
// released when the file is closed, at the latest when our process ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid := make([]byte, 20)
		n, _ := f.Read(pid)
		_ = f.Close()
		return nil, fmt.Errorf("the database in %s is in use by another Allmende (process %s): stop that one first",
			filepath.Dir(path), strings.TrimSpace(string(pid[:n])))
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return nil, errors.Join(fmt.Errorf("write lock: %w", err), f.Close())
	}
	return f, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// maxSocketDir leaves room for "/.s.PGSQL.5432.lock" in the 107 bytes of a socket address.
const maxSocketDir = 85

// socketDir makes the folder of the socket: DataDir/run, or when that path does not fit into a socket
// address a short folder below the temporary one, remembered in DataDir/socket.
func (l layout) socketDir(a *account) (string, error) {
	if dir := filepath.Join(l.root, "run"); socketFits(dir) {
		return dir, ownDir(dir, a)
	}
	record := filepath.Join(l.root, "socket")
	if b, err := os.ReadFile(record); err == nil {
		dir := strings.TrimSpace(string(b))
		if socketFits(dir) && isOwn(dir, a) {
			return dir, nil
		}
	}
	base := os.TempDir()
	if len(base) > maxSocketDir-30 {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, "allmende-pg-") // 0700, and nobody else's
	if err != nil {
		return "", fmt.Errorf("create socket folder: %w", err)
	}
	if err := errors.Join(ownDir(dir, a), os.WriteFile(record, []byte(dir+"\n"), 0o644)); err != nil {
		return "", fmt.Errorf("record socket folder: %w", err)
	}
	return dir, nil
}

// socketFits: short enough for the kernel, and free of what lists of hosts and folders are parted by.
func socketFits(dir string) bool {
	return len(dir) <= maxSocketDir && !strings.ContainsAny(dir, "\",'\\\n")
}

// ownDir makes dir, 0700, the account's.
func ownDir(dir string, a *account) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create folder: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("close folder to others: %w", err)
	}
	return a.own(dir)
}

// isOwn reports whether dir is a folder (no link) of the account that nobody else may enter.
func isOwn(dir string, a *account) bool {
	st, err := os.Lstat(dir)
	return err == nil && st.IsDir() && st.Mode().Perm() == 0o700 && uidOf(st) == a.uid()
}

func uidOf(st fs.FileInfo) int {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return int(sys.Uid)
	}
	return -1
}
