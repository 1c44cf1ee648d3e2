package matrix

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/http"
	"time"
)

// Error is an answer a client may see: a Matrix error code with its HTTP status and a short
// public text. The private cause (see Wrap) is for the log only and is never encoded.
//
// Values are treated as immutable: With, WithMessage, WithStatus and Wrap return copies, so that
// one value can be kept and refined. errors.Is compares codes alone:
//
//	errors.Is(err, matrix.NotFound(""))
//
// spec: c-s §Standard error response
type Error struct {
	Code   string // errcode, for example "M_FORBIDDEN"
	Status int    // HTTP status
	Msg    string // public text, English, without ids of rooms or users the caller did not name

	// RetryAfter is when to try again; 0 means unsaid. Sent as retry_after_ms and, by the HTTP
	// edge, as the Retry-After header.
	RetryAfter time.Duration

	// Extra holds further top-level members of the error body (soft_logout, session, flows …).
	Extra map[string]any

	cause error
}

// Error is the text for logs of developers: code, public text and cause.
func (e *Error) Error() string {
	s := e.Code
	if e.Msg != "" {
		s += ": " + e.Msg
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap returns the private cause, nil when there is none.
func (e *Error) Unwrap() error { return e.cause }

// Is compares by code, so that any *Error of the same code matches.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// WithMessage returns a copy with another public text.
func (e *Error) WithMessage(msg string) *Error {
	c := *e
	c.Msg = msg
	return &c
}

// WithStatus returns a copy with another HTTP status, for the endpoints that ask for one that is
// not usual for the code.
func (e *Error) WithStatus(status int) *Error {
	c := *e
	c.Status = status
	return &c
}

// With returns a copy whose body has the further member key.
func (e *Error) With(key string, val any) *Error {
	c := *e
	c.Extra = make(map[string]any, len(e.Extra)+1)
	maps.Copy(c.Extra, e.Extra)
	c.Extra[key] = val
	return &c
}

// Wrap returns a copy that carries the private cause. A nil cause returns e itself.
func (e *Error) Wrap(cause error) *Error {
	if cause == nil {
		return e
	}
	c := *e
	c.cause = cause
	return &c
}

// RetryAfterMs is RetryAfter in whole milliseconds, rounded up: a client that waits as told is
// never early.
func (e *Error) RetryAfterMs() int64 {
	return ceilDiv(e.RetryAfter, time.Millisecond)
}

// RetryAfterSeconds is RetryAfter in whole seconds, rounded up, for the Retry-After header.
func (e *Error) RetryAfterSeconds() int64 {
	return ceilDiv(e.RetryAfter, time.Second)
}

func ceilDiv(d, unit time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	if d > math.MaxInt64-unit {
		return int64(d / unit)
	}
	return int64((d + unit - 1) / unit)
}

// MarshalJSON writes the standard body: errcode, error, retry_after_ms when RetryAfter is set,
// and the members of Extra, which cannot replace those three. An empty Code leaves errcode and
// error out: user-interactive authentication answers 401 without them unless a stage failed.
//
// spec: c-s §User-interactive API in the REST API
func (e *Error) MarshalJSON() ([]byte, error) {
	if len(e.Extra) == 0 {
		return json.Marshal(struct {
			Code       string `json:"errcode,omitempty"`
			Msg        string `json:"error"`
			RetryAfter int64  `json:"retry_after_ms,omitempty"`
		}{e.Code, e.Msg, e.RetryAfterMs()})
	}
	body := make(map[string]any, len(e.Extra)+3)
	maps.Copy(body, e.Extra)
	if e.Code != "" {
		body["errcode"] = e.Code
		body["error"] = e.Msg
	}
	if e.RetryAfter > 0 {
		body["retry_after_ms"] = e.RetryAfterMs()
	}
	return json.Marshal(body)
}

// AsError finds the *Error in err's chain. Any other error becomes M_UNKNOWN with status 500,
// wrapping err, so that its text stays private. AsError(nil) is nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) && e != nil {
		if error(e) == err {
			return e
		}
		// Keep the context that callers wrapped around the value for the log.
		return e.Wrap(err)
	}
	return Unknown("Internal server error").Wrap(err)
}

func newError(status int, code, msg string) *Error {
	return &Error{Code: code, Status: status, Msg: msg}
}

// LimitExceeded: too many requests; after is when to try again.
// spec: c-s §Rate limiting
func LimitExceeded(after time.Duration) *Error {
	e := newError(http.StatusTooManyRequests, "M_LIMIT_EXCEEDED", "Too many requests")
	e.RetryAfter = after
	return e
}

// Unavailable: a part of the server is not there at the moment; after is when to try again.
func Unavailable(after time.Duration) *Error {
	e := newError(http.StatusServiceUnavailable, "M_UNKNOWN", "The server is temporarily unavailable")
	e.RetryAfter = after
	return e
}

// UnknownToken: the access token is not (or no longer) valid. soft tells the client to keep its
// state and log in again. spec: c-s §Soft logout
func UnknownToken(soft bool) *Error {
	return newError(http.StatusUnauthorized, "M_UNKNOWN_TOKEN", "Unknown access token").With("soft_logout", soft)
}

// MissingToken: the endpoint asks for an access token and none was sent.
func MissingToken() *Error {
	return newError(http.StatusUnauthorized, "M_MISSING_TOKEN", "Missing access token")
}
