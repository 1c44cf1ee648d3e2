package clientapi

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"allmende/clientapi/api"
	"allmende/clientapi/store"
	"allmende/internal/auth"
	"allmende/internal/matrix"
	"allmende/internal/obs"
)

const (
	defaultPage = 100
	maxPage     = 500
)

// pageSize bounds what a page of a list may hold.
func pageSize(limit int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, maxPage)
}

func (s *Service) adminCreateUser(ctx context.Context, in api.AdminCreateUserReq) (api.AdminCreateUserResp, error) {
	localpart := strings.ToLower(in.Localpart)
	if err := s.checkLocalpart(localpart); err != nil {
		return api.AdminCreateUserResp{}, err
	}
	var hash string
	if in.Password != "" {
		if err := checkNewPassword(in.Password); err != nil {
			return api.AdminCreateUserResp{}, err
		}
		var err error
		if hash, err = s.passwords.hash(ctx, in.Password); err != nil {
			return api.AdminCreateUserResp{}, err
		}
	}
	_, err := s.store.CreateAccount(ctx, localpart, hash, in.Admin)
	if errors.Is(err, store.ErrNotFound) {
		return api.AdminCreateUserResp{}, errUserInUse
	}
	if err != nil {
		return api.AdminCreateUserResp{}, err
	}
	obs.Logger(ctx).Info("account created by an admin", "admin", in.Admin)
	return api.AdminCreateUserResp{UserID: s.userID(localpart)}, nil
}

// localAccount finds the account an admin means. Errors: M_INVALID_PARAM, M_NOT_FOUND.
func (s *Service) localAccount(ctx context.Context, id matrix.UserID) (store.Account, error) {
	if _, err := matrix.ParseUserID(string(id)); err != nil {
		return store.Account{}, err
	}
	localpart := s.localpart(string(id))
	if localpart == "" {
		return store.Account{}, matrix.InvalidParam("Not a user of this server")
	}
	a, err := s.store.FindAccount(ctx, localpart)
	if errors.Is(err, store.ErrNotFound) || err == nil && a.Deactivated {
		return store.Account{}, errNoUser
	}
	return a, err
}

var errNoUser = matrix.NotFound("There is no such user")

func (s *Service) adminSetPassword(ctx context.Context, in api.AdminSetPasswordReq) (struct{}, error) {
	if err := checkNewPassword(in.Password); err != nil {
		return struct{}{}, err
	}
	a, err := s.localAccount(ctx, in.UserID)
	if err != nil {
		return struct{}{}, err
	}
	hash, err := s.passwords.hash(ctx, in.Password)
	if err != nil {
		return struct{}{}, err
	}
	var ended [][]byte
	err = s.store.Tx(ctx, func(q *store.Queries) (err error) {
		ended, err = setPassword(ctx, q, a.NID, hash, in.LogoutDevices, "")
		return err
	})
	if err != nil {
		return struct{}{}, err
	}
	s.revoke(ctx, a.NID, ended)
	obs.Logger(ctx).Info("password set by an admin", "logout", in.LogoutDevices)
	return struct{}{}, nil
}

func (s *Service) adminListUsers(ctx context.Context, in api.AdminListUsersReq) (api.AdminListUsersResp, error) {
	if in.After != "" && !matrix.ValidLocalpart(in.After) {
		return api.AdminListUsersResp{}, matrix.InvalidParam("Not the name of a user")
	}
	limit := pageSize(in.Limit)
	list, err := s.store.ListAccounts(ctx, in.After, limit+1)
	if err != nil {
		return api.AdminListUsersResp{}, err
	}
	out := api.AdminListUsersResp{More: len(list) > limit}
	for _, a := range list[:min(len(list), limit)] {
		u := api.AdminUser{
			UserID: s.userID(a.Localpart), Admin: a.Admin, Locked: a.Locked, Deactivated: a.Deactivated,
			Created: a.Created.Format("2006-01"), Devices: a.Devices,
		}
		if a.LastSeen != nil {
			u.LastSeen = a.LastSeen.Format(time.DateOnly)
		}
		out.Users = append(out.Users, u)
	}
	return out, nil
}

