package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"allmende/internal/matrix"
	"allmende/internal/obs"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// drainPatience is how long Run lets calls in flight finish after its context has ended.
const drainPatience = 10 * time.Second

// ServiceOptions of Bus.Service; the zero value is good.
type ServiceOptions struct {
	// Concurrency is how many calls are handled at once; more wait. Default 256. A service that
	// calls itself must not use up the limit by that.
	Concurrency int
	// Version shown by `nats micro`, semantic; default 0.0.0.
	Version string
}

// Service is one instance of a service: register its methods with Handle, then Run it.
type Service struct {
	bus     *Bus
	name    string
	id      string
	opts    ServiceOptions
	ready   chan struct{}
	methods map[string]*method // by name
	started time.Time

	running bool // Run was called; no more methods

	mu      sync.RWMutex // guards closed and the sending to jobs against its closing
	closed  bool
	jobs    chan job       // to workers; not buffered
	workers errgroup.Group // at most opts.Concurrency
	subs    subCount
	base    context.Context

	owned ownedShards
}

type method struct {
	name     string
	endpoint string // service.method, for metrics and logs
	sharded  bool
	timeout  time.Duration
	handle   func(ctx context.Context, data []byte, reply *buffer) error
	ok       prometheus.Observer
	stats    methodStats
}

// Service makes an instance of the named service.
func (b *Bus) Service(name string, o ServiceOptions) *Service {
	checkName(name)
	if o.Concurrency <= 0 {
		o.Concurrency = 256
	}
	if o.Version == "" {
		o.Version = "0.0.0"
	}
	return &Service{bus: b, name: name, id: nuid.Next(), opts: o, ready: make(chan struct{}), jobs: make(chan job), methods: map[string]*method{}}
}

// Handle registers h for the endpoint. It panics when the endpoint belongs to another service,
// is registered already, or the service runs: those are errors of the program.
//
// h's context ends at the caller's deadline. Errors that are not matrix.Error reach the caller
// as M_UNKNOWN/500 with an error id; their text is logged here and goes no further.
func Handle[Req, Resp any](s *Service, e Endpoint[Req, Resp], h func(context.Context, Req) (Resp, error)) {
	switch {
	case e.Service != s.name:
		panic(fmt.Sprintf("bus: %s handled by service %s", e.name(), s.name))
	case s.methods[e.Method] != nil:
		panic(fmt.Sprintf("bus: %s handled twice", e.name()))
	case s.running:
		panic(fmt.Sprintf("bus: %s handled after Run", e.name()))
	}
	s.methods[e.Method] = &method{
		name: e.Method, endpoint: e.name(), sharded: e.key != nil, timeout: e.Timeout,
		ok: rpcSeconds.WithLabelValues(e.name(), "ok"),
		handle: func(ctx context.Context, data []byte, reply *buffer) error {
			var req Req
			if err := json.Unmarshal(data, &req); err != nil {
				return fmt.Errorf("decode request: %w", err)
			}
			resp, err := h(ctx, req)
			if err != nil {
				return err
			}
			if err := reply.encode(resp); err != nil {
				return fmt.Errorf("encode reply: %w", err)
			}
			if reply.Len() > MaxPayload {
				return fmt.Errorf("reply has %d bytes, more than %d: page it", reply.Len(), MaxPayload)
			}
			return nil
		},
	}
}

var rpcSeconds = obs.NewHistogram("allmende_rpc_seconds", "Duration of calls between services, as seen by the one that answers.", obs.LatencyBuckets, "endpoint", "code")

// Ready is closed when the instance answers calls.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends, then drains: no new calls are taken, those begun are finished. It
// may be called once. An error means the instance could not begin to serve.
func (s *Service) Run(ctx context.Context) error {
	if s.running {
		return fmt.Errorf("run service %s: it ran already", s.name)
	}
	s.running, s.started = true, time.Now()
	s.workers.SetLimit(s.opts.Concurrency)
	base, cancel := context.WithCancel(obs.WithLogger(context.WithoutCancel(ctx), s.bus.log))
	defer cancel()
	s.base = base

	err := s.serveUntil(ctx)

	abort := time.AfterFunc(drainPatience, cancel) // handlers still at work see their context end
	defer abort.Stop()
	s.awaitSubscriptions()
	s.mu.Lock()
	s.closed = true
	close(s.jobs)
	s.mu.Unlock()
	return errors.Join(err, s.workers.Wait())
}

// serveUntil subscribes, serves until ctx ends and has begun to drain when it returns.
func (s *Service) serveUntil(ctx context.Context) error {
	subs, err := s.subscribeMethods()
	defer func() { drainAll(subs) }()
	if err != nil {
		return fmt.Errorf("run service %s: %w", s.name, err)
	}
	control, err := s.subscribeControl()
	defer func() {
		for _, c := range control {
			_ = c.Unsubscribe()
		}
	}()
	if err != nil {
		return fmt.Errorf("run service %s: %w", s.name, err)
	}
	if s.hasSharded() {
		if err := s.runShards(ctx); err != nil {
			return fmt.Errorf("run service %s: %w", s.name, err)
		}
		return nil
	}
	if err := s.bus.flush(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("run service %s: %w", s.name, err)
	}
	close(s.ready)
	<-ctx.Done()
	return nil
}

func (s *Service) hasSharded() bool {
	for _, m := range s.methods {
		if m.sharded {
			return true
		}
	}
	return false
}

