package store

import (
	"context"
	"fmt"
	"time"

	"allmende/internal/pg"
)

// UIASession is authentication under way.
type UIASession struct {
	Operation         []byte   // what is to be done, see CreateUIA
	Completed         []string // stages, in order
	RegistrationToken *int64   // whose use the session holds
}

const insertUIA = `INSERT INTO clientapi.uia_sessions (session_hash, operation, expires) VALUES ($1, $2, $3)`

// CreateUIA begins authentication for one operation, which is compared byte by byte later.
func (q *Queries) CreateUIA(ctx context.Context, hash, operation []byte, expires time.Time) error {
	if _, err := q.q.Exec(ctx, insertUIA, hash, operation, expires); err != nil {
		return fmt.Errorf("begin authentication: %w", pg.Error(err))
	}
	return nil
}

const selectUIA = `
SELECT operation, completed, registration_token FROM clientapi.uia_sessions WHERE session_hash = $1 AND expires > now()`

// FindUIA finds authentication that has not expired.
func (q *Queries) FindUIA(ctx context.Context, hash []byte) (UIASession, error) {
	var u UIASession
	if err := q.q.QueryRow(ctx, selectUIA, hash).Scan(&u.Operation, &u.Completed, &u.RegistrationToken); err != nil {
		return UIASession{}, fmt.Errorf("find authentication: %w", pg.Error(err))
	}
	return u, nil
}

const completeStage = `
UPDATE clientapi.uia_sessions
SET completed = CASE WHEN $2 = ANY (completed) THEN completed ELSE completed || $2::text END,
    registration_token = COALESCE($3, registration_token)
WHERE session_hash = $1 AND expires > now()`

// CompleteStage writes down that a stage is done; a registration token's use is held for the session from then on.
// ErrNotFound: unknown or expired.
func (q *Queries) CompleteStage(ctx context.Context, hash []byte, stage string, registrationToken *int64) error {
	return q.mustChange(ctx, "complete stage", completeStage, hash, stage, registrationToken)
}

const deleteUIA = `DELETE FROM clientapi.uia_sessions WHERE session_hash = $1`

// DeleteUIA ends authentication: the operation it was for is done.
func (q *Queries) DeleteUIA(ctx context.Context, hash []byte) error {
	if _, err := q.q.Exec(ctx, deleteUIA, hash); err != nil {
		return fmt.Errorf("end authentication: %w", pg.Error(err))
	}
	return nil
}

const deleteExpiredUIA = `DELETE FROM clientapi.uia_sessions WHERE expires < now()`

// DeleteExpiredUIA forgets authentication nobody finished.
func (q *Queries) DeleteExpiredUIA(ctx context.Context) error {
	if _, err := q.q.Exec(ctx, deleteExpiredUIA); err != nil {
		return fmt.Errorf("forget expired authentication: %w", pg.Error(err))
	}
	return nil
}
