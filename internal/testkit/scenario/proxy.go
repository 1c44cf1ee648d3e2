package scenario

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"allmende/internal/httpx"
	"allmende/internal/run"
)

// proxy stands in front of a cluster and sends each request to a process of the
// service that answers it, to several in turn.
type proxy struct {
	url   string
	paths []path
	backs map[string]*backend
}

type path struct {
	method  string
	pattern *regexp.Regexp
	service string
}

type backend struct {
	turns  atomic.Uint64
	behind []*httputil.ReverseProxy
}

func newProxy(t testing.TB) *proxy {
	t.Helper()
	p := &proxy{backs: map[string]*backend{}}
	for service, table := range run.Tables() {
		for _, r := range table {
			p.paths = append(p.paths, path{r.Method, pattern(r), service})
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.url = "http://" + l.Addr().String()
	s := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }() // ends with ErrServerClosed
	t.Cleanup(func() { _ = s.Close() })
	return p
}

// pattern turns the template of a route into an expression on the raw path.
func pattern(r httpx.Route) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^")
	for _, s := range strings.Split(strings.TrimPrefix(r.Path, "/"), "/") {
		switch {
		case strings.HasSuffix(s, "...}"):
			b.WriteString("/.*")
		case strings.HasSuffix(s, "?}"):
			b.WriteString("(/[^/]*)?")
		case strings.HasPrefix(s, "{"):
			b.WriteString("/[^/]*")
		default:
			b.WriteString("/" + regexp.QuoteMeta(s))
		}
	}
	return regexp.MustCompile(b.String() + "$")
}

// add puts a process behind the proxy.
func (p *proxy) add(service, addr string) {
	b := p.backs[service]
	if b == nil {
		b = &backend{}
		p.backs[service] = b
	}
	rp := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	rp.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) {
		// What proxies say when a process is away.
		w.WriteHeader(http.StatusBadGateway)
	}
	b.behind = append(b.behind, rp)
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b := p.backs[p.service(r)]
	b.behind[b.turns.Add(1)%uint64(len(b.behind))].ServeHTTP(w, r)
}

// service finds who answers. A wrong method is for a service that knows the path to
// refuse, an unknown path for clientapi.
func (p *proxy) service(r *http.Request) string {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	raw, knows := r.URL.EscapedPath(), "clientapi"
	for _, c := range p.paths {
		if !c.pattern.MatchString(raw) {
			continue
		}
		if c.method == method {
			return c.service
		}
		knows = c.service
	}
	return knows
}
