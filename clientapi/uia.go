package clientapi

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"allmende/clientapi/store"
	"allmende/internal/matrix"
)

// uiaLifetime is how long a client has to finish user-interactive authentication.
const uiaLifetime = 15 * time.Minute

const sessionPrefix = "almu_"

// The stages this server knows.
const (
	stagePassword          = "m.login.password"
	stageDummy             = "m.login.dummy"
	stageRegistrationToken = "m.login.registration_token"
)

// uiaBody is the body of a request that needs user-interactive authentication: the authentication beside the fields.
type uiaBody[T any] struct {
	Fields T
	Auth   *authData
	raw    []byte
}

// UnmarshalJSON decodes both parts and keeps the whole, to recognise the request when it is repeated.
func (b *uiaBody[T]) UnmarshalJSON(data []byte) error {
	var a struct {
		Auth *authData `json:"auth"`
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return err
	}
	b.Auth, b.raw = a.Auth, bytes.Clone(data)
	return json.Unmarshal(data, &b.Fields)
}

// authData is what a client sends as auth, for any of the stages.
type authData struct {
	Type       string          `json:"type"`
	Session    string          `json:"session"`
	Identifier *userIdentifier `json:"identifier"`
	User       string          `json:"user"` // older form of the identifier
	Password   string          `json:"password"`
	Token      string          `json:"token"`
}

// uiaRequest is a request that asks for authentication.
type uiaRequest struct {
	operation string     // method, path with its parameters: what is to be done, apart from the body
	body      []byte     // the whole body
	auth      *authData  // nil: none sent
	flows     [][]string // the stages of each flow, in order
	account   int64      // who is logged in; 0: nobody
}

// uiaGrant says that authentication is complete.
type uiaGrant struct {
	session           []byte        // hash of the session to delete with the operation; nil: there was none
	account           store.Account // who gave the password, if a password was asked for
	registrationToken int64         // to be counted with the operation; 0: none
}

// interact runs user-interactive authentication: it returns the grant once a flow is complete, or the 401 that tells the
// client what is missing. The operation must end the grant's session in its own transaction (see finish).
//
// Stages are done in the order of the flow. A session is bound to one request: method, path, parameters and body apart from
// auth must be the same each time.
//
// spec: c-s §User-Interactive Authentication API
func (s *Service) interact(ctx context.Context, r uiaRequest) (uiaGrant, error) {
	if r.auth == nil || r.auth.Type == "" && r.auth.Session == "" {
		return uiaGrant{}, s.challenge(ctx, r, nil)
	}
	var g uiaGrant
	var completed []string
	if r.auth.Session != "" {
		u, err := s.store.FindUIA(ctx, hashToken(r.auth.Session))
		switch {
		case errors.Is(err, store.ErrNotFound):
			r.auth = nil // a new session
			return uiaGrant{}, s.challenge(ctx, r, matrix.Forbidden("The authentication session is not known or has expired"))
		case err != nil:
			return uiaGrant{}, err
		case !hmac.Equal(u.Operation, operationKey(r, r.auth.Session)):
			return uiaGrant{}, matrix.Forbidden("This authentication session was begun for another request")
		}
		g.session, completed = hashToken(r.auth.Session), u.Completed
		if u.RegistrationToken != nil {
			g.registrationToken = *u.RegistrationToken
		}
	}
	return s.advance(ctx, r, g, completed)
}

// advance does the stage the client sent, if it sent one, and looks whether a flow is complete.
func (s *Service) advance(ctx context.Context, r uiaRequest, g uiaGrant, completed []string) (uiaGrant, error) {
	stage := r.auth.Type
	if stage == "" || slices.Contains(completed, stage) {
		if flowComplete(r.flows, completed) {
			return g, nil
		}
		return uiaGrant{}, s.challenge(ctx, r, nil, completed...)
	}
	next := append(slices.Clone(completed), stage)
	if !flowBegins(r.flows, next) {
		return uiaGrant{}, s.challenge(ctx, r, matrix.Forbidden("This is not the next stage of any flow"), completed...)
	}
	if err := s.doStage(ctx, r, &g); err != nil {
		// Only a wrong credential may be tried again; everything else is no matter of authentication.
		var e *matrix.Error
		if errors.As(err, &e) && e.Code == "M_FORBIDDEN" {
			return uiaGrant{}, s.challenge(ctx, r, e, completed...)
		}
		return uiaGrant{}, err
	}
	if flowComplete(r.flows, next) {
		return g, nil
	}
	if g.session == nil {
		return uiaGrant{}, s.challenge(ctx, r, matrix.Forbidden("Stages that need another one are done within a session"))
	}
	if err := s.store.CompleteStage(ctx, g.session, stage, nullable(g.registrationToken)); err != nil {
		return uiaGrant{}, err
	}
	return uiaGrant{}, s.challenge(ctx, r, nil, next...)
}

