package clientapi

import (
	"time"

	"allmende/config"
	"allmende/internal/matrix"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// guesses slows down the guessing of one name's password, from however many addresses; guessing from one address is
// slowed down at the HTTP edge. Names that do not exist are treated alike, so that nothing is learnt from it.
type guesses struct {
	limit   config.Rate
	buckets *otter.Cache[string, *rate.Limiter]
}

// maxGuessed bounds the memory: so many names are remembered.
const maxGuessed = 20_000

func newGuesses(limit config.Rate) *guesses {
	g := &guesses{limit: limit}
	if limit.PerSecond <= 0 {
		return g
	}
	refill := time.Duration(min(float64(limit.Burst)/limit.PerSecond, 24*3600) * float64(time.Second))
	g.buckets = otter.Must(&otter.Options[string, *rate.Limiter]{
		MaximumSize:      maxGuessed,
		ExpiryCalculator: otter.ExpiryAccessing[string, *rate.Limiter](refill + time.Second),
	})
	return g
}

// take is called before a password is compared. Errors: M_LIMIT_EXCEEDED. The returned function gives the attempt back:
// it was no guess.
func (g *guesses) take(name string) (right func(), err error) {
	if g.buckets == nil {
		return func() {}, nil
	}
	bucket, _ := g.buckets.ComputeIfAbsent(name, func() (*rate.Limiter, bool) {
		return rate.NewLimiter(rate.Limit(g.limit.PerSecond), g.limit.Burst), false
	})
	now := time.Now()
	r := bucket.ReserveN(now, 1)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return nil, matrix.LimitExceeded(wait)
	}
	return func() { g.buckets.Invalidate(name) }, nil
}
