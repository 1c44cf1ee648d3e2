package history

import (
	"context"
	"errors"
	"math"
	"strconv"

	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
	"allmende/syncapi/token"
)

const (
	defaultRelations = 50
	maxRelations     = 500
	// recursion is how many levels down relations are followed.
	// spec: c-s §GET /relations "traverse at least 3 levels"
	recursion = 3
)

type relationsIn struct {
	RoomID  matrix.RoomID  `path:"roomId"`
	EventID matrix.EventID `path:"eventId"`
	relationsQuery
}

type relationsOfTypeIn struct {
	RoomID  matrix.RoomID  `path:"roomId"`
	EventID matrix.EventID `path:"eventId"`
	RelType string         `path:"relType"`
	relationsQuery
}

type relationsOfEventTypeIn struct {
	RoomID    matrix.RoomID  `path:"roomId"`
	EventID   matrix.EventID `path:"eventId"`
	RelType   string         `path:"relType"`
	EventType string         `path:"eventType"`
	relationsQuery
}

// relationsQuery is what the three forms have in common.
type relationsQuery struct {
	From       string  `query:"from"`
	To         string  `query:"to"`
	Dir        *string `query:"dir"`
	Limit      *int    `query:"limit"`
	Recurse    *bool   `query:"recurse"`
	OldRecurse *bool   `query:"org.matrix.msc3981.recurse"`
}

func (s *Service) relations(ctx context.Context, who auth.Session, in relationsIn) (httpx.Raw, error) {
	return s.related(ctx, who, in, "", nil)
}

func (s *Service) relationsOfType(ctx context.Context, who auth.Session, in relationsOfTypeIn) (httpx.Raw, error) {
	return s.related(ctx, who, relationsIn{in.RoomID, in.EventID, in.relationsQuery}, in.RelType, nil)
}

func (s *Service) relationsOfEventType(ctx context.Context, who auth.Session, in relationsOfEventTypeIn) (httpx.Raw, error) {
	return s.related(ctx, who, relationsIn{in.RoomID, in.EventID, in.relationsQuery}, in.RelType, &in.EventType)
}

// relationWalk is one page of events related to another.
type relationWalk struct {
	*Service
	v      *view
	query  read.RelationQuery
	levels int // 1: direct relations only
	limit  int
	events []*clientevent.Event
	next   *token.Ord
}

// related answers a page of the events related to another one.
//
// spec: c-s §GET /rooms/{roomId}/relations/{eventId}
func (s *Service) related(ctx context.Context, who auth.Session, in relationsIn, relType string, eventType *string) (httpx.Raw, error) {
	w, err := s.newRelationWalk(in, relType)
	if err != nil {
		return httpx.Raw{}, err
	}
	if w.v, err = s.open(ctx, who, in.RoomID); err != nil {
		return httpx.Raw{}, hideRoom(err)
	}
	if _, err := s.find(ctx, w.v, in.EventID); err != nil {
		return httpx.Raw{}, err
	}
	w.query.Room = w.v.room.NID
	if eventType != nil {
		w.query.TypeNID, err = s.model.StringNID(ctx, *eventType)
	}
	switch {
	case errors.Is(err, read.ErrNotFound): // no event has that type
	case err != nil:
		return httpx.Raw{}, err
	default:
		if err := w.run(ctx); err != nil {
			return httpx.Raw{}, err
		}
	}
	body, err := w.body(ctx, in)
	return httpx.Raw{Body: body}, err
}

func (s *Service) newRelationWalk(in relationsIn, relType string) (*relationWalk, error) {
	w := &relationWalk{Service: s, levels: 1}
	w.query = read.RelationQuery{Parents: []matrix.EventID{in.EventID}, RelType: relType, After: math.MinInt64, Before: math.MaxInt64}
	var err error
	if in.Dir != nil {
		if w.query.Forwards, err = parseDir(*in.Dir); err != nil {
			return nil, err
		}
	}
	if w.limit, err = clampLimit(in.Limit, defaultRelations); err != nil {
		return nil, err
	}
	w.limit = min(w.limit, maxRelations)
	if r := in.recurse(); r != nil && *r {
		w.levels = recursion
	}
	// from and to are places between events; After and Before are events.
	for i, text := range []string{in.From, in.To} {
		if text == "" {
			continue
		}
		ord, err := token.ParseOrd(text)
		if err != nil {
			return nil, err
		}
		if (i == 0) == w.query.Forwards {
			w.query.After = int64(ord)
		} else {
			w.query.Before = inc(int64(ord))
		}
	}
	return w, nil
}

func (q relationsQuery) recurse() *bool {
	if q.Recurse != nil {
		return q.Recurse
	}
	return q.OldRecurse
}

// run reads pages until limit events are found that the viewer may see.
func (w *relationWalk) run(ctx context.Context) error {
	for len(w.events) < w.limit {
		w.query.PageLimit = w.limit - len(w.events) + 1
		list, err := w.page(ctx)
		if err != nil {
			return err
		}
		for i := range list {
			e := &list[i]
			if len(w.events) == w.limit {
				w.goOn(e.NID)
				return nil
			}
			if w.query.Forwards {
				w.query.After = e.NID
			} else {
				w.query.Before = e.NID
			}
			if w.v.who.MaySee(e) && e.NID <= w.v.upTo {
				w.events = append(w.events, clientevent.Once(*e))
			}
		}
		if len(list) < w.query.PageLimit {
			return nil
		}
	}
	return nil
}

// goOn notes that the event with the number is the first of the next page.
func (w *relationWalk) goOn(nid read.EventNID) {
	next := token.Ord(nid)
	if w.query.Forwards {
		next--
	}
	w.next = &next
}

func (w *relationWalk) page(ctx context.Context) ([]read.Event, error) {
	if w.levels > 1 {
		return w.model.Descendants(ctx, w.query, w.levels)
	}
	return w.model.RelatedEvents(ctx, w.query)
}

func (w *relationWalk) body(ctx context.Context, in relationsIn) ([]byte, error) {
	if err := w.loader.Complete(ctx, w.events); err != nil {
		return nil, err
	}
	f := w.format(w.v.room.ID)
	relations, err := w.bundles(ctx, w.v, f, w.events)
	if err != nil {
		return nil, err
	}
	dst := append(bufferFor(w.events), `{"chunk":`...)
	dst = w.v.list(dst, f, w.events, relations)
	if w.next != nil {
		dst = append(append(append(dst, `,"next_batch":"`...), w.next.String()...), '"')
	}
	if in.From != "" {
		dst = matrix.AppendText(append(dst, `,"prev_batch":`...), in.From)
	}
	if in.recurse() != nil {
		dst = strconv.AppendInt(append(dst, `,"recursion_depth":`...), int64(w.levels), 10)
	}
	return append(dst, '}'), nil
}
