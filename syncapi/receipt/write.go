package receipt

import (
	"context"

	"allmende/internal/bus"
	"allmende/internal/obs"
	"allmende/internal/pg"
	"allmende/syncapi/api"
)

// maxBatch is how many receipts one transaction stores.
const maxBatch = 256

// request is a receipt on its way into the database.
type request struct {
	receipt Receipt
	done    chan error // takes one answer
}

// Set stores a receipt; it has been stored when Set returns. One that does not
// move forwards changes nothing.
func (s *Stream) Set(ctx context.Context, r Receipt) error {
	req := &request{receipt: r, done: make(chan error, 1)}
	select {
	case s.write <- req:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-req.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writeAll stores what has come in meanwhile in one transaction, again and
// again: many people who read the same message cost a few commits.
func (s *Stream) writeAll(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-s.write:
			s.commit(ctx, s.gather(first))
		}
	}
}

type key struct {
	room, user int64
	kind       int16
	thread     string
}

// gather takes the waiting requests. Of several for the same place, the one
// furthest ahead is stored and all are answered.
func (s *Stream) gather(first *request) map[key][]*request {
	batch := map[key][]*request{}
	for r := first; ; {
		k := key{r.receipt.RoomNID, r.receipt.UserNID, int16(r.receipt.Kind), r.receipt.ThreadID}
		batch[k] = append(batch[k], r)
		if len(batch) == maxBatch {
			return batch
		}
		select {
		case r = <-s.write:
		default:
			return batch
		}
	}
}

func (s *Stream) commit(ctx context.Context, batch map[key][]*request) {
	list := make([]Receipt, 0, len(batch))
	for _, requests := range batch {
		best := requests[0].receipt
		for _, r := range requests[1:] {
			if r.receipt.EventOrd > best.EventOrd {
				best = r.receipt
			}
		}
		list = append(list, best)
	}
	pos, err := s.store.SetReceipts(ctx, list)
	for _, requests := range batch {
		for _, r := range requests {
			r.done <- pg.Error(err)
		}
	}
	if err != nil {
		return
	}
	if err := bus.Publish(s.bus, api.Receipts, api.ReceiptsAnn{Position: pos}); err != nil {
		obs.Logger(ctx).Debug("receipts not announced, others will find them", "error", err)
		s.wakeUp()
	}
}