func (s *Service) adminLockUser(ctx context.Context, in api.AdminLockUserReq) (struct{}, error) {
	a, err := s.localAccount(ctx, in.UserID)
	if err != nil {
		return struct{}{}, err
	}
	err = s.store.SetLocked(ctx, a.NID, in.Locked)
	if errors.Is(err, store.ErrNotFound) {
		return struct{}{}, errNoUser
	}
	if err != nil {
		return struct{}{}, err
	}
	s.announce(ctx, auth.Revocation{Account: a.NID}) // sessions stay, and are to be looked at anew
	obs.Logger(ctx).Info("account lock changed by an admin", "locked", in.Locked)
	return struct{}{}, nil
}

// spec: c-s §Token-authenticated registration
var registrationTokenText = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)

func (s *Service) adminCreateRegistrationToken(ctx context.Context, in api.AdminCreateRegistrationTokenReq) (api.AdminCreateRegistrationTokenResp, error) {
	var out api.AdminCreateRegistrationTokenResp
	if in.Token == "" {
		in.Token = newToken("")
	}
	switch {
	case !registrationTokenText.MatchString(in.Token):
		return out, matrix.InvalidParam("A token has 1 to 64 of the characters A-Z a-z 0-9 . _ ~ -")
	case in.UsesAllowed != nil && (*in.UsesAllowed < 1 || *in.UsesAllowed > 1_000_000):
		return out, matrix.InvalidParam("The number of uses is from 1 to 1000000")
	case in.ExpiresAt != nil && !in.ExpiresAt.After(time.Now()):
		return out, matrix.InvalidParam("The token would be over already")
	}
	nid, err := s.store.CreateRegistrationToken(ctx, hashToken(in.Token), in.UsesAllowed, in.ExpiresAt)
	if errors.Is(err, store.ErrNotFound) {
		return out, matrix.Unknown("There is such a token already").WithStatus(http.StatusConflict)
	}
	if err != nil {
		return out, err
	}
	obs.Logger(ctx).Info("registration token created by an admin")
	out.Token = in.Token
	out.RegistrationToken = api.RegistrationToken{ID: nid, UsesAllowed: in.UsesAllowed, ExpiresAt: in.ExpiresAt}
	return out, nil
}

func (s *Service) adminListRegistrationTokens(ctx context.Context, in api.AdminListRegistrationTokensReq) (api.AdminListRegistrationTokensResp, error) {
	limit := pageSize(in.Limit)
	list, err := s.store.ListRegistrationTokens(ctx, in.After, limit+1)
	if err != nil {
		return api.AdminListRegistrationTokensResp{}, err
	}
	out := api.AdminListRegistrationTokensResp{More: len(list) > limit}
	for _, t := range list[:min(len(list), limit)] {
		out.Tokens = append(out.Tokens, api.RegistrationToken{
			ID: t.NID, UsesAllowed: t.UsesAllowed, Completed: t.Completed, Pending: t.Pending, ExpiresAt: t.Expires,
		})
	}
	return out, nil
}

func (s *Service) adminRevokeRegistrationToken(ctx context.Context, in api.AdminRevokeRegistrationTokenReq) (struct{}, error) {
	if (in.Token == "") == (in.ID == 0) {
		return struct{}{}, matrix.InvalidParam("Name the token either by its text or by its number")
	}
	var hash []byte
	if in.Token != "" {
		hash = hashToken(in.Token)
	}
	err := s.store.DeleteRegistrationToken(ctx, hash, in.ID)
	if errors.Is(err, store.ErrNotFound) {
		return struct{}{}, matrix.NotFound("There is no such token")
	}
	if err == nil {
		obs.Logger(ctx).Info("registration token revoked by an admin")
	}
	return struct{}{}, err
}
