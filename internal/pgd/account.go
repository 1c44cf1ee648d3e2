package pgd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// account is the unprivileged account PostgreSQL runs under when we are root; nil means our own.
// PostgreSQL refuses to run as root.
type account struct {
	name       string
	uidN, gidN int
}

// chooseAccount: the cluster's owner when there is one, else postgres, else nobody.
func chooseAccount(data string) (*account, error) {
	st, err := os.Stat(data)
	exists := err == nil
	if os.Geteuid() != 0 {
		if exists && uidOf(st) != os.Geteuid() {
			return nil, fmt.Errorf("%s belongs to another account: run Allmende as that account, or chown -R the folder", data)
		}
		return nil, nil
	}
	if exists {
		if uidOf(st) == 0 {
			return nil, fmt.Errorf("%s belongs to root, and PostgreSQL refuses to run as root: chown -R postgres: %s", data, data)
		}
		return accountOf(lookupUID(uidOf(st)))
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return accountOf(u)
		}
	}
	return nil, errors.New("PostgreSQL refuses to run as root and there is neither an account postgres nor nobody: start Allmende as an ordinary account")
}

func accountOf(u *user.User) (*account, error) {
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("read account %s: %w", u.Username, err)
	}
	if uid == 0 {
		return nil, fmt.Errorf("account %s is root, and PostgreSQL refuses to run as root", u.Username)
	}
	return &account{name: u.Username, uidN: uid, gidN: gid}, nil
}

// lookupUID also serves numbers without a name, as containers have them.
func lookupUID(uid int) *user.User {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return u
	}
	return &user.User{Username: "#" + id, Uid: id, Gid: id}
}

// ownerName names the account to upgrade a cluster as; empty when it is our own.
func ownerName(data string) string {
	st, err := os.Stat(data)
	if err != nil || os.Geteuid() != 0 {
		return ""
	}
	return lookupUID(uidOf(st)).Username
}

func (a *account) uid() int {
	if a == nil {
		return os.Geteuid()
	}
	return a.uidN
}

// own hands a file or folder to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	if err := os.Lchown(path, a.uidN, a.gidN); err != nil {
		return fmt.Errorf("give %s to %s: %w", path, a.name, err)
	}
	return nil
}

// command prepares one of PostgreSQL's programs: as the account, in a process group of its own so that
// Ctrl-C at the terminal reaches only us, and without our environment, which may hold secrets.
func (a *account) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uidN), Gid: uint32(a.gidN)}
	}
	return cmd
}

// canEnter makes sure that the account reaches the folder and may run the program. The folder itself is
// opened for passing through (what lies in it has its own modes); folders above it are not ours to change.
func (a *account) canEnter(dir, program string) error {
	if a == nil {
		return nil
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("open database folder to %s: %w", a.name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := a.command(ctx, dir, program, "--version").Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPERM):
		return fmt.Errorf("started as root but not allowed to become %s for PostgreSQL: start Allmende as an ordinary account: %w", a.name, err)
	case errors.Is(err, fs.ErrPermission):
		if shut := a.firstShut(dir); shut != "" {
			return fmt.Errorf("PostgreSQL runs as %s, which may not enter %s: chmod o+x %s, or start Allmende as an ordinary account", a.name, shut, shut)
		}
	}
	return fmt.Errorf("run %s as %s in %s: %w", program, a.name, dir, err)
}

// firstShut is the outermost folder on the way to dir that the account may not pass by its mode.
func (a *account) firstShut(dir string) string {
	shut := ""
	for ; ; dir = filepath.Dir(dir) {
		if st, err := os.Stat(dir); err == nil && !a.passes(st) {
			shut = dir
		}
		if dir == filepath.Dir(dir) {
			return shut
		}
	}
}

func (a *account) passes(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	switch {
	case int(sys.Uid) == a.uidN:
		return st.Mode().Perm()&0o100 != 0
	case int(sys.Gid) == a.gidN:
		return st.Mode().Perm()&0o010 != 0
	}
	return st.Mode().Perm()&0o001 != 0
}
