package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// The Matrix specification's OpenAPI files lie beside the project, not in it.
// Without them the scenarios run the same, unchecked against the files.
const specFolder = "../shared/spec/api/client-server"

// contract is what the specification says of every endpoint, and which of them
// the scenarios have called.
type contract struct {
	endpoints []*endpoint
	mu        sync.Mutex
	missing   map[string]bool // called, but in no file: unstable paths
}

type endpoint struct {
	method, path string
	pattern      *regexp.Regexp
	operation    *openapi3.Operation
	seen         map[int]int // status → answers, guarded by contract.mu
	unrecognized int         // answers M_UNRECOGNIZED, guarded by contract.mu
}

var spec = sync.OnceValues(loadContract)

// loadContract reads the files; a nil contract means that they are not at hand.
func loadContract() (*contract, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(root, specFolder, "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, err
	}
	c := &contract{missing: map[string]bool{}}
	for _, file := range files {
		if err := c.load(file); err != nil {
			return nil, fmt.Errorf("load %s: %w", filepath.Base(file), err)
		}
	}
	return c, nil
}

// errata are the places where the files say something that the specification's
// text does not, each with the reason and the smallest change that mends it.
var errata = map[string]func(*openapi3.Operation){
	// The answer is "one of" an object and a state event, but every state event
	// is an object too.
	"GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}": func(op *openapi3.Operation) {
		s := op.Responses.Value("200").Value.Content.Get("application/json").Schema.Value
		s.AnyOf, s.OneOf = s.OneOf, nil
	},
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", os.ErrNotExist
		}
		dir = filepath.Dir(dir)
	}
}

func (c *contract) load(file string) error {
	loader := openapi3.NewLoader()
	loader.IsExternalRefsAllowed = true
	doc, err := loader.LoadFromFile(file)
	if err != nil {
		return err
	}
	base := ""
	if len(doc.Servers) > 0 {
		if v := doc.Servers[0].Variables["basePath"]; v != nil {
			base = v.Default
		}
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			full := strings.TrimSuffix(base, "/") + path
			if mend := errata[method+" "+full]; mend != nil {
				mend(op)
			}
			c.endpoints = append(c.endpoints, &endpoint{
				method: method, path: full, pattern: specPattern(full), operation: op, seen: map[int]int{},
			})
		}
	}
	return nil
}

// specPattern turns a path template of the files into an expression. Literal
// segments win over names because find prefers the path with fewer names.
func specPattern(path string) *regexp.Regexp {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = "[^/]*"
		} else {
			parts[i] = regexp.QuoteMeta(p)
		}
	}
	return regexp.MustCompile("^/" + strings.Join(parts, "/") + "/?$")
}

func (c *contract) find(method, path string) *endpoint {
	var best *endpoint
	for _, e := range c.endpoints {
		if e.method != method || !e.pattern.MatchString(path) {
			continue
		}
		if best == nil || strings.Count(e.path, "{") < strings.Count(best.path, "{") {
			best = e
		}
	}
	return best
}

// newTransport carries requests and holds every answer against the files.
func newTransport(t testing.TB) http.RoundTripper {
	t.Helper()
	plain := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(plain.CloseIdleConnections)
	c, err := spec()
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		return plain
	}
	return &recorder{t: t, next: plain, contract: c}
}

type recorder struct {
	t        testing.TB
	next     http.RoundTripper
	contract *contract
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if err := r.contract.check(req, resp, body); err != nil {
		r.t.Errorf("%s %s answered %d %s\nagainst the specification: %v", req.Method, req.URL.Path, resp.StatusCode, shorten(body), err)
	}
	return resp, nil
}

func shorten(b []byte) string {
	if len(b) > 2000 {
		return string(b[:2000]) + "…"
	}
	return string(b)
}

func (c *contract) check(req *http.Request, resp *http.Response, body []byte) error {
	if resp.StatusCode == http.StatusBadGateway {
		return nil // the proxy's own word for a process that is away
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		return fmt.Errorf("no CORS header")
	}
	e := c.find(req.Method, req.URL.EscapedPath())
	c.mu.Lock()
	if e == nil {
		c.missing[req.Method+" "+req.URL.EscapedPath()] = true
	} else {
		e.seen[resp.StatusCode]++
		if resp.StatusCode >= 400 && bytes.Contains(body, []byte(`"M_UNRECOGNIZED"`)) {
			e.unrecognized++
		}
	}
	c.mu.Unlock()
	if e == nil || req.Method == http.MethodHead || req.Method == http.MethodOptions {
		return nil
	}
	if resp.StatusCode >= 400 {
		return checkError(resp, body)
	}
	return e.checkBody(resp, body)
}

// checkError wants the standard error body of everything that is refused.
//
// spec: c-s §Standard error response
func checkError(resp *http.Response, body []byte) error {
	var e struct {
		Errcode *string          `json:"errcode"`
		Error   *string          `json:"error"`
		Flows   *json.RawMessage `json:"flows"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("an error must be JSON: %w", err)
	}
	if e.Errcode == nil && e.Flows == nil {
		return fmt.Errorf("an error needs an errcode")
	}
	if resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "" {
		return fmt.Errorf("429 needs Retry-After")
	}
	return nil
}

func (e *endpoint) checkBody(resp *http.Response, body []byte) error {
	ref := e.operation.Responses.Value(strconv.Itoa(resp.StatusCode))
	if ref == nil || ref.Value == nil {
		return fmt.Errorf("status %d is not among those of %s %s", resp.StatusCode, e.method, e.path)
	}
	media := ref.Value.Content.Get("application/json")
	if media == nil || media.Schema == nil || media.Schema.Value == nil {
		return nil
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	return media.Schema.Value.VisitJSON(v, openapi3.MultiErrors())
}

// Report lists what the scenarios called of the specification and what not.
func Report() string {
	c, err := spec()
	if err != nil || c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var called, never []string
	for _, e := range c.endpoints {
		line := e.method + " " + e.path
		if len(e.seen) == 0 {
			never = append(never, line)
			continue
		}
		var statuses []int
		for s := range e.seen {
			statuses = append(statuses, s)
		}
		slices.Sort(statuses)
		called = append(called, fmt.Sprintf("%s %v", line, statuses))
	}
	slices.Sort(called)
	slices.Sort(never)
	return fmt.Sprintf("%d of %d endpoints of the specification were called\n\ncalled:\n  %s\n\nnot called:\n  %s\n",
		len(called), len(c.endpoints), strings.Join(called, "\n  "), strings.Join(never, "\n  "))
}
