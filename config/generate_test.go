package config

import (
	"encoding"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated files instead of comparing them")

// TestGenerated compares example.yaml and docs/config.md with the structs' comments, and writes them with -update.
func TestGenerated(t *testing.T) {
	docs := fieldDocs(t)
	for name, want := range map[string]string{
		"example.yaml":      exampleYAML(docs),
		"../docs/config.md": manual(docs),
	} {
		if *update {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(have), want); diff != "" {
			t.Errorf("%s is not what config.go says; run go generate ./config\n%s", name, diff)
		}
	}
}

// fieldDocs maps "Struct.Field" to its comment.
func fieldDocs(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		st, ok := spec.Type.(*ast.StructType)
		if !ok {
			return false
		}
		for _, f := range st.Fields.List {
			doc := strings.Join(strings.Fields(f.Doc.Text()), " ")
			if doc == "" {
				t.Errorf("config.%s.%s has no comment; the comment is its manual", spec.Name, f.Names[0])
			}
			docs[spec.Name.Name+"."+f.Names[0].Name] = doc
		}
		return false
	})
	return docs
}

type item struct {
	name, path, doc, def, example string
	depth                         int
	section                       bool
}

// items lists sections and options in the order of the structs.
func items(docs map[string]string) []item {
	var out []item
	var walk func(path string, depth int, v reflect.Value)
	walk = func(path string, depth int, v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			it := item{name: option(f), path: join(path, option(f)), doc: docs[v.Type().Name()+"."+f.Name],
				depth: depth, section: section(v.Field(i)), example: f.Tag.Get("example")}
			if !it.section {
				it.def = written(v.Field(i))
			}
			out = append(out, it)
			if it.section {
				walk(it.path, depth+1, v.Field(i))
			}
		}
	}
	walk("", 0, valueOf(Default("")))
	return out
}

// written is a value as it would stand in YAML.
func written(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case netip.Prefix:
		return `"` + x.String() + `"` // the colons of IPv6 mean something else to YAML
	case fmt.Stringer:
		return x.String()
	case encoding.TextMarshaler:
		b, _ := x.MarshalText()
		return string(b)
	}
	switch v.Kind() {
	case reflect.Slice:
		var parts []string
		for i := range v.Len() {
			parts = append(parts, written(v.Index(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.String:
		if s := v.String(); s == "" || strings.Trim(s, "0123456789") != "" {
			return s
		}
		return `"` + v.String() + `"`
	}
	return fmt.Sprint(v.Interface())
}

func exampleYAML(docs map[string]string) string {
	var b strings.Builder
	b.WriteString("# Configuration of Allmende. server_name is enough; whatever is commented out shows its default,\n" +
		"# or an example where there is none. Generated from config/config.go.\n")
	for _, it := range items(docs) {
		indent := strings.Repeat("  ", it.depth)
		b.WriteString("\n")
		for _, line := range wrap(it.doc, 100-len(indent)) {
			b.WriteString(indent + "# " + line + "\n")
		}
		value := it.def
		if value == "" || value == "[]" {
			value = it.example
		}
		switch {
		case it.section:
			b.WriteString(indent + it.name + ":\n")
		case it.path == "server_name":
			b.WriteString(it.name + ": " + value + "\n")
		default:
			b.WriteString(strings.TrimRight(indent+"#"+it.name+": "+value, " ") + "\n")
		}
	}
	return b.String()
}

func manual(docs map[string]string) string {
	var b strings.Builder
	b.WriteString(`# Configuration

Generated from ` + "`config/config.go`" + `; change it there and run ` + "`make generate`" + `.

One line is enough: ` + "`server_name: example.org`" + `. An option that is not on this page is refused, and
` + "`allmende check`" + ` lists every problem with its mend. Each option can also come from the environment: its path
in capitals, with ` + "`ALLMENDE_`" + ` in front and underscores for dots, lists separated by commas
(` + "`ALLMENDE_DATABASE_URL`" + `); an empty variable counts as unset, and the environment wins over the file. The
secrets (` + "`database.url`, `nats.password`" + `) may be written as ` + "`file:/run/secrets/name`" + `: the value is then
the file's content.

| option | default | |
|---|---|---|
`)
	for _, it := range items(docs) {
		def := "–"
		switch {
		case it.section:
			fmt.Fprintf(&b, "| **%s** | | *%s* |\n", it.path, it.doc)
			continue
		case it.path == "server_name":
			def = "must be set"
		case it.def != "" && it.def != "[]":
			def = "`" + it.def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", it.path, def, it.doc)
	}
	return b.String()
}

func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
