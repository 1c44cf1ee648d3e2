package clientapi

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"allmende/config"
	"allmende/internal/matrix"

	"golang.org/x/crypto/argon2"
)

const (
	saltBytes = 16
	keyBytes  = 32

	minPassword = 8    // characters
	maxPassword = 1024 // bytes

	// queuePerSlot bounds how many requests wait for a hash; more are told to come back.
	queuePerSlot = 64
)

// passwords hashes and compares passwords with argon2id. Each computation takes the configured memory, so only as many
// run at once as there are processors: more would not be faster.
type passwords struct {
	cost    argonCost
	slots   chan struct{}
	waiting atomic.Int64
	decoy   string // hash of no password: what a login with an unknown name is compared with
}

type argonCost struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

func newPasswords(c config.Argon2) *passwords {
	p := &passwords{
		cost:  argonCost{uint32(c.Memory.Bytes() >> 10), uint32(c.Iterations), uint8(c.Parallelism)},
		slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	salt, key := make([]byte, saltBytes), make([]byte, keyBytes)
	_, _ = rand.Read(salt) // never fails
	_, _ = rand.Read(key)
	p.decoy = p.cost.encode(salt, key)
	return p
}

// checkNewPassword applies the rules for passwords that are to be set.
// Errors: M_WEAK_PASSWORD, M_INVALID_PARAM.
//
// spec: c-s §Notes on password management
func checkNewPassword(password string) error {
	switch {
	case len([]rune(password)) < minPassword:
		return matrix.WeakPassword(fmt.Sprintf("The password must have at least %d characters", minPassword))
	case len(password) > maxPassword:
		return matrix.InvalidParam("The password is too long")
	}
	return nil
}

// hash makes the stored form of a password. Errors: M_LIMIT_EXCEEDED when too many wait.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	key, err := p.compute(ctx, p.cost, password, salt, keyBytes)
	if err != nil {
		return "", err
	}
	return p.cost.encode(salt, key), nil
}

// verify compares a password with its stored form; an empty one stands for an account that does not exist or cannot log
// in, takes the same work, and never matches. stale: the form was made at another cost than is asked for now.
func (p *passwords) verify(ctx context.Context, stored, password string) (match, stale bool, err error) {
	known := stored != ""
	if !known {
		stored = p.decoy
	}
	cost, salt, want, err := decodeHash(stored)
	if err != nil {
		return false, false, err
	}
	got, err := p.compute(ctx, cost, password, salt, uint32(len(want)))
	if err != nil {
		return false, false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1 && known, cost != p.cost, nil
}

func (p *passwords) compute(ctx context.Context, c argonCost, password string, salt []byte, size uint32) ([]byte, error) {
	if p.waiting.Add(1) > int64(cap(p.slots)*queuePerSlot) {
		p.waiting.Add(-1)
		return nil, matrix.LimitExceeded(5 * time.Second)
	}
	select {
	case p.slots <- struct{}{}:
		p.waiting.Add(-1)
	case <-ctx.Done():
		p.waiting.Add(-1)
		return nil, fmt.Errorf("wait to hash a password: %w", ctx.Err())
	}
	defer func() { <-p.slots }()
	return argon2.IDKey([]byte(password), salt, c.time, c.memory, c.threads, size), nil
}

// encode writes the PHC string format.
func (c argonCost) encode(salt, key []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.time, c.threads,
		b64.EncodeToString(salt), b64.EncodeToString(key))
}

var errHashFormat = errors.New("stored password hash is not understood")

// decodeHash reads the PHC string format.
func decodeHash(s string) (c argonCost, salt, key []byte, err error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return c, nil, nil, errHashFormat
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.memory, &c.time, &c.threads); err != nil || c.time < 1 || c.threads < 1 {
		return c, nil, nil, errHashFormat
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(key) < 16 {
		return c, nil, nil, errHashFormat
	}
	return c, salt, key, nil
}
