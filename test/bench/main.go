// Command bench measures a whole server: it builds allmende, starts it with a private PostgreSQL of its own (fsync on)
// in a temporary folder, drives it over HTTP and counts the CPU seconds of the server and of every PostgreSQL process
// from /proc. Wall times say little on a shared machine; CPU per operation, the reference loops measured in the same
// run, and how cost grows with size say much. With -write it replaces the table in docs/performance.md.
//
// It owns no table and serves no subject; everything it makes lies in its folder and is deleted at the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// options are the command line.
type options struct {
	quick   bool
	only    []string
	write   string
	profile string
	keep    bool
}

// scenario is one thing to measure.
type scenario struct {
	name string
	run  func(*bench)
}

// The order matters: the restart comes when there is something to start with, growth when nothing else follows.
var scenarios = []scenario{
	{"boot", firstBoot},
	{"idle", idle},
	{"reference", reference},
	{"send1", sendOne},
	{"send16", sendSixteen},
	{"send50", sendFifty},
	{"state", stateEvents},
	{"send-sync", sendThenSync},
	{"register", registering},
	{"initial", initialSync},
	{"nothing", nothingNew},
	{"fanout", fanOut},
	{"join", joining},
	{"messages", backwards},
	{"growth", growth},
	{"end", afterAll},
}

func main() {
	o, err := parseOptions()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if path := os.Getenv(serveEnv); path != "" {
		err = serveProfiled(path)
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = measure(ctx, o)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseOptions() (options, error) {
	var o options
	names := make([]string, len(scenarios))
	for i, s := range scenarios {
		names[i] = s.name
	}
	only := flag.String("only", "", "run only these `scenarios`, separated by commas: "+strings.Join(names, ", "))
	flag.BoolVar(&o.quick, "quick", false, "a tenth of the work: shows that it runs, and little more")
	flag.StringVar(&o.write, "write", "", "replace the table in this Markdown `file`")
	flag.StringVar(&o.profile, "profile", "", "write a CPU profile of each scenario into this `folder`")
	flag.BoolVar(&o.keep, "keep", false, "keep the folder with database and log")
	flag.Parse()
	for n := range strings.SplitSeq(*only, ",") {
		if n == "" {
			continue
		}
		if !slices.Contains(names, n) {
			return o, fmt.Errorf("there is no scenario %q", n)
		}
		o.only = append(o.only, n)
	}
	return o, nil
}

// measure runs the chosen scenarios one after the other on one server.
func measure(ctx context.Context, o options) (err error) {
	h, err := newHome(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close(o.keep)) }()
	b := &bench{ctx: ctx, opts: o, home: h}
	for _, s := range scenarios {
		needed := s.name == "boot" || s.name == "reference"
		if len(o.only) > 0 && !needed && !slices.Contains(o.only, s.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "— %s\n", s.name)
		if err := b.runOne(s); err != nil {
			return fmt.Errorf("%s: %w\n%s", s.name, err, h.lastLog())
		}
	}
	if o.write != "" {
		return b.writeTable(o.write)
	}
	_, err = os.Stdout.WriteString(b.table())
	return err
}
