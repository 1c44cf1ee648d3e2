package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"allmende/internal/matrix"
	"allmende/roomserver/api"
	"allmende/roomserver/read"
	"allmende/roomserver/timeline"
)

// setMembership changes one membership.
//
// spec: c-s §Room membership
func (s *Service) setMembership(ctx context.Context, req api.SetMembershipReq) (api.EventResp, error) {
	if req.Action == api.Invite && !s.local(req.Target) {
		return api.EventResp{}, matrix.Forbidden("This server does not federate: only its own members can be invited.")
	}
	var out matrix.EventID
	err := s.rooms.Update(ctx, req.RoomID, func(tx *timeline.Tx) (err error) {
		out, err = s.changeMembership(ctx, tx, req)
		return err
	})
	switch req.Action {
	case api.Join, api.Knock: // whoever asks to come in may learn that there is no such room
	default:
		err = hidden(err)
	}
	return api.EventResp{EventID: out}, answer(err)
}

// changeMembership appends the member event that an action asks for, or answers
// the one that already says so.
func (s *Service) changeMembership(ctx context.Context, tx *timeline.Tx, req api.SetMembershipReq) (matrix.EventID, error) {
	was := tx.Membership(req.Target)
	if id, err := checkAction(tx, req, was); err != nil || id != "" {
		return id, err
	}
	content, err := memberContent(req)
	if err != nil {
		return "", err
	}
	if req.Action == api.Join && was != read.Invite {
		if err := s.authoriseRestricted(ctx, tx, req.Target, content); err != nil {
			return "", err
		}
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encode member event: %w", err)
	}
	target := string(req.Target)
	ev, err := tx.Append(timeline.Proto{Type: matrix.TypeMember, StateKey: &target, Sender: req.Sender, Content: raw})
	if err != nil {
		return "", err
	}
	return ev.ID, nil
}

// checkAction looks at what the rules of rooms do not: they know memberships,
// not what somebody means by them.
func checkAction(tx *timeline.Tx, req api.SetMembershipReq, was read.Membership) (matrix.EventID, error) {
	switch req.Action {
	case api.Join, api.Leave, api.Knock:
	default:
		if tx.Membership(req.Sender) != read.Join {
			return "", notJoined()
		}
	}
	switch req.Action {
	case api.Join:
		if was == read.Join {
			return tx.MembershipEvent(req.Target), nil
		}
	case api.Leave:
		switch was {
		case read.Leave:
			return tx.MembershipEvent(req.Target), nil
		case read.None:
			return "", notJoined()
		case read.Ban:
			return "", matrix.Forbidden("You are banned from this room.")
		}
	case api.Kick:
		if was != read.Join && was != read.Invite && was != read.Knock {
			return "", matrix.Forbidden("The user is not in the room.")
		}
	case api.Ban:
		if was == read.Ban {
			return bannedAlready(tx, req)
		}
	case api.Unban:
		if was != read.Ban {
			return "", matrix.Forbidden("The user is not banned.")
		}
	}
	return "", nil
}

// bannedAlready answers the ban that exists, to those who might have made it.
func bannedAlready(tx *timeline.Tx, req api.SetMembershipReq) (matrix.EventID, error) {
	levels, err := tx.PowerLevels()
	if err != nil {
		return "", err
	}
	if levels.User(req.Sender) < levels.Ban {
		return "", matrix.Forbidden("Your power level is too low to ban.")
	}
	return tx.MembershipEvent(req.Target), nil
}

var membershipOf = map[api.Action]string{
	api.Join: matrix.Join, api.Leave: matrix.Leave, api.Invite: matrix.Invite, api.Kick: matrix.Leave,
	api.Ban: matrix.Ban, api.Unban: matrix.Leave, api.Knock: matrix.Knock,
}

