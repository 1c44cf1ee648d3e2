package main

import (
	"context"
	"fmt"

	"allmende/internal/run"
)

func check(ctx context.Context, e *env, args []string) int {
	f := flags(e, "check", "[--config FILE] [--deep]")
	path := configFlag(f)
	deep := f.Bool("deep", false, "also try folder, ports, database, bus and, while the server runs, its public address; then read all rooms and check that nothing contradicts itself")
	if _, code, ok := parse(e, f, args); !ok {
		return code
	}
	c, ok := load(e, *path)
	if !ok {
		return exitUsage
	}
	if *deep {
		problems := run.Check(ctx, c)
		for _, p := range problems {
			fmt.Fprintln(e.stderr, p)
		}
		if len(problems) > 0 {
			return exitFailed
		}
	}
	fmt.Fprintf(e.stdout, "No problem found; clients of %s are sent to %s\n", c.ServerName, c.BaseURL(nil))
	return exitOK
}
