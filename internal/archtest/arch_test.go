package archtest

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// TestRules checks every file of the repository against every rule.
func TestRules(t *testing.T) {
	all := sources(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, s := range all {
				for _, bad := range r.check(s) {
					t.Errorf("%s: %s\n\trule: %s\n\twhy:  %s", s.path, bad, r.name, r.why)
				}
			}
		})
	}
}

// topLevel are the only names at the repository's root. The last row is made by running the server there.
var topLevel = []string{
	"cmd", "config", "clientapi", "roomserver", "federation", "syncapi", "mediaapi", "internal", "docs", "deploy", "test",
	"go.mod", "go.sum", "README.md", "LICENSE", "Makefile", ".ci", ".git", ".gitignore",
	"bin", "data", "allmende.yaml",
}

func TestTopLevelNames(t *testing.T) {
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch path.Ext(e.Name()) {
		case ".test", ".out", ".prof":
			continue // left by go test, and ignored by git
		}
		if !slices.Contains(topLevel, e.Name()) {
			t.Errorf("%s at the top level\n\twhy: the root shows the rooms of the house and nothing else; put it into one of them", e.Name())
		}
	}
}

// TestPackageComments asks of each package a paragraph that says what it owns.
func TestPackageComments(t *testing.T) {
	docs := map[string]int{}
	for _, s := range sources(t) {
		if !strings.HasSuffix(s.path, "_test.go") {
			docs[s.dir()] += len(s.file.Doc.Text())
		}
	}
	const paragraph = 150
	for dir, length := range docs {
		if length < paragraph {
			t.Errorf("%s: its package comment has %d characters\n\twhy: a package says in a paragraph what it owns, which tables it "+
				"alone writes, which subjects it serves and what always holds, so that the next engineer knows where a line belongs", dir, length)
		}
	}
}

// TestRulesCatch shows that each rule can fail, and that it lets the right thing pass.
func TestRulesCatch(t *testing.T) {
	for _, tc := range []struct{ rule, path, body, want string }{
		{"services do not reach", "clientapi/x.go", `import "allmende/roomserver/store"`, "imports roomserver/store"},
		{"services do not reach", "clientapi/x.go", `import "allmende/internal/run"`, "imports internal/run"},
		{"services do not reach", "clientapi/x.go", `import ("allmende/roomserver/api"; "allmende/clientapi/store"; "allmende/config"; "allmende/internal/pg")`, ""},
		{"services do not reach", "syncapi/x.go", `import "allmende/roomserver/read"`, ""},
		{"internal imports no", "internal/pg/x.go", `import "allmende/clientapi/api"`, "imports clientapi/api"},
		{"internal imports no", "internal/pg/x_test.go", `import "allmende/internal/run"`, "imports internal/run"},
		{"internal imports no", "internal/run/x.go", `import "allmende/clientapi"`, ""},
		{"only cmd starts", "cmd/allmende/x.go", `import "allmende/clientapi"`, "imports clientapi"},
		{"only cmd starts", "cmd/allmende/x.go", `import "allmende/internal/run"`, ""},
		{"an api package", "clientapi/api/x.go", `import "allmende/internal/pg"`, "imports internal/pg"},
		{"an api package", "clientapi/api/x.go", `import "github.com/jackc/pgx/v5"`, "imports github.com/jackc/pgx/v5"},
		{"an api package", "clientapi/api/x.go", `import ("time"; "allmende/internal/bus")`, ""},
		{"config stands alone", "config/x.go", `import "allmende/internal/pg"`, "imports internal/pg"},
		{"gomatrixserverlib", "syncapi/x.go", `import "github.com/matrix-org/gomatrixserverlib/spec"`, "imports github"},
		{"gomatrixserverlib", "roomserver/state/x.go", `import "github.com/matrix-org/gomatrixserverlib"`, ""},
		{"NATS is confined", "internal/run/x.go", `import "github.com/nats-io/nats.go"`, "imports github"},
		{"no other PostgreSQL", "internal/pg/x.go", `import "database/sql"`, "imports database/sql"},
		{"services start goroutines", "syncapi/x.go", `func f() { go f() }`, "line 2: go statement"},
		{"services start goroutines", "syncapi/x_test.go", `func f() { go f() }`, ""},
		{"nothing is printed", "internal/pg/x.go", "import \"fmt\"\nfunc f() { fmt.Println(1) }", "line 3: Println"},
		{"nothing is printed", "internal/pg/x.go", "func f() { println(1) }", "line 2: println"},
		{"nothing is printed", "cmd/allmende/x.go", "import \"fmt\"\nfunc f() { fmt.Println(1) }", ""},
		{"loggers come", "syncapi/x.go", "import \"log/slog\"\nfunc f() { slog.Info(\"x\") }", "line 3: slog.Info"},
		{"loggers come", "syncapi/x.go", "import \"log\"\nfunc f() { log.Printf(\"x\") }", "imports log"},
		{"services do not invent", "syncapi/x.go", "import \"context\"\nfunc f() { context.Background() }", "line 3: context.Background"},
		{"services do not invent", "internal/run/x.go", "import \"context\"\nfunc f() { context.Background() }", ""},
		{"files stay small", "syncapi/x.go", strings.Repeat("\n", 701), "703 lines"},
	} {
		s, err := parse(tc.path, []byte("package x\n"+tc.body+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(rules, func(r rule) bool { return strings.HasPrefix(r.name, tc.rule) })
		if i < 0 {
			t.Fatalf("no rule %q", tc.rule)
		}
		got := strings.Join(rules[i].check(s), "; ")
		if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %s with %q: %q, want %q", tc.rule, tc.path, tc.body, got, tc.want)
		}
	}
}
