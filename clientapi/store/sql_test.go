package store_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"allmende/clientapi/store"
	"allmende/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// statements evaluates the string constants of the package that are SQL.
func statements(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	exprs := map[string]ast.Expr{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Names) == len(v.Values) {
				for i := range v.Names {
					exprs[v.Names[i].Name] = v.Values[i]
				}
			}
			return true
		})
	}
	var eval func(ast.Expr) (string, bool)
	eval = func(e ast.Expr) (string, bool) {
		switch e := e.(type) {
		case *ast.BasicLit:
			s, err := strconv.Unquote(e.Value)
			return s, err == nil && e.Kind == token.STRING
		case *ast.Ident:
			other, ok := exprs[e.Name]
			if !ok {
				return "", false
			}
			return eval(other)
		case *ast.BinaryExpr:
			x, okx := eval(e.X)
			y, oky := eval(e.Y)
			return x + y, okx && oky && e.Op == token.ADD
		}
		return "", false
	}
	out := map[string]string{}
	for name, e := range exprs {
		s, ok := eval(e)
		verb, _, _ := strings.Cut(strings.TrimSpace(s), " ")
		switch {
		case !ok || strings.HasSuffix(name, "Columns"):
		case verb == "SELECT", verb == "INSERT", verb == "UPDATE", verb == "DELETE", verb == "WITH":
			out[name] = s
		}
	}
	return out
}

// TestStatements lets PostgreSQL read every statement against the migrated schema.
func TestStatements(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	list := statements(t)
	if len(list) < 40 {
		t.Fatalf("only %d statements found", len(list))
	}
	for name, sql := range list {
		c, err := db.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Conn().Prepare(t.Context(), name, sql); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Release()
	}
}

// unindexed finds foreign keys whose column begins no index: deleting what they refer to would read the whole table.
const unindexed = `
SELECT c.conrelid::regclass || '.' || a.attname
FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.contype = 'f' AND c.connamespace = 'clientapi'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1])`

func TestForeignKeysAreIndexed(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	rows, err := db.Query(t.Context(), unindexed)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var column string
		if err := rows.Scan(&column); err != nil {
			t.Fatal(err)
		}
		t.Errorf("%s refers to another table and is not indexed", column)
	}
}

// TestTablesSayWhatTheyAreFor asks of each table what it is kept for and how long.
func TestTablesSayWhatTheyAreFor(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	rows, err := db.Query(t.Context(), `
SELECT relname FROM pg_class WHERE relnamespace = 'clientapi'::regnamespace AND relkind = 'r' AND relname <> 'migrations'
  AND obj_description(oid, 'pg_class') IS NULL`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		t.Errorf("table %s has no comment", table)
	}
}
