package run

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"allmende/config"
	"allmende/internal/httpx"

	"go.yaml.in/yaml/v3"
)

// tableLine is one line of the map in the cluster's proxy configuration.
var tableLine = regexp.MustCompile(`(?m)^\s+"~(.+)"\s+(\w+);$`)

// TestProxyTable holds the proxy configuration of a cluster against the routes of the services.
func TestProxyTable(t *testing.T) {
	text, err := os.ReadFile("../../deploy/cluster/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	lines := tableLine.FindAllStringSubmatch(string(text), -1)
	if len(lines) < 5 {
		t.Fatalf("only %d lines of the table are found", len(lines))
	}
	used := make([]bool, len(lines))
	owner := func(request string) string {
		for i, l := range lines {
			if regexp.MustCompile(l[1]).MatchString(request) {
				used[i] = true
				return l[2]
			}
		}
		return "clientapi"
	}
	for service, table := range Tables() {
		for _, r := range table {
			for _, request := range requests(r) {
				if got := owner(request); got != service {
					t.Errorf("%s goes to %s and is answered by %s", request, got, service)
				}
			}
		}
	}
	for i, l := range lines {
		if !used[i] {
			t.Errorf("no route needs the line %s", l[1])
		}
	}
}

// requests are lines as nginx compares them, for one route.
func requests(r httpx.Route) (out []string) {
	long := regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(r.Path, "a%2Fb")
	paths := []string{long, long + "?limit=1"}
	if short, ok := strings.CutSuffix(r.Path, "/{stateKey?}"); ok {
		paths = append(paths, regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(short, "x")+"/")
	}
	methods := []string{r.Method}
	if r.Method == "GET" {
		methods = append(methods, "HEAD")
	}
	for _, m := range methods {
		for _, p := range paths {
			out = append(out, m+" "+p)
		}
	}
	return out
}

// TestComposeFile starts nothing, but holds every service of the file against the configuration and the catalogue.
func TestComposeFile(t *testing.T) {
	text, err := os.ReadFile("../../deploy/cluster/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Image       string
			Command     []string
			Environment map[string]string
			Secrets     []string
		}
		Secrets map[string]any
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	run := map[string]bool{}
	for name, s := range file.Services {
		for _, secret := range s.Secrets {
			if file.Secrets[secret] == nil {
				t.Errorf("%s: there is no secret %s", name, secret)
			}
		}
		if s.Image != "allmende" {
			continue
		}
		var environ []string
		for k, v := range s.Environment {
			v = strings.Replace(v, "${SERVER_NAME}", "example.org", 1)
			v = strings.Replace(v, "file:/run/secrets/database-url", "postgres://allmende:x@postgres/allmende", 1)
			environ = append(environ, fmt.Sprintf("%s=%s", k, v))
		}
		c, problems := config.Parse("", nil, environ)
		for _, p := range problems {
			t.Errorf("%s: %s", name, p)
		}
		if len(s.Command) != 3 || s.Command[0] != "serve" || s.Command[1] != "--only" {
			t.Errorf("%s: command %q", name, s.Command)
			continue
		}
		if err := CheckServices(c, s.Command[2:]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		run[s.Command[2]] = true
	}
	for _, name := range Services() {
		if !run[name] {
			t.Errorf("nobody runs %s", name)
		}
	}
}
