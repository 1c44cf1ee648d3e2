package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"allmende/config"
	"allmende/internal/obs"
	"allmende/internal/run"
)

// garbage is how much of it, in percent of what is in use, may gather before it is collected. What is in use is little
// beside PostgreSQL, so half more than the usual 100 costs a few MiB and saves a third of the collector's work. GOGC
// overrides it.
const garbage = 150

func serve(ctx context.Context, e *env, args []string) int {
	f := flags(e, "serve", "[--config FILE] [--only SERVICE,…]")
	path := configFlag(f)
	only := f.String("only", "", "run only these `services` of a cluster, separated by commas: "+strings.Join(run.Services(), ", "))
	if _, code, ok := parse(e, f, args); !ok {
		return code
	}
	c, ok := load(e, *path)
	if !ok {
		return exitUsage
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	log := logger(c, e.stderr, e.terminal)
	o := run.Options{Log: log, Only: names(*only)}
	if e.terminal {
		o.Hello = e.stdout
		o.Admin = os.Args[0] + " admin"
		if *path != "" {
			o.Admin += " --config " + *path
		}
	}
	if err := run.CheckServices(c, o.Only); err != nil {
		fmt.Fprintf(e.stderr, "allmende: %v\n", err)
		return exitUsage
	}
	log.Info("starting", "version", versionText())
	i, err := run.Start(ctx, c, o)
	if err != nil {
		if ctx.Err() != nil {
			log.Info("stopped while starting")
			return exitOK
		}
		return complain(e, err)
	}
	var cause error
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case cause = <-i.Failed():
		log.Error("a part of the server ended, stopping the rest", "error", cause)
	}
	if err := i.Close(); err != nil {
		log.Error("stop was not orderly", "error", err)
		return exitFailed
	}
	log.Info("stopped")
	if cause != nil {
		return exitFailed
	}
	return exitOK
}

func names(list string) (out []string) {
	for n := range strings.SplitSeq(list, ",") {
		if n = strings.TrimSpace(n); n != "" {
			out = append(out, n)
		}
	}
	return out
}

// logger writes as the configuration says: text for people, JSON for machines.
func logger(c *config.Config, w io.Writer, terminal bool) *slog.Logger {
	text := c.Log.Format == config.LogText || c.Log.Format == config.LogAuto && terminal
	return obs.NewLogger(w, obs.LogOptions{Level: c.Log.Level.Slog(), Text: text})
}
