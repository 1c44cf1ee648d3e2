package history

import (
	"context"
	"math"

	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
	"allmende/syncapi/filter"
	"allmende/syncapi/token"
)

type messagesIn struct {
	RoomID matrix.RoomID `path:"roomId"`
	From   string        `query:"from"`
	To     string        `query:"to"`
	Dir    string        `query:"dir,required"`
	Limit  *int          `query:"limit"`
	Filter string        `query:"filter"`
}

// messages answers a page of a room's timeline.
//
// spec: c-s §GET /rooms/{roomId}/messages
func (s *Service) messages(ctx context.Context, who auth.Session, in messagesIn) (httpx.Raw, error) {
	w, err := s.newWalk(in)
	if err != nil {
		return httpx.Raw{}, err
	}
	if w.v, err = s.open(ctx, who, in.RoomID); err != nil {
		return httpx.Raw{}, err
	}
	if w.filter.Rooms.Pass(string(in.RoomID)) {
		if err := w.run(ctx); err != nil {
			return httpx.Raw{}, err
		}
	} else {
		w.pos, w.ended = w.from, true
	}
	body, err := s.messagesBody(ctx, w)
	return httpx.Raw{Body: body}, err
}

// newWalk reads the parameters. Errors: M_INVALID_PARAM, and those of filters.
func (s *Service) newWalk(in messagesIn) (*walk, error) {
	forwards, err := parseDir(in.Dir)
	if err != nil {
		return nil, err
	}
	w := &walk{Service: s, forwards: forwards, from: math.MaxInt64, to: math.MinInt64}
	if forwards {
		w.from, w.to = w.to, w.from
	}
	if w.filter, err = filter.ParseRoomEvents([]byte(in.Filter)); err != nil {
		return nil, err
	}
	if w.limit, err = clampLimit(in.Limit, defaultLimit); err != nil {
		return nil, err
	}
	if w.filter.Limit > 0 {
		w.limit = min(w.limit, w.filter.Limit)
	}
	for _, p := range []struct {
		text string
		to   *int64
	}{{in.From, &w.from}, {in.To, &w.to}} {
		if p.text == "" {
			continue
		}
		ord, err := token.ParseOrd(p.text)
		if err != nil {
			return nil, err
		}
		*p.to = int64(ord)
	}
	return w, nil
}

func (s *Service) messagesBody(ctx context.Context, w *walk) ([]byte, error) {
	if err := s.loader.Complete(ctx, w.events); err != nil {
		return nil, err
	}
	f := s.format(w.v.room.ID)
	relations, err := s.bundles(ctx, w.v, f, w.events)
	if err != nil {
		return nil, err
	}
	var members []*clientevent.Event
	if w.filter.LazyLoadMembers {
		if members, err = s.senders(ctx, w.v, w.events); err != nil {
			return nil, err
		}
	}
	dst := bufferFor(w.events, members)
	dst = append(dst, `{"chunk":`...)
	dst = w.v.list(dst, f, w.events, relations)
	dst = append(append(append(dst, `,"start":"`...), w.start().String()...), '"')
	if end, more := w.next(); more {
		dst = append(append(append(dst, `,"end":"`...), end.String()...), '"')
	}
	if members != nil {
		dst = w.v.list(append(dst, `,"state":`...), f, members, nil)
	}
	return append(dst, '}'), nil
}

// start is the token the chunk starts at: the client's, or the place before the
// first event that was looked at.
func (w *walk) start() token.Ord {
	switch {
	case w.from != math.MinInt64 && w.from != math.MaxInt64:
		return token.Ord(w.from)
	case w.first == 0:
		return 0
	case w.forwards:
		return token.Ord(w.first - 1)
	}
	return token.Ord(w.first)
}

// next is the token to go on from; false if there is nothing more to see. At
// the newest end of the timeline more may come, so as long as a page shows
// something there is a next one.
func (w *walk) next() (token.Ord, bool) {
	if w.ended && (len(w.events) == 0 || !w.forwards && !w.bounded()) {
		return 0, false
	}
	if w.pos == math.MinInt64 || w.pos == math.MaxInt64 {
		return 0, false
	}
	return token.Ord(w.pos), true
}

// senders are the member events of those who sent the events, as of the newest
// of them: what a client that loads members lazily needs to show the page.
//
// spec: c-s §Lazy-loading room members
func (s *Service) senders(ctx context.Context, v *view, lists ...[]*clientevent.Event) ([]*clientevent.Event, error) {
	newest := int64(math.MinInt64)
	seen := map[read.UserNID]bool{}
	var users []read.UserNID
	for _, events := range lists {
		for _, e := range events {
			newest = max(newest, e.Ord)
			if !seen[e.SenderNID] {
				seen[e.SenderNID] = true
				users = append(users, e.SenderNID)
			}
		}
	}
	out := []*clientevent.Event{}
	if len(users) == 0 {
		return out, nil
	}
	list, err := s.model.MembersAt(ctx, v.room.NID, users, newest)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		out = append(out, clientevent.Once(e))
	}
	return out, nil
}
