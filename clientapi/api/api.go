// Package api is clientapi's contract: the calls other services and the admin's commands make over the bus, the
// announcement of changes, and the types both sides use. It holds data and endpoint values only. Who is asking
// (Authenticate) is declared in internal/auth and served by clientapi too.
//
// Accounts are numbers (AccountNID) wherever both sides know them; user ids appear at the edge. Errors are
// matrix.Error values; the codes a call may answer stand beside it.
package api

import (
	"encoding/json"
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
)

// Service is clientapi's name on the bus.
const Service = "clientapi"

const callTimeout = 10 * time.Second

// UserChanged announces that something a client of the account must see in /sync has changed: global or per-room
// account data, push rules included. Readers fetch what lies behind their own position.
var UserChanged = bus.NewTopic[UserChangedAnn]("clientapi.user_changed")

// UserChangedAnn names the account and the position of the newest change.
type UserChangedAnn struct {
	AccountNID int64
	Position   int64
}

// Position answers the newest position of clientapi's stream: everything up to it is visible.
var Position = bus.New[PositionReq, PositionResp](Service, "Position", callTimeout).Retry()

// PositionReq is empty.
type PositionReq struct{}

// PositionResp holds the position; 0 when nothing ever changed.
type PositionResp struct {
	Position int64
}

// AccountData lists the account's items changed after a position, in order of position. A reply stays below 200 KiB: it
// holds fewer items than asked for and says More.
var AccountData = bus.New[AccountDataReq, AccountDataResp](Service, "AccountData", callTimeout).Retry()

// AccountDataReq asks for what lies behind After. After 0 lists everything that exists; then deleted items are left out.
type AccountDataReq struct {
	AccountNID int64
	After      int64
	Limit      int `json:",omitempty"` // items; 0: as many as fit
}

// AccountDataResp is one page.
type AccountDataResp struct {
	Items    []AccountDataItem
	More     bool  // ask again with After set to Position
	Position int64 // everything up to here has been seen
}

// AccountDataItem is one event of account data.
type AccountDataItem struct {
	Position int64
	RoomID   matrix.RoomID `json:",omitempty"` // empty: global
	Type     string
	Content  json.RawMessage // null: deleted
}

// SetRoomAccountData writes one item for an account and room, without the checks of the HTTP edge: syncapi writes
// m.fully_read with it.
var SetRoomAccountData = bus.New[SetRoomAccountDataReq, PositionResp](Service, "SetRoomAccountData", callTimeout).Retry()

// SetRoomAccountDataReq describes the item.
type SetRoomAccountDataReq struct {
	AccountNID int64
	RoomID     matrix.RoomID
	Type       string
	Content    json.RawMessage
}

// Filter answers a stored filter. Errors: M_NOT_FOUND.
var Filter = bus.New[FilterReq, FilterResp](Service, "Filter", callTimeout).Retry()

// FilterReq names the filter of an account.
type FilterReq struct {
	AccountNID int64
	FilterID   string
}

// FilterResp is the filter as its client wrote it.
type FilterResp struct {
	Filter json.RawMessage
}

// Profile answers the profile of a local user. Errors: M_NOT_FOUND.
var Profile = bus.New[ProfileReq, ProfileResp](Service, "Profile", callTimeout).Retry()

// ProfileReq names the user.
type ProfileReq struct {
	UserID matrix.UserID
}

// ProfileResp holds the fields that are set.
type ProfileResp struct {
	Fields map[string]json.RawMessage
}
