package clientapi

import (
	"context"
	"strings"

	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	rooms "allmende/roomserver/api"
)

func (s *Service) membershipRoutes() []httpx.Route {
	const (
		client = "/_matrix/client/v3"
		room   = client + "/rooms/{roomId}"
	)
	act := func(action rooms.Action) httpx.Handler {
		return httpx.Handle(func(ctx context.Context, sess auth.Session, in actIn) (empty, error) {
			return empty{}, s.actOn(ctx, sess, in, action)
		})
	}
	return []httpx.Route{
		{Method: "POST", Path: client + "/join/{roomIdOrAlias}", Auth: httpx.Required, Rate: httpx.RateJoin, Handler: httpx.Handle(s.join)},
		{Method: "POST", Path: room + "/join", Auth: httpx.Required, Rate: httpx.RateJoin, Handler: httpx.Handle(s.joinByID)},
		{Method: "POST", Path: client + "/knock/{roomIdOrAlias}", Auth: httpx.Required, Rate: httpx.RateJoin, Handler: httpx.Handle(s.knock)},
		{Method: "POST", Path: room + "/leave", Auth: httpx.Required, Rate: httpx.RateSend, Handler: httpx.Handle(s.leave)},
		{Method: "POST", Path: room + "/forget", Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.forget)},
		{Method: "POST", Path: room + "/invite", Auth: httpx.Required, Rate: httpx.RateSend, Handler: act(rooms.Invite)},
		{Method: "POST", Path: room + "/kick", Auth: httpx.Required, Rate: httpx.RateSend, Handler: act(rooms.Kick)},
		{Method: "POST", Path: room + "/ban", Auth: httpx.Required, Rate: httpx.RateSend, Handler: act(rooms.Ban)},
		{Method: "POST", Path: room + "/unban", Auth: httpx.Required, Rate: httpx.RateSend, Handler: act(rooms.Unban)},
	}
}

// reasonBody is the body of the calls about oneself. third_party_signed is not read: there are no third-party invites.
type reasonBody struct {
	Reason string `json:"reason"`
}

type joinIn struct {
	Room       string     `path:"roomIdOrAlias"`
	Via        []string   `query:"via"`
	ServerName []string   `query:"server_name"` // the name of via before 1.12
	Body       reasonBody `body:"optional"`
}

// spec: c-s §POST /join/{roomIdOrAlias}
func (s *Service) join(ctx context.Context, sess auth.Session, in joinIn) (roomOut, error) {
	return s.enter(ctx, sess, in, rooms.Join)
}

// spec: c-s §POST /knock/{roomIdOrAlias}
func (s *Service) knock(ctx context.Context, sess auth.Session, in joinIn) (roomOut, error) {
	return s.enter(ctx, sess, in, rooms.Knock)
}

// enter joins or knocks, by id or by alias.
func (s *Service) enter(ctx context.Context, sess auth.Session, in joinIn, action rooms.Action) (roomOut, error) {
	if err := mayAct(sess); err != nil {
		return roomOut{}, err
	}
	room, via, err := s.findRoom(ctx, in)
	if err != nil {
		return roomOut{}, err
	}
	_, err = s.setOwnMembership(ctx, sess, rooms.SetMembershipReq{RoomID: room, Action: action, Reason: in.Body.Reason, Via: via})
	return roomOut{room}, err
}

func (s *Service) findRoom(ctx context.Context, in joinIn) (matrix.RoomID, []matrix.ServerName, error) {
	via, err := serverNames(in.Via, in.ServerName)
	if err != nil {
		return "", nil, err
	}
	if !strings.HasPrefix(in.Room, "#") {
		room, err := matrix.ParseRoomID(in.Room)
		return room, via, err
	}
	alias, err := matrix.ParseRoomAlias(in.Room)
	if err != nil {
		return "", nil, err
	}
	found, err := bus.Call(ctx, s.Bus, rooms.ResolveAlias, rooms.ResolveAliasReq{Alias: alias})
	return found.RoomID, append(via, found.Servers...), err
}

