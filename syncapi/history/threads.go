package history

import (
	"context"
	"math"

	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
	"allmende/syncapi/token"
)

const (
	defaultThreads = 20
	maxThreads     = 100
)

type threadsIn struct {
	RoomID  matrix.RoomID `path:"roomId"`
	Include string        `query:"include"`
	Limit   *int          `query:"limit"`
	From    string        `query:"from"`
}

// threads answers the roots of a room's threads, those first in which something
// was said last.
//
// spec: c-s §GET /rooms/{roomId}/threads
func (s *Service) threads(ctx context.Context, who auth.Session, in threadsIn) (httpx.Raw, error) {
	q, err := in.query()
	if err != nil {
		return httpx.Raw{}, err
	}
	v, err := s.open(ctx, who, in.RoomID)
	if err != nil {
		return httpx.Raw{}, err
	}
	q.Room, q.UpTo = v.room.NID, v.upTo
	for u := range v.ignored {
		q.Ignored = append(q.Ignored, u)
	}
	if in.Include == "participated" {
		if q.Participant = v.who.UserNID; q.Participant == 0 {
			return httpx.Raw{Body: []byte(`{"chunk":[]}`)}, nil
		}
	}
	roots, next, err := s.threadRoots(ctx, v, q)
	if err != nil {
		return httpx.Raw{}, err
	}
	f := s.format(v.room.ID)
	relations, err := s.bundles(ctx, v, f, roots)
	if err != nil {
		return httpx.Raw{}, err
	}
	dst := v.list(append(bufferFor(roots), `{"chunk":`...), f, roots, relations)
	if next != nil {
		dst = append(append(append(dst, `,"next_batch":"`...), next.String()...), '"')
	}
	return httpx.Raw{Body: append(dst, '}')}, nil
}

// query reads the parameters. Errors: M_INVALID_PARAM.
func (in threadsIn) query() (read.ThreadQuery, error) {
	q := read.ThreadQuery{Before: math.MaxInt64}
	switch in.Include {
	case "", "all", "participated":
	default:
		return q, matrix.InvalidParam("include must be all or participated.")
	}
	limit, err := clampLimit(in.Limit, defaultThreads)
	if err != nil {
		return q, err
	}
	if limit == 0 {
		return q, matrix.InvalidParam("limit must be greater than zero.")
	}
	q.PageLimit = min(limit, maxThreads)
	if in.From != "" {
		ord, err := token.ParseOrd(in.From)
		if err != nil {
			return q, err
		}
		q.Before = inc(int64(ord))
	}
	return q, nil
}

// threadRoots reads pages of threads until enough are found whose root the
// viewer may see. next is where to go on; nil: nowhere.
func (s *Service) threadRoots(ctx context.Context, v *view, q read.ThreadQuery) (roots []*clientevent.Event, next *token.Ord, err error) {
	want := q.PageLimit
	for {
		q.PageLimit = want - len(roots) + 1
		page, err := s.model.ThreadPage(ctx, q)
		if err != nil {
			return nil, nil, err
		}
		found, err := s.rootEvents(ctx, v, page)
		if err != nil {
			return nil, nil, err
		}
		for _, t := range page {
			if len(roots) == want {
				next := token.Ord(t.LatestNID)
				return roots, &next, s.loader.Complete(ctx, roots)
			}
			q.Before = t.LatestNID
			if e := found[t.RootID]; e != nil {
				roots = append(roots, e)
			}
		}
		if len(page) < q.PageLimit {
			return roots, nil, s.loader.Complete(ctx, roots)
		}
	}
}

// rootEvents loads the roots the viewer may see. The root of an ignored user is
// shown redacted, so that the thread of others below it stays in sight.
//
// spec: c-s §GET /rooms/{roomId}/threads "returned redacted to the caller"
func (s *Service) rootEvents(ctx context.Context, v *view, page []read.Thread) (map[matrix.EventID]*clientevent.Event, error) {
	ids := make([]matrix.EventID, len(page))
	for i, t := range page {
		ids[i] = t.RootID
	}
	found, err := s.model.EventsByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[matrix.EventID]*clientevent.Event, len(found))
	for id, e := range found {
		switch {
		case e.RoomNID != v.room.NID || !v.who.IncludingIgnored().MaySee(&e):
			continue
		case !v.who.MaySee(&e):
			if e.JSON, err = matrix.Redact(v.room.Version, e.JSON); err != nil {
				return nil, err
			}
		}
		out[id] = clientevent.Once(e)
	}
	return out, nil
}