// memberContent is the content of the member event. What clients add may not
// speak for the server.
func memberContent(req api.SetMembershipReq) (map[string]any, error) {
	content := map[string]any{}
	if len(req.Extra) > 0 {
		var extra map[string]json.RawMessage
		if err := json.Unmarshal(req.Extra, &extra); err != nil {
			return nil, matrix.BadJSON("The content must be an object.").Wrap(err)
		}
		for k, v := range extra {
			content[k] = v
		}
	}
	delete(content, "join_authorised_via_users_server")
	delete(content, "third_party_invite")
	membership, ok := membershipOf[req.Action]
	if !ok {
		return nil, fmt.Errorf("unknown membership action")
	}
	content["membership"] = membership
	if req.Reason != "" {
		content["reason"] = req.Reason
	}
	switch req.Action {
	case api.Join, api.Invite, api.Knock:
		setProfile(content, req.Profile)
	}
	if req.Action == api.Invite && req.IsDirect {
		content["is_direct"] = true
	}
	return content, nil
}

func setProfile(content map[string]any, p api.Profile) {
	delete(content, "displayname")
	delete(content, "avatar_url")
	if p.DisplayName != "" {
		content["displayname"] = p.DisplayName
	}
	if p.AvatarURL != "" {
		content["avatar_url"] = p.AvatarURL
	}
}

// authoriseRestricted names a member who may let others in, when the room lets
// in the members of other rooms and the user is one of those.
//
// spec: c-s §Restricted rooms
func (s *Service) authoriseRestricted(ctx context.Context, tx *timeline.Tx, user matrix.UserID, content map[string]any) error {
	rules, err := tx.State(matrix.TypeJoinRules, "")
	if err != nil || rules == nil {
		return err
	}
	var c struct {
		JoinRule string `json:"join_rule"`
		Allow    []struct {
			Type   string        `json:"type"`
			RoomID matrix.RoomID `json:"room_id"`
		} `json:"allow"`
	}
	if json.Unmarshal(rules.Content, &c) != nil {
		return nil // nonsense lets nobody in: the rules of the room say so
	}
	if !(c.JoinRule == "restricted" && tx.Version().Restricted() || c.JoinRule == "knock_restricted" && tx.Version().KnockRestricted()) {
		return nil
	}
	for _, a := range c.Allow {
		if a.Type != "m.room_membership" {
			continue
		}
		in, err := s.joinedTo(ctx, a.RoomID, user)
		if err != nil {
			return err
		}
		if in {
			via, err := s.whoMayInvite(tx)
			if err != nil {
				return err
			}
			content["join_authorised_via_users_server"] = via
			return nil
		}
	}
	return matrix.Forbidden("You are not a member of any of the rooms that let you into this one.")
}

