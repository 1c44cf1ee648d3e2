package api

import (
	"encoding/json"

	"allmende/internal/bus"
	"allmende/internal/matrix"
)

// PushRules answers what local users have changed about the default push rules, for whoever evaluates them: read it with
// pushrules.ParseCustom. Users that are not of this server are left out. A reply stays below 200 KiB: users it has no room
// for are named in Rest.
var PushRules = bus.New[PushRulesReq, PushRulesResp](Service, "PushRules", callTimeout).Retry()

// PushRulesReq names up to MaxPushRulesUsers users.
type PushRulesReq struct {
	UserIDs []matrix.UserID
}

// MaxPushRulesUsers is the most users one call may name.
const MaxPushRulesUsers = 1000

// PushRulesResp is one page, in no particular order.
type PushRulesResp struct {
	Users []UserPushRules
	Rest  []matrix.UserID // ask again for these
}

// UserPushRules are one user's changes.
type UserPushRules struct {
	UserID     matrix.UserID
	AccountNID int64           // as in UserChangedAnn
	Custom     json.RawMessage `json:",omitempty"` // empty: nothing changed
}
