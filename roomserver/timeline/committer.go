package timeline

import (
	"context"
	"errors"
	"time"

	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/roomserver/store"

	"github.com/jackc/pgx/v5/pgconn"
)

// job is a unit on its way to the database.
type job struct {
	room *Room
	unit *store.Unit
	done chan error // buffered, gets exactly one value
	sent []sent
}

// sent is a transaction id and the event it made.
type sent struct {
	scope [16]byte
	event matrix.EventID
}

const (
	// maxBatch bounds the events of one transaction.
	maxBatch = 512
	// commitTimeout bounds one transaction.
	commitTimeout = 30 * time.Second
)

// enqueue hands a unit to the committer. The room is held, so units of a room
// are queued in the order they were decided.
func (rs *Rooms) enqueue(ctx context.Context, r *Room, u *store.Unit) (<-chan error, error) {
	j := &job{room: r, unit: u, done: make(chan error, 1)}
	for _, t := range u.Txns {
		j.sent = append(j.sent, sent{t.Scope, t.Row.Event.ID})
	}
	r.pending.Add(1)
	select {
	case rs.queue <- j:
		return j.done, nil
	case <-ctx.Done():
		r.pending.Add(-1)
		return nil, ctx.Err()
	}
}

// wait answers when the unit is committed. Giving up waiting does not take the
// unit back: it may still be committed.
func wait(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run commits what is queued until ctx ends, then what is left.
func (rs *Rooms) Run(ctx context.Context) error {
	// A commit is not bound to the request that asked for it, nor to ctx: what
	// is queued when the service stops is still written.
	writes := context.WithoutCancel(ctx)
	for {
		select {
		case j := <-rs.queue:
			rs.commit(writes, rs.gather(j))
		case <-ctx.Done():
			rs.drain(writes)
			return nil
		}
	}
}

func (rs *Rooms) drain(ctx context.Context) {
	for {
		select {
		case j := <-rs.queue:
			rs.commit(ctx, rs.gather(j))
		default:
			return
		}
	}
}

// gather takes what else is queued, so that one fsync serves all.
func (rs *Rooms) gather(first *job) []*job {
	jobs := []*job{first}
	n := len(first.unit.Rows)
	for n < maxBatch {
		select {
		case j := <-rs.queue:
			jobs = append(jobs, j)
			n += len(j.unit.Rows)
		default:
			return jobs
		}
	}
	return jobs
}

// commit writes a batch and answers everybody in it.
func (rs *Rooms) commit(ctx context.Context, jobs []*job) {
	done, err := rs.write(ctx, jobs)
	switch {
	case err == nil:
		rs.own = done.Own
		rs.settle(jobs, done.To)
		if done.To > 0 {
			rs.remember(jobs)
			rs.announce(done)
		}
		rs.answer(jobs)
	case len(jobs) > 1 && refused(err):
		// The database does not take something of it. Alone, everybody answers
		// for themselves.
		for _, j := range jobs {
			rs.commit(ctx, []*job{j})
		}
	default:
		rs.fail(jobs, err)
	}
}

// write puts a batch into the database, but for what rests on something that
// was not committed.
func (rs *Rooms) write(ctx context.Context, jobs []*job) (store.Committed, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	units := make([]*store.Unit, 0, len(jobs))
	for _, j := range jobs {
		if j.unit.Err == nil && j.room.gone.Load() {
			j.unit.Err = errGone
		}
		if j.unit.Err == nil && len(j.unit.Rows) > 0 {
			units = append(units, j.unit)
		}
	}
	if len(units) == 0 {
		return store.Committed{Own: rs.own}, nil
	}
	return rs.store.Commit(ctx, units, rs.own)
}

// refused tells that a statement was answered with an error, so that it is
// certain that the transaction did not come about.
func refused(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && !pg.Unavailable(err)
}

// settle moves fences on and drops rooms of which something was left out.
func (rs *Rooms) settle(jobs []*job, pos int64) {
	for _, j := range jobs {
		switch u := j.unit; {
		case u.Err != nil:
			rs.drop(j.room)
		case len(u.Rows) > 0:
			for _, t := range j.sent {
				rs.sent.Set(t.scope, t.event)
			}
			j.room.lastNID.Store(u.Rows[len(u.Rows)-1].Ref().NID())
			j.room.checked.Store(pos)
		}
	}
}

func (rs *Rooms) answer(jobs []*job) {
	for _, j := range jobs {
		err := j.unit.Err
		if err == nil && len(j.unit.Rows) == 0 && j.room.gone.Load() {
			err = errGone // what it was decided on did not come about
		}
		j.finish(err)
	}
}

// fail answers a batch of which nothing was committed for certain. The
// connection may have been lost after COMMIT was sent: then the events are in
// the database, the fence tells the next decision, and a device that repeats
// its transaction id gets the event it made.
func (rs *Rooms) fail(jobs []*job, err error) {
	rs.own = store.Span{To: -1} // perhaps it was committed
	for _, j := range jobs {
		rs.drop(j.room)
		if j.unit.Err != nil {
			j.finish(j.unit.Err)
		} else {
			j.finish(pg.Error(err))
		}
	}
}

// finish answers whoever waits and notes that the unit is no longer under way.
func (j *job) finish(err error) {
	j.room.pending.Add(-1)
	j.done <- err
}
