package store

import (
	"context"
	"encoding/json"
	"fmt"

	"allmende/internal/pg"
)

const insertFilter = `
INSERT INTO clientapi.filters (account_nid, filter_id, definition) VALUES ($1, $2, $3)
ON CONFLICT (account_nid, filter_id) DO NOTHING`

// EnsureFilter stores a filter, unless the account has it already.
func (q *Queries) EnsureFilter(ctx context.Context, account int64, id string, definition json.RawMessage) error {
	if _, err := q.q.Exec(ctx, insertFilter, account, id, []byte(definition)); err != nil {
		return fmt.Errorf("store filter: %w", pg.Error(err))
	}
	return nil
}

const selectFilter = `SELECT definition FROM clientapi.filters WHERE account_nid = $1 AND filter_id = $2`

// FindFilter returns a filter. ErrNotFound: the account has no such filter.
func (q *Queries) FindFilter(ctx context.Context, account int64, id string) (json.RawMessage, error) {
	var definition json.RawMessage
	if err := q.q.QueryRow(ctx, selectFilter, account, id).Scan((*[]byte)(&definition)); err != nil {
		return nil, fmt.Errorf("find filter: %w", pg.Error(err))
	}
	return definition, nil
}
