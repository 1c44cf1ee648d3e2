// Package syncing answers GET /sync: it puts together what the streams of
// syncapi hold for one user since a token, waits if that is nothing, and writes
// the answer. It owns no table and serves no subject.
//
// One stream, one package: events come from tail, receipts from receipt, typing
// and presence from memory, account data from account; what is here is the
// choice of rooms, timelines and state, and the writing.
//
// Invariants: an answer is of one moment of all rooms, and its next_batch names
// that moment; whatever happens after it comes with the next answer; a token of
// any age, of any instance, is good. Nothing here writes a row. If nothing is
// new, no database is asked.
//
// spec: c-s §Syncing
package syncing

import (
	"context"
	"time"

	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/httpx"
	"allmende/internal/obs"
	"allmende/internal/pg"
	"allmende/roomserver/read"
	"allmende/syncapi/account"
	"allmende/syncapi/api"
	"allmende/syncapi/clientevent"
	"allmende/syncapi/filter"
	"allmende/syncapi/memory"
	"allmende/syncapi/receipt"
	"allmende/syncapi/tail"

	"github.com/maypok86/otter/v2"
)

// Deps is what the service is made of.
type Deps struct {
	Sessions *auth.Cache
	Bus      *bus.Bus
	Model    *read.Model
	Tail     *tail.Tail
	Receipts *receipt.Stream
	Memory   *memory.Stream
	Accounts *account.Stream
}

// Service answers syncs. Safe for concurrent use.
type Service struct {
	Deps
	loader  clientevent.Loader
	filters *otter.Cache[filterKey, *filter.Sync]
	sent    *otter.Cache[deviceKey, *sentMembers]
	counts  *otter.Cache[countKey, *count]
	now     func() time.Time
}

// New makes the service.
func New(d Deps) *Service {
	return &Service{
		Deps: d, loader: clientevent.Loader{Model: d.Model},
		filters: newFilterCache(), sent: newSentCache(), counts: newCountCache(),
		now: time.Now,
	}
}

// Routes is the service's table.
func (s *Service) Routes() []httpx.Route {
	return []httpx.Route{
		{Method: "GET", Path: "/_matrix/client/v3/sync", Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.sync)},
	}
}

// sync answers as soon as there is anything, or when the time is up.
func (s *Service) sync(ctx context.Context, session auth.Session, in input) (httpx.Raw, error) {
	r, err := s.request(ctx, session, in)
	if err != nil {
		return httpx.Raw{}, pg.Error(err)
	}
	s.Tail.Waiting(r.user, 1)
	defer s.Tail.Waiting(r.user, -1)
	timer := time.NewTimer(r.timeout)
	defer timer.Stop()
	for {
		changed := s.Tail.Changed(r.user)
		out, err := s.respond(ctx, r)
		if err != nil {
			return httpx.Raw{}, pg.Error(err)
		}
		if !out.empty || r.timeout <= 0 {
			out.commit()
			return httpx.Raw{Body: out.body}, nil
		}
		select {
		case <-changed:
			if err := s.Sessions.Still(ctx, session); err != nil {
				return httpx.Raw{}, err
			}
		case <-timer.C:
			out.commit()
			return httpx.Raw{Body: out.body}, nil
		case <-httpx.Stopping(ctx):
			return httpx.Raw{Body: out.body}, nil
		case <-ctx.Done():
			return httpx.Raw{}, ctx.Err()
		}
	}
}

// presencePatience is how long a sync may be held up by presence.
const presencePatience = time.Second

// notePresence notes that the user is there, as polling implies. The instance that
// holds the user's presence may just have gone: no reason to keep messages back.
//
// spec: c-s §GET /sync "set_presence"
func (s *Service) notePresence(ctx context.Context, r *request, state api.PresenceState) error {
	wait, cancel := context.WithTimeout(ctx, presencePatience)
	defer cancel()
	err := s.Memory.SetPresence(wait, api.SetPresenceReq{UserID: r.session.UserID, UserNID: s.Tail.NID(r.user), State: state})
	if err != nil && ctx.Err() == nil {
		obs.Logger(ctx).Debug("presence was not noted", "error", err)
	}
	return ctx.Err()
}
