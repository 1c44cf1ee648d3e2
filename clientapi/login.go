package clientapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"allmende/clientapi/store"
	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/internal/obs"
)

// loginTokenLifetime is how long a token from /login/get_token may be used.
const loginTokenLifetime = 2 * time.Minute

func (s *Service) loginRoutes() []httpx.Route {
	return []httpx.Route{
		{Method: "GET", Path: "/_matrix/client/v3/login", Rate: httpx.RateRead, Handler: httpx.Handle(s.loginFlows)},
		{Method: "POST", Path: "/_matrix/client/v3/login", Rate: httpx.RateLogin, Handler: httpx.Handle(s.login)},
		{Method: "POST", Path: "/_matrix/client/v1/login/get_token", Auth: httpx.Required, Rate: httpx.RateLogin,
			Handler: httpx.Handle(s.loginToken)},
	}
}

type loginFlow struct {
	Type          string `json:"type"`
	GetLoginToken bool   `json:"get_login_token,omitempty"`
}

type loginFlowsOut struct {
	Flows []loginFlow `json:"flows"`
}

// loginFlows lists the ways to log in. spec: c-s §GET /login
func (s *Service) loginFlows(context.Context, auth.Session, struct{}) (loginFlowsOut, error) {
	return loginFlowsOut{[]loginFlow{{Type: stagePassword}, {Type: loginByToken, GetLoginToken: true}}}, nil
}

const (
	loginByToken      = "m.login.token"
	loginByAppservice = "m.login.application_service"
)

// userIdentifier names the user who logs in. spec: c-s §Identifier types
type userIdentifier struct {
	Type string `json:"type"`
	User string `json:"user"`
}

// user is the user id or localpart in it. older is the deprecated field beside the identifier. ok is false when neither
// is there. E-mail addresses and phone numbers are known of nobody; they come out as a name that nobody has.
func (u *userIdentifier) user(older string) (name string, ok bool) {
	switch {
	case u == nil:
		return older, older != ""
	case u.Type == "m.id.user":
		return u.User, u.User != ""
	}
	return "", true
}

type loginIn struct {
	Body struct {
		Type         string          `json:"type"`
		Identifier   *userIdentifier `json:"identifier"`
		User         string          `json:"user"`
		Medium       string          `json:"medium"`
		Password     *string         `json:"password"`
		Token        *string         `json:"token"`
		DeviceID     string          `json:"device_id"`
		DeviceName   string          `json:"initial_device_display_name"`
		RefreshToken bool            `json:"refresh_token"`
	} `body:""`
}

type loginOut struct {
	UserID   matrix.UserID `json:"user_id"`
	DeviceID string        `json:"device_id"`
	tokenPair
	WellKnown *clientWellKnown `json:"well_known,omitempty"`
}

type clientWellKnown struct {
	Homeserver struct {
		BaseURL string `json:"base_url"`
	} `json:"m.homeserver"`
}

// login makes a session. spec: c-s §POST /login
func (s *Service) login(ctx context.Context, _ auth.Session, in loginIn) (loginOut, error) {
	b := &in.Body
	if err := checkDevice(b.DeviceID, b.DeviceName); err != nil {
		return loginOut{}, err
	}
	a, err := s.loginAccount(ctx, in)
	if err != nil {
		return loginOut{}, err
	}
	d := newDevice{b.DeviceID, b.DeviceName, b.RefreshToken}
	if d.id == "" {
		d.id = randomName(deviceIDAlphabet, 10)
	}
	out := loginOut{UserID: s.userID(a.Localpart), DeviceID: d.id, WellKnown: &clientWellKnown{}}
	out.WellKnown.Homeserver.BaseURL = s.BaseURL()
	var ended [][]byte
	err = s.store.Tx(ctx, func(q *store.Queries) (err error) {
		out.tokenPair, ended, err = s.deviceSession(ctx, q, a.NID, d)
		return err
	})
	if err != nil {
		return loginOut{}, err
	}
	s.revoke(ctx, a.NID, ended)
	return out, nil
}

// loginAccount checks the credentials.
func (s *Service) loginAccount(ctx context.Context, in loginIn) (store.Account, error) {
	b := &in.Body
	switch b.Type {
	case stagePassword:
		name, ok := b.Identifier.user(b.User)
		if !ok && b.Medium == "" {
			return store.Account{}, matrix.MissingParam("An identifier is missing")
		}
		if b.Password == nil {
			return store.Account{}, matrix.MissingParam("The password is missing")
		}
		return s.checkPassword(ctx, name, *b.Password)
	case loginByToken:
		if b.Token == nil {
			return store.Account{}, matrix.MissingParam("The token is missing")
		}
		return s.takeLoginToken(ctx, *b.Token)
	case loginByAppservice:
		return store.Account{}, matrix.Forbidden("The access token belongs to no application service")
	case "":
		return store.Account{}, matrix.MissingParam("The login type is missing")
	}
	return store.Account{}, matrix.Unknown("Bad login type").WithStatus(http.StatusBadRequest)
}

