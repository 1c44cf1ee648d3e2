package auth

import (
	"context"
	"fmt"
	"sync"
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/obs"

	"github.com/maypok86/otter/v2"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// TTL is the longest a session is trusted without asking clientapi again.
	TTL = 60 * time.Second
	// cacheBytes bounds the cache; a session takes about 250 bytes.
	cacheBytes = 16 << 20
)

var lookups = obs.NewCounter("allmende_auth_lookups_total", "Sessions looked up by token.", "result")

// Cache remembers sessions for a short while, so that a request need not ask clientapi who sent
// it. It may be used concurrently.
type Cache struct {
	bus     *bus.Bus
	entries *otter.Cache[Hash, Session]

	// mu orders revocations and insertions: an answer that was on its way while anything was
	// revoked is not kept.
	mu         sync.Mutex
	generation uint64

	hit, miss, unknown prometheus.Counter
	stop               []func()
}

// NewCache makes a cache that follows the announcements of b until Close.
func NewCache(b *bus.Bus) (*Cache, error) {
	entries, err := otter.New(&otter.Options[Hash, Session]{
		MaximumWeight:    cacheBytes,
		Weigher:          func(_ Hash, s Session) uint32 { return uint32(220 + len(s.UserID) + len(s.DeviceID)) },
		ExpiryCalculator: otter.ExpiryWriting[Hash, Session](TTL),
	})
	if err != nil {
		return nil, fmt.Errorf("make session cache: %w", err)
	}
	c := &Cache{
		bus: b, entries: entries,
		hit: lookups.WithLabelValues("hit"), miss: lookups.WithLabelValues("miss"), unknown: lookups.WithLabelValues("unknown"),
	}
	unsubscribe, err := bus.Subscribe(b, Revoked, func(_ context.Context, r Revocation) { c.forget(r) })
	if err != nil {
		return nil, err
	}
	c.stop = []func(){unsubscribe, b.OnReconnect(c.forgetAll)}
	return c, nil
}

// Close stops following announcements. The cache must not be used afterwards.
func (c *Cache) Close() {
	for _, f := range c.stop {
		f()
	}
	c.forgetAll()
	c.entries.StopAllGoroutines()
}

// Session finds the session of an access token.
// Errors: M_MISSING_TOKEN for ""; M_UNKNOWN_TOKEN with soft_logout; M_USER_LOCKED, in which case
// the session is valid and may be used to log out; those of bus.Call.
//
// spec: c-s §Client Authentication, §Account locking
func (c *Cache) Session(ctx context.Context, token string) (Session, error) {
	if token == "" {
		return Session{}, matrix.MissingToken()
	}
	s, err := c.find(ctx, HashToken(token))
	if err != nil {
		return Session{}, err
	}
	if s.Locked {
		return s, matrix.UserLocked("This account has been locked")
	}
	return s, nil
}

// Still tells whether a session found a while ago is good, for requests that
// wait: who was logged out meanwhile gets nothing more. Errors: those of Session.
func (c *Cache) Still(ctx context.Context, s Session) error {
	now, err := c.find(ctx, s.TokenHash)
	if err == nil && now.Locked {
		return matrix.UserLocked("This account has been locked")
	}
	return err
}

func (c *Cache) find(ctx context.Context, h Hash) (Session, error) {
	if s, ok := c.entries.GetIfPresent(h); ok {
		if s.Expires.IsZero() || time.Now().Before(s.Expires) {
			c.hit.Inc()
			return s, nil
		}
		c.forget(Revocation{Tokens: []Hash{h}})
	}
	c.mu.Lock()
	generation := c.generation
	c.mu.Unlock()
	s, err := bus.Call(ctx, c.bus, Authenticate, AuthenticateReq{TokenHash: h})
	if err != nil {
		c.unknown.Inc()
		return Session{}, fmt.Errorf("authenticate: %w", err)
	}
	c.miss.Inc()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation == generation {
		c.entries.Set(h, s)
	}
	return s, nil
}

// Revoke makes every process forget the sessions, this one before Revoke returns. Call it after
// the change is committed. An error means that the others were not told; they find out within
// TTL at the latest.
func (c *Cache) Revoke(r Revocation) error {
	c.forget(r)
	return bus.Publish(c.bus, Revoked, r)
}

func (c *Cache) forget(r Revocation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	for _, h := range r.Tokens {
		c.entries.Invalidate(h)
	}
	if r.Account == 0 {
		return
	}
	for h, s := range c.entries.All() {
		if s.Account == r.Account {
			c.entries.Invalidate(h)
		}
	}
}

func (c *Cache) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.entries.InvalidateAll()
}
