package syncapi

import (
	"context"
	"encoding/json"

	"allmende/internal/auth"
	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/syncapi/api"
	"allmende/syncapi/syncing"
)

// maxStatus bounds a status message, in bytes.
const maxStatus = 2048

type setPresenceIn struct {
	UserID matrix.UserID `path:"userId"`
	Body   struct {
		Presence string  `json:"presence"`
		Status   *string `json:"status_msg"`
	} `body:""`
}

// spec: c-s §PUT /presence/{userId}/status
func (s *Service) setPresence(ctx context.Context, session auth.Session, in setPresenceIn) (none, error) {
	if in.UserID != session.UserID {
		return none{}, matrix.Forbidden("You cannot set somebody else's presence")
	}
	states := map[string]api.PresenceState{"offline": api.Offline, "unavailable": api.Unavailable, "online": api.Online}
	state, ok := states[in.Body.Presence]
	switch {
	case in.Body.Presence == "":
		return none{}, matrix.MissingParam("presence is missing")
	case !ok:
		return none{}, matrix.InvalidParam("presence must be online, unavailable or offline")
	}
	status := in.Body.Status
	if status == nil {
		status = new(string) // a presence without a message takes the old one away
	}
	if len(*status) > maxStatus {
		return none{}, matrix.InvalidParam("status_msg is too long")
	}
	user, err := s.model.UserNID(ctx, session.UserID)
	if err != nil {
		return none{}, orElse(err, nil) // nobody shares a room with the user yet
	}
	return none{}, s.memory.SetPresence(ctx, api.SetPresenceReq{UserID: session.UserID, UserNID: user, State: state, Status: status})
}

type presenceIn struct {
	UserID matrix.UserID `path:"userId"`
}

// spec: c-s §GET /presence/{userId}/status
func (s *Service) getPresence(ctx context.Context, session auth.Session, in presenceIn) (json.RawMessage, error) {
	if _, err := matrix.ParseUserID(string(in.UserID)); err != nil {
		return nil, err
	}
	forbidden := matrix.Forbidden("You are not allowed to see their presence")
	me, err := s.model.UserNID(ctx, session.UserID)
	if err != nil {
		return nil, orElse(err, forbidden)
	}
	other, err := s.model.UserNID(ctx, in.UserID)
	if err != nil {
		return nil, orElse(err, forbidden)
	}
	if me != other {
		common, err := s.model.RoomsInCommon(ctx, me, other)
		if err != nil {
			return nil, pg.Error(err)
		}
		if len(common) == 0 {
			return nil, forbidden
		}
	}
	p, err := s.memory.Presence(ctx, api.PresenceReq{UserID: in.UserID, UserNID: other})
	if err != nil {
		return nil, err
	}
	return syncing.AppendPresenceContent(nil, p, s.now().UnixMilli()), nil
}
