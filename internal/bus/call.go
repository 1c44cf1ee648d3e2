package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"allmende/internal/matrix"
	"allmende/internal/obs"

	"github.com/nats-io/nats.go"
)

const (
	// patience is how long a call waits for somebody to answer it: services start, shards move,
	// NATS restarts.
	patience = 5 * time.Second
	// unavailableRetry is what callers are told to wait after patience has run out.
	unavailableRetry = 2 * time.Second
	// attempt is how long the first try of a call that may be repeated waits. An instance that was
	// killed takes the calls it had begun with it, and nobody tells.
	attempt = 3 * time.Second
)

// Repeatable is a request that knows whether making it twice does no harm. It makes single calls
// of an endpoint idempotent that is not so in general.
type Repeatable interface {
	Repeatable() bool
}

// Call asks the endpoint and waits for its reply. Errors, apart from those the endpoint
// documents:
//   - 503 with RetryAfter when nobody serves it, or the connection was lost on the way (the call
//     may or may not have had its effect, unless it is idempotent and was tried again);
//   - 504 when the deadline has passed;
//   - M_TOO_LARGE when the encoded request is larger than MaxPayload;
//   - ctx's own error when the caller cancelled.
func Call[Req, Resp any](ctx context.Context, b *Bus, e Endpoint[Req, Resp], req Req) (Resp, error) {
	var resp Resp
	buf := newBuffer()
	defer buf.free()
	if err := buf.encode(req); err != nil {
		return resp, fmt.Errorf("encode request of %s: %w", e.name(), err)
	}
	if buf.Len() > MaxPayload {
		return resp, matrix.TooLarge("Request too large").Wrap(fmt.Errorf("request of %s has %d bytes", e.name(), buf.Len()))
	}
	c := call{e.subject(req), e.Timeout, e.Idempotent}
	if r, ok := any(req).(Repeatable); ok && r.Repeatable() {
		c.idempotent = true
	}
	data, err := b.call(ctx, c, buf.Bytes())
	if err != nil {
		return resp, fmt.Errorf("call %s: %w", e.name(), err)
	}
	if err := json.Unmarshal(data, &resp); err != nil {
		return resp, fmt.Errorf("decode reply of %s: %w", e.name(), err)
	}
	return resp, nil
}

type call struct {
	subject    string
	timeout    time.Duration
	idempotent bool
}

func (b *Bus) call(ctx context.Context, c call, data []byte) ([]byte, error) {
	deadline := time.Now().Add(c.timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	msg := &nats.Msg{Subject: c.subject, Data: data, Header: requestHeader(ctx)}
	retried := !c.idempotent
	var first time.Time // of the waiting for somebody to answer
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		patient := deadline
		if !retried && time.Until(deadline) > 2*attempt {
			patient = time.Now().Add(attempt)
		}
		reply, err := b.try(ctx, patient, deadline, msg)
		switch {
		case err == nil:
			return reply.Data, decodeError(reply)
		case ctx.Err() == context.Canceled:
			return nil, ctx.Err()
		case unsent(err): // nobody has seen it
		case !retried && (errors.Is(err, errLost) || patient != deadline && timedOut(err)):
			retried = true
			continue // at once: who was to answer is gone, or slow and asked again
		case first.IsZero() && timedOut(err):
			return nil, matrix.Timeout("The server did not answer in time").Wrap(err)
		default:
			return nil, matrix.Unavailable(unavailableRetry).Wrap(err)
		}
		if first.IsZero() {
			first = time.Now()
		}
		pause = pause/2 + rand.N(pause)
		if time.Since(first) > patience || time.Until(deadline) < pause {
			// Nobody was there to answer: that is absence, not slowness, also at the deadline.
			return nil, matrix.Unavailable(unavailableRetry).Wrap(err)
		}
		if sleep(ctx, pause) != nil && ctx.Err() == context.Canceled {
			return nil, ctx.Err()
		}
	}
}

// errLost: the connection went away between request and reply.
var errLost = errors.New("connection to NATS lost during the call")

func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
}

// try sends the request once and waits for the reply until patient; whoever answers is told the
// deadline of the whole call.
func (b *Bus) try(ctx context.Context, patient, deadline time.Time, msg *nats.Msg) (*nats.Msg, error) {
	link := b.link.Load()
	ctx, cancel := context.WithDeadline(ctx, patient)
	defer cancel()
	defer context.AfterFunc(link.ctx, cancel)()
	remaining := max(time.Until(deadline).Milliseconds(), 1)
	msg.Header[headerTimeout] = []string{strconv.FormatInt(remaining, 10)}
	reply, err := b.nc.RequestMsgWithContext(ctx, msg)
	if err != nil && !unsent(err) && !errors.Is(err, context.DeadlineExceeded) && link.ctx.Err() != nil {
		return nil, errLost
	}
	return reply, err
}

// unsent reports whether no handler can have seen the request.
func unsent(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrReconnectBufExceeded) ||
		errors.Is(err, nats.ErrConnectionReconnecting) || errors.Is(err, nats.ErrDisconnected)
}

func requestHeader(ctx context.Context) nats.Header {
	h := make(nats.Header, 3)
	if id := obs.RequestID(ctx); id != "" {
		h[headerRequestID] = []string{id}
	}
	if tp := obs.Traceparent(ctx); tp != "" {
		h[headerTraceparent] = []string{tp}
	}
	return h
}
