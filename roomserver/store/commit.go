package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"allmende/internal/matrix"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	// ErrFenced says that another instance wrote to the room since this
	// process last looked: what was decided rests on old state.
	ErrFenced = errors.New("room was written by another instance")
	// ErrTxnTaken says that the transaction id was used before.
	ErrTxnTaken = errors.New("transaction id was used before")
	// ErrRoomTaken says that there is a room with that id already: two equal
	// create events of one millisecond have the same hash.
	ErrRoomTaken = errors.New("room id is taken")
	// ErrAliasTaken says that the alias points at a room already.
	ErrAliasTaken = errors.New("alias is taken")
)

// Committed is the outcome of a committed batch.
type Committed struct {
	From, To int64 // positions of the first and last event
	Own      Span
}

// Span are positions that this process knows to have committed all by itself:
// After < position ≤ To. The zero Span knows nothing, like one whose To is not
// the head's position any more.
type Span struct{ After, To int64 }

// Commit writes units of many rooms in one transaction, in the order given, and
// gives every row its number. own is what the last Commit answered: rooms
// compared with the database since own.After cannot have changed under this
// process, unless another process committed in between.
//
// Units that cannot be written get their Err set and are left out; the others
// are committed. An error is returned when nothing was committed.
func (s *Store) Commit(ctx context.Context, units []*Unit, own Span) (Committed, error) {
	for {
		live := pending(units)
		if len(live) == 0 {
			return Committed{Own: own}, nil
		}
		done, retry, err := s.attempt(ctx, live, own)
		if err != nil {
			return Committed{}, err
		}
		if !retry {
			return done, nil
		}
	}
}

// pending are the units still to be written. A unit behind a failed one of the
// same room was built on what did not come about, so it fails too.
func pending(units []*Unit) []*Unit {
	if len(units) == 1 && units[0].Err == nil {
		return units
	}
	live := make([]*Unit, 0, len(units))
	failed := map[int64]bool{}
	claimed := map[[16]byte]bool{}
	for _, u := range units {
		if u.Err == nil && failed[u.RoomNID] {
			u.Err = ErrFenced
		}
		for _, t := range u.Txns {
			if u.Err == nil && claimed[t.Scope] {
				u.Err = ErrTxnTaken // a repetition that overtook the first answer
			}
		}
		if u.Err != nil {
			failed[u.RoomNID] = true
			continue
		}
		for _, t := range u.Txns {
			claimed[t.Scope] = true
		}
		live = append(live, u)
	}
	return live
}

// attempt runs the transaction once. retry tells that some unit dropped out
// and the rest has to be tried again.
func (s *Store) attempt(ctx context.Context, units []*Unit, own Span) (done Committed, retry bool, err error) {
	conn, err := s.db.Acquire(ctx)
	if err != nil {
		return Committed{}, false, fmt.Errorf("acquire connection to commit: %w", err)
	}
	defer conn.Release()
	b := newBatch(units)
	if b.alone(own) {
		err := b.writeAlone(ctx, conn, own.To)
		if err == nil {
			return b.committed(own.To, own), false, nil
		}
		if !lostBet(err) {
			return Committed{}, false, fmt.Errorf("commit events: %w", err)
		}
	}
	before, err := b.open(ctx, conn)
	if before != own.To {
		own.After = before // others committed since: all rooms may have changed
	}
	if err == nil {
		err = b.checkFences(ctx, conn, own.After)
	}
	if err == nil && !b.dropped {
		err = b.write(ctx, conn)
	}
	if err != nil {
		rollBack(ctx, conn)
		return Committed{}, false, fmt.Errorf("commit events: %w", err)
	}
	if b.dropped {
		rollBack(ctx, conn)
		return Committed{}, true, nil
	}
	return b.committed(before, own), false, nil
}

// committed is the outcome of a batch committed behind a position.
func (b *batch) committed(before int64, own Span) Committed {
	own.To = before + int64(len(b.rows))
	return Committed{From: before + 1, To: own.To, Own: own}
}

const rollbackTimeout = 5 * time.Second

// rollBack ends the transaction. A connection on which not even that works is
// not used again, and the transaction ends with it.
func rollBack(ctx context.Context, conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	_, _ = conn.Exec(ctx, "ROLLBACK")
}

