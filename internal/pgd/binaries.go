package pgd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// binaries is one installation of the server's programs.
type binaries struct {
	dir   string
	major int
}

func (b binaries) postgres() string { return filepath.Join(b.dir, "postgres") }
func (b binaries) initdb() string   { return filepath.Join(b.dir, "initdb") }

// NoProgramsError says that PostgreSQL is not installed.
type NoProgramsError struct{ Looked []string }

func (e *NoProgramsError) Error() string {
	return "PostgreSQL is not installed: no initdb and postgres in " + strings.Join(e.Looked, ", ") + "\n" +
		"install it: apt-get install postgresql (Debian, Ubuntu), dnf install postgresql-server (Fedora), apk add postgresql (Alpine)\n" +
		"or name the folder of its programs in database.bin_dir, or a running server in database.url"
}

// VersionError says that the cluster was made by another major version than the programs found.
type VersionError struct {
	Data, Programs int    // major versions
	DataDir        string // the folder that pgd owns
	BinDir         string // of the programs found
	account        string
}

func (e *VersionError) Error() string {
	data, fresh := filepath.Join(e.DataDir, "data"), filepath.Join(e.DataDir, "data.upgraded")
	oldBin := fmt.Sprintf("/usr/lib/postgresql/%d/bin", e.Data)
	as := ""
	if e.account != "" {
		as = "runuser -u " + e.account + " -- "
	}
	return fmt.Sprintf(`the database in %s belongs to PostgreSQL %d, the programs in %s are version %d
either install PostgreSQL %d beside it (apt-get install postgresql-%d), or stop Allmende, make a backup and upgrade the database:
  cd %s && install -d -m 0700%s data.upgraded && cd data.upgraded
  %s%s -D . -U %s %s
  %s%s -U %s -b %s -B %s -d %s -D %s && cd .. && mv data data.old && mv data.upgraded data`,
		data, e.Data, e.BinDir, e.Programs, e.Data, e.Data,
		e.DataDir, ownerFlag(e.account),
		as, filepath.Join(e.BinDir, "initdb"), roleName, strings.Join(initdbFlags(), " "),
		as, filepath.Join(e.BinDir, "pg_upgrade"), roleName, oldBin, e.BinDir, data, fresh)
}

func ownerFlag(account string) string {
	if account == "" {
		return ""
	}
	return " -o " + account
}

// usualPlaces are where distributions put the server's programs, which are rarely in PATH.
var usualPlaces = []string{
	"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
	"/usr/pgsql-*/bin",                  // PostgreSQL's own packages for Fedora and friends
	"/usr/libexec/postgresql*",          // Alpine
	"/opt/homebrew/opt/postgresql*/bin", // Homebrew
	"/usr/local/opt/postgresql*/bin",
	"/usr/local/pgsql/bin",
}

// findBinaries picks the programs: those in dir when named; else those whose version fits the existing
// cluster (major, 0 for none), else the first in PATH, else the highest version installed.
func findBinaries(dir string, major int, lay layout) (binaries, error) {
	if dir != "" {
		b, ok := probe(dir)
		if !ok {
			return binaries{}, &NoProgramsError{Looked: []string{dir}}
		}
		return b, fits(b, major, lay)
	}
	found := installed()
	if len(found) == 0 {
		return binaries{}, &NoProgramsError{Looked: append([]string{"PATH"}, usualPlaces[:1]...)}
	}
	for _, b := range found {
		if b.major == major {
			return b, nil
		}
	}
	return found[0], fits(found[0], major, lay)
}

func fits(b binaries, major int, lay layout) error {
	if major == 0 || b.major == major {
		return nil
	}
	return &VersionError{Data: major, Programs: b.major, DataDir: lay.root, BinDir: b.dir, account: ownerName(lay.data)}
}

// installed lists what is there, best first: PATH, then the usual places by falling version.
func installed() []binaries {
	var list []binaries
	if b, ok := inPath(); ok {
		list = append(list, b)
	}
	first := len(list)
	for _, pattern := range usualPlaces {
		dirs, _ := filepath.Glob(pattern) // the patterns are constant and well formed
		for _, dir := range dirs {
			if b, ok := probe(dir); ok {
				list = append(list, b)
			}
		}
	}
	rest := list[first:]
	sort.SliceStable(rest, func(i, j int) bool { return rest[i].major > rest[j].major })
	return list
}

// inPath follows a link in PATH to the real folder, where all the other programs are too.
func inPath() (binaries, bool) {
	p, err := exec.LookPath("postgres")
	if err != nil {
		return binaries{}, false
	}
	if real, err := filepath.EvalSymlinks(p); err == nil {
		if b, ok := probe(filepath.Dir(real)); ok {
			return b, true
		}
	}
	return probe(filepath.Dir(p))
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// probe reports the version of the programs in dir; false when they are missing or do not run.
func probe(dir string) (binaries, bool) {
	b := binaries{dir: dir}
	for _, file := range []string{b.postgres(), b.initdb()} {
		if st, err := os.Stat(file); err != nil || st.IsDir() {
			return b, false
		}
	}
	out, err := exec.Command(b.postgres(), "--version").Output()
	if err != nil {
		return b, false
	}
	m := versionPattern.FindSubmatch(out)
	if m == nil {
		return b, false
	}
	b.major, err = strconv.Atoi(string(m[1]))
	return b, err == nil
}
