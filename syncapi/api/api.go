// Package api is syncapi's contract: what its instances tell each other and
// others who care (federation, push). It holds data only. Announcements carry
// numbers; whoever wants more reads it from the database or asks.
package api

import (
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
)

// Service is the name of syncapi on the bus.
const Service = "syncapi"

// Receipts announces that receipts up to a position are in the database.
var Receipts = bus.NewTopic[ReceiptsAnn]("syncapi.receipts")

// ReceiptsAnn holds the position of the newest receipt.
type ReceiptsAnn struct {
	Position int64
}

// Typing announces that a local user types in a room, or has stopped. Nothing of
// it is stored anywhere.
var Typing = bus.NewTopic[TypingAnn]("syncapi.typing")

// TypingAnn names room and user by the room server's numbers.
type TypingAnn struct {
	RoomNID int64
	UserNID int64
	// TimeoutMS is for how long the user counts as typing; 0: not any more.
	TimeoutMS int64
}

// PresenceChanged announces that a local user's presence changed.
var PresenceChanged = bus.NewTopic[PresenceAnn]("syncapi.presence")

// PresenceAnn says what changed. Status messages are not announced: whoever
// shows one asks by [Presence].
type PresenceAnn struct {
	UserNID int64
	State   PresenceState
	// ActiveMS is when the user was last active, in ms.
	ActiveMS int64
	// HasStatus tells that there is a status message to ask for.
	HasStatus bool
}

// PresenceState is one of the presences of the specification.
type PresenceState int8

// The presences.
const (
	Offline PresenceState = iota
	Unavailable
	Online
)

// SetPresence notes a local user's presence in the memory of the instance that
// holds the user, and has it announced. Errors: none of its own.
var SetPresence = bus.PerRoom[SetPresenceReq, struct{}](Service, "SetPresence", 5*time.Second).Retry()

// SetPresenceReq describes the presence.
type SetPresenceReq struct {
	UserID  matrix.UserID
	UserNID int64
	State   PresenceState
	// Status is the status message; nil leaves it as it is.
	Status *string `json:",omitempty"`
}

// ShardKey implements bus.Sharded.
func (r SetPresenceReq) ShardKey() string { return string(r.UserID) }

// Presence answers a local user's presence. A user nobody heard of since the
// start is offline.
var Presence = bus.PerRoom[PresenceReq, PresenceResp](Service, "Presence", 5*time.Second).Retry()

// PresenceReq names the user.
type PresenceReq struct {
	UserID  matrix.UserID
	UserNID int64
}

// ShardKey implements bus.Sharded.
func (r PresenceReq) ShardKey() string { return string(r.UserID) }

// PresenceResp is the presence.
type PresenceResp struct {
	State    PresenceState
	ActiveMS int64  // 0: never since the start
	Status   string `json:",omitempty"`
}
