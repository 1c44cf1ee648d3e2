package clientapi

import (
	"context"
	"encoding/json"
	"errors"

	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	rooms "allmende/roomserver/api"
)

// maxEventBody bounds the content of an event on its way in. An event has at most 64 KiB, but in canonical form: what the
// client sends may be larger by its white space and escapes.
const maxEventBody = 128 << 10

// maxTxnID bounds transaction ids, in bytes.
const maxTxnID = 255

func (s *Service) sendRoutes() []httpx.Route {
	const room = "/_matrix/client/v3/rooms/{roomId}"
	return []httpx.Route{
		{Method: "PUT", Path: room + "/send/{eventType}/{txnId}", Auth: httpx.Required, Rate: httpx.RateSend, Handler: httpx.Handle(s.sendMessage), MaxBody: maxEventBody},
		{Method: "PUT", Path: room + "/redact/{eventId}/{txnId}", Auth: httpx.Required, Rate: httpx.RateSend, Handler: httpx.Handle(s.redact)},
		{Method: "PUT", Path: room + "/state/{eventType}/{stateKey?}", Auth: httpx.Required, Rate: httpx.RateSend, Handler: httpx.Handle(s.putState), MaxBody: maxEventBody},
	}
}

type eventOut struct {
	EventID matrix.EventID `json:"event_id"`
}

// transaction scopes a transaction id by device and path.
//
// spec: c-s §Transaction identifiers
func transaction(sess auth.Session, room matrix.RoomID, endpoint, txnID string) (rooms.Transaction, error) {
	if len(txnID) > maxTxnID {
		return rooms.Transaction{}, matrix.InvalidParam("The transaction ID is too long.")
	}
	return rooms.Transaction{DeviceID: sess.DeviceID, ID: txnID, Endpoint: "rooms/" + string(room) + "/" + endpoint}, nil
}

type sendIn struct {
	RoomID  string          `path:"roomId"`
	Type    string          `path:"eventType"`
	TxnID   string          `path:"txnId"`
	Content json.RawMessage `body:""`
}

// spec: c-s §PUT /rooms/{roomId}/send/{eventType}/{txnId}
func (s *Service) sendMessage(ctx context.Context, sess auth.Session, in sendIn) (eventOut, error) {
	room, err := actingIn(sess, in.RoomID)
	if err != nil {
		return eventOut{}, err
	}
	txn, err := transaction(sess, room, "send/"+in.Type, in.TxnID)
	if err != nil {
		return eventOut{}, err
	}
	req := rooms.SendEventReq{RoomID: room, Sender: sess.UserID, Txn: txn, Type: in.Type, Content: in.Content}
	if in.Type == matrix.TypeRedaction {
		if req.Content, req.Redacts, err = splitRedaction(in.Content); err != nil {
			return eventOut{}, err
		}
	}
	return s.sendEvent(ctx, req)
}

func (s *Service) sendEvent(ctx context.Context, req rooms.SendEventReq) (eventOut, error) {
	resp, err := bus.Call(ctx, s.Bus, rooms.SendEvent, req)
	return eventOut{resp.EventID}, err
}

// splitRedaction takes the target out of a redaction's content: where it belongs depends on the room's version.
func splitRedaction(content json.RawMessage) (json.RawMessage, matrix.EventID, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(content, &members); err != nil {
		return nil, "", matrix.BadJSON("The body must be a JSON object").Wrap(err)
	}
	raw, ok := members["redacts"]
	if !ok {
		return nil, "", matrix.MissingParam("Missing redacts.")
	}
	var target string
	if err := json.Unmarshal(raw, &target); err != nil {
		return nil, "", matrix.BadJSON("redacts must be a string.")
	}
	id, err := matrix.ParseEventID(target)
	if err != nil {
		return nil, "", err
	}
	delete(members, "redacts")
	rest, err := json.Marshal(members)
	return rest, id, err
}

type redactIn struct {
	RoomID  string `path:"roomId"`
	EventID string `path:"eventId"`
	TxnID   string `path:"txnId"`
	Body    struct {
		Reason *string `json:"reason,omitempty"`
	} `body:"optional"`
}

// spec: c-s §PUT /rooms/{roomId}/redact/{eventId}/{txnId}
func (s *Service) redact(ctx context.Context, sess auth.Session, in redactIn) (eventOut, error) {
	room, err := matrix.ParseRoomID(in.RoomID) // whoever is suspended may take back what they said
	if err != nil {
		return eventOut{}, err
	}
	target, err := matrix.ParseEventID(in.EventID)
	if err != nil {
		return eventOut{}, err
	}
	txn, err := transaction(sess, room, "redact/"+in.EventID, in.TxnID)
	if err != nil {
		return eventOut{}, err
	}
	content, err := json.Marshal(in.Body)
	if err != nil {
		return eventOut{}, err
	}
	return s.sendEvent(ctx, rooms.SendEventReq{
		RoomID: room, Sender: sess.UserID, Txn: txn, Type: matrix.TypeRedaction, Content: content, Redacts: target,
	})
}

