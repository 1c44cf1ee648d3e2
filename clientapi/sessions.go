package clientapi

import (
	"context"
	"errors"
	"time"

	"allmende/clientapi/store"
	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/internal/obs"
)

// retireAfter is how long an access token still works after its session has been refreshed and the new token used:
// requests that were on their way shall arrive.
const retireAfter = 5 * time.Minute

func (s *Service) sessionRoutes() []httpx.Route {
	return []httpx.Route{
		{Method: "POST", Path: "/_matrix/client/v3/refresh", Rate: httpx.RateWrite, Handler: httpx.Handle(s.refresh)},
		{Method: "GET", Path: "/_matrix/client/v3/account/whoami", Auth: httpx.Required, Rate: httpx.RateRead,
			Handler: httpx.Handle(s.whoami)},
		{Method: "POST", Path: "/_matrix/client/v3/logout", Auth: httpx.Required, Rate: httpx.RateWrite, AllowLocked: true,
			Handler: httpx.Handle(s.logout)},
		{Method: "POST", Path: "/_matrix/client/v3/logout/all", Auth: httpx.Required, Rate: httpx.RateWrite, AllowLocked: true,
			Handler: httpx.Handle(s.logoutAll)},
	}
}

// authenticate serves auth.Authenticate: one query, but on the first use of a day and of a refreshed token.
func (s *Service) authenticate(ctx context.Context, in auth.AuthenticateReq) (auth.Session, error) {
	row, err := s.store.SessionByAccess(ctx, in.TokenHash[:])
	if errors.Is(err, store.ErrNotFound) {
		return auth.Session{}, matrix.UnknownToken(false)
	}
	if err != nil {
		return auth.Session{}, err
	}
	now := time.Now()
	if expired(row.AccessExpires, now) {
		// The session is still there: the client may refresh it, or log in again as the same device.
		return auth.Session{}, matrix.UnknownToken(true).WithMessage("The access token has expired")
	}
	if row.Replaces != nil {
		if err := s.settle(ctx, row); err != nil {
			return auth.Session{}, err
		}
	}
	if today := now.UTC().Truncate(24 * time.Hour); row.LastSeen.Before(today) {
		if err := s.store.TouchDevice(ctx, row.DeviceNID, today); err != nil {
			obs.Logger(ctx).Warn("last use of a device could not be written down", "error", err)
		}
	}
	out := auth.Session{
		UserID: s.userID(row.Localpart), Account: row.AccountNID, DeviceID: row.DeviceID,
		TokenHash: in.TokenHash, Locked: row.Locked, Admin: row.Admin,
	}
	if row.AccessExpires != nil {
		out.Expires = *row.AccessExpires
	}
	return out, nil
}

// settle marks a refreshed session as used, which is when the one before it ends.
func (s *Service) settle(ctx context.Context, row store.Session) error {
	var ended [][]byte
	err := s.store.Tx(ctx, func(q *store.Queries) (err error) {
		ended, err = q.SettleSession(ctx, row.NID, *row.Replaces, time.Now().Add(retireAfter))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return matrix.UnknownToken(false)
	}
	if err != nil {
		return err
	}
	s.revoke(ctx, row.AccountNID, ended)
	return nil
}

func expired(t *time.Time, now time.Time) bool { return t != nil && !now.Before(*t) }

type refreshIn struct {
	Body struct {
		RefreshToken *string `json:"refresh_token"`
	} `body:""`
}

// refresh gives a new pair of tokens for a refresh token. The old refresh token works until the new pair is used.
//
// spec: c-s §POST /refresh
func (s *Service) refresh(ctx context.Context, _ auth.Session, in refreshIn) (tokenPair, error) {
	if in.Body.RefreshToken == nil {
		return tokenPair{}, matrix.MissingParam("The refresh token is missing")
	}
	var pair tokenPair
	var old store.Session
	var ended [][]byte
	err := s.store.Tx(ctx, func(q *store.Queries) (err error) {
		old, err = q.LockSessionByRefresh(ctx, hashToken(*in.Body.RefreshToken))
		if errors.Is(err, store.ErrNotFound) {
			return matrix.UnknownToken(false).WithMessage("The refresh token is not known, or has been used")
		}
		if err != nil {
			return err
		}
		if expired(old.RefreshExpires, time.Now()) {
			return matrix.UnknownToken(true).WithMessage("The refresh token has expired")
		}
		if old.Locked {
			return matrix.UserLocked("This account has been locked")
		}
		if old.Replaces != nil {
			// The row is locked, so the session cannot have ended meanwhile.
			ended, err = q.SettleSession(ctx, old.NID, *old.Replaces, time.Now().Add(retireAfter))
			if err != nil {
				return err
			}
		}
		pair, err = s.openSession(ctx, q, old.DeviceNID, true, &old.NID)
		return err
	})
	if err != nil {
		return tokenPair{}, err
	}
	s.revoke(ctx, old.AccountNID, ended)
	return pair, nil
}

type whoamiOut struct {
	UserID   matrix.UserID `json:"user_id"`
	DeviceID string        `json:"device_id"`
	IsGuest  bool          `json:"is_guest"`
}

// whoami says whose token it is. spec: c-s §GET /account/whoami
func (s *Service) whoami(_ context.Context, u auth.Session, _ struct{}) (whoamiOut, error) {
	return whoamiOut{u.UserID, u.DeviceID, u.Guest}, nil
}

// logout ends the session and deletes its device. spec: c-s §POST /logout
func (s *Service) logout(ctx context.Context, u auth.Session, _ struct{}) (empty, error) {
	return empty{}, s.deleteDevices(ctx, u.Account, []string{u.DeviceID})
}

// logoutAll ends all sessions and deletes all devices. spec: c-s §POST /logout/all
func (s *Service) logoutAll(ctx context.Context, u auth.Session, _ struct{}) (empty, error) {
	ended, err := s.store.DeleteOtherDevices(ctx, u.Account, "")
	if err != nil {
		return empty{}, err
	}
	s.revoke(ctx, u.Account, ended)
	return empty{}, nil
}

func (s *Service) deleteDevices(ctx context.Context, account int64, ids []string) error {
	ended, err := s.store.DeleteDevices(ctx, account, ids)
	if err != nil {
		return err
	}
	s.revoke(ctx, account, ended)
	return nil
}
