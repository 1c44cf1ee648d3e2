package api

import (
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
)

// AdminCreateUser makes an account, whatever the registration policy is.
// Errors: M_INVALID_USERNAME, M_USER_IN_USE (also for deactivated accounts), M_EXCLUSIVE (reserved), M_WEAK_PASSWORD.
var AdminCreateUser = bus.New[AdminCreateUserReq, AdminCreateUserResp](Service, "AdminCreateUser", callTimeout)

// AdminCreateUserReq describes the account. An empty password makes an account nobody can log in to by password.
type AdminCreateUserReq struct {
	Localpart string
	Password  string
	Admin     bool
}

// AdminCreateUserResp names the new user.
type AdminCreateUserResp struct {
	UserID matrix.UserID
}

// AdminSetPassword replaces a password. Errors: M_NOT_FOUND (no such account, or deactivated), M_WEAK_PASSWORD,
// M_INVALID_PARAM (not a user of this server).
var AdminSetPassword = bus.New[AdminSetPasswordReq, struct{}](Service, "AdminSetPassword", callTimeout).Retry()

// AdminSetPasswordReq names the user; LogoutDevices ends all sessions.
type AdminSetPasswordReq struct {
	UserID        matrix.UserID
	Password      string
	LogoutDevices bool
}

// AdminListUsers lists accounts in order of localpart.
var AdminListUsers = bus.New[AdminListUsersReq, AdminListUsersResp](Service, "AdminListUsers", callTimeout).Retry()

// AdminListUsersReq asks for the page after a localpart.
type AdminListUsersReq struct {
	After string `json:",omitempty"` // localpart of the last user seen
	Limit int    `json:",omitempty"` // 0: 100; at most 500
}

// AdminListUsersResp is one page.
type AdminListUsersResp struct {
	Users []AdminUser
	More  bool // ask again with After set to the localpart of the last
}

// AdminUser is what an admin sees of an account.
type AdminUser struct {
	UserID      matrix.UserID
	Admin       bool
	Locked      bool
	Deactivated bool
	Created     string // month, as in 2026-03
	LastSeen    string `json:",omitempty"` // day, as in 2026-03-14; empty: never, or not any more
	Devices     int
}

// AdminLockUser locks or unlocks an account. A locked one keeps its sessions, and every request of theirs is answered
// M_USER_LOCKED. Errors: M_NOT_FOUND, M_INVALID_PARAM (not a user of this server).
var AdminLockUser = bus.New[AdminLockUserReq, struct{}](Service, "AdminLockUser", callTimeout).Retry()

// AdminLockUserReq names the user and the wish.
type AdminLockUserReq struct {
	UserID matrix.UserID
	Locked bool
}

// AdminCreateRegistrationToken makes a token that lets people register. Only its hash is kept: the reply is the one
// place it can be read. Errors: M_INVALID_PARAM (characters, length, no uses, already over), M_UNKNOWN 409 (exists).
//
// spec: c-s §Token-authenticated registration
var AdminCreateRegistrationToken = bus.New[AdminCreateRegistrationTokenReq, AdminCreateRegistrationTokenResp](
	Service, "AdminCreateRegistrationToken", callTimeout)

// AdminCreateRegistrationTokenReq describes the token.
type AdminCreateRegistrationTokenReq struct {
	Token       string     `json:",omitempty"` // empty: a random one
	UsesAllowed *int       `json:",omitempty"` // nil: no limit
	ExpiresAt   *time.Time `json:",omitempty"` // nil: never
}

// AdminCreateRegistrationTokenResp holds the token itself, this once.
type AdminCreateRegistrationTokenResp struct {
	Token string
	RegistrationToken
}

// RegistrationToken is what is known of a token afterwards.
type RegistrationToken struct {
	ID          int64
	UsesAllowed *int       `json:",omitempty"`
	Completed   int        // accounts made with it
	Pending     int        // registrations under way that hold a use
	ExpiresAt   *time.Time `json:",omitempty"`
}

// AdminListRegistrationTokens lists all tokens, oldest first.
var AdminListRegistrationTokens = bus.New[AdminListRegistrationTokensReq, AdminListRegistrationTokensResp](
	Service, "AdminListRegistrationTokens", callTimeout).Retry()

// AdminListRegistrationTokensReq asks for the page after a token's ID.
type AdminListRegistrationTokensReq struct {
	After int64 `json:",omitempty"`
	Limit int   `json:",omitempty"` // 0: 100; at most 500
}

// AdminListRegistrationTokensResp is one page.
type AdminListRegistrationTokensResp struct {
	Tokens []RegistrationToken
	More   bool
}

// AdminRevokeRegistrationToken ends a token, named by its text or its ID. Errors: M_NOT_FOUND.
var AdminRevokeRegistrationToken = bus.New[AdminRevokeRegistrationTokenReq, struct{}](
	Service, "AdminRevokeRegistrationToken", callTimeout)

// AdminRevokeRegistrationTokenReq names the token, by one of the two.
type AdminRevokeRegistrationTokenReq struct {
	Token string `json:",omitempty"`
	ID    int64  `json:",omitempty"`
}
