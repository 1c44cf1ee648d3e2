// Package api is the room server's contract: the calls other services may make
// over the bus, the announcements they may listen to, and the types both use.
// It holds data and endpoint values only.
//
// Calls about one room carry its id and are sent to the instance that holds
// the room's shard; that is locality, not correctness. Errors are
// [matrix.Error] values; the codes each call may answer stand beside it.
package api

import (
	"encoding/json"
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
)

// Service is the name of the room server on the bus.
const Service = "roomserver"

// callTimeout bounds calls that write one event or a few.
const callTimeout = 15 * time.Second

// Transaction names one request of one device, so that its repetition answers
// the same event. The zero value means the request is not idempotent.
//
// spec: c-s §Transaction identifiers
type Transaction struct {
	DeviceID string `json:",omitempty"`
	ID       string `json:",omitempty"`
	// Endpoint is the request path without the transaction id: the scope
	// within which the id is unique for the device.
	Endpoint string `json:",omitempty"`
}

// Profile is what a member event shows of its subject.
type Profile struct {
	DisplayName string `json:",omitempty"`
	AvatarURL   string `json:",omitempty"`
}

// SendEvent builds, authorises and stores one event of a local user: message,
// state or redaction. Membership goes through [SetMembership], which knows the
// rules around it.
//
// Errors: M_FORBIDDEN (not allowed, or room unknown), M_TOO_LARGE, M_BAD_JSON,
// M_INVALID_PARAM, M_BAD_ALIAS (canonical alias that does not point here),
// M_NOT_FOUND (redaction of an unknown event).
var SendEvent = bus.PerRoom[SendEventReq, EventResp](Service, "SendEvent", callTimeout)

// SendEventReq describes the event to send.
type SendEventReq struct {
	RoomID   matrix.RoomID
	Sender   matrix.UserID
	Txn      Transaction
	Type     string
	StateKey *string `json:",omitempty"`
	Content  json.RawMessage
	Redacts  matrix.EventID `json:",omitempty"`
}

// ShardKey implements bus.Sharded.
func (r SendEventReq) ShardKey() string { return string(r.RoomID) }

// Repeatable implements bus.Repeatable: a transaction id makes one event, and
// state that says what the room says already makes none.
func (r SendEventReq) Repeatable() bool { return r.Txn.ID != "" || r.StateKey != nil }

// EventResp names the event that was stored.
type EventResp struct {
	EventID matrix.EventID
}

// SetMembership changes one user's membership in a room: join, leave, invite,
// kick, ban, unban, knock. Joining a room one is joined to, and banning a user
// who is banned, answer the event that already says so.
//
// Errors: M_FORBIDDEN (the rules of the room, or who acts is not in it),
// M_NOT_FOUND (join and knock: room unknown here and no server to ask),
// M_UNABLE_TO_GRANT_JOIN (nobody here may let the user in), M_BAD_JSON.
var SetMembership = bus.PerRoom[SetMembershipReq, EventResp](Service, "SetMembership", callTimeout)

// Action is what is done to a membership. It says more than the membership it
// leads to: leaving, kicking, unbanning and rejecting all end in "leave".
type Action string

// The actions of the membership endpoints.
const (
	Join   Action = "join"
	Leave  Action = "leave" // also rejects an invite and retracts a knock
	Invite Action = "invite"
	Kick   Action = "kick"
	Ban    Action = "ban"
	Unban  Action = "unban"
	Knock  Action = "knock"
)

// SetMembershipReq describes the change.
type SetMembershipReq struct {
	RoomID  matrix.RoomID
	Sender  matrix.UserID // who acts
	Target  matrix.UserID // whose membership changes; the sender's own for join, leave, knock
	Action  Action
	Reason  string `json:",omitempty"`
	Profile Profile
	// IsDirect marks the invite as one to a direct chat.
	IsDirect bool `json:",omitempty"`
	// Extra are further members of the event's content, as clients may send on join.
	Extra json.RawMessage     `json:",omitempty"`
	Via   []matrix.ServerName `json:",omitempty"`
}

// ShardKey implements bus.Sharded.
func (r SetMembershipReq) ShardKey() string { return string(r.RoomID) }

// Repeatable implements bus.Repeatable: who joins or leaves twice is answered
// the event of the first time.
func (r SetMembershipReq) Repeatable() bool { return r.Action == Join || r.Action == Leave }

// UpdateProfile shows a member's new name and picture in one room, by a new
// join event. A user who is not joined there changes nothing.
var UpdateProfile = bus.PerRoom[UpdateProfileReq, EventResp](Service, "UpdateProfile", callTimeout).Retry()

// UpdateProfileReq names the room and the profile to show.
type UpdateProfileReq struct {
	RoomID  matrix.RoomID
	UserID  matrix.UserID
	Profile Profile
}

// ShardKey implements bus.Sharded.
func (r UpdateProfileReq) ShardKey() string { return string(r.RoomID) }

// Forget hides a room the user has left from everything the user reads.
// Errors: M_NOT_FOUND (never was a member), M_UNKNOWN (still a member).
var Forget = bus.PerRoom[ForgetReq, struct{}](Service, "Forget", callTimeout).Retry()

// ForgetReq names who forgets what.
type ForgetReq struct {
	RoomID matrix.RoomID
	UserID matrix.UserID
}

// ShardKey implements bus.Sharded.
func (r ForgetReq) ShardKey() string { return string(r.RoomID) }

// LeaveAll leaves every room and declines every invite of a user: the room side
// of a deactivation.
var LeaveAll = bus.New[LeaveAllReq, struct{}](Service, "LeaveAll", time.Minute).Retry()

// LeaveAllReq names the user.
type LeaveAllReq struct {
	UserID matrix.UserID
}

// JoinedRooms lists the rooms a user is joined to.
var JoinedRooms = bus.New[JoinedRoomsReq, JoinedRoomsResp](Service, "JoinedRooms", callTimeout).Retry()

// JoinedRoomsReq names the user.
type JoinedRoomsReq struct {
	UserID matrix.UserID
}

// JoinedRoomsResp lists room ids.
type JoinedRoomsResp struct {
	RoomIDs []matrix.RoomID
}

// ShareRoom tells whether two users are joined to a common room.
var ShareRoom = bus.New[ShareRoomReq, ShareRoomResp](Service, "ShareRoom", callTimeout).Retry()

// ShareRoomReq names the two.
type ShareRoomReq struct {
	A, B matrix.UserID
}

// ShareRoomResp holds the answer.
type ShareRoomResp struct {
	Share bool
}

// Check compares the room server's tables with what always holds of them. It
// reads every event and changes nothing.
var Check = bus.New[struct{}, CheckResp](Service, "Check", checkTimeout)

// checkTimeout is enough to read some millions of events.
const checkTimeout = 10 * time.Minute

// CheckResp lists what is broken; nothing is as it should be.
type CheckResp struct {
	Violations []Violation
}

// Violation is a rule that does not hold.
type Violation struct {
	Rule  string // what should hold
	Count int64  // of rows that break it
	First int64  // number of one of them: an event, a room or a snapshot
}
