package httpx

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"allmende/internal/auth"
	"allmende/internal/matrix"
	"allmende/internal/obs"

	"github.com/gorilla/mux"
)

// Options of a Router.
type Options struct {
	Sessions auth.Authenticator // needed as soon as a route's Auth is not None
	Limits   map[RateClass]Limit

	// TrustedProxies are the addresses of reverse proxies whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
}

// Router answers the routes of one process.
type Router struct {
	mux      *mux.Router
	tree     tree
	sessions auth.Authenticator
	limits   *limiter
	proxies  proxies
}

// New makes a router of the services' tables. An error names the route that is wrong or there
// twice: an error of the program.
func New(o Options, tables ...[]Route) (*Router, error) {
	limits, err := newLimiter(o.Limits)
	if err != nil {
		return nil, err
	}
	rt := &Router{sessions: o.Sessions, limits: limits, proxies: o.TrustedProxies}
	for _, table := range tables {
		for _, r := range table {
			if err := rt.add(r); err != nil {
				return nil, fmt.Errorf("route %s %s: %w", r.Method, r.Path, err)
			}
		}
	}
	rt.mux = mux.NewRouter().UseEncodedPath().SkipClean(true)
	rt.mux.MatcherFunc(rt.match)
	return rt, nil
}

func (rt *Router) add(r Route) error {
	switch {
	case r.Method == "" || strings.ToUpper(r.Method) != r.Method:
		return errors.New("the method is missing or not in capitals")
	case r.Handler == nil:
		return errors.New("the handler is missing")
	case r.Auth != None && rt.sessions == nil:
		return errors.New("it needs authentication and there is none")
	}
	b := &boundRoute{Route: r, label: r.Method + " " + r.Path}
	if err := rt.tree.add(b); err != nil {
		return err
	}
	b.timing = newRouteTiming(b.label)
	var err error
	b.serve, err = r.Handler.bind(b.names)
	return err
}

// match is mux's question whether there is a route: always yes, as errors have routes too.
func (rt *Router) match(r *http.Request, rm *mux.RouteMatch) bool {
	m := match{method: r.Method}
	route := rt.tree.find(&m, r.URL.EscapedPath())
	if route == nil {
		rm.Handler = unmatched{m.allowed}
		return true
	}
	values, ok := m.values(route)
	if !ok {
		rm.Handler = refuse{matrix.InvalidParam("The path is not valid UTF-8 text")}
		return true
	}
	rm.Handler = &matched{rt, route, values}
	return true
}

// ServeHTTP answers a request.
//
// spec: c-s §Web Browser Clients: OPTIONS is answered without anything being done.
func (rt *Router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setCORS(w.Header())
	if r.Method == http.MethodOptions {
		w.Header()["Access-Control-Max-Age"] = corsMaxAge
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.ContentLength != 0 {
		startDeadline(w)
	}
	rt.mux.ServeHTTP(w, r)
}

// unmatched answers unknown paths and wrong methods.
// spec: c-s §Common error codes, M_UNRECOGNIZED
type unmatched struct{ allowed map[string]*boundRoute }

func (u unmatched) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if len(u.allowed) == 0 {
		writeError(w, matrix.Unrecognized("Unrecognized request"))
		return
	}
	w.Header().Set("Allow", allowHeader(u.allowed))
	writeError(w, matrix.Unrecognized("Wrong method for this path").WithStatus(http.StatusMethodNotAllowed))
}

type refuse struct{ err *matrix.Error }

func (f refuse) ServeHTTP(w http.ResponseWriter, _ *http.Request) { writeError(w, f.err) }

// matched is a request that has found its route.
type matched struct {
	rt     *Router
	route  *boundRoute
	values []string
}

func (m *matched) ServeHTTP(hw http.ResponseWriter, r *http.Request) {
	start := time.Now()
	w := &writer{ResponseWriter: hw, plain: m.route.Auth == None}
	edge := &edgeInfo{addr: m.rt.proxies.clientAddr(r), stopping: stoppingOf(r.Context())}
	ctx := obs.WithCall(r.Context(), obs.CallInfo{Name: m.route.label, RequestID: obs.NewID()})
	ctx = context.WithValue(ctx, edgeKey{}, edge)
	x := &exchange{w: w, r: r.WithContext(ctx), edge: edge, route: m.route, values: m.values}
	if err := m.rt.serve(x); err != nil {
		finish(ctx, w, err)
	}
	m.route.timing.observe(w.statusOrOK(), time.Since(start))
}

// serve runs the steps before the handler, and the handler. A panic becomes an error.
func (rt *Router) serve(x *exchange) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = obs.PanicError(p)
		}
	}()
	if err := rt.authenticate(x); err != nil {
		return err
	}
	if err := rt.limits.take(x.route.Rate, x.session, x.edge.addr); err != nil {
		return err
	}
	return x.route.serve(x)
}

func (rt *Router) authenticate(x *exchange) error {
	if x.route.Auth == None {
		return nil
	}
	token := bearer(x.r.Header)
	if token == "" && x.route.Auth == Optional {
		return nil
	}
	s, err := rt.sessions.Session(x.r.Context(), token)
	if err != nil && !(x.route.AllowLocked && !s.Anonymous() && errors.Is(err, errLocked)) {
		return err
	}
	x.session = s
	return nil
}

var errLocked = matrix.UserLocked("")

// bearer is the token of the Authorization header, "" when there is none.
// spec: c-s §Using access tokens; tokens in the query string are not taken
func bearer(h http.Header) string {
	v := h["Authorization"]
	const scheme = "Bearer "
	if len(v) != 1 || len(v[0]) < len(scheme) || !strings.EqualFold(v[0][:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(v[0][len(scheme):])
}

// finish answers with err, or cuts the connection when an answer has begun.
func finish(ctx context.Context, w *writer, err error) {
	public := obs.Public(ctx, err)
	if w.status != 0 {
		panic(http.ErrAbortHandler) // net/http's way to cut; it is not logged
	}
	writeError(w, public)
}

type edgeKey struct{}

type edgeInfo struct {
	addr     netip.Addr
	stopping <-chan struct{}
}

// ClientAddr is the address of the client of the request's context, not valid outside of one.
// Log it only as obs.IP.
func ClientAddr(ctx context.Context) netip.Addr {
	if e, ok := ctx.Value(edgeKey{}).(*edgeInfo); ok {
		return e.addr
	}
	return netip.Addr{}
}

// Stopping is closed when the server begins to stop: whoever waits on behalf of a request
// (long polls) should answer now. It is nil, and so blocks for ever, outside of a Server.
func Stopping(ctx context.Context) <-chan struct{} {
	if e, ok := ctx.Value(edgeKey{}).(*edgeInfo); ok {
		return e.stopping
	}
	return stoppingOf(ctx)
}
