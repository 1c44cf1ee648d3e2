// Package bus is how the services talk: typed calls and announcements over NATS, the same way in
// one process and across many. It is the one home of nats.go beside natsd. It owns no tables.
//
// Subjects: allmende.rpc.<service>.<Method> and allmende.rpc.<service>.<shard>.<Method> (calls),
// allmende.ann.<topic> (announcements, at most once), allmende.ctl.shards.<service> (which
// instances live), and $SRV.… so that `nats micro ls` and `nats micro stats` show an installation.
//
// Invariants: no Matrix id is ever part of a subject; nothing rests in NATS; announcements carry
// references only, and a subscriber that may have missed some is told (OnReconnect) and re-reads;
// every call has a deadline; a handler's panic or slowness harms its own call only.
package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"allmende/internal/natsd"
	"allmende/internal/obs"

	"github.com/nats-io/nats.go"
)

// Options say which NATS to use: exactly one of URL and Server.
type Options struct {
	URL       string        // external servers, comma separated; nats:// or tls://
	Server    *natsd.Server // the embedded one
	Name      string        // name of this connection in NATS' own monitoring
	CredsFile string        // path of a NATS credentials file
	User      string
	Password  string
	TLS       *tls.Config // certificate authority, client certificate; also turns TLS on
	Log       *slog.Logger
}

// Bus is a connection to NATS that heals itself. All methods may be used concurrently.
type Bus struct {
	nc       *nats.Conn
	log      *slog.Logger
	embedded bool

	// link is cancelled when the connection is lost, so that calls whose reply can no longer
	// arrive end at once.
	link atomic.Pointer[link]

	mu    sync.Mutex
	hooks map[int]func()
	next  int
}

type link struct {
	ctx    context.Context
	cancel context.CancelFunc
}

func newLink() *link {
	ctx, cancel := context.WithCancel(context.Background())
	return &link{ctx, cancel}
}

// Connect returns a connected bus. While an external server cannot be reached it keeps trying
// until ctx ends; refused credentials are an error at once.
func Connect(ctx context.Context, o Options) (*Bus, error) {
	if (o.URL == "") == (o.Server == nil) {
		return nil, errors.New("connect to NATS: give either a URL or the embedded server")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	b := &Bus{log: o.Log, embedded: o.Server != nil, hooks: map[int]func(){}}
	b.link.Store(newLink())
	opts := b.natsOptions(o)
	if o.Server != nil {
		nc, err := o.Server.Conn(opts...)
		b.nc = nc
		return b, err
	}
	for attempt := 1; ; attempt++ {
		nc, err := nats.Connect(o.URL, opts...)
		if err == nil {
			b.nc = nc
			return b, nil
		}
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || ctx.Err() != nil {
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
		if attempt == 1 {
			b.log.Warn("NATS cannot be reached, trying again", "error", err)
		}
		if sleep(ctx, reconnectDelay(attempt)) != nil {
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
	}
}

func (b *Bus) natsOptions(o Options) []nats.Option {
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(reconnectDelay),
		// Nothing is kept while there is no connection: a call sent after its caller has given
		// up would do harm. Publishing fails instead, and Call tries again.
		nats.ReconnectBufSize(-1),
		nats.Timeout(5 * time.Second),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { b.lost(err) }),
		nats.ReconnectHandler(func(*nats.Conn) {
			b.log.Warn("NATS is connected again")
			b.missed()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			b.log.Warn("NATS reports a problem", "error", err)
			if errors.Is(err, nats.ErrSlowConsumer) {
				b.missed() // messages were dropped
			}
		}),
	}
	if o.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(o.CredsFile))
	}
	if o.User != "" {
		opts = append(opts, nats.UserInfo(o.User, o.Password))
	}
	if o.TLS != nil {
		opts = append(opts, nats.Secure(o.TLS))
	}
	return opts
}

func reconnectDelay(attempt int) time.Duration {
	d := min(50*time.Millisecond<<min(attempt, 6), 2*time.Second)
	return d/2 + rand.N(d/2)
}

func (b *Bus) lost(err error) {
	if err != nil { // nil: we closed it ourselves
		b.log.Warn("connection to NATS lost, reconnecting", "error", err)
	}
	b.link.Swap(newLink()).cancel()
}

// OnReconnect registers f to be called whenever announcements may have been missed: after the
// connection was lost and found again, or when this process was too slow to take them. f must be
// quick. The returned function ends the registration.
func (b *Bus) OnReconnect(f func()) (remove func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := b.next
	b.next++
	b.hooks[id] = f
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.hooks, id)
	}
}

func (b *Bus) missed() {
	b.mu.Lock()
	ids := make([]int, 0, len(b.hooks))
	for id := range b.hooks {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	hooks := make([]func(), 0, len(ids))
	for _, id := range ids {
		hooks = append(hooks, b.hooks[id])
	}
	b.mu.Unlock()
	for _, f := range hooks {
		f()
	}
}

// Check is the health check: nil when connected.
func (b *Bus) Check(context.Context) error {
	if s := b.nc.Status(); s != nats.CONNECTED && s != nats.DRAINING_SUBS && s != nats.DRAINING_PUBS {
		return fmt.Errorf("NATS is %s", s)
	}
	return nil
}

// Close ends the connection after what was published has been sent. Services should have ended
// before (their Run drains); calls still waiting fail.
func (b *Bus) Close() {
	if b.nc.IsConnected() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		defer context.AfterFunc(b.link.Load().ctx, cancel)()
		_ = b.nc.FlushWithContext(ctx) // a server that is gone has nothing to receive
	}
	b.nc.Close()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// background is the context of work that no request caused.
func (b *Bus) background() context.Context {
	return obs.WithLogger(context.Background(), b.log)
}
