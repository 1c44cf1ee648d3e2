package clientapi

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	rooms "allmende/roomserver/api"
)

// maxCreateRoom bounds the body of /createRoom: initial state travels in one message on the bus.
const maxCreateRoom = 200 << 10

func (s *Service) roomRoutes() []httpx.Route {
	const room = "/_matrix/client/v3/rooms/{roomId}"
	return []httpx.Route{
		{Method: "POST", Path: "/_matrix/client/v3/createRoom", Auth: httpx.Required, Rate: httpx.RateJoin, Handler: httpx.Handle(s.createRoom), MaxBody: maxCreateRoom},
		{Method: "POST", Path: room + "/upgrade", Auth: httpx.Required, Rate: httpx.RateJoin, Handler: httpx.Handle(s.upgradeRoom)},
	}
}

// mayAct refuses those whose account is suspended; they may still read and leave.
//
// spec: c-s §Account suspension
func mayAct(sess auth.Session) error {
	if sess.Suspended {
		return matrix.UserSuspended("This account is suspended.")
	}
	return nil
}

// object is a JSON object passed on as it is; null is none.
type object json.RawMessage

// UnmarshalJSON implements json.Unmarshaler.
func (o *object) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		*o = nil
	case b[0] == '{':
		*o = bytes.Clone(b)
	default:
		return matrix.BadJSON("A member that must be an object is none.")
	}
	return nil
}

type createRoomIn struct {
	Body struct {
		Visibility      string             `json:"visibility"`
		AliasName       string             `json:"room_alias_name"`
		Name            string             `json:"name"`
		Topic           string             `json:"topic"`
		Invite          []string           `json:"invite"`
		Invite3PID      []object           `json:"invite_3pid"`
		Version         matrix.RoomVersion `json:"room_version"`
		CreationContent object             `json:"creation_content"`
		InitialState    []struct {
			Type     string `json:"type"`
			StateKey string `json:"state_key"`
			Content  object `json:"content"`
		} `json:"initial_state"`
		Preset      string `json:"preset"`
		IsDirect    bool   `json:"is_direct"`
		PowerLevels object `json:"power_level_content_override"`
	} `body:""`
}

type roomOut struct {
	RoomID matrix.RoomID `json:"room_id"`
}

// spec: c-s §POST /createRoom
func (s *Service) createRoom(ctx context.Context, sess auth.Session, in createRoomIn) (roomOut, error) {
	if err := mayAct(sess); err != nil {
		return roomOut{}, err
	}
	req, err := s.createRequest(sess, in)
	if err != nil {
		return roomOut{}, err
	}
	if err := s.fillProfiles(ctx, &req); err != nil {
		return roomOut{}, err
	}
	resp, err := bus.Call(ctx, s.Bus, rooms.CreateRoom, req)
	return roomOut{resp.RoomID}, err
}

// createRequest checks what can be judged without knowing any room.
func (s *Service) createRequest(sess auth.Session, in createRoomIn) (rooms.CreateRoomReq, error) {
	b := in.Body
	req := rooms.CreateRoomReq{
		Creator: sess.UserID, Version: b.Version, CreationContent: json.RawMessage(b.CreationContent), Preset: b.Preset,
		AliasLocalpart: b.AliasName, Name: b.Name, Topic: b.Topic, PowerLevels: json.RawMessage(b.PowerLevels), IsDirect: b.IsDirect,
	}
	var err error
	if req.Published, err = published(b.Visibility, false); err != nil {
		return req, err
	}
	switch b.Preset {
	case "", "private_chat", "public_chat", "trusted_private_chat":
	default:
		return req, matrix.InvalidParam("Unknown preset.")
	}
	if len(b.Invite3PID) > 0 {
		return req, errNoThirdParty()
	}
	if err := s.checkAliasName(b.AliasName); err != nil {
		return req, err
	}
	for _, st := range b.InitialState {
		if st.Type == "" || st.Content == nil {
			return req, matrix.BadJSON("Each entry of initial_state needs type and content.")
		}
		req.InitialState = append(req.InitialState, rooms.StateEvent{Type: st.Type, StateKey: st.StateKey, Content: json.RawMessage(st.Content)})
	}
	for _, id := range b.Invite {
		user, err := matrix.ParseUserID(id)
		if err != nil {
			return req, err
		}
		if !slices.ContainsFunc(req.Invite, func(i rooms.Invitee) bool { return i.UserID == user }) {
			req.Invite = append(req.Invite, rooms.Invitee{UserID: user})
		}
	}
	return req, nil
}

func (s *Service) checkAliasName(localpart string) error {
	if localpart == "" {
		return nil
	}
	if strings.ContainsAny(localpart, ":\x00 \t\r\n") {
		return matrix.InvalidParam("room_alias_name must not contain colons or spaces.")
	}
	_, err := matrix.ParseRoomAlias("#" + localpart + ":" + s.Config.ServerName)
	return err
}

func (s *Service) fillProfiles(ctx context.Context, req *rooms.CreateRoomReq) error {
	users := []matrix.UserID{req.Creator}
	for _, i := range req.Invite {
		users = append(users, i.UserID)
	}
	profiles, err := s.roomProfiles(ctx, users)
	if err != nil {
		return err
	}
	req.Profile = profiles[req.Creator]
	for i := range req.Invite {
		req.Invite[i].Profile = profiles[req.Invite[i].UserID]
	}
	return nil
}

// published reads a visibility.
func published(visibility string, otherwise bool) (bool, error) {
	switch visibility {
	case "":
		return otherwise, nil
	case "public":
		return true, nil
	case "private":
		return false, nil
	}
	return false, matrix.InvalidParam("visibility must be public or private.")
}

// errNoThirdParty: this server has no identity server to ask about e-mail addresses and phone numbers.
func errNoThirdParty() error {
	return matrix.ThreepidDenied("Invitations by e-mail address or phone number are not possible on this server.")
}

type upgradeRoomIn struct {
	RoomID string `path:"roomId"`
	Body   struct {
		Version            matrix.RoomVersion `json:"new_version"`
		AdditionalCreators []string           `json:"additional_creators"`
	} `body:""`
}

type upgradeRoomOut struct {
	Replacement matrix.RoomID `json:"replacement_room"`
}

// spec: c-s §POST /rooms/{roomId}/upgrade
func (s *Service) upgradeRoom(ctx context.Context, sess auth.Session, in upgradeRoomIn) (upgradeRoomOut, error) {
	room, err := actingIn(sess, in.RoomID)
	if err != nil {
		return upgradeRoomOut{}, err
	}
	if in.Body.Version == "" {
		return upgradeRoomOut{}, matrix.MissingParam("Missing new_version.")
	}
	req := rooms.UpgradeRoomReq{RoomID: room, Sender: sess.UserID, Version: in.Body.Version}
	for _, id := range in.Body.AdditionalCreators {
		user, err := matrix.ParseUserID(id)
		if err != nil {
			return upgradeRoomOut{}, err
		}
		req.AdditionalCreators = append(req.AdditionalCreators, user)
	}
	if req.Profile, err = s.roomProfile(ctx, sess.UserID); err != nil {
		return upgradeRoomOut{}, err
	}
	resp, err := bus.Call(ctx, s.Bus, rooms.UpgradeRoom, req)
	return upgradeRoomOut{resp.RoomID}, err
}

// actingIn checks that the session may act, and the id of the room it wants to act in.
func actingIn(sess auth.Session, id string) (matrix.RoomID, error) {
	if err := mayAct(sess); err != nil {
		return "", err
	}
	return matrix.ParseRoomID(id)
}