func serverNames(lists ...[]string) (out []matrix.ServerName, err error) {
	for _, list := range lists {
		for _, name := range list {
			server, err := matrix.ParseServerName(name)
			if err != nil {
				return nil, err
			}
			out = append(out, server)
		}
	}
	return out, nil
}

type joinByIDIn struct {
	RoomID string     `path:"roomId"`
	Body   reasonBody `body:"optional"`
}

// spec: c-s §POST /rooms/{roomId}/join
func (s *Service) joinByID(ctx context.Context, sess auth.Session, in joinByIDIn) (roomOut, error) {
	room, err := actingIn(sess, in.RoomID)
	if err != nil {
		return roomOut{}, err
	}
	_, err = s.setOwnMembership(ctx, sess, rooms.SetMembershipReq{RoomID: room, Action: rooms.Join, Reason: in.Body.Reason})
	return roomOut{room}, err
}

// spec: c-s §POST /rooms/{roomId}/leave
func (s *Service) leave(ctx context.Context, sess auth.Session, in joinByIDIn) (empty, error) {
	room, err := matrix.ParseRoomID(in.RoomID) // whoever is suspended may leave
	if err != nil {
		return empty{}, err
	}
	_, err = s.setOwnMembership(ctx, sess, rooms.SetMembershipReq{RoomID: room, Action: rooms.Leave, Reason: in.Body.Reason})
	return empty{}, err
}

// setOwnMembership completes a request about the session's own user and makes it.
func (s *Service) setOwnMembership(ctx context.Context, sess auth.Session, req rooms.SetMembershipReq) (matrix.EventID, error) {
	req.Sender, req.Target = sess.UserID, sess.UserID
	if req.Action != rooms.Leave {
		var err error
		if req.Profile, err = s.roomProfile(ctx, sess.UserID); err != nil {
			return "", err
		}
	}
	resp, err := bus.Call(ctx, s.Bus, rooms.SetMembership, req)
	return resp.EventID, err
}

type forgetIn struct {
	RoomID string `path:"roomId"`
}

// spec: c-s §POST /rooms/{roomId}/forget
func (s *Service) forget(ctx context.Context, sess auth.Session, in forgetIn) (empty, error) {
	room, err := matrix.ParseRoomID(in.RoomID)
	if err != nil {
		return empty{}, err
	}
	_, err = bus.Call(ctx, s.Bus, rooms.Forget, rooms.ForgetReq{RoomID: room, UserID: sess.UserID})
	return empty{}, err
}

type actIn struct {
	RoomID string `path:"roomId"`
	Body   struct {
		UserID *string `json:"user_id"`
		Reason string  `json:"reason"`

		// A third-party invite has these instead of user_id.
		Medium  *string `json:"medium"`
		Address *string `json:"address"`
	} `body:""`
}

// actOn invites, kicks, bans or unbans somebody.
//
// spec: c-s §POST /rooms/{roomId}/invite, /kick, /ban, /unban
func (s *Service) actOn(ctx context.Context, sess auth.Session, in actIn, action rooms.Action) error {
	room, err := actingIn(sess, in.RoomID)
	if err != nil {
		return err
	}
	if in.Body.UserID == nil {
		if action == rooms.Invite && (in.Body.Medium != nil || in.Body.Address != nil) {
			return errNoThirdParty()
		}
		return matrix.MissingParam("Missing user_id.")
	}
	target, err := matrix.ParseUserID(*in.Body.UserID)
	if err != nil {
		return err
	}
	_, err = s.setMembership(ctx, rooms.SetMembershipReq{RoomID: room, Sender: sess.UserID, Target: target, Action: action, Reason: in.Body.Reason})
	return err
}

// setMembership makes a request about somebody else. Invites show the profile of the invited.
func (s *Service) setMembership(ctx context.Context, req rooms.SetMembershipReq) (matrix.EventID, error) {
	if req.Action == rooms.Invite {
		var err error
		if req.Profile, err = s.roomProfile(ctx, req.Target); err != nil {
			return "", err
		}
	}
	resp, err := bus.Call(ctx, s.Bus, rooms.SetMembership, req)
	return resp.EventID, err
}
