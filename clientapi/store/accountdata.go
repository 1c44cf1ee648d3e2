package store

import (
	"context"
	"encoding/json"
	"fmt"

	"allmende/internal/matrix"
	"allmende/internal/pg"

	"github.com/jackc/pgx/v5"
)

// AccountData is one item of account data.
type AccountData struct {
	Position int64
	RoomID   matrix.RoomID // empty: global
	Type     string
	Content  json.RawMessage // nil: deleted
}

const lockAccount = `SELECT FROM clientapi.accounts WHERE account_nid = $1 FOR NO KEY UPDATE`

// LockAccount lets one transaction after the other read and then write what belongs to the account. ErrNotFound: there
// is no such account.
func (q *Queries) LockAccount(ctx context.Context, account int64) error {
	if err := q.q.QueryRow(ctx, lockAccount, account).Scan(); err != nil {
		return fmt.Errorf("lock account: %w", pg.Error(err))
	}
	return nil
}

const selectAccountData = `
SELECT content FROM clientapi.account_data
WHERE account_nid = $1 AND room_id = $2 AND type = $3 AND content IS NOT NULL`

// FindAccountData returns the content of one item. ErrNotFound: never set, or deleted.
func (q *Queries) FindAccountData(ctx context.Context, account int64, room matrix.RoomID, kind string) (json.RawMessage, error) {
	var content json.RawMessage
	if err := q.q.QueryRow(ctx, selectAccountData, account, string(room), kind).Scan((*[]byte)(&content)); err != nil {
		return nil, fmt.Errorf("find account data: %w", pg.Error(err))
	}
	return content, nil
}

const upsertAccountData = `
INSERT INTO clientapi.account_data (account_nid, room_id, type, content, pos) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (account_nid, room_id, type) DO UPDATE SET content = EXCLUDED.content, pos = EXCLUDED.pos`

// SetAccountData writes an item at the next position, which it returns. The transaction should end soon after: everybody
// else who takes a position waits.
func (q *Queries) SetAccountData(ctx context.Context, account int64, d AccountData) (int64, error) {
	pos, err := q.NextPosition(ctx, 1)
	if err != nil {
		return 0, err
	}
	_, err = q.q.Exec(ctx, upsertAccountData, account, string(d.RoomID), d.Type, []byte(d.Content), pos)
	if err != nil {
		return 0, fmt.Errorf("write account data: %w", pg.Error(err))
	}
	return pos, nil
}

const listAccountData = `
SELECT pos, room_id, type, content FROM clientapi.account_data
WHERE account_nid = $1 AND pos > $2 AND ($2 > 0 OR content IS NOT NULL)
ORDER BY pos LIMIT $3`

// ListAccountData calls yield with each item behind a position, in order, until it answers false. From position 0 deleted
// items are left out.
func (q *Queries) ListAccountData(ctx context.Context, account, after int64, limit int, yield func(AccountData) bool) error {
	rows, err := q.q.Query(ctx, listAccountData, account, after, limit)
	if err != nil {
		return fmt.Errorf("list account data: %w", pg.Error(err))
	}
	defer rows.Close()
	for rows.Next() {
		var d AccountData
		if err := rows.Scan(&d.Position, (*string)(&d.RoomID), &d.Type, (*[]byte)(&d.Content)); err != nil {
			return fmt.Errorf("list account data: %w", pg.Error(err))
		}
		if !yield(d) {
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list account data: %w", pg.Error(err))
	}
	return nil
}

// Owned is an item together with the account that owns it.
type Owned struct {
	AccountNID int64
	Localpart  string
	Content    []byte // nil: not set
}

const listAccountDataOf = `
SELECT a.account_nid, a.localpart, d.content
FROM clientapi.accounts a
LEFT JOIN clientapi.account_data d ON d.account_nid = a.account_nid AND d.room_id = '' AND d.type = $2
WHERE a.localpart = ANY($1) AND NOT a.deactivated`

// ListAccountDataOf returns one global item of many accounts; those without the item are listed too.
func (q *Queries) ListAccountDataOf(ctx context.Context, localparts []string, kind string) ([]Owned, error) {
	rows, err := q.q.Query(ctx, listAccountDataOf, localparts, kind)
	if err != nil {
		return nil, fmt.Errorf("list account data of users: %w", pg.Error(err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Owned])
	if err != nil {
		return nil, fmt.Errorf("list account data of users: %w", pg.Error(err))
	}
	return list, nil
}

const deleteUserData = `
WITH p AS (DELETE FROM clientapi.profiles WHERE account_nid = $1),
     d AS (DELETE FROM clientapi.account_data WHERE account_nid = $1)
DELETE FROM clientapi.filters WHERE account_nid = $1`

// DeleteUserData removes profile, account data and filters: part of a deactivation.
func (q *Queries) DeleteUserData(ctx context.Context, account int64) error {
	if _, err := q.q.Exec(ctx, deleteUserData, account); err != nil {
		return fmt.Errorf("delete user data: %w", pg.Error(err))
	}
	return nil
}
