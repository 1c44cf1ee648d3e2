package pgd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// adopt takes over a server that outlived our former self; nil when there is none. Since the lock is
// ours, nobody else looks after it.
func (s *Server) adopt(ctx context.Context) (*postmaster, error) {
	f, err := s.readPidFile()
	if err != nil || !s.runs(f) {
		return nil, nil // none, or a stale file, which launch removes
	}
	pm := &postmaster{pid: f.pid, began: time.Now(), exited: make(chan struct{}), signal: s.signalAdopted(f.pid)}
	go s.watch(pm)
	if f.status == "stopping" || !socketFits(f.socket) || !isOwn(f.socket, s.acct) {
		return nil, s.endStray(ctx, pm)
	}
	s.socket = f.socket
	if err := s.awaitReady(ctx, pm); err != nil {
		select {
		case <-pm.exited:
			return nil, nil // it died after all: start anew
		default:
			return nil, fmt.Errorf("take over running PostgreSQL: %w", err)
		}
	}
	if err := s.writeSettings(); err != nil {
		return nil, err
	}
	if err := pm.signal(syscall.SIGHUP); err != nil {
		return nil, fmt.Errorf("reload settings: %w", err)
	}
	s.log.Info("took over the private PostgreSQL that was still running")
	return pm, nil
}

// endStray stops a server that cannot be used: it is stopping already, or its socket's folder is gone.
func (s *Server) endStray(ctx context.Context, pm *postmaster) error {
	pm.interrupt()
	select {
	case <-pm.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the former PostgreSQL (process %d) to end: %w", pm.pid, context.Cause(ctx))
	}
}

// watch closes exited when the adopted server is gone.
func (s *Server) watch(pm *postmaster) {
	defer close(pm.exited)
	for s.runs(pidFile{pid: pm.pid}) {
		time.Sleep(adoptedPoll)
	}
}

// signalAdopted looks once more before it signals, for the number may have passed to another process.
func (s *Server) signalAdopted(pid int) func(os.Signal) error {
	return func(sig os.Signal) error {
		number, ok := sig.(syscall.Signal)
		if !ok {
			return errors.New("not a signal of this system")
		}
		if !s.runs(pidFile{pid: pid}) {
			return os.ErrProcessDone
		}
		return syscall.Kill(pid, number)
	}
}
