package store

import (
	"context"
	"fmt"
	"time"

	"allmende/internal/pg"

	"github.com/jackc/pgx/v5"
)

// Account is one row of accounts.
type Account struct {
	NID          int64
	Localpart    string
	PasswordHash string // empty: no login by password
	Admin        bool
	Locked       bool
	Deactivated  bool
}

const insertAccount = `
INSERT INTO clientapi.accounts (localpart, password_hash, created, admin)
VALUES ($1, NULLIF($2, ''), date_trunc('month', now() AT TIME ZONE 'UTC')::date, $3)
ON CONFLICT (localpart) DO NOTHING
RETURNING account_nid`

// CreateAccount adds an account. ErrNotFound: the localpart is taken, if only by an account that is deactivated.
func (q *Queries) CreateAccount(ctx context.Context, localpart, passwordHash string, admin bool) (int64, error) {
	var nid int64
	if err := q.q.QueryRow(ctx, insertAccount, localpart, passwordHash, admin).Scan(&nid); err != nil {
		return 0, fmt.Errorf("create account: %w", pg.Error(err))
	}
	return nid, nil
}

const accountExists = `SELECT EXISTS (SELECT FROM clientapi.accounts WHERE localpart = $1)`

// AccountExists reports whether the localpart is taken.
func (q *Queries) AccountExists(ctx context.Context, localpart string) (bool, error) {
	var exists bool
	if err := q.q.QueryRow(ctx, accountExists, localpart).Scan(&exists); err != nil {
		return false, fmt.Errorf("look for account: %w", pg.Error(err))
	}
	return exists, nil
}

const selectAccount = `
SELECT account_nid, localpart, COALESCE(password_hash, ''), admin, locked, deactivated
FROM clientapi.accounts WHERE localpart = $1`

// FindAccount looks an account up by its localpart.
func (q *Queries) FindAccount(ctx context.Context, localpart string) (Account, error) {
	return q.account(ctx, selectAccount, localpart)
}

const selectAccountByNID = `
SELECT account_nid, localpart, COALESCE(password_hash, ''), admin, locked, deactivated
FROM clientapi.accounts WHERE account_nid = $1`

// Account looks an account up by its number.
func (q *Queries) Account(ctx context.Context, nid int64) (Account, error) {
	return q.account(ctx, selectAccountByNID, nid)
}

func (q *Queries) account(ctx context.Context, sql string, key any) (Account, error) {
	var a Account
	err := q.q.QueryRow(ctx, sql, key).Scan(&a.NID, &a.Localpart, &a.PasswordHash, &a.Admin, &a.Locked, &a.Deactivated)
	if err != nil {
		return Account{}, fmt.Errorf("find account: %w", pg.Error(err))
	}
	return a, nil
}

const updatePassword = `
UPDATE clientapi.accounts SET password_hash = $2 WHERE account_nid = $1 AND NOT deactivated`

// SetPassword replaces the hash. ErrNotFound: no such account, or deactivated.
func (q *Queries) SetPassword(ctx context.Context, nid int64, hash string) error {
	return q.mustChange(ctx, "set password", updatePassword, nid, hash)
}

const rehashPassword = `
UPDATE clientapi.accounts SET password_hash = $3 WHERE account_nid = $1 AND password_hash = $2`

// RehashPassword replaces one hash of a password by another of the same, unless the password was changed meanwhile.
func (q *Queries) RehashPassword(ctx context.Context, nid int64, old, hash string) error {
	if _, err := q.q.Exec(ctx, rehashPassword, nid, old, hash); err != nil {
		return fmt.Errorf("rehash password: %w", pg.Error(err))
	}
	return nil
}

const updateLocked = `
UPDATE clientapi.accounts SET locked = $2 WHERE account_nid = $1 AND NOT deactivated`

// SetLocked locks or unlocks. ErrNotFound: no such account, or deactivated.
func (q *Queries) SetLocked(ctx context.Context, nid int64, locked bool) error {
	return q.mustChange(ctx, "lock account", updateLocked, nid, locked)
}

const updateDeactivated = `
UPDATE clientapi.accounts SET deactivated = true, erased = $2, password_hash = NULL, admin = false, locked = false
WHERE account_nid = $1 AND NOT deactivated`

// Deactivate ends an account for good. ErrNotFound: no such account, or deactivated before.
func (q *Queries) Deactivate(ctx context.Context, nid int64, erase bool) error {
	return q.mustChange(ctx, "deactivate account", updateDeactivated, nid, erase)
}

// mustChange runs a statement that changes exactly one row, or answers ErrNotFound.
func (q *Queries) mustChange(ctx context.Context, what, sql string, args ...any) error {
	tag, err := q.q.Exec(ctx, sql, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", what, pg.Error(err))
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	return nil
}

// AccountSummary is one line of the admin's list.
type AccountSummary struct {
	Localpart   string
	Admin       bool
	Locked      bool
	Deactivated bool
	Created     time.Time  // first day of the month
	LastSeen    *time.Time // day
	Devices     int
}

const listAccounts = `
SELECT a.localpart, a.admin, a.locked, a.deactivated, a.created, max(d.last_seen), count(d.device_nid)
FROM (SELECT * FROM clientapi.accounts WHERE localpart > $1 ORDER BY localpart LIMIT $2) a
LEFT JOIN clientapi.devices d USING (account_nid)
GROUP BY a.account_nid, a.localpart, a.admin, a.locked, a.deactivated, a.created
ORDER BY a.localpart`

// ListAccounts lists accounts in order of localpart.
func (q *Queries) ListAccounts(ctx context.Context, after string, limit int) ([]AccountSummary, error) {
	rows, err := q.q.Query(ctx, listAccounts, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", pg.Error(err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[AccountSummary])
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", pg.Error(err))
	}
	return list, nil
}
