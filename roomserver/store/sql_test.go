package store_test

import (
	"context"
	"errors"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"allmende/internal/testkit"
	"allmende/roomserver/store"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// TestStatementsFitTheSchema prepares every SQL constant of the room server
// against the migrated schema. Constants that only serve as parts of others
// need not be statements themselves.
func TestStatementsFitTheSchema(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	ctx := context.Background()
	conn, err := db.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, dir := range []string{".", "../read"} {
		statements := statementsOf(t, dir)
		if len(statements) < 10 {
			t.Errorf("%s: found only %d statements", dir, len(statements))
		}
		for name, sql := range statements {
			if _, err := conn.Conn().Prepare(ctx, "", sql); err != nil {
				t.Errorf("%s: %s: %v", dir, name, err)
			}
		}
	}
}

// statementsOf are the constants of a package that hold SQL and are used
// outside of other constants.
func statementsOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	// Imports are not needed to evaluate constants; what misses them is ignored.
	conf := types.Config{Error: func(error) {}, Importer: noImports{}}
	_, _ = conf.Check(dir, fset, files, info)
	out := map[string]string{}
	for _, f := range files {
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool {
				id, ok := n.(*ast.Ident)
				if !ok {
					return true
				}
				if c, ok := info.Uses[id].(*types.Const); ok && c.Val().Kind() == constant.String {
					if sql := constant.StringVal(c.Val()); isSQL(sql) {
						out[c.Name()] = sql
					}
				}
				return true
			})
		}
	}
	return out
}

type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.New("not needed") }

func isSQL(s string) bool {
	s = strings.TrimSpace(s)
	for _, verb := range []string{"SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "} {
		if strings.HasPrefix(s, verb) {
			return true
		}
	}
	return false
}
