package httpx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"time"

	"allmende/internal/matrix"
)

// bodyTimeout bounds the reading of a body from a client that sends slowly.
var bodyTimeout = 30 * time.Second // a variable for the test's sake

// bodyField is the field of an In that takes the body.
type bodyField struct {
	index    []int
	raw      bool // json.RawMessage
	optional bool
	any      bool
}

func newBodyField(f reflect.StructField, opts string) (*bodyField, error) {
	b := &bodyField{index: f.Index, raw: f.Type == reflect.TypeFor[json.RawMessage]()}
	for o := range strings.SplitSeq(opts, ",") {
		switch o {
		case "":
		case "optional":
			b.optional = true
		case "any":
			b.any = true
		default:
			return nil, fmt.Errorf("unknown option %q", o)
		}
	}
	if !f.IsExported() {
		return nil, errors.New("it is not exported")
	}
	return b, nil
}

func (b *bodyField) decode(x *exchange, in reflect.Value) error {
	buf := newJSONBuffer()
	defer buf.free()
	if err := readBody(x.w, x.r, x.route.maxBody(), &buf.Buffer); err != nil {
		return err
	}
	return b.store(buf.Bytes(), in.FieldByIndex(b.index))
}

// store decodes data, which it does not keep, into the field.
func (b *bodyField) store(data []byte, field reflect.Value) error {
	data = bytes.TrimSpace(data)
	if len(data) == 0 && b.optional {
		data = []byte("{}")
	}
	if err := matrix.CheckJSON(data, 0); err != nil {
		return err
	}
	if !b.any && data[0] != '{' {
		return matrix.BadJSON("The body must be a JSON object")
	}
	if b.raw {
		field.SetBytes(bytes.Clone(data))
		return nil
	}
	err := json.Unmarshal(data, field.Addr().Interface())
	if err == nil {
		return nil
	}
	var known *matrix.Error
	if errors.As(err, &known) {
		return known
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return matrix.BadJSON("Wrong type or value out of range: " + wrong.Field).Wrap(err)
	}
	return matrix.BadJSON("The body does not have the right shape").Wrap(err)
}

// ReadBody reads a request's whole body, for Stream handlers.
// Errors: M_TOO_LARGE over limit bytes, M_UNKNOWN/408 when the client is too slow.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	var buf bytes.Buffer
	err := readBody(w, r, limit, &buf)
	return buf.Bytes(), err
}

func readBody(w http.ResponseWriter, r *http.Request, limit int64, buf *bytes.Buffer) error {
	if r.ContentLength == 0 || r.Body == nil {
		return nil
	}
	if r.ContentLength > limit {
		w.Header().Set("Connection", "close") // rather than read what is not wanted
		return errBodyTooLarge
	}
	if _, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		return bodyError(err)
	}
	endDeadline(w)
	return nil
}

// startDeadline bounds the reading of the body, also by net/http, which reads what a handler has
// left before it takes the next request.
func startDeadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // not every writer in tests has one
}

// endDeadline must follow a body that was read to its end: net/http goes on reading, to notice
// when the client leaves, and would take the deadline for that.
func endDeadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// patientBody is the body of a Stream handler: it may take long, but something must come every
// bodyTimeout.
type patientBody struct {
	io.ReadCloser
	w http.ResponseWriter
}

// Read implements io.Reader.
func (b patientBody) Read(p []byte) (int, error) {
	startDeadline(b.w)
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		endDeadline(b.w)
	}
	return n, err
}

var errBodyTooLarge = matrix.TooLarge("The request body is too large")

func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return errBodyTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return matrix.Unknown("The request body came too slowly").WithStatus(http.StatusRequestTimeout)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return matrix.NotJSON("The request body is cut off")
	}
	return matrix.NotJSON("The request body cannot be read").Wrap(err)
}
