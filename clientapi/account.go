package clientapi

import (
	"context"
	"errors"
	"net/http"

	"allmende/clientapi/store"
	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
)

func (s *Service) accountRoutes() []httpx.Route {
	return []httpx.Route{
		{Method: "POST", Path: "/_matrix/client/v3/account/password", Auth: httpx.Optional, Rate: httpx.RateLogin,
			Handler: httpx.Handle(s.changePassword)},
		{Method: "POST", Path: "/_matrix/client/v3/account/deactivate", Auth: httpx.Optional, Rate: httpx.RateLogin,
			Handler: httpx.Handle(s.deactivate)},
	}
}

type changePasswordIn struct {
	Body uiaBody[struct {
		NewPassword   *string `json:"new_password"`
		LogoutDevices *bool   `json:"logout_devices"`
	}] `body:""`
}

// changePassword sets a new password. The session that asks stays; the others end unless told otherwise.
//
// spec: c-s §POST /account/password
func (s *Service) changePassword(ctx context.Context, u auth.Session, in changePasswordIn) (empty, error) {
	b := in.Body.Fields
	if b.NewPassword == nil {
		return empty{}, matrix.MissingParam("The new password is missing")
	}
	if err := checkNewPassword(*b.NewPassword); err != nil {
		return empty{}, err
	}
	g, err := s.interact(ctx, uiaRequest{
		operation: "POST account/password", body: in.Body.raw, auth: in.Body.Auth, flows: passwordFlow, account: u.Account,
	})
	if err != nil {
		return empty{}, err
	}
	hash, err := s.passwords.hash(ctx, *b.NewPassword)
	if err != nil {
		return empty{}, err
	}
	var ended [][]byte
	err = s.store.Tx(ctx, func(q *store.Queries) (err error) {
		ended, err = setPassword(ctx, q, g.account.NID, hash, b.LogoutDevices == nil || *b.LogoutDevices, u.DeviceID)
		if err != nil {
			return err
		}
		return g.finish(ctx, q)
	})
	if err != nil {
		return empty{}, err
	}
	s.revoke(ctx, g.account.NID, ended)
	return empty{}, nil
}

// setPassword stores the hash and takes back what the old password could have been used for.
func setPassword(ctx context.Context, q *store.Queries, account int64, hash string, logout bool, keep string) (ended [][]byte, err error) {
	if err := q.SetPassword(ctx, account, hash); err != nil {
		return nil, goneMeanwhile(err)
	}
	if err := q.DeleteLoginTokens(ctx, account); err != nil || !logout {
		return nil, err
	}
	return q.DeleteOtherDevices(ctx, account, keep)
}

type deactivateIn struct {
	Body uiaBody[struct {
		Erase bool `json:"erase"`
	}] `body:"optional"`
}

type deactivateOut struct {
	IDServerUnbindResult string `json:"id_server_unbind_result"`
}

// deactivate ends an account: sessions, devices and what is stored of it go at once, its rooms are left soon after by a job
// that is part of the same transaction.
//
// spec: c-s §POST /account/deactivate
func (s *Service) deactivate(ctx context.Context, u auth.Session, in deactivateIn) (deactivateOut, error) {
	g, err := s.interact(ctx, uiaRequest{
		operation: "POST account/deactivate", body: in.Body.raw, auth: in.Body.Auth, flows: passwordFlow, account: u.Account,
	})
	if err != nil {
		return deactivateOut{}, err
	}
	err = s.store.Tx(ctx, func(q *store.Queries) error {
		if err := endAccount(ctx, q, g.account.NID, in.Body.Fields.Erase); err != nil {
			return err
		}
		return g.finish(ctx, q)
	})
	if err != nil {
		return deactivateOut{}, err
	}
	s.announce(ctx, auth.Revocation{Account: g.account.NID})
	s.wakeJobs()
	// There never were identifiers to unbind.
	return deactivateOut{"success"}, nil
}

// endAccount does what a deactivation does to clientapi's tables.
func endAccount(ctx context.Context, q *store.Queries, account int64, erase bool) error {
	if err := q.Deactivate(ctx, account, erase); err != nil {
		return goneMeanwhile(err)
	}
	if _, err := q.DeleteOtherDevices(ctx, account, ""); err != nil {
		return err
	}
	if err := q.DeleteLoginTokens(ctx, account); err != nil {
		return err
	}
	// Nobody can log in to it any more, so nobody can want it.
	if err := q.DeleteUserData(ctx, account); err != nil {
		return err
	}
	return q.AddJob(ctx, jobLeaveRooms, account)
}

// goneMeanwhile explains that an account to be changed is not there: another request has deactivated it.
func goneMeanwhile(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return matrix.UserDeactivated("This account has been deactivated")
	}
	return err
}

// contactRoutes answer what concerns e-mail addresses and phone numbers: this server keeps none.
func (s *Service) contactRoutes() []httpx.Route {
	const account, register = "/_matrix/client/v3/account/", "/_matrix/client/v3/register/"
	routes := []httpx.Route{
		{Method: "GET", Path: account + "3pid", Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.contacts)},
	}
	for _, path := range []string{"3pid", "3pid/add", "3pid/bind", "3pid/delete", "3pid/unbind"} {
		routes = append(routes, httpx.Route{
			Method: "POST", Path: account + path, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.noContacts),
		})
	}
	for _, path := range []string{
		register + "email/requestToken", register + "msisdn/requestToken",
		account + "password/email/requestToken", account + "password/msisdn/requestToken",
	} {
		routes = append(routes, httpx.Route{Method: "POST", Path: path, Rate: httpx.RateRegister, Handler: httpx.Handle(s.noContacts)})
	}
	for _, path := range []string{account + "3pid/email/requestToken", account + "3pid/msisdn/requestToken"} {
		routes = append(routes, httpx.Route{Method: "POST", Path: path, Rate: httpx.RateRegister, Handler: httpx.Handle(s.noMedium)})
	}
	return routes
}

type contactsOut struct {
	Threepids []struct{} `json:"threepids"`
}

// contacts lists nothing. spec: c-s §GET /account/3pid
func (s *Service) contacts(context.Context, auth.Session, struct{}) (contactsOut, error) {
	return contactsOut{[]struct{}{}}, nil
}

func (s *Service) noContacts(context.Context, auth.Session, struct{}) (empty, error) {
	return empty{}, matrix.ThreepidDenied("This server keeps no e-mail addresses and no phone numbers")
}

// noMedium is the answer of the endpoints that have a code of their own for it.
// spec: c-s §POST /account/3pid/email/requestToken
func (s *Service) noMedium(context.Context, auth.Session, struct{}) (empty, error) {
	return empty{}, &matrix.Error{Code: "M_THREEPID_MEDIUM_NOT_SUPPORTED", Status: http.StatusBadRequest,
		Msg: "This server keeps no e-mail addresses and no phone numbers"}
}
