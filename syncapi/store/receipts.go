package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Kind is a kind of receipt.
type Kind int16

// The kinds of receipts.
const (
	Read        Kind = 1 // m.read
	ReadPrivate Kind = 2 // m.read.private
)

// Receipt says up to where a user has read a room, or a thread of it.
type Receipt struct {
	RoomNID  int64  `db:"room_nid"`
	UserNID  int64  `db:"user_nid"`
	Kind     Kind   `db:"kind"`
	ThreadID string `db:"thread_id"` // empty: unthreaded
	EventOrd int64  `db:"event_ord"`
	EventID  string `db:"event_id"`
	TS       int64  `db:"ts"` // ms
	Pos      int64  `db:"pos"`
}

const lockHead = `SELECT pos FROM syncapi.head FOR UPDATE`

// insertReceipts lets a receipt only move forwards: a client that lags behind
// another one of the same user must not make messages unread again.
const insertReceipts = `
INSERT INTO syncapi.receipts AS r (room_nid, user_nid, kind, thread_id, event_ord, event_id, ts, pos)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[])
ON CONFLICT (room_nid, user_nid, kind, thread_id) DO UPDATE
SET event_ord = excluded.event_ord, event_id = excluded.event_id, ts = excluded.ts, pos = excluded.pos
WHERE excluded.event_ord > r.event_ord`

const updateHead = `UPDATE syncapi.head SET pos = $1`

// SetReceipts stores receipts in one transaction and answers the position of
// the last. No two may be of the same room, user, kind and thread.
func (s *Store) SetReceipts(ctx context.Context, list []Receipt) (pos int64, err error) {
	err = s.db.Tx(ctx, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, lockHead).Scan(&pos); err != nil {
			return fmt.Errorf("lock the head: %w", err)
		}
		n := len(list)
		rooms, users, kinds, threads := make([]int64, n), make([]int64, n), make([]int16, n), make([]string, n)
		ords, ids, ts, at := make([]int64, n), make([]string, n), make([]int64, n), make([]int64, n)
		for i, r := range list {
			pos++
			rooms[i], users[i], kinds[i], threads[i] = r.RoomNID, r.UserNID, int16(r.Kind), r.ThreadID
			ords[i], ids[i], ts[i], at[i] = r.EventOrd, r.EventID, r.TS, pos
		}
		b := &pgx.Batch{}
		b.Queue(insertReceipts, rooms, users, kinds, threads, ords, ids, ts, at)
		b.Queue(updateHead, pos)
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return 0, fmt.Errorf("store %d receipts: %w", len(list), err)
	}
	return pos, nil
}

const selectReceiptsPosition = `SELECT pos FROM syncapi.head`

// ReceiptsPosition is the position of the newest receipt.
func (s *Store) ReceiptsPosition(ctx context.Context) (int64, error) {
	var pos int64
	if err := s.db.QueryRow(ctx, selectReceiptsPosition).Scan(&pos); err != nil {
		return 0, fmt.Errorf("read position of receipts: %w", err)
	}
	return pos, nil
}

const receiptColumns = `SELECT room_nid, user_nid, kind, thread_id, event_ord, event_id, ts, pos FROM syncapi.receipts`

const selectReceiptsAfter = receiptColumns + ` WHERE pos > $1 ORDER BY pos LIMIT $2`

// ReceiptsAfter are the receipts behind a position, oldest first.
func (s *Store) ReceiptsAfter(ctx context.Context, pos int64, limit int) ([]Receipt, error) {
	rows, err := s.db.Query(ctx, selectReceiptsAfter, pos, limit)
	if err != nil {
		return nil, fmt.Errorf("read receipts: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Receipt])
}

const selectReceiptsOfRooms = receiptColumns + ` WHERE room_nid = ANY($1) ORDER BY pos`

// ReceiptsOfRooms are all receipts of some rooms, oldest first.
func (s *Store) ReceiptsOfRooms(ctx context.Context, rooms []int64) ([]Receipt, error) {
	rows, err := s.db.Query(ctx, selectReceiptsOfRooms, rooms)
	if err != nil {
		return nil, fmt.Errorf("read receipts of rooms: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Receipt])
}

const blurReceipts = `
UPDATE syncapi.receipts SET ts = ts - ts % 86400000 WHERE ts < $1 AND ts % 86400000 <> 0`

// BlurReceipts leaves of receipts older than a day only the day on which they
// were sent: when somebody read is nobody's business for longer.
func (s *Store) BlurReceipts(ctx context.Context, now time.Time) error {
	if _, err := s.db.Exec(ctx, blurReceipts, now.Add(-24*time.Hour).UnixMilli()); err != nil {
		return fmt.Errorf("blur old receipts: %w", err)
	}
	return nil
}
