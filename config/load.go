package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problem is one thing wrong with a configuration, and what to do about it.
type Problem struct {
	File string // the file it stands in; empty when it comes from the environment
	Line int    // line in File; 0 when nothing is written there
	Path string // the option, as in database.url; empty for the whole file
	Text string // what is wrong
	Mend string // what to do
}

// String is one line: place, option, what is wrong, what to do.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Text)
	if p.Mend != "" {
		b.WriteString("; " + p.Mend)
	}
	return b.String()
}

// Load reads the file and the process's environment. An empty path means the environment alone. With problems the
// Config holds what could be read and must not be served from.
func Load(path string) (*Config, []Problem) {
	if path == "" {
		return Parse("", nil, os.Environ())
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Default(""), []Problem{{File: path, Text: "there is no such file",
			Mend: "write one: a single line, server_name: example.org, is enough"}}
	case err != nil:
		return Default(""), []Problem{{File: path, Text: fmt.Sprintf("cannot be read (%v)", errors.Unwrap(err)),
			Mend: "let the server's account read it"}}
	}
	return Parse(path, text, os.Environ())
}

// Parse reads a configuration from text, called name in problems, and from environment entries of the form KEY=value.
func Parse(name string, text []byte, environ []string) (*Config, []Problem) {
	c := Default("")
	d := &decoder{file: name, lines: map[string]int{}}
	d.document(text, c)
	d.environment(environ, c)
	d.secrets(c)
	if len(d.problems) == 0 {
		d.validate(c)
	}
	return c, d.problems
}

func (d *decoder) document(text []byte, c *Config) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		d.problem("", 0, "is not YAML ("+strings.TrimPrefix(err.Error(), "yaml: ")+")",
			"look at that line: indentation, a missing colon, or quotes")
		return
	}
	if len(doc.Content) == 0 {
		return
	}
	d.node("", doc.Content[0], valueOf(c))
}