func (s *Service) subscribeMethods() (subs []*nats.Subscription, err error) {
	for _, m := range s.methods {
		if m.sharded {
			continue
		}
		sub, err := s.subscribe(rpcPrefix+s.name+"."+m.name, func(msg *nats.Msg) { s.accept(m, msg) })
		if err != nil {
			return subs, err
		}
		subs = append(subs, sub)
	}
	return subs, nil
}

// subscribe takes calls in the service's queue group, so that each is answered by one instance.
func (s *Service) subscribe(subject string, h nats.MsgHandler) (*nats.Subscription, error) {
	sub, err := s.bus.nc.QueueSubscribe(subject, s.name, h)
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	s.subs.add(1)
	sub.SetClosedHandler(func(string) { s.subs.add(-1) })
	return sub, nil
}

func drainAll(subs []*nats.Subscription) {
	for _, sub := range subs {
		_ = sub.Drain() // an error means the connection is closed, and with it the subscription
	}
}

// subCount counts subscriptions that may still deliver.
type subCount struct {
	mu      sync.Mutex
	n       int
	drained chan struct{} // made by wait, closed when n is 0
}

func (c *subCount) add(d int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += d
	if c.n == 0 && c.drained != nil {
		close(c.drained)
		c.drained = nil
	}
}

func (c *subCount) wait(ctx context.Context) {
	c.mu.Lock()
	if c.n == 0 {
		c.mu.Unlock()
		return
	}
	drained := make(chan struct{})
	c.drained = drained
	c.mu.Unlock()
	select {
	case <-drained:
	case <-ctx.Done():
	}
}

// awaitSubscriptions waits until all have been drained; not when there is no connection, over
// which nothing more can come.
func (s *Service) awaitSubscriptions() {
	ctx, cancel := context.WithTimeout(context.Background(), drainPatience/2)
	defer cancel()
	defer context.AfterFunc(s.bus.link.Load().ctx, cancel)()
	if s.bus.Check(ctx) == nil {
		s.subs.wait(ctx)
	}
}

// acceptSharded finds the method by the last token of the subject.
func (s *Service) acceptSharded(msg *nats.Msg) {
	m := s.methods[msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]]
	if m == nil || !m.sharded {
		// A caller newer than this instance; another instance may know the method.
		_ = s.respond(msg, encodeError(matrix.Unavailable(unavailableRetry)))
		return
	}
	s.accept(m, msg)
}

// job is a call waiting for its turn.
type job struct {
	method   *method
	msg      *nats.Msg
	received time.Time
}

// accept hands the call to a worker, making one more if all are busy and there may be more, else
// waiting. Workers stay: a new goroutine would have to grow its stack for each call.
func (s *Service) accept(m *method, msg *nats.Msg) {
	j := job{m, msg, time.Now()}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return
	}
	select {
	case s.jobs <- j:
		return
	default:
	}
	if s.workers.TryGo(func() error { return s.work(j) }) {
		return
	}
	s.jobs <- j
}

func (s *Service) work(j job) error {
	s.serve(j.method, j.msg, j.received)
	for j := range s.jobs {
		s.serve(j.method, j.msg, j.received)
	}
	return nil
}

func (s *Service) serve(m *method, msg *nats.Msg, received time.Time) {
	timeout := m.timeout
	if h := msg.Header[headerTimeout]; len(h) == 1 {
		if ms, err := strconv.ParseInt(h[0], 10, 64); err == nil && ms > 0 && ms < timeout.Milliseconds() {
			timeout = time.Duration(ms) * time.Millisecond
		}
	}
	ctx, cancel := context.WithDeadline(obs.WithCall(s.base, requestInfo(m, msg)), received.Add(timeout))
	defer cancel()
	reply := newBuffer()
	defer reply.free()
	err := ctx.Err() // it may have waited too long for its turn
	if err == nil {
		err = protect(func() error { return m.handle(ctx, msg.Data, reply) })
	}
	took := time.Since(received)
	if err == nil {
		m.ok.Observe(took.Seconds())
		m.stats.add(took, nil)
		s.send(ctx, msg, &nats.Msg{Data: reply.Bytes()})
		return
	}
	public := obs.Public(ctx, err)
	rpcSeconds.WithLabelValues(m.endpoint, public.Code).Observe(took.Seconds())
	m.stats.add(took, public)
	s.send(ctx, msg, encodeError(public))
}

func requestInfo(m *method, msg *nats.Msg) obs.CallInfo {
	info := obs.CallInfo{Name: m.endpoint}
	if h := msg.Header[headerRequestID]; len(h) == 1 {
		info.RequestID = h[0]
	}
	if h := msg.Header[headerTraceparent]; len(h) == 1 {
		info.Traceparent = h[0]
	}
	return info
}

// protect turns a panic into an error.
func protect(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = obs.PanicError(p)
		}
	}()
	return f()
}

func (s *Service) send(ctx context.Context, msg, reply *nats.Msg) {
	if err := s.respond(msg, reply); err != nil {
		obs.Logger(ctx).Log(ctx, slog.LevelDebug, "reply could not be sent", "error", err)
	}
}

func (s *Service) respond(msg, reply *nats.Msg) error {
	if msg.Reply == "" {
		return nil
	}
	reply.Subject = msg.Reply
	return s.bus.nc.PublishMsg(reply)
}
