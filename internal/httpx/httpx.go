// Package httpx is the HTTP edge all services share: routes as tables, typed handlers, one writer
// of errors, authentication, rate limits, CORS, the server itself. It owns no tables and serves
// no subjects.
//
// Invariants: every answer, errors included, has the CORS headers and (unless a handler says
// otherwise) a JSON body; an access token is read from the Authorization header only; addresses
// and paths with ids are never logged; a body is never larger than its route allows nor read for
// ever; JSON reaches a handler only after matrix.CheckJSON.
package httpx

import (
	"net/http"
	"time"

	"allmende/internal/auth"
)

// Route is one line of a service's table.
type Route struct {
	Method string // GET also answers HEAD

	// Path is matched against the encoded path, segment by segment. {name} takes one segment that
	// is not empty; {name?}, at the end, also an empty or an absent one; {name...}, at the end,
	// all that is left. Literal segments win over names.
	Path string

	Auth    AuthKind
	Rate    RateClass
	Handler Handler

	MaxBody     int64 // largest request body in bytes; 0 means DefaultMaxBody
	AllowLocked bool  // a locked account may use it: the ways to log out
}

// DefaultMaxBody is the largest request body where a route does not say otherwise.
const DefaultMaxBody = 1 << 20

// AuthKind says whether a route needs an access token.
type AuthKind uint8

const (
	// None: a token is not looked at.
	None AuthKind = iota
	// Optional: the handler gets the session if a token is sent. A token that is not valid is
	// refused here too, so that a client learns of it.
	Optional
	// Required: 401 M_MISSING_TOKEN without one.
	Required
)

// RateClass names the token bucket a route draws from, per account or, without a session, per
// client address. "" is not limited; neither is a class without a configured Limit.
type RateClass string

// The classes routes use. A class is what is scarce, not what is asked.
const (
	RateLogin      RateClass = "login"      // guessing of passwords
	RateRegister   RateClass = "register"   // making of accounts
	RateSend       RateClass = "send"       // events sent
	RateJoin       RateClass = "join"       // joins and room creations, which may ask other servers
	RateWrite      RateClass = "write"      // other changes
	RateRead       RateClass = "read"       // cheap reads
	RateExpensive  RateClass = "expensive"  // searches, directories, hierarchies
	RateMedia      RateClass = "media"      // uploads and downloads
	RateFederation RateClass = "federation" // other servers
)

// Handler answers a route. Make it with Handle or Stream.
type Handler interface {
	// bind prepares the handler for a route whose path has these names.
	bind(names []string) (serveFunc, error)
}

type serveFunc func(*exchange) error

// exchange is one request on its way.
type exchange struct {
	w       *writer
	r       *http.Request
	edge    *edgeInfo
	session auth.Session
	route   *boundRoute
	values  []string // of the path's names, decoded
}

// Stream is a handler that reads and writes by itself: uploads, downloads, federation. An error
// is answered as usual if nothing has been written yet, else the connection is cut, so that the
// client does not take half for the whole. The path's names are at hand through r.PathValue, the
// client's address through ClientAddr(r.Context()). The body ends with an error after the route's
// MaxBody, or when nothing comes for half a minute; ReadBody reads it whole.
func Stream(h func(w http.ResponseWriter, r *http.Request, s auth.Session) error) Handler {
	return streamHandler(h)
}

type streamHandler func(http.ResponseWriter, *http.Request, auth.Session) error

func (h streamHandler) bind(names []string) (serveFunc, error) {
	return func(x *exchange) error {
		for i, n := range names {
			x.r.SetPathValue(n, x.values[i])
		}
		// An earlier answer on this connection may have left its deadline behind.
		_ = http.NewResponseController(x.w).SetWriteDeadline(time.Time{})
		x.r.Body = http.MaxBytesReader(x.w, patientBody{x.r.Body, x.w}, x.route.maxBody())
		return h(x.w, x.r, x.session)
	}, nil
}
