package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"allmende/config"
)

// version is set by the Makefile; a plain go build says the commit instead.
var version string

func versionText() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				v = s.Value[:12]
			}
		}
	}
	return fmt.Sprintf("allmende %s %s %s/%s", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func printVersion(_ context.Context, e *env, args []string) int {
	f := flags(e, "version", "")
	if _, code, ok := parse(e, f, args); !ok {
		return code
	}
	fmt.Fprintln(e.stdout, versionText())
	return exitOK
}

func example(_ context.Context, e *env, args []string) int {
	f := flags(e, "example", "")
	if _, code, ok := parse(e, f, args); !ok {
		return code
	}
	fmt.Fprintf(e.stdout, "%s", config.Example())
	return exitOK
}
