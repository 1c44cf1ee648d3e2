package scenario

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"allmende/config"
)

// Standalone is the program as a small association runs it: one process with its
// private PostgreSQL, which here writes to disk as it should.
type Standalone struct {
	*Home
	Process *Process
	DataDir string
}

// NewStandalone starts one.
func NewStandalone(t testing.TB, c *config.Config) *Standalone {
	t.Helper()
	p := &Process{client: freeAddress(t), health: freeAddress(t)}
	p.config = writeConfig(t, 0, p, c, "", "")
	s := &Standalone{Process: p, DataDir: filepath.Join(c.DataDir, "-0")}
	own := *c
	own.DataDir = s.DataDir
	s.Home = &Home{
		ServerName: c.ServerName,
		config:     &own,
		url:        func() string { return "http://" + p.client },
		restart:    func(t testing.TB) { p.Stop(t); p.Start(t); p.WaitReady(t) },
		transport:  newTransport(t),
	}
	t.Cleanup(func() {
		p.Stop(t)
		// A PostgreSQL that a failed test has left behind must not outlive it.
		if pid := PostmasterPID(filepath.Join(s.DataDir, "postgres")); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGQUIT)
		}
	})
	p.Start(t)
	p.WaitReady(t)
	return s
}

// PostmasterPID is the process of the private PostgreSQL in a folder, 0 when none is at work.
func PostmasterPID(dir string) int {
	raw, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		return 0
	}
	return firstNumber(string(raw))
}

func firstNumber(s string) int {
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int(c-'0')
	}
	if n < 2 {
		return 0
	}
	return n
}
