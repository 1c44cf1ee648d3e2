package config

import (
	"encoding"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder fills a Config and gathers problems instead of stopping at the first.
type decoder struct {
	file     string
	lines    map[string]int // option path → line it was set on
	problems []Problem
}

func (d *decoder) problem(path string, line int, text, mend string) {
	d.problems = append(d.problems, Problem{File: d.file, Line: line, Path: path, Text: text, Mend: mend})
}

func valueOf(c *Config) reflect.Value { return reflect.ValueOf(c).Elem() }

// option is the name of a field in YAML.
func option(f reflect.StructField) string { return f.Tag.Get("yaml") }

// section reports whether a value holds options of its own rather than being one.
func section(v reflect.Value) bool {
	_, text := v.Addr().Interface().(encoding.TextUnmarshaler)
	return v.Kind() == reflect.Struct && !text
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (d *decoder) node(path string, n *yaml.Node, v reflect.Value) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	d.lines[path] = n.Line
	switch {
	case n.Tag == "!!null": // "key:" without a value keeps the default
	case section(v):
		d.mapping(path, n, v)
	default:
		d.value(path, n, v)
	}
}

func (d *decoder) mapping(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.problem(path, n.Line, "should hold options of its own", "write them on indented lines below it")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		at := join(path, key.Value)
		field, ok := fieldNamed(v, key.Value)
		switch {
		case !ok:
			d.problem(at, key.Line, "is not an option", suggest(v, key.Value))
		case seen[key.Value]:
			d.problem(at, key.Line, "is set twice", "keep one of the two")
		default:
			d.node(at, val, field)
		}
		seen[key.Value] = true
	}
}

func (d *decoder) value(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.MappingNode {
		d.problem(path, n.Line, "holds a value, not options", "write the value behind the colon")
		return
	}
	fresh := reflect.New(v.Type())
	if err := n.Decode(fresh.Interface()); err != nil {
		d.problem(path, n.Line, unfit(err, n, v), "see docs/config.md for what it may be")
		return
	}
	v.Set(fresh.Elem())
}

// unfit says why a value cannot be used, without the names of Go types.
func unfit(err error, n *yaml.Node, v reflect.Value) string {
	if _, ok := err.(*yaml.TypeError); !ok {
		return err.Error()
	}
	kind := map[reflect.Kind]string{
		reflect.Slice: "a list, as in [a, b]", reflect.Int: "a whole number", reflect.Float64: "a number",
		reflect.Bool: "true or false", reflect.String: "text",
	}[v.Kind()]
	if n.Kind != yaml.ScalarNode {
		return "should be " + kind
	}
	return fmt.Sprintf("%q should be %s", n.Value, kind)
}

func fieldNamed(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if option(v.Type().Field(i)) == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// suggest names the option that was probably meant.
func suggest(v reflect.Value, name string) string {
	best, bestDist := "", 1+len(name)/3
	for i := range v.NumField() {
		o := option(v.Type().Field(i))
		if dist := distance(name, o); dist <= bestDist {
			best, bestDist = o, dist
		}
	}
	if best == "" {
		return "take it out, or see docs/config.md for its place"
	}
	return fmt.Sprintf("did you mean %s?", best)
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// leaves calls f with every option that is not a section.
func leaves(path string, v reflect.Value, f func(path string, v reflect.Value)) {
	for i := range v.NumField() {
		at := join(path, option(v.Type().Field(i)))
		if field := v.Field(i); section(field) {
			leaves(at, field, f)
		} else {
			f(at, field)
		}
	}
}

// EnvName is the environment variable that sets the option.
func EnvName(path string) string {
	return "ALLMENDE_" + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// environment applies ALLMENDE_<PATH>. A variable that begins like a section but names no option in it is a problem;
// others are left alone, since container platforms put ALLMENDE_PORT and its like into a service's environment.
func (d *decoder) environment(environ []string, c *Config) {
	set := map[string]string{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok && v != "" && strings.HasPrefix(k, "ALLMENDE_") {
			set[k] = v
		}
	}
	file := d.file
	d.file = ""
	defer func() { d.file = file }()
	var names []string
	leaves("", valueOf(c), func(path string, v reflect.Value) {
		name := EnvName(path)
		names = append(names, name)
		if text, ok := set[name]; ok {
			delete(set, name)
			d.variable(name, path, text, v)
		}
	})
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if s := sectionVariable(c, name); s != "" {
			d.problem("", 0, name+" is not an option of "+s, "see docs/config.md; the closest is "+closest(name, names))
		}
	}
}

func (d *decoder) variable(name, path, text string, v reflect.Value) {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	if v.Kind() == reflect.String {
		n.Tag = "!!str"
	}
	if v.Kind() == reflect.Slice {
		n = &yaml.Node{Kind: yaml.SequenceNode}
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: item})
			}
		}
	}
	before := len(d.problems)
	d.value(path, n, v)
	for i := before; i < len(d.problems); i++ {
		d.problems[i].Path = name
	}
}

func sectionVariable(c *Config, name string) string {
	v := valueOf(c)
	for i := range v.NumField() {
		if o := option(v.Type().Field(i)); section(v.Field(i)) && strings.HasPrefix(name, EnvName(o)+"_") {
			return o
		}
	}
	return ""
}

func closest(name string, names []string) string {
	return slices.MinFunc(names, func(a, b string) int { return distance(name, a) - distance(name, b) })
}

// secrets replaces file:/path by the file's content, so that a secret need not stand in the configuration.
func (d *decoder) secrets(c *Config) {
	leaves("", valueOf(c), func(path string, v reflect.Value) {
		s, ok := v.Addr().Interface().(*Secret)
		if !ok {
			return
		}
		name, isFile := strings.CutPrefix(s.Reveal(), "file:")
		if !isFile {
			return
		}
		text, err := os.ReadFile(name)
		if err != nil {
			d.problem(path, d.lines[path], fmt.Sprintf("its file cannot be read (%v)", err),
				"let the server's account read it, or correct the path")
			return
		}
		*s = Secret(strings.TrimSpace(string(text)))
	})
}
