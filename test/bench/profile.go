package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"

	"allmende/config"
	"allmende/internal/run"
)

// With -profile, bench starts itself instead of the binary, as a server that can also be profiled: the product has no
// such door. These are set for that process only.
const (
	serveEnv   = "ALLMENDE_BENCH_SERVE"
	profileEnv = "ALLMENDE_BENCH_PROFILE"
)

func (h *home) profiled(ctx context.Context, conf string) (err error) {
	if h.binary, err = os.Executable(); err != nil {
		return err
	}
	if h.profileAddr, err = freePort(ctx); err != nil {
		return err
	}
	h.env = []string{serveEnv + "=" + conf, profileEnv + "=" + h.profileAddr}
	return nil
}

// serveProfiled is the server's process.
func serveProfiled(conf string) error {
	addr := os.Getenv(profileEnv)
	_ = os.Unsetenv(serveEnv) // else the configuration would wonder
	_ = os.Unsetenv(profileEnv)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, problems := config.Load(conf)
	if len(problems) > 0 {
		return fmt.Errorf("configuration: %v", problems)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(l, profiler()) }() // ends with the process
	i, err := run.Start(ctx, c, run.Options{Log: slog.New(slog.NewJSONHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case err = <-i.Failed():
	}
	return errors.Join(err, i.Close())
}

// profiler begins and ends CPU profiles; with the end it also writes what was allocated.
func profiler() http.Handler {
	mux := http.NewServeMux()
	var cpu *os.File
	handle := func(path string, f func(name string) error) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := f(r.FormValue("name")); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	handle("/start", func(name string) (err error) {
		if cpu, err = os.Create(name + ".cpu.prof"); err != nil {
			return err
		}
		return pprof.StartCPUProfile(cpu)
	})
	handle("/stop", func(name string) error {
		pprof.StopCPUProfile()
		allocs, err := os.Create(name + ".allocs.prof")
		if err != nil {
			return err
		}
		return errors.Join(cpu.Close(), pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close())
	})
	return mux
}

// startProfile records a CPU profile of the server until the returned function is called.
func (h *home) startProfile(ctx context.Context, dir, name string) (stop func() error) {
	none := func() error { return nil }
	if dir == "" || h.cmd == nil {
		return none
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return func() error { return err }
	}
	ask := func(what string) error {
		url := fmt.Sprintf("http://%s/%s?name=%s", h.profileAddr, what, filepath.Join(dir, name))
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := ask("start"); err != nil {
		return func() error { return err }
	}
	return func() error { return ask("stop") }
}
