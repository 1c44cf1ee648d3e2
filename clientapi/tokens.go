package clientapi

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"time"

	"allmende/clientapi/store"
	"allmende/internal/auth"
	"allmende/internal/obs"
)

// Tokens are 32 random bytes behind a prefix that tells people and secret scanners what they have found.
const (
	accessPrefix  = "almt_"
	refreshPrefix = "almr_"
	loginPrefix   = "alml_"
	tokenBytes    = 32
)

func newToken(prefix string) string {
	b := make([]byte, tokenBytes)
	_, _ = rand.Read(b) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

// hashToken is the form in which a token is stored.
func hashToken(token string) []byte {
	h := auth.HashToken(token)
	return h[:]
}

const (
	deviceIDAlphabet  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	localpartAlphabet = "abcdefghijkmnpqrstuvwxyz23456789"
)

// randomName makes n characters of an alphabet.
func randomName(alphabet string, n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)] // a slight bias does not matter: these are not secrets
	}
	return string(b)
}

// tokenPair is what a client is given: in the replies of login, register and refresh.
type tokenPair struct {
	AccessToken  string `json:"access_token,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	ExpiresInMs  int64  `json:"expires_in_ms,omitempty"`
}

// Header implements the answer's own headers: no cache may keep tokens.
func (tokenPair) Header() http.Header { return http.Header{"Cache-Control": {"no-store"}} }

// openSession makes a pair of tokens for a device and stores it with q. A client that cannot refresh gets an access
// token that does not expire.
//
// spec: c-s §Refreshing access tokens
func (s *Service) openSession(ctx context.Context, q *store.Queries, device int64, refreshable bool, replaces *int64) (tokenPair, error) {
	pair := tokenPair{AccessToken: newToken(accessPrefix)}
	row := store.NewSession{DeviceNID: device, AccessHash: hashToken(pair.AccessToken), Replaces: replaces}
	if refreshable {
		lifetime, now := s.Config.Auth.AccessTokenLifetime.Std(), time.Now()
		access, refresh := now.Add(lifetime), now.Add(s.Config.Auth.RefreshTokenLifetime.Std())
		pair.RefreshToken, pair.ExpiresInMs = newToken(refreshPrefix), lifetime.Milliseconds()
		row.AccessExpires, row.RefreshHash, row.RefreshExpires = &access, hashToken(pair.RefreshToken), &refresh
	}
	return pair, q.CreateSession(ctx, row)
}

// deviceSession finds or adds a device and opens a session on it, ending those it had.
// ended are the hashes to revoke once the transaction is committed.
//
// spec: c-s §Relationship between access tokens and devices
func (s *Service) deviceSession(ctx context.Context, q *store.Queries, account int64, d newDevice) (pair tokenPair, ended [][]byte, err error) {
	device, fresh, err := q.EnsureDevice(ctx, account, d.id, d.name)
	if err != nil {
		return tokenPair{}, nil, err
	}
	if !fresh {
		if ended, err = q.DeleteDeviceSessions(ctx, device); err != nil {
			return tokenPair{}, nil, err
		}
	}
	pair, err = s.openSession(ctx, q, device, d.refreshable, nil)
	return pair, ended, err
}

// newDevice is what a client says of itself when it logs in.
type newDevice struct {
	id          string
	name        string
	refreshable bool
}

// manyTokens is when an announcement names the account rather than its tokens.
const manyTokens = 100

// revoke makes every process forget sessions of an account that have ended in the database.
func (s *Service) revoke(ctx context.Context, account int64, ended [][]byte) {
	if len(ended) == 0 {
		return
	}
	if len(ended) > manyTokens {
		s.announce(ctx, auth.Revocation{Account: account})
		return
	}
	r := auth.Revocation{Tokens: make([]auth.Hash, len(ended))}
	for i, h := range ended {
		copy(r.Tokens[i][:], h)
	}
	s.announce(ctx, r)
}

func (s *Service) announce(ctx context.Context, r auth.Revocation) {
	if err := s.Sessions.Revoke(r); err != nil {
		// Other processes find out within the cache's lifetime.
		obs.Logger(ctx).Warn("revocation could not be announced", "error", err)
	}
}
