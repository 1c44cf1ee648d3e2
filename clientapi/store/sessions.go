package store

import (
	"context"
	"fmt"
	"time"

	"allmende/internal/pg"
)

// Session is what a token stands for.
type Session struct {
	NID            int64
	AccountNID     int64
	Localpart      string
	Admin          bool
	Locked         bool
	DeviceNID      int64
	DeviceID       string
	LastSeen       time.Time  // day, UTC
	AccessExpires  *time.Time // nil: never
	RefreshExpires *time.Time
	Replaces       *int64 // set until the session is used for the first time after a refresh
}

const sessionColumns = `
SELECT s.session_nid, d.account_nid, a.localpart, a.admin, a.locked, d.device_nid, d.device_id, d.last_seen::timestamp,
       s.access_expires, s.refresh_expires, s.replaces
FROM clientapi.sessions s
JOIN clientapi.devices d USING (device_nid)
JOIN clientapi.accounts a USING (account_nid)
`

const selectSession = sessionColumns + `WHERE s.access_hash = $1`

// SessionByAccess finds the session of an access token, expired or not.
func (q *Queries) SessionByAccess(ctx context.Context, hash []byte) (Session, error) {
	return q.session(ctx, selectSession, hash)
}

const selectSessionByRefresh = sessionColumns + `WHERE s.refresh_hash = $1`

// SessionByRefresh finds the session of a refresh token, expired or not.
func (q *Queries) SessionByRefresh(ctx context.Context, hash []byte) (Session, error) {
	return q.session(ctx, selectSessionByRefresh, hash)
}

const lockSessionByRefresh = selectSessionByRefresh + ` FOR UPDATE OF s`

// LockSessionByRefresh is SessionByRefresh that keeps others off the session until the transaction ends.
func (q *Queries) LockSessionByRefresh(ctx context.Context, hash []byte) (Session, error) {
	return q.session(ctx, lockSessionByRefresh, hash)
}

func (q *Queries) session(ctx context.Context, sql string, hash []byte) (Session, error) {
	var s Session
	err := q.q.QueryRow(ctx, sql, hash).Scan(&s.NID, &s.AccountNID, &s.Localpart, &s.Admin, &s.Locked, &s.DeviceNID,
		&s.DeviceID, &s.LastSeen, &s.AccessExpires, &s.RefreshExpires, &s.Replaces)
	if err != nil {
		return Session{}, fmt.Errorf("find session: %w", pg.Error(err))
	}
	return s, nil
}

// NewSession is a pair of tokens about to be given out.
type NewSession struct {
	DeviceNID      int64
	AccessHash     []byte
	AccessExpires  *time.Time // nil: never
	RefreshHash    []byte     // nil: none
	RefreshExpires *time.Time
	Replaces       *int64
}

const insertSession = `
INSERT INTO clientapi.sessions (device_nid, access_hash, access_expires, refresh_hash, refresh_expires, replaces)
VALUES ($1, $2, $3, $4, $5, $6)`

// CreateSession stores the pair.
func (q *Queries) CreateSession(ctx context.Context, s NewSession) error {
	_, err := q.q.Exec(ctx, insertSession, s.DeviceNID, s.AccessHash, s.AccessExpires, s.RefreshHash, s.RefreshExpires, s.Replaces)
	if err != nil {
		return fmt.Errorf("create session: %w", pg.Error(err))
	}
	return nil
}

const deleteDeviceSessions = `DELETE FROM clientapi.sessions WHERE device_nid = $1 RETURNING access_hash`

// DeleteDeviceSessions ends every session of a device and returns their access hashes.
func (q *Queries) DeleteDeviceSessions(ctx context.Context, device int64) (ended [][]byte, err error) {
	return q.hashes(ctx, "end sessions of device", deleteDeviceSessions, device)
}

const retireSession = `
UPDATE clientapi.sessions
SET refresh_hash = NULL, refresh_expires = NULL, access_expires = LEAST(access_expires, $2)
WHERE session_nid = $1`

const deleteSiblings = `
DELETE FROM clientapi.sessions WHERE replaces = $1 AND session_nid <> $2 RETURNING access_hash`

const settleSession = `UPDATE clientapi.sessions SET replaces = NULL WHERE session_nid = $1`

// SettleSession marks that a session made by a refresh is in use. The one it replaces cannot be refreshed any more and
// its access token ends at until; sessions of other attempts at the same refresh end now, and their access hashes are
// returned. Call it in a transaction. ErrNotFound: the session has ended because another attempt was used first.
//
// spec: c-s §Refreshing access tokens
func (q *Queries) SettleSession(ctx context.Context, session, replaces int64, until time.Time) (ended [][]byte, err error) {
	if _, err := q.q.Exec(ctx, retireSession, replaces, until); err != nil {
		return nil, fmt.Errorf("retire session: %w", pg.Error(err))
	}
	ended, err = q.hashes(ctx, "end sessions of repeated refreshes", deleteSiblings, replaces, session)
	if err != nil {
		return nil, err
	}
	return ended, q.mustChange(ctx, "settle session", settleSession, session)
}

const deleteDeadSessions = `
DELETE FROM clientapi.sessions
WHERE access_expires < now() AND (refresh_hash IS NULL OR refresh_expires < now())`

// DeleteDeadSessions deletes sessions of which neither token is good for anything.
func (q *Queries) DeleteDeadSessions(ctx context.Context) (int64, error) {
	tag, err := q.q.Exec(ctx, deleteDeadSessions)
	if err != nil {
		return 0, fmt.Errorf("delete dead sessions: %w", pg.Error(err))
	}
	return tag.RowsAffected(), nil
}

const insertLoginToken = `INSERT INTO clientapi.login_tokens (token_hash, account_nid, expires) VALUES ($1, $2, $3)`

// CreateLoginToken stores a token for one login.
func (q *Queries) CreateLoginToken(ctx context.Context, hash []byte, account int64, expires time.Time) error {
	if _, err := q.q.Exec(ctx, insertLoginToken, hash, account, expires); err != nil {
		return fmt.Errorf("create login token: %w", pg.Error(err))
	}
	return nil
}

const takeLoginToken = `
DELETE FROM clientapi.login_tokens WHERE token_hash = $1 AND expires > now() RETURNING account_nid`

// TakeLoginToken uses a token up. ErrNotFound: unknown, used or expired.
func (q *Queries) TakeLoginToken(ctx context.Context, hash []byte) (account int64, err error) {
	if err := q.q.QueryRow(ctx, takeLoginToken, hash).Scan(&account); err != nil {
		return 0, fmt.Errorf("take login token: %w", pg.Error(err))
	}
	return account, nil
}

const deleteLoginTokens = `DELETE FROM clientapi.login_tokens WHERE expires < now() OR account_nid = $1`

// DeleteLoginTokens deletes an account's login tokens, and those of all that have expired; account may be 0.
func (q *Queries) DeleteLoginTokens(ctx context.Context, account int64) error {
	if _, err := q.q.Exec(ctx, deleteLoginTokens, account); err != nil {
		return fmt.Errorf("delete login tokens: %w", pg.Error(err))
	}
	return nil
}
