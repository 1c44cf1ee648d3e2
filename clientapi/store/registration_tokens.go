package store

import (
	"context"
	"fmt"
	"time"

	"allmende/internal/pg"

	"github.com/jackc/pgx/v5"
)

// RegistrationToken is one row, with the uses that are held by registrations under way.
type RegistrationToken struct {
	NID         int64
	UsesAllowed *int // nil: any number
	Completed   int
	Pending     int
	Expires     *time.Time // nil: never
}

const insertRegistrationToken = `
INSERT INTO clientapi.registration_tokens (token_hash, uses_allowed, expires) VALUES ($1, $2, $3)
ON CONFLICT (token_hash) DO NOTHING RETURNING token_nid`

// CreateRegistrationToken stores a token. ErrNotFound: it exists already.
func (q *Queries) CreateRegistrationToken(ctx context.Context, hash []byte, uses *int, expires *time.Time) (int64, error) {
	var nid int64
	if err := q.q.QueryRow(ctx, insertRegistrationToken, hash, uses, expires).Scan(&nid); err != nil {
		return 0, fmt.Errorf("create registration token: %w", pg.Error(err))
	}
	return nid, nil
}

const validRegistrationToken = `
SELECT token_nid FROM clientapi.registration_tokens t
WHERE token_hash = $1 AND (expires IS NULL OR expires > now())
  AND (uses_allowed IS NULL OR uses_allowed > completed + (
      SELECT count(*) FROM clientapi.uia_sessions u WHERE u.registration_token = t.token_nid AND u.expires > now()))`

// ValidRegistrationToken finds a token that still has a use to give. ErrNotFound: none such.
func (q *Queries) ValidRegistrationToken(ctx context.Context, hash []byte) (int64, error) {
	var nid int64
	if err := q.q.QueryRow(ctx, validRegistrationToken, hash).Scan(&nid); err != nil {
		return 0, fmt.Errorf("find registration token: %w", pg.Error(err))
	}
	return nid, nil
}

const lockRegistrationToken = `SELECT FROM clientapi.registration_tokens WHERE token_nid = $1 FOR UPDATE`

const validRegistrationTokenNID = `
SELECT EXISTS (SELECT FROM clientapi.registration_tokens t
WHERE token_nid = $1 AND (expires IS NULL OR expires > now())
  AND (uses_allowed IS NULL OR uses_allowed > completed + (
      SELECT count(*) FROM clientapi.uia_sessions u WHERE u.registration_token = t.token_nid AND u.expires > now())))`

// LockRegistrationToken keeps others off the token until the transaction ends, and reports whether it still has a use to
// give. Two statements: the second sees what those who held the lock before have committed.
func (q *Queries) LockRegistrationToken(ctx context.Context, nid int64) (valid bool, err error) {
	if _, err := q.q.Exec(ctx, lockRegistrationToken, nid); err != nil {
		return false, fmt.Errorf("lock registration token: %w", pg.Error(err))
	}
	if err := q.q.QueryRow(ctx, validRegistrationTokenNID, nid).Scan(&valid); err != nil {
		return false, fmt.Errorf("check registration token: %w", pg.Error(err))
	}
	return valid, nil
}

const useRegistrationToken = `UPDATE clientapi.registration_tokens SET completed = completed + 1 WHERE token_nid = $1`

// UseRegistrationToken counts an account made with the token.
func (q *Queries) UseRegistrationToken(ctx context.Context, nid int64) error {
	return q.mustChange(ctx, "use registration token", useRegistrationToken, nid)
}

const listRegistrationTokens = `
SELECT token_nid, uses_allowed, completed,
       (SELECT count(*) FROM clientapi.uia_sessions u WHERE u.registration_token = t.token_nid AND u.expires > now()),
       expires
FROM clientapi.registration_tokens t WHERE token_nid > $1 ORDER BY token_nid LIMIT $2`

// ListRegistrationTokens lists tokens, oldest first.
func (q *Queries) ListRegistrationTokens(ctx context.Context, after int64, limit int) ([]RegistrationToken, error) {
	rows, err := q.q.Query(ctx, listRegistrationTokens, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list registration tokens: %w", pg.Error(err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[RegistrationToken])
	if err != nil {
		return nil, fmt.Errorf("list registration tokens: %w", pg.Error(err))
	}
	return list, nil
}

const deleteRegistrationToken = `DELETE FROM clientapi.registration_tokens WHERE token_hash = $1 OR token_nid = $2`

// DeleteRegistrationToken ends a token, named by hash or number. ErrNotFound: no such token.
func (q *Queries) DeleteRegistrationToken(ctx context.Context, hash []byte, nid int64) error {
	return q.mustChange(ctx, "revoke registration token", deleteRegistrationToken, hash, nid)
}

const deleteOldRegistrationTokens = `DELETE FROM clientapi.registration_tokens WHERE expires < now() - interval '30 days'`

// DeleteOldRegistrationTokens forgets tokens that ended a month ago.
func (q *Queries) DeleteOldRegistrationTokens(ctx context.Context) error {
	if _, err := q.q.Exec(ctx, deleteOldRegistrationTokens); err != nil {
		return fmt.Errorf("delete old registration tokens: %w", pg.Error(err))
	}
	return nil
}
