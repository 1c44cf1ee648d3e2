package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"sync"
	"time"

	"allmende/internal/matrix"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Headers of a request. The deadline is remaining time, because clocks of machines differ.
const (
	headerTimeout     = "Allmende-Timeout-Ms"
	headerRequestID   = "Allmende-Request-Id"
	headerTraceparent = "traceparent"
)

var topicRegexp = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)*$`)

// wireError is the body of a reply that is an error.
type wireError struct {
	Code       string         `json:"errcode"`
	Msg        string         `json:"error"`
	Status     int            `json:"status"`
	RetryAfter int64          `json:"retry_after_ms,omitempty"`
	Extra      map[string]any `json:"extra,omitempty"`
}

func encodeError(e *matrix.Error) *nats.Msg {
	body, err := json.Marshal(wireError{e.Code, e.Msg, e.Status, e.RetryAfterMs(), e.Extra})
	if err != nil || len(body) > MaxPayload {
		// Only Extra can do this; the code is worth more than its decoration.
		body, _ = json.Marshal(wireError{Code: e.Code, Msg: "Internal server error", Status: e.Status, RetryAfter: e.RetryAfterMs()})
	}
	return &nats.Msg{
		Header: nats.Header{
			micro.ErrorHeader:     {e.Code},
			micro.ErrorCodeHeader: {strconv.Itoa(e.Status)},
		},
		Data: body,
	}
}

// decodeError returns nil when the reply is not an error.
func decodeError(m *nats.Msg) error {
	if len(m.Header) == 0 || len(m.Header[micro.ErrorCodeHeader]) == 0 {
		return nil
	}
	var w wireError
	if err := json.Unmarshal(m.Data, &w); err != nil || w.Status == 0 {
		return matrix.Unknown("Internal server error").Wrap(errors.New("error reply cannot be decoded"))
	}
	return &matrix.Error{
		Code: w.Code, Msg: w.Msg, Status: w.Status, Extra: w.Extra,
		RetryAfter: time.Duration(w.RetryAfter) * time.Millisecond,
	}
}

// buffer is a reusable JSON encoder. NATS copies what it publishes, so a buffer is free again as
// soon as Publish has returned.
type buffer struct {
	bytes.Buffer
	enc *json.Encoder
}

var buffers = sync.Pool{New: func() any {
	b := &buffer{}
	b.enc = json.NewEncoder(&b.Buffer)
	// Raw JSON inside a request keeps its bytes: events are hashed and signed over them.
	b.enc.SetEscapeHTML(false)
	return b
}}

func newBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) free() {
	if b.Cap() <= MaxPayload {
		b.Reset()
		buffers.Put(b)
	}
}

func (b *buffer) encode(v any) error {
	if err := b.enc.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the encoder's newline
	return nil
}

// flush waits until NATS has seen everything sent so far.
func (b *Bus) flush() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return b.nc.FlushWithContext(ctx)
}
