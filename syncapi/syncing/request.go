package syncing

import (
	"context"
	"errors"
	"strings"
	"time"

	capi "allmende/clientapi/api"
	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/syncapi/api"
	"allmende/syncapi/filter"
	"allmende/syncapi/tail"
	"allmende/syncapi/token"

	"github.com/maypok86/otter/v2"
)

const (
	// maxTimeout is the longest a request waits, whatever it asks for.
	maxTimeout = 2 * time.Minute
	// catchUpTimeout is how long an instance that is behind the one that wrote
	// the token may take to follow.
	catchUpTimeout = 5 * time.Second
	// cachedFilters is how many read filters are remembered, of any account.
	cachedFilters = 4096
)

// input is the request's query.
type input struct {
	Filter      string `query:"filter"`
	Since       string `query:"since"`
	FullState   bool   `query:"full_state"`
	SetPresence string `query:"set_presence"`
	Timeout     int64  `query:"timeout"`
	StateAfter  bool   `query:"use_state_after"`
	// UnstableStateAfter is what clients ask whose specification does not have
	// use_state_after yet (MSC4222).
	UnstableStateAfter bool `query:"org.matrix.msc4222.use_state_after"`
}

// request is a sync that has been understood.
type request struct {
	session auth.Session
	user    *tail.User
	since   token.Sync
	initial bool // without a token, or with one of a future that did not happen
	full    bool // full_state
	filter  *filter.Sync
	timeout time.Duration
	// stateAfter is the name under which the state at the end of the timeline
	// is sent; empty: the state at its start is, as "state".
	stateAfter string
}

func (s *Service) request(ctx context.Context, session auth.Session, in input) (*request, error) {
	r := &request{session: session, initial: in.Since == "", full: in.FullState}
	var err error
	if !r.initial {
		if r.since, err = token.ParseSync(in.Since); err != nil {
			return nil, err
		}
	}
	presence, err := parsePresence(in.SetPresence)
	if err != nil {
		return nil, err
	}
	if r.filter, err = s.filter(ctx, session, in.Filter); err != nil {
		return nil, err
	}
	if r.user, err = s.Tail.User(ctx, session.UserID); err != nil {
		return nil, err
	}
	switch {
	case in.StateAfter:
		r.stateAfter = "state_after"
	case in.UnstableStateAfter:
		r.stateAfter = "org.matrix.msc4222.state_after"
	}
	if !r.initial && !r.full && in.Timeout > 0 {
		r.timeout = min(time.Duration(min(in.Timeout, maxTimeout.Milliseconds()))*time.Millisecond, maxTimeout)
	}
	if err := s.catchUp(ctx, r); err != nil {
		return nil, err
	}
	if presence != api.Offline {
		if err := s.notePresence(ctx, r, presence); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func parsePresence(s string) (api.PresenceState, error) {
	switch s {
	case "", "online":
		return api.Online, nil
	case "unavailable":
		return api.Unavailable, nil
	case "offline":
		return api.Offline, nil
	}
	return api.Offline, matrix.InvalidParam("set_presence must be online, unavailable or offline")
}

// catchUp waits until this instance has seen what the token's instance had. A
// token beyond everything that exists is from before the database was set back:
// its bearer has to begin anew, or would miss what is written at positions it
// believes to know.
func (s *Service) catchUp(ctx context.Context, r *request) error {
	pos, err := s.Tail.Position(ctx)
	if err != nil || r.since.Events <= pos {
		return err
	}
	if pos, err = s.Model.Position(ctx); err != nil {
		return err
	}
	if r.since.Events > pos {
		r.since, r.initial, r.timeout = token.Sync{}, true, 0
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	if err := s.Tail.Await(wait, pos); err != nil && ctx.Err() == nil {
		return matrix.Unavailable(catchUpTimeout).Wrap(err)
	}
	return ctx.Err()
}

// filterKey is an account and the number of its filter, or no account and the
// filter's text.
type filterKey struct {
	account int64
	text    string
}

func newFilterCache() *otter.Cache[filterKey, *filter.Sync] {
	return otter.Must(&otter.Options[filterKey, *filter.Sync]{MaximumSize: cachedFilters})
}

var noFilter = &filter.Sync{}

// filter reads the filter, given as text or by number. Stored filters never
// change.
//
// spec: c-s §GET /sync "filter"
func (s *Service) filter(ctx context.Context, session auth.Session, param string) (*filter.Sync, error) {
	if param == "" {
		return noFilter, nil
	}
	k := filterKey{text: param}
	if !strings.HasPrefix(param, "{") {
		k.account = session.Account
	}
	if f, ok := s.filters.GetIfPresent(k); ok {
		return f, nil
	}
	raw := []byte(param)
	if k.account != 0 {
		resp, err := bus.Call(ctx, s.Bus, capi.Filter, capi.FilterReq{AccountNID: session.Account, FilterID: param})
		if errors.Is(err, matrix.NotFound("")) {
			return nil, matrix.InvalidParam("No such filter")
		}
		if err != nil {
			return nil, err
		}
		raw = resp.Filter
	}
	f, err := filter.ParseSync(raw)
	if err != nil {
		return nil, err
	}
	s.filters.Set(k, f)
	return f, nil
}
