package httpx

import (
	"fmt"
	"net/netip"
	"time"

	"allmende/internal/auth"
	"allmende/internal/matrix"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// Limit is a token bucket: Burst requests at once, PerSecond in the long run.
type Limit struct {
	PerSecond float64
	Burst     int
}

// limiter holds the buckets of all classes. They live in memory and are forgotten as soon as they
// are full again.
type limiter struct {
	classes map[RateClass]*bucketSet
}

type bucketSet struct {
	limit   Limit
	buckets *otter.Cache[rateKey, *rate.Limiter]
}

// rateKey is who draws from a bucket: an account, or an address.
type rateKey struct {
	user matrix.UserID
	addr netip.Prefix
}

// maxBuckets bounds the memory of one class.
const maxBuckets = 100_000

func newLimiter(limits map[RateClass]Limit) (*limiter, error) {
	l := &limiter{classes: map[RateClass]*bucketSet{}}
	for class, limit := range limits {
		if class == "" || limit.PerSecond <= 0 || limit.Burst < 1 {
			return nil, fmt.Errorf("rate limit %q: rate and burst must be positive", class)
		}
		refill := time.Duration(min(float64(limit.Burst)/limit.PerSecond, 24*3600) * float64(time.Second))
		buckets, err := otter.New(&otter.Options[rateKey, *rate.Limiter]{
			MaximumSize:      maxBuckets,
			ExpiryCalculator: otter.ExpiryAccessing[rateKey, *rate.Limiter](refill + time.Second),
		})
		if err != nil {
			return nil, fmt.Errorf("make rate limit %q: %w", class, err)
		}
		l.classes[class] = &bucketSet{limit, buckets}
	}
	return l, nil
}

// take draws from the bucket of the session or else of the address. Error: M_LIMIT_EXCEEDED.
func (l *limiter) take(class RateClass, s auth.Session, addr netip.Addr) error {
	set := l.classes[class]
	if set == nil || s.Unlimited {
		return nil
	}
	bucket, _ := set.buckets.ComputeIfAbsent(keyFor(s, addr), func() (*rate.Limiter, bool) {
		return rate.NewLimiter(rate.Limit(set.limit.PerSecond), set.limit.Burst), false
	})
	now := time.Now()
	r := bucket.ReserveN(now, 1)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return matrix.LimitExceeded(wait)
	}
	return nil
}

// keyFor takes IPv6 addresses by their /64: one household has that many of them.
func keyFor(s auth.Session, addr netip.Addr) rateKey {
	if !s.Anonymous() {
		return rateKey{user: s.UserID}
	}
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil || !p.IsValid() {
		return rateKey{} // an address that is not known: all such share one bucket
	}
	return rateKey{addr: p}
}
