package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// aloneFor is how many positions in a row this process must have committed all
// by itself before it bets on being alone: where several take turns, it would
// lose the bet each time.
const aloneFor = 64

// alone tells whether the batch may be written in one round trip: nothing is
// claimed that another could have taken but transaction ids, and no fence has
// to be compared.
func (b *batch) alone(own Span) bool {
	if own.To-own.After < aloneFor {
		return false
	}
	for _, u := range b.units {
		if u.New != nil || len(u.Aliases) > 0 || u.Checked() < own.After {
			return false
		}
	}
	return true
}

// takeHead moves the head on if it stands where this process left it. If not,
// NULL violates the column's constraint and the whole transaction is off.
const takeHead = `UPDATE roomserver.head SET pos = CASE WHEN pos = $1 THEN pos + $2 END`

const insertTxns = `
INSERT INTO roomserver.event_txns (scope, event_nid, device_id, txn_id)
SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::text[])`

// writeAlone writes the whole batch in one round trip, as one transaction,
// betting that nobody has committed since position pos. Nothing was written
// when it answers an error that lostBet knows.
func (b *batch) writeAlone(ctx context.Context, conn *pgxpool.Conn, pos int64) error {
	b.number(pos)
	q := newQueue()
	// Statements sent together without BEGIN are one transaction.
	q.Queue(takeHead, pos, int64(len(b.rows)))
	if t := b.txns(); len(t.scopes) > 0 {
		nids := make([]int64, len(t.places))
		for i, place := range t.places {
			nids[i] = pos + place
		}
		q.Queue(insertTxns, t.scopes, nids, t.devices, t.txns)
	}
	b.queueRows(q)
	if err := conn.SendBatch(ctx, q).Close(); err != nil {
		return fmt.Errorf("write in one round trip: %w", err)
	}
	return nil
}

// The error codes of what ends a bet.
const (
	notNullViolation = "23502"
	uniqueViolation  = "23505"
)

// lostBet tells that another process committed, or a transaction id was used
// before: the transaction did not come about, and must be made step by step.
func lostBet(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && (pe.Code == notNullViolation || pe.Code == uniqueViolation)
}
