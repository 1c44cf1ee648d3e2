package scenario

import (
	_ "embed" // the list
	"strings"
)

// served is what the project claims to serve of the specification: "METHOD path"
// on each line, as the OpenAPI files write it.
//
//go:embed served.txt
var served string

func total(seen map[int]int) (n int) {
	for _, times := range seen {
		n += times
	}
	return n
}

// Unserved are the routes of served.txt that no scenario called, that the server
// does not know, or that the specification does not.
func Unserved() (problems []string) {
	c, err := spec()
	if err != nil || c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := map[string]*endpoint{}
	for _, e := range c.endpoints {
		known[e.method+" "+e.path] = e
	}
	for line := range strings.Lines(served) {
		line = strings.TrimSpace(line)
		switch e := known[line]; {
		case line == "" || line[0] == '#':
		case e == nil:
			problems = append(problems, line+": is in no file of the specification")
		case len(e.seen) == 0:
			problems = append(problems, line+": was never called")
		case e.unrecognized == total(e.seen): // single odd paths may well be refused
			problems = append(problems, line+": answered M_UNRECOGNIZED")
		}
	}
	return problems
}
