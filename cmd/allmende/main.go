// Command allmende is the Matrix homeserver and the tool of its admin. Each sub-command has a file of its own; what they
// share stands here. The command owns nothing: it reads the configuration, asks internal/run to do the work, prints, and
// turns the outcome into an exit code (0 done, 1 it did not work, 2 the command line or the configuration is wrong).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"allmende/config"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// command is one sub-command.
type command struct {
	name, args, about string
	run               func(context.Context, *env, []string) int
}

// env is the world of a command, so that tests can give it another.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool // stdout is a person's screen
}

var commands = []command{
	{"serve", "[--config FILE] [--only SERVICE,…]", "run the server", serve},
	{"check", "[--config FILE] [--deep]", "list every problem of the configuration; --deep tries what it names", check},
	{"admin", "[--config FILE] COMMAND …", "accounts and registration tokens; see allmende admin help", admin},
	{"example", "", "print a configuration with every option explained", example},
	{"version", "", "print the version", printVersion},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly stop, a second one ends the process.
	context.AfterFunc(ctx, stop)
	os.Exit(dispatch(ctx, &env{os.Stdin, os.Stdout, os.Stderr, isTerminal(os.Stdout)}, commands, os.Args[1:], usage))
}

// dispatch runs the sub-command the arguments begin with.
func dispatch(ctx context.Context, e *env, list []command, args []string, usage func(io.Writer)) int {
	if len(args) == 0 {
		usage(e.stderr)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		usage(e.stdout)
		return exitOK
	}
	for _, c := range list {
		if c.name == args[0] {
			return c.run(ctx, e, args[1:])
		}
	}
	fmt.Fprintf(e.stderr, "allmende: there is no command %q\n\n", args[0])
	usage(e.stderr)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Allmende, a Matrix homeserver for associations.\n\n")
	printCommands(w, "allmende", commands)
	fmt.Fprint(w, "\nWithout --config, allmende.yaml in the current folder is read, then /etc/allmende/allmende.yaml;\n"+
		"every option can also be set in the environment (ALLMENDE_SERVER_NAME and so on, see allmende example).\n")
}

func printCommands(w io.Writer, prefix string, list []command) {
	for _, c := range list {
		fmt.Fprintf(w, "  %s\n        %s\n", strings.TrimSpace(prefix+" "+c.name+" "+c.args), c.about)
	}
}

// flags makes a flag set that reports to the command's own stderr.
func flags(e *env, name, args string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(e.stderr)
	f.Usage = func() {
		fmt.Fprintf(e.stderr, "Usage: allmende %s %s\n", name, args)
		f.PrintDefaults()
	}
	return f
}

// parse reads flags and wants exactly the named arguments behind them. When ok is false, the command ends with the code.
func parse(e *env, f *flag.FlagSet, args []string, want ...string) (rest []string, code int, ok bool) {
	rest, err := interspersed(f, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil, exitOK, false
	case err != nil:
		return nil, exitUsage, false
	case len(rest) != len(want):
		if len(want) == 0 {
			fmt.Fprintf(e.stderr, "allmende: unexpected %q\n", rest[0])
		} else {
			fmt.Fprintf(e.stderr, "allmende: wants %s\n", strings.Join(want, " "))
		}
		f.Usage()
		return nil, exitUsage, false
	}
	return rest, exitOK, true
}

// interspersed lets flags stand behind arguments too, as people type them.
func interspersed(f *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		args = f.Args()
		if len(args) == 0 {
			return rest, nil
		}
		rest, args = append(rest, args[0]), args[1:]
	}
}

// places are where the configuration is looked for.
var places = []string{"allmende.yaml", "/etc/allmende/allmende.yaml"}

func configFlag(f *flag.FlagSet) *string {
	return f.String("config", "", "configuration `file`")
}

// load reads the configuration and prints its problems, all of them.
func load(e *env, path string) (*config.Config, bool) {
	if path == "" {
		path = place()
	}
	c, problems := config.Load(path)
	for _, p := range problems {
		fmt.Fprintln(e.stderr, p)
	}
	return c, len(problems) == 0
}

// place is the first file that exists; none when the environment alone names the server.
func place() string {
	for _, p := range places {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			return p
		}
	}
	if os.Getenv(config.EnvName("server_name")) != "" {
		return ""
	}
	return places[0]
}

// complain prints why a command did not work.
func complain(e *env, err error) int {
	fmt.Fprintf(e.stderr, "allmende: %v\n", err)
	return exitFailed
}
