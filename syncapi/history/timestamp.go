package history

import (
	"context"
	"errors"
	"math"

	"allmende/internal/auth"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

type timestampIn struct {
	RoomID matrix.RoomID `path:"roomId"`
	TS     int64         `query:"ts,required"`
	Dir    string        `query:"dir,required"`
}

type timestampOut struct {
	EventID matrix.EventID `json:"event_id"`
	TS      int64          `json:"origin_server_ts"`
}

// window is how many events around the place found are looked at for a nearer
// one: clocks of servers differ, so times do not quite follow the timeline.
const window = 200

var errNoMoment = matrix.NotFound("Unable to find an event in that direction.")

// timestampToEvent answers the event nearest to a time.
//
// spec: c-s §GET /rooms/{roomId}/timestamp_to_event
func (s *Service) timestampToEvent(ctx context.Context, who auth.Session, in timestampIn) (timestampOut, error) {
	forwards, err := parseDir(in.Dir)
	if err != nil {
		return timestampOut{}, err
	}
	v, err := s.open(ctx, who, in.RoomID)
	if err != nil {
		return timestampOut{}, err
	}
	ord, err := s.placeOf(ctx, v, in.TS)
	if errors.Is(err, read.ErrNotFound) {
		return timestampOut{}, errNoMoment
	}
	if err != nil {
		return timestampOut{}, err
	}
	best, err := s.nearest(ctx, v, ord, in.TS, forwards)
	if err != nil {
		return timestampOut{}, err
	}
	if best == nil {
		return timestampOut{}, errNoMoment
	}
	return timestampOut{best.ID, best.OriginTS}, nil
}

// placeOf finds, by halving, the first place in the timeline whose event is not
// older than ts, taking times to grow along the timeline. That costs a handful
// of index look-ups where sorting by time would cost a walk through the room or
// an index entry for every event.
func (s *Service) placeOf(ctx context.Context, v *view, ts int64) (int64, error) {
	low, err := s.model.MomentAt(ctx, v.room.NID, math.MinInt64, true)
	if err != nil {
		return 0, err
	}
	high, err := s.model.MomentAt(ctx, v.room.NID, v.upTo, false)
	if err != nil {
		return 0, err
	}
	a, b := low.Ord, high.Ord // the place is in [a, b] or behind b
	for a < b {
		mid := a + (b-a)/2
		m, err := s.model.MomentAt(ctx, v.room.NID, mid, true)
		if err != nil {
			return 0, err
		}
		switch {
		case m.OriginTS < ts:
			a = m.Ord + 1
		case m.Ord > mid:
			b = mid // nothing stands between mid and m
		default:
			b = m.Ord
		}
	}
	return a, nil
}

// nearest looks on both sides of a place for the event nearest to ts that the
// viewer may see; if hidden ones lie there, further on in the direction.
func (s *Service) nearest(ctx context.Context, v *view, ord, ts int64, forwards bool) (*read.Event, error) {
	back, err := s.model.TimelineBack(ctx, v.room.NID, ord-1, math.MinInt64, window)
	if err != nil {
		return nil, err
	}
	forth, err := s.model.TimelineForth(ctx, v.room.NID, ord-1, v.upTo, window)
	if err != nil {
		return nil, err
	}
	var best *read.Event
	for _, list := range [][]read.Event{back, forth} {
		for i := range list {
			if e := &list[i]; v.who.MaySee(e) && better(e, best, ts, forwards) {
				best = e
			}
		}
	}
	if best != nil {
		return best, nil
	}
	return s.firstVisible(ctx, v, ord, ts, forwards)
}

// better tells whether e lies on the right side of ts and nearer than best.
func better(e, best *read.Event, ts int64, forwards bool) bool {
	if forwards {
		return e.OriginTS >= ts && (best == nil || e.OriginTS < best.OriginTS || e.OriginTS == best.OriginTS && e.Ord < best.Ord)
	}
	return e.OriginTS <= ts && (best == nil || e.OriginTS > best.OriginTS || e.OriginTS == best.OriginTS && e.Ord > best.Ord)
}

// firstVisible walks on from a place to the first event the viewer may see.
func (s *Service) firstVisible(ctx context.Context, v *view, ord, ts int64, forwards bool) (*read.Event, error) {
	for range maxScan / window {
		var list []read.Event
		var err error
		if forwards {
			if ord = v.who.SkipForth(ord); ord == math.MaxInt64 {
				return nil, nil
			}
			list, err = s.model.TimelineForth(ctx, v.room.NID, ord-1, v.upTo, window)
		} else {
			if ord = v.who.SkipBack(ord - 1); ord == math.MinInt64 {
				return nil, nil
			}
			list, err = s.model.TimelineBack(ctx, v.room.NID, ord, math.MinInt64, window)
		}
		if err != nil || len(list) == 0 {
			return nil, err
		}
		for i := range list {
			if e := &list[i]; v.who.MaySee(e) && better(e, nil, ts, forwards) {
				return e, nil
			}
		}
		if ord = list[len(list)-1].Ord; forwards {
			ord++
		}
	}
	return nil, nil
}
