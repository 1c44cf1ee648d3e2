package store

import (
	"context"
	"fmt"
	"time"

	"allmende/internal/pg"
)

// Job is work that must still be done for an account.
type Job struct {
	NID        int64
	Kind       string
	AccountNID int64
	Localpart  string
	Attempts   int // this one included
}

const insertJob = `INSERT INTO clientapi.jobs (kind, account_nid) VALUES ($1, $2)`

// AddJob adds a job, in the transaction of what caused it.
func (q *Queries) AddJob(ctx context.Context, kind string, account int64) error {
	if _, err := q.q.Exec(ctx, insertJob, kind, account); err != nil {
		return fmt.Errorf("add job: %w", pg.Error(err))
	}
	return nil
}

const takeJob = `
UPDATE clientapi.jobs j SET attempts = attempts + 1, run_after = now() + $1
FROM clientapi.accounts a
WHERE j.job_nid = (SELECT job_nid FROM clientapi.jobs WHERE run_after <= now() ORDER BY run_after LIMIT 1 FOR UPDATE SKIP LOCKED)
  AND a.account_nid = j.account_nid
RETURNING j.job_nid, j.kind, j.account_nid, a.localpart, j.attempts`

// TakeJob takes the job that is due longest, for the time of lease: then it is due again. ErrNotFound: none is due.
func (q *Queries) TakeJob(ctx context.Context, lease time.Duration) (Job, error) {
	var j Job
	err := q.q.QueryRow(ctx, takeJob, lease).Scan(&j.NID, &j.Kind, &j.AccountNID, &j.Localpart, &j.Attempts)
	if err != nil {
		return Job{}, fmt.Errorf("take job: %w", pg.Error(err))
	}
	return j, nil
}

const deleteJob = `DELETE FROM clientapi.jobs WHERE job_nid = $1`

// DeleteJob ends a job that is done.
func (q *Queries) DeleteJob(ctx context.Context, nid int64) error {
	if _, err := q.q.Exec(ctx, deleteJob, nid); err != nil {
		return fmt.Errorf("end job: %w", pg.Error(err))
	}
	return nil
}

const delayJob = `UPDATE clientapi.jobs SET run_after = now() + $2 WHERE job_nid = $1`

// DelayJob has a job done again after a while.
func (q *Queries) DelayJob(ctx context.Context, nid int64, after time.Duration) error {
	if _, err := q.q.Exec(ctx, delayJob, nid, after); err != nil {
		return fmt.Errorf("delay job: %w", pg.Error(err))
	}
	return nil
}
