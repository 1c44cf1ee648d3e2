// Package clientapi is the Client-Server HTTP edge for everything that writes, and the owner of people: accounts,
// sessions, devices, profiles, account data, filters and push rules. It alone writes the schema clientapi (package store),
// serves the calls of clientapi/api and auth.Authenticate on the bus, and announces api.UserChanged and auth.Revoked.
//
// What always holds: a token is kept as its SHA-256 only; no network address and no user agent is stored; the last use of
// a device is known by day; a session that ended is refused everywhere at once; what must happen after a request (leaving
// all rooms) is a row written in the request's own transaction.
package clientapi

import (
	"context"

	"allmende/clientapi/store"
	"allmende/config"
	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/pg"
)

// Deps is what the service needs from outside.
type Deps struct {
	Config   *config.Config
	DB       *pg.DB
	Bus      *bus.Bus
	Sessions *auth.Cache

	// BaseURL is the address told to clients at login; nil: what the configuration says.
	BaseURL func() string
}

// Service is clientapi. Its methods may be used concurrently.
type Service struct {
	Deps
	store     *store.Store
	passwords *passwords
	guesses   *guesses
	wake      chan struct{} // jobs were added here
}

// New makes the service; nothing runs before Run.
func New(d Deps) *Service {
	if d.BaseURL == nil {
		d.BaseURL = func() string { return d.Config.BaseURL(nil) }
	}
	return &Service{
		Deps: d, store: store.New(d.DB), wake: make(chan struct{}, 1),
		passwords: newPasswords(d.Config.Auth.Argon2), guesses: newGuesses(d.Config.RateLimits.Login),
	}
}

// Migrate brings clientapi's schema up to date.
func Migrate(ctx context.Context, db *pg.DB) error { return store.Migrate(ctx, db) }
