package archtest

import (
	"encoding"
	"go/ast"
	"path"
	"reflect"
	"strings"
	"testing"

	"allmende/config"
)

// TestEveryOptionIsRead fails for an option that nothing outside its validation looks at.
func TestEveryOptionIsRead(t *testing.T) {
	var files []map[string]bool // names selected in each file, as in c.Database.URL
	for _, s := range sources(t) {
		if s.test() || s.dir() == "config" && path.Base(s.path) != "derived.go" {
			continue
		}
		names := map[string]bool{}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				names[sel.Sel.Name] = true
			}
			return true
		})
		files = append(files, names)
	}
	options(reflect.TypeFor[config.Config](), nil, func(fields []string) {
		for _, names := range files {
			if all(names, fields) {
				return
			}
		}
		t.Errorf("config: nothing reads %s\n\twhy: an option that changes nothing misleads the admin; take it out until it does",
			strings.Join(fields, "."))
	})
}

// options calls f with the last two names of each option's path.
func options(typ reflect.Type, parents []string, f func([]string)) {
	for i := range typ.NumField() {
		field := typ.Field(i)
		names := append(parents[:len(parents):len(parents)], field.Name)
		if field.Type.Kind() == reflect.Struct && !reflect.PointerTo(field.Type).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
			options(field.Type, names, f)
		} else {
			f(names[max(0, len(names)-2):])
		}
	}
}

func all(set map[string]bool, names []string) bool {
	for _, n := range names {
		if !set[n] {
			return false
		}
	}
	return true
}
