package store

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// SigningKey is the server's ed25519 key with its public name.
type SigningKey struct {
	ID  string // "ed25519:…"
	Key ed25519.PrivateKey
}

const selectActiveKey = `SELECT key_id, seed FROM roomserver.signing_keys WHERE expired_ts IS NULL`

const insertKey = `
INSERT INTO roomserver.signing_keys (key_id, seed, created_ts) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`

// EnsureSigningKey answers the signing key in use, making one at the first
// start. Instances that start together agree on one.
func (s *Store) EnsureSigningKey(ctx context.Context) (SigningKey, error) {
	key, err := s.activeKey(ctx)
	if !errors.Is(err, pgx.ErrNoRows) {
		return key, err
	}
	seed := make([]byte, ed25519.SeedSize)
	name := make([]byte, 4)
	_, _ = rand.Read(seed) // never fails
	_, _ = rand.Read(name)
	id := "ed25519:" + hex.EncodeToString(name)
	if _, err := s.db.Exec(ctx, insertKey, id, seed, time.Now().UnixMilli()); err != nil {
		return SigningKey{}, fmt.Errorf("store signing key: %w", err)
	}
	return s.activeKey(ctx)
}

func (s *Store) activeKey(ctx context.Context) (SigningKey, error) {
	var id string
	var seed []byte
	if err := s.db.QueryRow(ctx, selectActiveKey).Scan(&id, &seed); err != nil {
		return SigningKey{}, fmt.Errorf("load signing key: %w", err)
	}
	if len(seed) != ed25519.SeedSize {
		return SigningKey{}, fmt.Errorf("signing key %s has a seed of %d bytes, not %d: restore the table from a backup", id, len(seed), ed25519.SeedSize)
	}
	return SigningKey{ID: id, Key: ed25519.NewKeyFromSeed(seed)}, nil
}
