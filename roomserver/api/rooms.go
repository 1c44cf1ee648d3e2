package api

import (
	"encoding/json"
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
)

// CreateRoom makes a room with everything its creator asked for, in one
// transaction: either the whole room exists or nothing of it.
//
// Errors: M_UNSUPPORTED_ROOM_VERSION, M_INVALID_ROOM_STATE, M_ROOM_IN_USE
// (alias taken), M_INVALID_PARAM, M_BAD_JSON, M_FORBIDDEN.
//
// spec: c-s §POST /createRoom
var CreateRoom = bus.New[CreateRoomReq, CreateRoomResp](Service, "CreateRoom", 30*time.Second)

// CreateRoomReq is the body of /createRoom with the creator beside it.
type CreateRoomReq struct {
	Creator         matrix.UserID
	Profile         Profile
	Version         matrix.RoomVersion `json:",omitempty"` // empty: the server's default
	CreationContent json.RawMessage    `json:",omitempty"`
	Preset          string             `json:",omitempty"`
	Published       bool               `json:",omitempty"` // visibility "public"
	AliasLocalpart  string             `json:",omitempty"`
	Name            string             `json:",omitempty"`
	Topic           string             `json:",omitempty"`
	Invite          []Invitee          `json:",omitempty"`
	InitialState    []StateEvent       `json:",omitempty"`
	PowerLevels     json.RawMessage    `json:",omitempty"` // power_level_content_override
	IsDirect        bool               `json:",omitempty"`
}

// Invitee is a user to invite, with the profile the invite shows.
type Invitee struct {
	UserID  matrix.UserID
	Profile Profile
}

// StateEvent is one entry of initial_state.
type StateEvent struct {
	Type     string
	StateKey string
	Content  json.RawMessage
}

// CreateRoomResp names the new room.
type CreateRoomResp struct {
	RoomID matrix.RoomID
}

// UpgradeRoom replaces a room by one of another version: new room, tombstone,
// carried-over state and aliases.
//
// Errors: M_FORBIDDEN, M_NOT_FOUND, M_UNSUPPORTED_ROOM_VERSION.
//
// spec: c-s §Room Upgrades
var UpgradeRoom = bus.PerRoom[UpgradeRoomReq, CreateRoomResp](Service, "UpgradeRoom", 30*time.Second)

// UpgradeRoomReq names the room, who upgrades it, and the version wanted.
type UpgradeRoomReq struct {
	RoomID             matrix.RoomID
	Sender             matrix.UserID
	Profile            Profile
	Version            matrix.RoomVersion
	AdditionalCreators []matrix.UserID `json:",omitempty"`
}

// ShardKey implements bus.Sharded.
func (r UpgradeRoomReq) ShardKey() string { return string(r.RoomID) }

// SetAlias points a local alias at a room.
// Errors: M_INVALID_PARAM (not an alias of this server), M_UNKNOWN 409 (taken),
// M_NOT_FOUND (room unknown), M_FORBIDDEN (not a member).
var SetAlias = bus.New[SetAliasReq, struct{}](Service, "SetAlias", callTimeout)

// SetAliasReq names alias, room and who asks.
type SetAliasReq struct {
	Alias  matrix.RoomAlias
	RoomID matrix.RoomID
	UserID matrix.UserID
}

// DeleteAlias removes a local alias, and takes it out of the room's canonical
// alias event if the user may send one.
// Errors: M_NOT_FOUND, M_FORBIDDEN (neither its creator nor allowed to change
// the room's canonical alias).
var DeleteAlias = bus.New[DeleteAliasReq, struct{}](Service, "DeleteAlias", callTimeout)

// DeleteAliasReq names the alias and who asks.
type DeleteAliasReq struct {
	Alias  matrix.RoomAlias
	UserID matrix.UserID
}

// ResolveAlias finds the room an alias points at. Errors: M_NOT_FOUND.
var ResolveAlias = bus.New[ResolveAliasReq, ResolveAliasResp](Service, "ResolveAlias", callTimeout).Retry()

// ResolveAliasReq names the alias.
type ResolveAliasReq struct {
	Alias matrix.RoomAlias
}

// ResolveAliasResp is the room and servers that take part in it.
type ResolveAliasResp struct {
	RoomID  matrix.RoomID
	Servers []matrix.ServerName
}

// Publish puts a room into the public room directory or takes it out.
// Errors: M_NOT_FOUND, M_FORBIDDEN.
var Publish = bus.PerRoom[PublishReq, struct{}](Service, "Publish", callTimeout).Retry()

// PublishReq names room, user and wish.
type PublishReq struct {
	RoomID    matrix.RoomID
	UserID    matrix.UserID
	Published bool
}

// ShardKey implements bus.Sharded.
func (r PublishReq) ShardKey() string { return string(r.RoomID) }
