package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// services are the houses' rooms that own a schema each.
var services = []string{"clientapi", "roomserver", "federation", "syncapi", "mediaapi"}

// rule is one law of the house. check returns what breaks it in a file, each with a line where it has one.
type rule struct {
	name, why string
	check     func(source) []string
}

var rules = []rule{
	{"services do not reach into each other",
		"a service owns its tables alone; others ask it over the bus through its api package, and read events through roomserver/read",
		serviceImports},
	{"internal imports no service",
		"what the services share must not know them; only internal/run composes them",
		internalImports},
	{"only cmd starts, only run composes",
		"cmd/allmende parses and prints, internal/run builds the services, so that tests start exactly what the binary starts",
		cmdImports},
	{"an api package holds data and endpoint values",
		"it is imported by every other service, so whatever it imports becomes everybody's",
		apiImports},
	{"config stands alone",
		"everything may read the configuration, so it must depend on nothing of the house but the protocol's words",
		configImports},
	{"gomatrixserverlib is confined",
		"it panics on malformed input and has untested corners; internal/matrix wraps it, the rest speaks the wrapper's types",
		only("github.com/matrix-org/gomatrixserverlib", "internal/matrix", "roomserver", "federation")},
	{"NATS is confined",
		"one package does deadlines, errors, draining and bounds for all; a second user of the library would have to do them again",
		only("github.com/nats-io/", "internal/bus", "internal/natsd", "internal/testkit")},
	{"no other PostgreSQL driver",
		"one driver and one dialect; database/sql hides what group commit and batches need",
		only("database/sql")},
	{"services start goroutines only through an errgroup",
		"a goroutine that nobody waits for outlives the stop, and its error is lost",
		goStatements},
	{"nothing is printed outside cmd",
		"what is printed misses the log's level, format and privacy rules",
		prints},
	{"loggers come from the context",
		"a package logger has no request id and escapes the privacy rules of internal/obs",
		packageLoggers},
	{"services do not invent a context",
		"context.Background() has no deadline and no request id, and does not end with the server; use the caller's or context.WithoutCancel",
		backgrounds},
	{"files stay small",
		"a file of more than 700 lines has more than one subject; aim for 400",
		func(s source) []string {
			if s.lines > 700 {
				return []string{fmt.Sprintf("%d lines", s.lines)}
			}
			return nil
		}},
}

func service(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	if slices.Contains(services, first) {
		return first
	}
	return ""
}

func isAPI(dir string) bool { return service(dir) != "" && path.Base(dir) == "api" }

func serviceImports(s source) (bad []string) {
	me := service(s.dir())
	if me == "" {
		return nil
	}
	own, _ := s.imports()
	for _, imp := range own {
		other := service(imp)
		switch {
		case other == me || within(imp, "config", "roomserver/read") || (other != "" && isAPI(imp)):
		case within(imp, "internal") && (imp != "internal/run" || s.test()):
		default:
			bad = append(bad, "imports "+imp)
		}
	}
	return bad
}

func internalImports(s source) (bad []string) {
	if !within(s.dir(), "internal") || within(s.dir(), "internal/run", "internal/archtest", "internal/testkit/scenario", "internal/testkit/roomtest") {
		return nil
	}
	own, _ := s.imports()
	for _, imp := range own {
		if service(imp) != "" || imp == "internal/run" {
			bad = append(bad, "imports "+imp)
		}
	}
	return bad
}

func cmdImports(s source) (bad []string) {
	if !within(s.dir(), "cmd") {
		return nil
	}
	own, _ := s.imports()
	for _, imp := range own {
		if service(imp) != "" && !isAPI(imp) {
			bad = append(bad, "imports "+imp)
		}
	}
	return bad
}

func apiImports(s source) (bad []string) {
	if !isAPI(s.dir()) || s.test() {
		return nil
	}
	own, foreign := s.imports()
	for _, imp := range own {
		if !within(imp, "internal/bus", "internal/matrix", "internal/auth") && !isAPI(imp) {
			bad = append(bad, "imports "+imp)
		}
	}
	for _, imp := range foreign {
		if strings.Contains(imp, ".") {
			bad = append(bad, "imports "+imp)
		}
	}
	return bad
}

func configImports(s source) (bad []string) {
	if s.dir() != "config" {
		return nil
	}
	own, _ := s.imports()
	for _, imp := range own {
		if imp != "internal/matrix" {
			bad = append(bad, "imports "+imp)
		}
	}
	return bad
}

// only confines imports with the prefix to some folders.
func only(prefix string, dirs ...string) func(source) []string {
	return func(s source) (bad []string) {
		if within(s.dir(), dirs...) {
			return nil
		}
		_, foreign := s.imports()
		for _, imp := range foreign {
			if strings.HasPrefix(imp, prefix) {
				bad = append(bad, "imports "+imp)
			}
		}
		return bad
	}
}

func goStatements(s source) (bad []string) {
	if s.test() || service(s.dir()) == "" && !within(s.dir(), "internal/httpx", "internal/auth", "config") {
		return nil
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			bad = append(bad, fmt.Sprintf("line %d: go statement", s.line(g)))
		}
		return true
	})
	return bad
}

func prints(s source) (bad []string) {
	if s.test() || within(s.dir(), "cmd") {
		return nil
	}
	s.calls(func(pkg, name string, n ast.Node) {
		if pkg == "fmt" && strings.HasPrefix(name, "Print") || pkg == "" && (name == "print" || name == "println") {
			bad = append(bad, fmt.Sprintf("line %d: %s", s.line(n), name))
		}
	})
	return bad
}

func packageLoggers(s source) (bad []string) {
	if s.test() || within(s.dir(), "cmd", "internal/run", "internal/obs") {
		return nil
	}
	_, foreign := s.imports()
	if slices.Contains(foreign, "log") {
		bad = append(bad, "imports log")
	}
	s.calls(func(pkg, name string, n ast.Node) {
		if pkg == "slog" && name == "Default" && service(s.dir()) == "" {
			return // what a part of internal falls back to when it is given no logger
		}
		switch name {
		case "Default", "Debug", "Info", "Warn", "Error", "Log", "DebugContext", "InfoContext", "WarnContext", "ErrorContext", "SetDefault":
			if pkg == "slog" {
				bad = append(bad, fmt.Sprintf("line %d: slog.%s", s.line(n), name))
			}
		}
	})
	return bad
}

func backgrounds(s source) (bad []string) {
	if s.test() || service(s.dir()) == "" && !within(s.dir(), "internal/httpx", "internal/auth", "internal/pg", "internal/matrix") {
		return nil
	}
	s.calls(func(pkg, name string, n ast.Node) {
		if pkg == "context" && (name == "Background" || name == "TODO") {
			bad = append(bad, fmt.Sprintf("line %d: context.%s", s.line(n), name))
		}
	})
	return bad
}