// batch is one transaction being put together.
type batch struct {
	units   []*Unit
	rows    []*Row
	rooms   []int64 // of each row
	dropped bool
}

func newBatch(units []*Unit) *batch {
	b := &batch{units: units}
	for _, u := range units {
		for _, r := range u.Rows {
			b.rows = append(b.rows, r)
			b.rooms = append(b.rooms, u.RoomNID)
		}
	}
	return b
}

// newQueue is a batch with room for the statements of half a transaction.
func newQueue() *pgx.Batch {
	return &pgx.Batch{QueuedQueries: make([]*pgx.QueuedQuery, 0, 10)}
}

// drop leaves a unit out of the transaction.
func (b *batch) drop(u *Unit, err error) {
	if u.Err == nil {
		u.Err = err
	}
	b.dropped = true
}

const advanceHead = `UPDATE roomserver.head SET pos = pos + $1 RETURNING pos`

const claimRooms = `
INSERT INTO roomserver.rooms (room_nid, room_id, version, published)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::boolean[])
ON CONFLICT (room_id) DO NOTHING RETURNING room_nid`

const claimTxns = `
INSERT INTO roomserver.event_txns (scope, event_nid, device_id, txn_id)
SELECT u.scope, h.pos - $1 + u.place, u.device_id, u.txn_id
FROM roomserver.head h, unnest($2::bytea[], $3::bigint[], $4::text[], $5::text[]) AS u(scope, place, device_id, txn_id)
ON CONFLICT (scope) DO NOTHING RETURNING scope`

const claimAliases = `
INSERT INTO roomserver.aliases (alias, room_nid, creator_nid)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])
ON CONFLICT (alias) DO NOTHING RETURNING alias`

// open starts the transaction, takes the head's lock, numbers the rows and
// claims what must be unique. It answers the position before the batch.
func (b *batch) open(ctx context.Context, conn *pgxpool.Conn) (before int64, err error) {
	n := int64(len(b.rows))
	q := newQueue()
	q.Queue("BEGIN")
	var pos int64
	q.Queue(advanceHead, n).QueryRow(func(row pgx.Row) error { return row.Scan(&pos) })
	b.queueRoomClaims(q)
	b.queueTxnClaims(q, n)
	b.queueAliasClaims(q)
	if err := conn.SendBatch(ctx, q).Close(); err != nil {
		return 0, fmt.Errorf("open transaction: %w", err)
	}
	b.number(pos - n)
	return pos - n, nil
}

// number gives the rows the positions behind one.
func (b *batch) number(before int64) {
	for i, r := range b.rows {
		r.Ref()
		*r.num = before + int64(i) + 1
	}
}

func (b *batch) queueRoomClaims(q *pgx.Batch) {
	var nids []int64
	var ids, versions []string
	var published []bool
	for _, u := range b.units {
		if u.New != nil {
			nids = append(nids, u.RoomNID)
			ids = append(ids, string(u.New.ID))
			versions = append(versions, string(u.New.Version))
			published = append(published, u.New.Published)
		}
	}
	if len(nids) == 0 {
		return
	}
	q.Queue(claimRooms, nids, ids, versions, published).Query(func(rows pgx.Rows) error {
		claimed, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		for _, u := range b.units {
			if err == nil && u.New != nil && !slices.Contains(claimed, u.RoomNID) {
				b.drop(u, ErrRoomTaken)
			}
		}
		return err
	})
}

// txnColumns are the batch's transaction ids; places count its rows from 1.
type txnColumns struct {
	scopes        [][]byte
	places        []int64
	devices, txns []string
}

func (b *batch) txns() (c txnColumns) {
	place := int64(0)
	for _, u := range b.units {
		for _, r := range u.Rows {
			place++
			for _, t := range u.Txns {
				if t.Row == r {
					c.scopes, c.places = append(c.scopes, t.Scope[:]), append(c.places, place)
					c.devices, c.txns = append(c.devices, t.DeviceID), append(c.txns, t.TxnID)
				}
			}
		}
	}
	return c
}

