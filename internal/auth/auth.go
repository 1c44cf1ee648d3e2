// Package auth says who is asking: it turns access tokens into sessions. It owns no tables; the
// sessions are clientapi's, which serves clientapi.Authenticate and announces auth.revoked.
//
// Invariants: a token is hashed before it goes anywhere and is never kept or logged; a revoked
// session is refused at once by the process that revoked it and, by announcement, by all others
// a moment later; nobody relies on an announcement for longer than TTL.
package auth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
)

// Hash is the SHA-256 of an access token, the only form in which tokens are stored and sent.
type Hash [sha256.Size]byte

// HashToken hashes an access token.
func HashToken(token string) Hash { return sha256.Sum256([]byte(token)) }

// MarshalText encodes the hash as unpadded base64url.
func (h Hash) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, h[:]), nil
}

// UnmarshalText is the reverse of MarshalText.
func (h *Hash) UnmarshalText(text []byte) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
	if err != nil || len(b) != len(h) {
		return fmt.Errorf("decode token hash: not %d bytes of base64url", len(h))
	}
	copy(h[:], b)
	return nil
}

// Session is who is asking: an account on one device.
type Session struct {
	UserID    matrix.UserID `json:"user_id"`
	Account   int64         `json:"account"` // clientapi's number of the account
	DeviceID  string        `json:"device_id"`
	TokenHash Hash          `json:"token_hash"`

	Guest     bool `json:"guest,omitempty"`
	Locked    bool `json:"locked,omitempty"`
	Suspended bool `json:"suspended,omitempty"`
	Admin     bool `json:"admin,omitempty"`
	Unlimited bool `json:"unlimited,omitempty"` // not rate limited (application services)

	// Expires is when the token ends; zero means never.
	Expires time.Time `json:"expires,omitzero"`
}

// Anonymous reports whether there is no session: the route's authentication is optional or none.
func (s Session) Anonymous() bool { return s.UserID == "" }

// AuthenticateReq asks for the session of a token.
type AuthenticateReq struct {
	TokenHash Hash `json:"token_hash"`
}

// Authenticate finds a token's session. Served by clientapi.
// Errors: M_UNKNOWN_TOKEN with soft_logout as the client shall take it. A locked account's
// session is returned with Locked set.
var Authenticate = bus.New[AuthenticateReq, Session]("clientapi", "Authenticate", 5*time.Second).Retry()

// Revocation says which sessions are to be asked for anew: they ended, or something about them
// has changed. It holds references only.
type Revocation struct {
	Tokens  []Hash `json:"tokens,omitempty"`
	Account int64  `json:"account,omitempty"` // every session of the account; 0 means none
}

// Revoked announces revocations. Publish through Cache.Revoke.
var Revoked = bus.NewTopic[Revocation]("auth.revoked")

// Authenticator is what the HTTP edge needs to know who is asking; Cache is the one in use.
type Authenticator interface {
	// Session finds the token's session. Errors: M_MISSING_TOKEN for "", M_UNKNOWN_TOKEN,
	// M_USER_LOCKED (the session is valid then, for logging out).
	Session(ctx context.Context, token string) (Session, error)
}