func (s *Service) takeLoginToken(ctx context.Context, token string) (store.Account, error) {
	nid, err := s.store.TakeLoginToken(ctx, hashToken(token))
	if errors.Is(err, store.ErrNotFound) {
		return store.Account{}, matrix.Forbidden("The login token is not valid")
	}
	if err != nil {
		return store.Account{}, err
	}
	a, err := s.store.Account(ctx, nid)
	if err != nil {
		return store.Account{}, err
	}
	return a, mayLogIn(a)
}

// mayLogIn refuses accounts that are locked or gone, after their owner has shown who they are.
//
// spec: c-s §Account locking
func mayLogIn(a store.Account) error {
	switch {
	case a.Deactivated:
		return matrix.UserDeactivated("This account has been deactivated")
	case a.Locked:
		return matrix.UserLocked("This account has been locked")
	}
	return nil
}

var errWrongPassword = matrix.Forbidden("Wrong user name or password")

// checkPassword finds the account a name and password belong to. A name that does not exist, a deactivated account and a
// wrong password take the same work and get the same answer.
// Errors: M_FORBIDDEN, M_USER_LOCKED (the password was right), M_LIMIT_EXCEEDED.
func (s *Service) checkPassword(ctx context.Context, name, password string) (store.Account, error) {
	localpart := s.localpart(name)
	right, err := s.guesses.take(localpart)
	if err != nil {
		return store.Account{}, err
	}
	a, err := s.store.FindAccount(ctx, localpart)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Account{}, err
	}
	match, stale, err := s.passwords.verify(ctx, a.PasswordHash, password)
	switch {
	case err != nil:
		return store.Account{}, err
	case !match:
		return store.Account{}, errWrongPassword
	}
	right()
	if err := mayLogIn(a); err != nil {
		return store.Account{}, err
	}
	if stale {
		if err := s.rehash(ctx, a, password); err != nil {
			obs.Logger(ctx).Warn("password could not be hashed anew", "error", err)
		}
	}
	return a, nil
}

// rehash stores the password at the cost that is configured now.
func (s *Service) rehash(ctx context.Context, a store.Account, password string) error {
	h, err := s.passwords.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.store.RehashPassword(ctx, a.NID, a.PasswordHash, h)
}

// localpart is the local name in a user id or localpart as people type it; empty (the name of nobody) for users of other
// servers.
func (s *Service) localpart(name string) string {
	if strings.HasPrefix(name, "@") {
		id, err := matrix.ParseUserID(name)
		if err != nil || !strings.EqualFold(string(id.Server()), s.Config.ServerName) {
			return ""
		}
		name = id.Localpart()
	}
	if name = strings.ToLower(name); !matrix.ValidLocalpart(name) {
		return ""
	}
	return name
}

func (s *Service) userID(localpart string) matrix.UserID {
	return matrix.UserID("@" + localpart + ":" + s.Config.ServerName)
}

const (
	maxDeviceID   = 255 // bytes
	maxDeviceName = 255 // characters
)

// checkDevice bounds what a client may call its device.
func checkDevice(id, name string) error {
	if len(id) > maxDeviceID || strings.ContainsRune(id, 0) {
		return matrix.InvalidParam("The device ID is too long or has characters that are not allowed")
	}
	return checkDeviceName(name)
}

func checkDeviceName(name string) error {
	if len([]rune(name)) > maxDeviceName || strings.ContainsRune(name, 0) {
		return matrix.InvalidParam("The device name is too long or has characters that are not allowed")
	}
	return nil
}

type loginTokenIn struct {
	Body uiaBody[struct{}] `body:"optional"`
}

type loginTokenOut struct {
	LoginToken  string `json:"login_token"`
	ExpiresInMs int64  `json:"expires_in_ms"`
}

// loginToken gives a logged-in user a token with which one other device can log in. spec: c-s §POST /login/get_token
func (s *Service) loginToken(ctx context.Context, u auth.Session, in loginTokenIn) (loginTokenOut, error) {
	g, err := s.interact(ctx, uiaRequest{
		operation: "POST login/get_token", body: in.Body.raw, auth: in.Body.Auth,
		flows: passwordFlow, account: u.Account,
	})
	if err != nil {
		return loginTokenOut{}, err
	}
	out := loginTokenOut{newToken(loginPrefix), loginTokenLifetime.Milliseconds()}
	return out, s.store.Tx(ctx, func(q *store.Queries) error {
		if err := q.CreateLoginToken(ctx, hashToken(out.LoginToken), u.Account, time.Now().Add(loginTokenLifetime)); err != nil {
			return err
		}
		return g.finish(ctx, q)
	})
}

// passwordFlow is what is asked of people who have an account.
var passwordFlow = [][]string{{stagePassword}}