func (b *batch) queueTxnClaims(q *pgx.Batch, n int64) {
	c := b.txns()
	if len(c.scopes) == 0 {
		return
	}
	q.Queue(claimTxns, n, c.scopes, c.places, c.devices, c.txns).Query(func(rows pgx.Rows) error {
		claimed := make(map[[16]byte]bool, len(c.scopes))
		var scope []byte
		_, err := pgx.ForEachRow(rows, []any{&scope}, func() error {
			claimed[[16]byte(scope)] = true
			return nil
		})
		for _, u := range b.units {
			for _, t := range u.Txns {
				if err == nil && !claimed[t.Scope] {
					b.drop(u, ErrTxnTaken)
				}
			}
		}
		return err
	})
}

func (b *batch) queueAliasClaims(q *pgx.Batch) {
	var aliases []string
	var rooms, creators []int64
	for _, u := range b.units {
		for _, a := range u.Aliases {
			aliases = append(aliases, string(a.Alias))
			rooms = append(rooms, u.RoomNID)
			creators = append(creators, a.CreatorNID)
		}
	}
	if len(aliases) == 0 {
		return
	}
	q.Queue(claimAliases, aliases, rooms, creators).Query(func(rows pgx.Rows) error {
		claimed, err := pgx.CollectRows(rows, pgx.RowTo[string])
		got := map[string]bool{}
		for _, a := range claimed {
			got[a] = true
		}
		for _, u := range b.units {
			for _, a := range u.Aliases {
				if err == nil && !got[string(a.Alias)] {
					b.drop(u, ErrAliasTaken)
				}
				delete(got, string(a.Alias)) // twice in one batch: only the first has it
			}
		}
		return err
	})
}

const selectLastNIDs = `SELECT room_nid, last_nid FROM roomserver.room_heads WHERE room_nid = ANY($1)`

// checkFences drops the units of rooms that another instance has written to;
// only those are looked at that may have been, because they were not compared
// with the database at or after a position. The head's lock is held, so nobody
// can write to them meanwhile.
func (b *batch) checkFences(ctx context.Context, conn *pgxpool.Conn, after int64) error {
	var nids []int64
	for _, u := range b.units {
		if u.New == nil && u.Checked() < after {
			nids = append(nids, u.RoomNID)
		}
	}
	if len(nids) == 0 {
		return nil
	}
	rows, err := conn.Query(ctx, selectLastNIDs, nids)
	if err != nil {
		return fmt.Errorf("check fences: %w", err)
	}
	last := map[int64]int64{}
	var room, nid int64
	if _, err := pgx.ForEachRow(rows, []any{&room, &nid}, func() error { last[room] = nid; return nil }); err != nil {
		return fmt.Errorf("check fences: %w", err)
	}
	fenced := map[int64]bool{}
	for _, u := range b.units {
		if u.New == nil && u.Checked() < after && u.Fence() != last[u.RoomNID] {
			fenced[u.RoomNID] = true
		}
		if fenced[u.RoomNID] {
			b.drop(u, ErrFenced)
		}
	}
	return nil
}

// write sends every row and COMMIT in one round trip.
func (b *batch) write(ctx context.Context, conn *pgxpool.Conn) error {
	q := newQueue()
	b.queueRows(q)
	q.Queue("COMMIT")
	if err := conn.SendBatch(ctx, q).Close(); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}

func (b *batch) queueRows(q *pgx.Batch) {
	b.queueEvents(q)
	b.queueHeads(q)
	b.queueSnapshots(q)
	b.queueState(q)
	b.queueRelations(q)
	b.queueRedactions(q)
}

// arrayText writes numbers as a PostgreSQL array literal: unnest cannot take
// arrays of arrays of different lengths.
func arrayText(refs []Ref) string {
	out := make([]byte, 0, 2+8*len(refs))
	out = append(out, '{')
	for i, r := range refs {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendInt(out, r.NID(), 10)
	}
	return string(append(out, '}'))
}

const selectTxnEvent = `
SELECT e.event_id FROM roomserver.event_txns t JOIN roomserver.events e USING (event_nid) WHERE t.scope = $1`

// EventIDOfTxn finds the event an earlier request with this scope made. Errors:
// ErrNotFound.
func (s *Store) EventIDOfTxn(ctx context.Context, scope [16]byte) (matrix.EventID, error) {
	var id matrix.EventID
	err := s.db.QueryRow(ctx, selectTxnEvent, scope[:]).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("find event of transaction: %w", err)
	}
	return id, nil
}