func (s *Service) joinedTo(ctx context.Context, id matrix.RoomID, user matrix.UserID) (bool, error) {
	room, err := s.read.Room(ctx, id)
	if errors.Is(err, read.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	nid, err := s.read.UserNID(ctx, user)
	if errors.Is(err, read.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	ur, err := s.read.UserRoom(ctx, nid, room.NID)
	return ur.Membership == read.Join, err
}

// whoMayInvite is a local member with the power to invite: the one with the
// most, so that the choice does not wander.
func (s *Service) whoMayInvite(tx *timeline.Tx) (matrix.UserID, error) {
	levels, err := tx.PowerLevels()
	if err != nil {
		return "", err
	}
	var best matrix.UserID
	tx.Members(func(u matrix.UserID, m read.Membership) bool {
		if m != read.Join || !s.local(u) || levels.User(u) < levels.Invite {
			return true
		}
		if best == "" || levels.User(u) > levels.User(best) || levels.User(u) == levels.User(best) && u < best {
			best = u
		}
		return true
	})
	if best == "" {
		return "", matrix.UnableToGrantJoin("Nobody on this server may let you into this room.")
	}
	return best, nil
}

// updateProfile shows a member's new profile in one room.
func (s *Service) updateProfile(ctx context.Context, req api.UpdateProfileReq) (api.EventResp, error) {
	var out matrix.EventID
	err := s.rooms.Update(ctx, req.RoomID, func(tx *timeline.Tx) error {
		if tx.Membership(req.UserID) != read.Join {
			return nil
		}
		key := string(req.UserID)
		now, err := tx.State(matrix.TypeMember, key)
		if err != nil {
			return err
		}
		content := map[string]any{}
		if err := json.Unmarshal(now.Content, &content); err != nil {
			return fmt.Errorf("decode member event: %w", err)
		}
		name, _ := content["displayname"].(string)
		avatar, _ := content["avatar_url"].(string)
		if name == req.Profile.DisplayName && avatar == req.Profile.AvatarURL {
			out = now.ID
			return nil
		}
		setProfile(content, req.Profile)
		delete(content, "join_authorised_via_users_server")
		delete(content, "reason")
		raw, err := json.Marshal(content)
		if err != nil {
			return fmt.Errorf("encode member event: %w", err)
		}
		ev, err := tx.Append(timeline.Proto{Type: matrix.TypeMember, StateKey: &key, Sender: req.UserID, Content: raw})
		if err != nil {
			return err
		}
		out = ev.ID
		return nil
	})
	return api.EventResp{EventID: out}, answer(hidden(err))
}

// forget hides a room from one who left it.
//
// spec: c-s §POST /rooms/{roomId}/forget
func (s *Service) forget(ctx context.Context, req api.ForgetReq) (struct{}, error) {
	was, err := s.store.Forget(ctx, req.RoomID, req.UserID)
	switch {
	case err != nil:
		return struct{}{}, answer(err)
	case was == read.None:
		return struct{}{}, matrix.NotFound("You were never in this room.")
	case was != read.Leave && was != read.Ban:
		return struct{}{}, matrix.Unknown("Leave the room first.").WithStatus(400)
	}
	return struct{}{}, nil
}

// leaveAll takes a user out of every room.
func (s *Service) leaveAll(ctx context.Context, req api.LeaveAllReq) (struct{}, error) {
	nid, err := s.read.UserNID(ctx, req.UserID)
	if errors.Is(err, read.ErrNotFound) {
		return struct{}{}, nil
	}
	if err != nil {
		return struct{}{}, answer(err)
	}
	list, err := s.read.UserRooms(ctx, nid)
	if err != nil {
		return struct{}{}, answer(err)
	}
	var in []read.RoomNID
	for _, ur := range list {
		if ur.Membership == read.Join || ur.Membership == read.Invite || ur.Membership == read.Knock {
			in = append(in, ur.RoomNID)
		}
	}
	rooms, err := s.read.Rooms(ctx, in)
	if err != nil {
		return struct{}{}, answer(err)
	}
	var failed error
	for _, room := range rooms {
		_, err := s.setMembership(ctx, api.SetMembershipReq{RoomID: room.ID, Sender: req.UserID, Target: req.UserID, Action: api.Leave})
		if err != nil && !errors.Is(err, matrix.Forbidden("")) { // forbidden: was put out of it meanwhile
			failed = err
		}
	}
	return struct{}{}, failed
}

func (s *Service) joinedRooms(ctx context.Context, req api.JoinedRoomsReq) (api.JoinedRoomsResp, error) {
	ids, err := s.read.JoinedRoomIDs(ctx, req.UserID)
	return api.JoinedRoomsResp{RoomIDs: ids}, answer(err)
}

func (s *Service) shareRoom(ctx context.Context, req api.ShareRoomReq) (api.ShareRoomResp, error) {
	nids, err := s.read.StringNIDs(ctx, []string{string(req.A), string(req.B)})
	if err != nil || len(nids) < 2 {
		return api.ShareRoomResp{}, answer(err)
	}
	rooms, err := s.read.RoomsInCommon(ctx, nids[string(req.A)], nids[string(req.B)])
	return api.ShareRoomResp{Share: len(rooms) > 0}, answer(err)
}