type putStateIn struct {
	RoomID   string          `path:"roomId"`
	Type     string          `path:"eventType"`
	StateKey string          `path:"stateKey"`
	Content  json.RawMessage `body:""`
}

// spec: c-s §PUT /rooms/{roomId}/state/{eventType}/{stateKey}
func (s *Service) putState(ctx context.Context, sess auth.Session, in putStateIn) (eventOut, error) {
	room, err := actingIn(sess, in.RoomID)
	if err != nil {
		return eventOut{}, err
	}
	if in.Type == matrix.TypeMember {
		return s.putMember(ctx, sess, room, in)
	}
	return s.sendEvent(ctx, rooms.SendEventReq{RoomID: room, Sender: sess.UserID, Type: in.Type, StateKey: &in.StateKey, Content: in.Content})
}

// memberContent is what matters in the content of a member event.
type memberContent struct {
	Membership  string `json:"membership"`
	DisplayName string `json:"displayname"`
	AvatarURL   string `json:"avatar_url"`
	IsDirect    bool   `json:"is_direct"`
	Reason      string `json:"reason"`
}

// putMember does what the membership endpoints do, for a client that writes the member event itself.
func (s *Service) putMember(ctx context.Context, sess auth.Session, room matrix.RoomID, in putStateIn) (eventOut, error) {
	target, err := matrix.ParseUserID(in.StateKey)
	if err != nil {
		return eventOut{}, err
	}
	var c memberContent
	if err := json.Unmarshal(in.Content, &c); err != nil {
		return eventOut{}, matrix.BadJSON("The content of the member event does not have the right shape.").Wrap(err)
	}
	req := rooms.SetMembershipReq{
		RoomID: room, Sender: sess.UserID, Target: target, Reason: c.Reason, IsDirect: c.IsDirect, Extra: in.Content,
	}
	if target == sess.UserID {
		return s.putOwnMember(ctx, req, c)
	}
	var id matrix.EventID
	switch c.Membership {
	case "invite":
		req.Action = rooms.Invite
		id, err = s.setMembership(ctx, req)
	case "ban":
		req.Action = rooms.Ban
		id, err = s.setMembership(ctx, req)
	case "leave":
		id, err = s.removeMember(ctx, req)
	case "join", "knock":
		err = matrix.Forbidden("Only they themselves can do that.")
	default:
		err = errNoMembership()
	}
	return eventOut{id}, err
}

func errNoMembership() error { return matrix.BadJSON("membership is missing or unknown.") }

// removeMember kicks, or unbans whoever turns out to be banned.
func (s *Service) removeMember(ctx context.Context, req rooms.SetMembershipReq) (matrix.EventID, error) {
	req.Action = rooms.Kick
	id, kickErr := s.setMembership(ctx, req)
	if !errors.Is(kickErr, matrix.Forbidden("")) {
		return id, kickErr
	}
	req.Action = rooms.Unban
	id, err := s.setMembership(ctx, req)
	if errors.Is(err, matrix.Forbidden("")) {
		return "", kickErr
	}
	return id, err
}

// putOwnMember joins with, or when joined changes to, the name and picture the client gives for this room.
func (s *Service) putOwnMember(ctx context.Context, req rooms.SetMembershipReq, c memberContent) (eventOut, error) {
	req.Profile = rooms.Profile{DisplayName: c.DisplayName, AvatarURL: c.AvatarURL}
	switch c.Membership {
	case "join":
		req.Action = rooms.Join
		shown, err := bus.Call(ctx, s.Bus, rooms.UpdateProfile, rooms.UpdateProfileReq{RoomID: req.RoomID, UserID: req.Sender, Profile: req.Profile})
		if err != nil || shown.EventID != "" {
			return eventOut{shown.EventID}, err
		}
	case "leave":
		req.Action = rooms.Leave
	case "knock":
		req.Action = rooms.Knock
	case "invite", "ban":
		return eventOut{}, matrix.Forbidden("You cannot do that to yourself.")
	default:
		return eventOut{}, errNoMembership()
	}
	resp, err := bus.Call(ctx, s.Bus, rooms.SetMembership, req)
	return eventOut{resp.EventID}, err
}
