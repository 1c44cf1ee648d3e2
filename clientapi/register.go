package clientapi

import (
	"context"
	"errors"
	"slices"
	"strings"

	"allmende/clientapi/store"
	"allmende/config"
	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
)

func (s *Service) registerRoutes() []httpx.Route {
	return []httpx.Route{
		{Method: "POST", Path: "/_matrix/client/v3/register", Rate: httpx.RateRegister, Handler: httpx.Handle(s.register)},
		{Method: "GET", Path: "/_matrix/client/v3/register/available", Rate: httpx.RateRead, Handler: httpx.Handle(s.usernameAvailable)},
		{Method: "GET", Path: "/_matrix/client/v1/register/m.login.registration_token/validity", Rate: httpx.RateRegister,
			Handler: httpx.Handle(s.registrationTokenValidity)},
	}
}

type registerIn struct {
	Kind string                `query:"kind"`
	Body uiaBody[registerBody] `body:"optional"`
}

type registerBody struct {
	Type         string  `json:"type"`
	Username     *string `json:"username"`
	Password     string  `json:"password"`
	DeviceID     string  `json:"device_id"`
	DeviceName   string  `json:"initial_device_display_name"`
	InhibitLogin bool    `json:"inhibit_login"`
	RefreshToken bool    `json:"refresh_token"`
}

type registerOut struct {
	UserID   matrix.UserID `json:"user_id"`
	DeviceID string        `json:"device_id,omitempty"`
	tokenPair
}

// register makes an account. Whatever is wrong with the request is said before authentication is asked for, but that a
// password is missing: clients ask for the flows with an empty body.
//
// spec: c-s §POST /register
func (s *Service) register(ctx context.Context, _ auth.Session, in registerIn) (registerOut, error) {
	b := &in.Body.Fields
	if err := s.mayRegister(in.Kind, b.Type); err != nil {
		return registerOut{}, err
	}
	localpart, err := s.wantedLocalpart(ctx, b.Username)
	if err != nil {
		return registerOut{}, err
	}
	if b.Password != "" {
		if err := checkNewPassword(b.Password); err != nil {
			return registerOut{}, err
		}
	}
	if err := checkDevice(b.DeviceID, b.DeviceName); err != nil {
		return registerOut{}, err
	}
	g, err := s.interact(ctx, uiaRequest{
		operation: "POST register", body: in.Body.raw, auth: in.Body.Auth, flows: registerFlows(s.Config.Registration.Policy),
	})
	if err != nil {
		return registerOut{}, err
	}
	if b.Password == "" {
		return registerOut{}, matrix.MissingParam("The password is missing")
	}
	return s.createAccount(ctx, g, localpart, b)
}

// mayRegister applies the server's policy.
func (s *Service) mayRegister(kind, loginType string) error {
	switch {
	case kind == "guest":
		return matrix.GuestForbidden("This server has no guest accounts")
	case kind != "" && kind != "user":
		return matrix.InvalidParam("There is no such kind of account")
	case loginType == loginByAppservice:
		return matrix.Forbidden("The access token belongs to no application service")
	case s.Config.Registration.Policy == config.RegistrationClosed:
		return matrix.Forbidden("Registration is disabled")
	}
	return nil
}

func registerFlows(p config.RegistrationPolicy) [][]string {
	if p == config.RegistrationToken {
		return [][]string{{stageRegistrationToken}}
	}
	return [][]string{{stageDummy}}
}

// createAccount adds the account and, unless inhibited, its first session, all or nothing.
func (s *Service) createAccount(ctx context.Context, g uiaGrant, localpart string, b *registerBody) (registerOut, error) {
	hash, err := s.passwords.hash(ctx, b.Password)
	if err != nil {
		return registerOut{}, err
	}
	out := registerOut{UserID: s.userID(localpart)}
	err = s.store.Tx(ctx, func(q *store.Queries) error {
		nid, err := q.CreateAccount(ctx, localpart, hash, false)
		if errors.Is(err, store.ErrNotFound) {
			return errUserInUse
		}
		if err != nil {
			return err
		}
		if err := g.finish(ctx, q); err != nil || b.InhibitLogin {
			return err
		}
		d := newDevice{b.DeviceID, b.DeviceName, b.RefreshToken}
		if d.id == "" {
			d.id = randomName(deviceIDAlphabet, 10)
		}
		out.DeviceID = d.id
		out.tokenPair, _, err = s.deviceSession(ctx, q, nid, d)
		return err
	})
	return out, err
}

var errUserInUse = matrix.UserInUse("The user name is taken")

// reserved names are the server's own.
var reserved = []string{"allmende", "server", "system"}

// wantedLocalpart is the name an account is to get: what the client asks for in lower case, or a random one.
// Errors: M_INVALID_USERNAME, M_EXCLUSIVE, M_USER_IN_USE.
func (s *Service) wantedLocalpart(ctx context.Context, username *string) (string, error) {
	if username == nil || *username == "" {
		return randomName(localpartAlphabet, 12), nil
	}
	localpart := strings.ToLower(*username)
	if err := s.checkLocalpart(localpart); err != nil {
		return "", err
	}
	taken, err := s.store.AccountExists(ctx, localpart)
	if err != nil {
		return "", err
	}
	if taken {
		return "", errUserInUse
	}
	return localpart, nil
}

// checkLocalpart refuses names nobody may register.
func (s *Service) checkLocalpart(localpart string) error {
	if _, err := matrix.NewUserID(localpart, matrix.ServerName(s.Config.ServerName)); err != nil {
		return err
	}
	if slices.Contains(reserved, localpart) {
		return matrix.Exclusive("This user name is reserved")
	}
	return nil
}

type availableIn struct {
	Username string `query:"username,required"`
}

type availableOut struct {
	Available bool `json:"available"`
}

// usernameAvailable says whether a name could be registered now. spec: c-s §GET /register/available
func (s *Service) usernameAvailable(ctx context.Context, _ auth.Session, in availableIn) (availableOut, error) {
	if in.Username == "" {
		return availableOut{}, matrix.InvalidUsername("The user name is empty")
	}
	if _, err := s.wantedLocalpart(ctx, &in.Username); err != nil {
		return availableOut{}, err
	}
	return availableOut{true}, nil
}

type validityIn struct {
	Token string `query:"token,required"`
}

type validityOut struct {
	Valid bool `json:"valid"`
}

// registrationTokenValidity says whether a token would be taken now.
// spec: c-s §GET /register/m.login.registration_token/validity
func (s *Service) registrationTokenValidity(ctx context.Context, _ auth.Session, in validityIn) (validityOut, error) {
	if s.Config.Registration.Policy == config.RegistrationClosed {
		return validityOut{}, matrix.Forbidden("Registration is disabled")
	}
	_, err := s.store.ValidRegistrationToken(ctx, hashToken(in.Token))
	if errors.Is(err, store.ErrNotFound) {
		return validityOut{}, nil
	}
	return validityOut{err == nil}, err
}
