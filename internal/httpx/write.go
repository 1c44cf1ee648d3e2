package httpx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"allmende/internal/matrix"
	"allmende/internal/obs"

	"github.com/prometheus/client_golang/prometheus"
)

// writeTimeout bounds the sending of one encoded answer to a client that does not read.
const writeTimeout = 2 * time.Minute

// Values of headers that do not change, shared by all answers.
var (
	corsOrigin  = []string{"*"}
	corsMethods = []string{"GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS"}
	corsHeaders = []string{"X-Requested-With, Content-Type, Authorization"}
	corsExpose  = []string{"Retry-After"}
	corsMaxAge  = []string{"86400"}
	typeJSON    = []string{"application/json"}
	noStore     = []string{"no-store"}
	noSniff     = []string{"nosniff"}
)

// spec: c-s §Web Browser Clients
func setCORS(h http.Header) {
	h["Access-Control-Allow-Origin"] = corsOrigin
	h["Access-Control-Allow-Methods"] = corsMethods
	h["Access-Control-Allow-Headers"] = corsHeaders
	h["Access-Control-Expose-Headers"] = corsExpose
}

// writer remembers the status, for metrics and to know whether an answer has begun.
type writer struct {
	http.ResponseWriter
	status int
	plain  bool // the route is the same for everybody: caches may keep it
}

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) statusOrOK() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// jsonBuffer is a reusable encoder.
type jsonBuffer struct {
	bytes.Buffer
	enc *json.Encoder
}

const keepBuffer = 1 << 20 // larger ones are left to the garbage collector

var jsonBuffers = sync.Pool{New: func() any {
	b := &jsonBuffer{}
	b.enc = json.NewEncoder(&b.Buffer)
	b.enc.SetEscapeHTML(false) // events keep the bytes they were signed with
	return b
}}

func newJSONBuffer() *jsonBuffer { return jsonBuffers.Get().(*jsonBuffer) }

func (b *jsonBuffer) free() {
	if b.Cap() <= keepBuffer {
		b.Reset()
		jsonBuffers.Put(b)
	}
}

func (b *jsonBuffer) encode(v any) error {
	if err := b.enc.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	b.Truncate(b.Len() - 1) // the encoder's newline
	return nil
}

// WriteJSON answers with v, for Stream handlers. An error means that v cannot be encoded and
// nothing was written.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	b := newJSONBuffer()
	defer b.free()
	if err := b.encode(v); err != nil {
		return err
	}
	send(w, status, typeJSON, b.Bytes())
	return nil
}

// send writes one whole answer. That the client is gone is no error of ours.
func send(w http.ResponseWriter, status int, contentType []string, body []byte) {
	h := w.Header()
	h["Content-Type"] = contentType
	h["X-Content-Type-Options"] = noSniff
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	// What somebody with a token may read is nothing for a cache's disk.
	if x, ok := w.(*writer); (!ok || !x.plain || status >= 400) && h["Cache-Control"] == nil {
		h["Cache-Control"] = noStore
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every writer in tests has one
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// writeError answers with e.
// spec: c-s §Standard error response, §Rate limiting
func writeError(w http.ResponseWriter, e *matrix.Error) {
	if e.RetryAfter > 0 {
		w.Header()["Retry-After"] = []string{strconv.FormatInt(e.RetryAfterSeconds(), 10)}
	}
	status := e.Status
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	if WriteJSON(w, status, e) != nil {
		// Only a value in Extra can do this.
		send(w, status, typeJSON, []byte(`{"errcode":"M_UNKNOWN","error":"Internal server error"}`))
	}
}

var httpSeconds = obs.NewHistogram("allmende_http_seconds", "Duration of HTTP requests, long polls included.", obs.LatencyBuckets, "route", "code")

// routeTiming keeps a route's common series at hand.
type routeTiming struct {
	label string
	ok    prometheus.Observer
}

func newRouteTiming(label string) *routeTiming {
	return &routeTiming{label, httpSeconds.WithLabelValues(label, "200")}
}

func (t *routeTiming) observe(status int, took time.Duration) {
	v := t.ok
	if status != http.StatusOK {
		v = httpSeconds.WithLabelValues(t.label, strconv.Itoa(status))
	}
	v.Observe(took.Seconds())
}