// doStage checks the credentials of one stage. Errors: M_FORBIDDEN when they are wrong; others end the request.
func (s *Service) doStage(ctx context.Context, r uiaRequest, g *uiaGrant) error {
	switch r.auth.Type {
	case stageDummy:
		return nil
	case stageRegistrationToken:
		nid, err := s.store.ValidRegistrationToken(ctx, hashToken(r.auth.Token))
		if errors.Is(err, store.ErrNotFound) {
			return matrix.Forbidden("The registration token is not valid")
		}
		g.registrationToken = nid
		return err
	case stagePassword:
		a, err := s.passwordStage(ctx, r)
		g.account = a
		return err
	}
	return matrix.Forbidden("Unknown authentication type")
}

// passwordStage compares the password. Who is logged in may leave the identifier out, and cannot be somebody else.
func (s *Service) passwordStage(ctx context.Context, r uiaRequest) (store.Account, error) {
	name, ok := r.auth.Identifier.user(r.auth.User)
	if !ok && r.account != 0 {
		a, err := s.store.Account(ctx, r.account)
		if err != nil {
			return store.Account{}, err
		}
		name = a.Localpart
	}
	a, err := s.checkPassword(ctx, name, r.auth.Password)
	if err != nil {
		return store.Account{}, err
	}
	if r.account != 0 && a.NID != r.account {
		return store.Account{}, errWrongPassword
	}
	return a, nil
}

// finish ends the authentication in the transaction of the operation it was for.
// Errors: M_FORBIDDEN when the registration token has been used up meanwhile.
func (g uiaGrant) finish(ctx context.Context, q *store.Queries) error {
	if g.session != nil {
		if err := q.DeleteUIA(ctx, g.session); err != nil {
			return err
		}
	}
	if g.registrationToken == 0 {
		return nil
	}
	valid, err := q.LockRegistrationToken(ctx, g.registrationToken)
	if err != nil {
		return err
	}
	if !valid {
		return matrix.Forbidden("The registration token is not valid any more")
	}
	return q.UseRegistrationToken(ctx, g.registrationToken)
}

// challenge makes the 401 that says what is missing. cause, if any, says what was wrong with the attempt. A request that
// names no session is given one.
func (s *Service) challenge(ctx context.Context, r uiaRequest, cause *matrix.Error, completed ...string) error {
	e := &matrix.Error{Status: http.StatusUnauthorized}
	if cause != nil {
		e.Code, e.Msg = cause.Code, cause.Msg
	}
	var id string
	if r.auth != nil {
		id = r.auth.Session
	}
	if id == "" {
		id = newToken(sessionPrefix)
		if err := s.store.CreateUIA(ctx, hashToken(id), operationKey(r, id), time.Now().Add(uiaLifetime)); err != nil {
			return err
		}
	}
	flows := make([]map[string][]string, len(r.flows))
	for i, stages := range r.flows {
		flows[i] = map[string][]string{"stages": stages}
	}
	if completed == nil {
		completed = []string{}
	}
	return e.With("flows", flows).With("params", struct{}{}).With("session", id).With("completed", completed)
}

// operationKey is what a session remembers of its request. It is keyed with the session's id, which the database does not
// hold, so that a body with a password in it cannot be guessed from it.
func operationKey(r uiaRequest, session string) []byte {
	m := hmac.New(sha256.New, []byte(session))
	fmt.Fprintf(m, "%s\n%d\n", r.operation, r.account)
	var body map[string]json.RawMessage
	// A body that is no object was refused before; one without fields is the same as none.
	_ = json.Unmarshal(r.body, &body)
	delete(body, "auth")
	for k, v := range body {
		if string(v) == "null" {
			delete(body, k)
		}
	}
	canonical, err := json.Marshal(body) // sorts the keys
	if err == nil && len(body) > 0 {
		m.Write(canonical)
	}
	return m.Sum(nil)
}

// flowComplete reports whether one of the flows has all its stages done.
func flowComplete(flows [][]string, done []string) bool {
	return slices.ContainsFunc(flows, func(f []string) bool { return slices.Equal(f, done) })
}

// flowBegins reports whether one of the flows begins with these stages.
func flowBegins(flows [][]string, done []string) bool {
	return slices.ContainsFunc(flows, func(f []string) bool { return len(f) >= len(done) && slices.Equal(f[:len(done)], done) })
}

func nullable(nid int64) *int64 {
	if nid == 0 {
		return nil
	}
	return &nid
}
