package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const module = "allmende"

// source is one Go file of the repository.
type source struct {
	path  string // from the repository's root, with slashes
	fset  *token.FileSet
	file  *ast.File
	lines int
}

func parse(path string, text []byte) (source, error) {
	s := source{path: path, fset: token.NewFileSet(), lines: bytes.Count(text, []byte("\n"))}
	var err error
	s.file, err = parser.ParseFile(s.fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
	return s, err
}

// dir is the file's package folder.
func (s source) dir() string { return filepath.ToSlash(filepath.Dir(s.path)) }

func (s source) test() bool {
	return strings.HasSuffix(s.path, "_test.go") || within(s.dir(), "internal/testkit")
}

func (s source) line(n ast.Node) int { return s.fset.Position(n.Pos()).Line }

// imports lists the file's imports of other packages of the house, without the module's name.
func (s source) imports() (own, foreign []string) {
	for _, i := range s.file.Imports {
		p := strings.Trim(i.Path.Value, `"`)
		if rest, ok := strings.CutPrefix(p, module+"/"); ok {
			own = append(own, rest)
		} else {
			foreign = append(foreign, p)
		}
	}
	return own, foreign
}

// calls lists calls of pkg.name for an import pkg, as in fmt.Println.
func (s source) calls(found func(pkg, name string, n ast.Node)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch fun := call.Fun.(type) {
		case *ast.SelectorExpr:
			if x, ok := fun.X.(*ast.Ident); ok {
				found(x.Name, fun.Sel.Name, n)
			}
		case *ast.Ident:
			found("", fun.Name, n)
		}
		return true
	})
}

// within reports whether the folder is one of roots or below it.
func within(dir string, roots ...string) bool {
	for _, r := range roots {
		if dir == r || strings.HasPrefix(dir, r+"/") {
			return true
		}
	}
	return false
}

// root is the folder that holds go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = up
	}
}

// sources parses every Go file of the repository.
func sources(t *testing.T) []source {
	t.Helper()
	top := root(t)
	var out []source
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != top && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "data" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		s, err := parse(filepath.ToSlash(rel), text)
		if err != nil {
			return err
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("only %d files found below %s", len(out), top)
	}
	return out
}
