package store

import (
	"context"
	"encoding/json"
	"fmt"

	"allmende/internal/pg"

	"github.com/jackc/pgx/v5"
)

const selectProfile = `
SELECT p.field, p.value
FROM clientapi.accounts a LEFT JOIN clientapi.profiles p USING (account_nid)
WHERE a.localpart = $1 AND NOT a.deactivated`

// Profile returns all fields of a user. ErrNotFound: there is no such user.
func (q *Queries) Profile(ctx context.Context, localpart string) (map[string]json.RawMessage, error) {
	rows, err := q.q.Query(ctx, selectProfile, localpart)
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", pg.Error(err))
	}
	fields := map[string]json.RawMessage{}
	exists := false
	var name *string
	var value []byte
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		exists = true
		if name != nil {
			fields[*name] = value
			value = nil
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", pg.Error(err))
	}
	if !exists {
		return nil, fmt.Errorf("read profile: %w", ErrNotFound)
	}
	return fields, nil
}

const selectNames = `
SELECT a.localpart, p.field, p.value
FROM clientapi.accounts a JOIN clientapi.profiles p USING (account_nid)
WHERE a.localpart = ANY($1) AND p.field = ANY($2) AND NOT a.deactivated`

// ProfileFields returns some fields of many users, by localpart and field; what is not set is absent.
func (q *Queries) ProfileFields(ctx context.Context, localparts, fields []string) (map[string]map[string]json.RawMessage, error) {
	rows, err := q.q.Query(ctx, selectNames, localparts, fields)
	if err != nil {
		return nil, fmt.Errorf("read profiles: %w", pg.Error(err))
	}
	out := map[string]map[string]json.RawMessage{}
	var localpart, name string
	var value []byte
	_, err = pgx.ForEachRow(rows, []any{&localpart, &name, &value}, func() error {
		if out[localpart] == nil {
			out[localpart] = map[string]json.RawMessage{}
		}
		out[localpart][name] = value
		value = nil
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read profiles: %w", pg.Error(err))
	}
	return out, nil
}

const upsertProfileField = `
INSERT INTO clientapi.profiles (account_nid, field, value) VALUES ($1, $2, $3)
ON CONFLICT (account_nid, field) DO UPDATE SET value = EXCLUDED.value`

// SetProfileField writes one field.
func (q *Queries) SetProfileField(ctx context.Context, account int64, field string, value json.RawMessage) error {
	if _, err := q.q.Exec(ctx, upsertProfileField, account, field, []byte(value)); err != nil {
		return fmt.Errorf("write profile: %w", pg.Error(err))
	}
	return nil
}

const deleteProfileField = `DELETE FROM clientapi.profiles WHERE account_nid = $1 AND field = $2`

// DeleteProfileField removes one field, if it is set.
func (q *Queries) DeleteProfileField(ctx context.Context, account int64, field string) error {
	if _, err := q.q.Exec(ctx, deleteProfileField, account, field); err != nil {
		return fmt.Errorf("delete profile field: %w", pg.Error(err))
	}
	return nil
}
