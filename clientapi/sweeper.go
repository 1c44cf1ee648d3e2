package clientapi

import (
	"context"
	"time"

	"allmende/internal/obs"
)

// sweepPeriod is how long something that has expired, and is therefore not used any more, may still be in the database.
const sweepPeriod = 10 * time.Minute

// runSweeper deletes what has expired, until ctx ends.
func (s *Service) runSweeper(ctx context.Context) error {
	tick := time.NewTicker(sweepPeriod)
	defer tick.Stop()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			obs.Logger(ctx).Warn("expired sessions and tokens could not be deleted", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sweep deletes authentication nobody finished, tokens that are over, and devices that could not be used for as long as a
// session lasts.
func (s *Service) sweep(ctx context.Context) error {
	if err := s.store.DeleteExpiredUIA(ctx); err != nil {
		return err
	}
	if err := s.store.DeleteLoginTokens(ctx, 0); err != nil {
		return err
	}
	if err := s.store.DeleteOldRegistrationTokens(ctx); err != nil {
		return err
	}
	if _, err := s.store.DeleteDeadSessions(ctx); err != nil {
		return err
	}
	_, err := s.store.DeleteIdleDevices(ctx, time.Now().Add(-s.Config.Auth.RefreshTokenLifetime.Std()))
	return err
}
