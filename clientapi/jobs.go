package clientapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"allmende/clientapi/store"
	"allmende/internal/bus"
	"allmende/internal/obs"
	rooms "allmende/roomserver/api"
)

const (
	jobLease   = 2 * time.Minute  // a job that is not done by then is taken again
	jobTimeout = 90 * time.Second // of one attempt
	jobPeriod  = 15 * time.Second // how often jobs of other instances, or delayed ones, are looked for
	maxDelay   = time.Hour
)

// jobLeaveRooms makes a deactivated user leave all rooms.
const jobLeaveRooms = "leave_rooms"

// doJob does one job. It may have been done before, in part or whole.
func (s *Service) doJob(ctx context.Context, j store.Job) error {
	switch j.Kind {
	case jobLeaveRooms:
		_, err := bus.Call(ctx, s.Bus, rooms.LeaveAll, rooms.LeaveAllReq{UserID: s.userID(j.Localpart)})
		return err
	case jobProfile:
		return s.showProfile(ctx, j)
	}
	return fmt.Errorf("job of unknown kind %q", j.Kind)
}

// wakeJobs has the worker of this process look for jobs now.
func (s *Service) wakeJobs() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// runJobs does what is due, until ctx ends.
func (s *Service) runJobs(ctx context.Context) error {
	tick := time.NewTicker(jobPeriod)
	defer tick.Stop()
	for {
		for ctx.Err() == nil {
			if more := s.nextJob(ctx); !more {
				break
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-tick.C:
		}
	}
}

// nextJob does the job that is due longest. more is false when there was none, or jobs cannot be read now.
func (s *Service) nextJob(ctx context.Context) (more bool) {
	j, err := s.store.TakeJob(ctx, jobLease)
	if errors.Is(err, store.ErrNotFound) {
		return false
	}
	if err == nil {
		err = s.attempt(ctx, j)
	}
	if err != nil && ctx.Err() == nil {
		obs.Logger(ctx).Warn("job is not done yet", "kind", j.Kind, "attempt", j.Attempts, "error", err)
	}
	return err == nil
}

// attempt does a job and deletes it, or has it done again later: after 5 s, then twice as long each time, up to an hour.
func (s *Service) attempt(ctx context.Context, j store.Job) error {
	try, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	err := s.doJob(try, j)
	if err == nil {
		return s.store.DeleteJob(ctx, j.NID)
	}
	delay := min(5*time.Second<<min(j.Attempts-1, 10), maxDelay)
	if later := s.store.DelayJob(ctx, j.NID, delay); later != nil {
		return errors.Join(err, later) // due again when the lease ends
	}
	return err
}
