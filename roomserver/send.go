package roomserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"allmende/internal/matrix"
	"allmende/roomserver/api"
	"allmende/roomserver/read"
	"allmende/roomserver/store"
	"allmende/roomserver/timeline"
)

// sendEvent appends one event of a local user.
func (s *Service) sendEvent(ctx context.Context, req api.SendEventReq) (api.EventResp, error) {
	scope, idempotent := txnScope(req.Sender, req.Txn)
	if idempotent {
		if id, ok := s.rooms.Sent(scope); ok {
			return api.EventResp{EventID: id}, nil
		}
	}
	if strings.IndexByte(req.Txn.ID+req.Txn.DeviceID, 0) >= 0 || len(req.Txn.ID) > maxTxnID {
		return api.EventResp{}, matrix.InvalidParam("Not a valid transaction ID.")
	}
	for ctx.Err() == nil {
		out, err := s.sendOnce(ctx, req, scope, idempotent)
		if err == nil || !idempotent {
			return api.EventResp{EventID: out}, answer(hidden(err))
		}
		var me *matrix.Error
		if !errors.Is(err, store.ErrTxnTaken) && !errors.As(err, &me) {
			return api.EventResp{}, answer(err)
		}
		// Perhaps the first request's answer was lost on its way, and this is
		// its repetition. What was allowed then need not be allowed now.
		id, lost := s.store.EventIDOfTxn(ctx, scope)
		switch {
		case lost == nil:
			return api.EventResp{EventID: id}, nil
		case !errors.Is(lost, store.ErrNotFound):
			return api.EventResp{}, answer(lost)
		case !errors.Is(err, store.ErrTxnTaken):
			return api.EventResp{}, answer(hidden(err))
		}
		// It lost against a request that then failed itself.
	}
	return api.EventResp{}, ctx.Err()
}

// maxTxnID bounds transaction ids, which are kept for a day; in bytes.
const maxTxnID = 512

func (s *Service) sendOnce(ctx context.Context, req api.SendEventReq, scope [16]byte, idempotent bool) (out matrix.EventID, err error) {
	err = s.rooms.Update(ctx, req.RoomID, func(tx *timeline.Tx) (err error) {
		if out, err = s.appendEvent(ctx, tx, req); err != nil {
			return err
		}
		if idempotent {
			tx.Claim(scope, req.Txn.DeviceID, req.Txn.ID)
		}
		return nil
	})
	return out, err
}

// txnScope is what makes a request the repetition of another.
//
// spec: c-s §Transaction identifiers
func txnScope(user matrix.UserID, t api.Transaction) (scope [16]byte, ok bool) {
	if t.ID == "" {
		return scope, false
	}
	h := sha256.New()
	for _, part := range []string{string(user), t.DeviceID, t.Endpoint, t.ID} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return [16]byte(h.Sum(nil)[:16]), true
}

func (s *Service) appendEvent(ctx context.Context, tx *timeline.Tx, req api.SendEventReq) (matrix.EventID, error) {
	if req.Type == matrix.TypeMember && req.StateKey != nil {
		return s.appendMember(ctx, tx, req)
	}
	if tx.Membership(req.Sender) != read.Join {
		return "", notJoined()
	}
	if req.StateKey != nil {
		if id, err := unchanged(tx, req); err != nil || id != "" {
			return id, err
		}
		if err := s.checkState(ctx, tx, req); err != nil {
			return "", err
		}
	}
	if req.Type == matrix.TypeRedaction && req.StateKey == nil {
		if req.Redacts == "" && tx.Version().RedactsInContent() {
			req.Redacts = redactsOf(req.Content) // sent as any other event is
		}
		return s.redact(ctx, tx, req)
	}
	if req.StateKey == nil {
		if err := s.checkAnnotation(ctx, tx, req); err != nil {
			return "", err
		}
	}
	ev, err := tx.Append(timeline.Proto{Type: req.Type, StateKey: req.StateKey, Sender: req.Sender, Content: req.Content})
	if err != nil {
		return "", err
	}
	return ev.ID, nil
}

// appendMember appends a member event written by a client itself, such as one
// with a name for this room only. What holds for the membership endpoints holds
// here too.
func (s *Service) appendMember(ctx context.Context, tx *timeline.Tx, req api.SendEventReq) (matrix.EventID, error) {
	if string(req.Sender) != *req.StateKey && tx.Membership(req.Sender) != read.Join {
		return "", notJoined()
	}
	if id, err := unchanged(tx, req); err != nil || id != "" {
		return id, err
	}
	target, err := matrix.ParseUserID(*req.StateKey)
	if err != nil {
		return "", err
	}
	content := map[string]any{}
	if err := json.Unmarshal(req.Content, &content); err != nil {
		return "", matrix.BadJSON("The content must be an object.").Wrap(err)
	}
	delete(content, "join_authorised_via_users_server")
	delete(content, "third_party_invite")
	was := tx.Membership(target)
	switch content["membership"] {
	case matrix.Invite:
		if !s.local(target) {
			return "", matrix.Forbidden("This server does not federate: only its own members can be invited.")
		}
	case matrix.Join:
		if was != read.Join && was != read.Invite {
			if err := s.authoriseRestricted(ctx, tx, target, content); err != nil {
				return "", err
			}
		}
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encode member event: %w", err)
	}
	ev, err := tx.Append(timeline.Proto{Type: req.Type, StateKey: req.StateKey, Sender: req.Sender, Content: raw})
	if err != nil {
		return "", err
	}
	return ev.ID, nil
}

// unchanged answers the event that already says what the request wants to say.
func unchanged(tx *timeline.Tx, req api.SendEventReq) (matrix.EventID, error) {
	now, err := tx.State(req.Type, *req.StateKey)
	if err != nil || now == nil || now.Sender != req.Sender {
		return "", err
	}
	content, err := matrix.CanonicalJSON(req.Content)
	if err != nil || !bytes.Equal(content, now.Content) {
		return "", err
	}
	return now.ID, nil
}

// checkState refuses state that the rules of rooms allow but the API does not.
func (s *Service) checkState(ctx context.Context, tx *timeline.Tx, req api.SendEventReq) error {
	if req.Type == "m.room.canonical_alias" && *req.StateKey == "" {
		return s.checkCanonicalAlias(ctx, tx, req.Content)
	}
	return nil
}

// checkCanonicalAlias refuses aliases that do not point at the room, unless the
// room names them already.
//
// spec: c-s §PUT /rooms/{roomId}/state/{eventType}/{stateKey}, M_BAD_ALIAS
func (s *Service) checkCanonicalAlias(ctx context.Context, tx *timeline.Tx, content json.RawMessage) error {
	wanted, err := canonicalAliases(content)
	if err != nil {
		return err
	}
	known := map[matrix.RoomAlias]bool{}
	now, err := tx.State("m.room.canonical_alias", "")
	if err != nil {
		return err
	}
	if now != nil {
		old, _ := canonicalAliases(now.Content) // what is stored need not be well formed
		for _, a := range old {
			known[a] = true
		}
	}
	for _, a := range wanted {
		if known[a] {
			continue
		}
		nid, err := s.read.AliasRoom(ctx, a)
		if errors.Is(err, read.ErrNotFound) || err == nil && nid != tx.RoomNID() {
			return matrix.BadAlias("The alias does not point at this room.")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func canonicalAliases(content json.RawMessage) ([]matrix.RoomAlias, error) {
	var c struct {
		Alias *string  `json:"alias"`
		Alt   []string `json:"alt_aliases"`
	}
	if err := json.Unmarshal(content, &c); err != nil {
		return nil, matrix.InvalidParam("alias must be a string and alt_aliases a list of strings.").Wrap(err)
	}
	if c.Alias != nil && *c.Alias != "" {
		c.Alt = append(c.Alt, *c.Alias)
	}
	var out []matrix.RoomAlias
	for _, a := range c.Alt {
		alias, err := matrix.ParseRoomAlias(a)
		if err != nil {
			return nil, err
		}
		out = append(out, alias)
	}
	return out, nil
}

// redactsOf is the target that a redaction's content names.
func redactsOf(content json.RawMessage) matrix.EventID {
	var c struct {
		Redacts matrix.EventID `json:"redacts"`
	}
	_ = json.Unmarshal(content, &c) // names none then
	return c.Redacts
}

// redact appends a redaction and takes the target's content away, from memory
// and from the database, in the same transaction.
//
// spec: c-s §Redactions
func (s *Service) redact(ctx context.Context, tx *timeline.Tx, req api.SendEventReq) (matrix.EventID, error) {
	target, err := s.redactionTarget(ctx, tx, req)
	if err != nil {
		return "", err
	}
	ev, err := tx.Append(timeline.Proto{Type: req.Type, Sender: req.Sender, Content: req.Content, Redacts: req.Redacts})
	if err != nil {
		return "", err
	}
	return ev.ID, tx.Redact(target)
}

func (s *Service) redactionTarget(ctx context.Context, tx *timeline.Tx, req api.SendEventReq) (store.LoadedEvent, error) {
	if _, err := matrix.ParseEventID(string(req.Redacts)); err != nil {
		return store.LoadedEvent{}, err
	}
	target, err := s.store.Event(ctx, req.Redacts)
	if errors.Is(err, store.ErrNotFound) || err == nil && target.RoomNID != tx.RoomNID() {
		return target, matrix.NotFound("There is no such event in this room.")
	}
	if err != nil {
		return target, err
	}
	sender := matrix.UserID(matrix.Text(matrix.Member(target.JSON, "sender")))
	levels, err := tx.PowerLevels()
	if err != nil {
		return target, err
	}
	if sender != req.Sender && levels.User(req.Sender) < levels.Redact {
		return target, matrix.Forbidden("Your power level is too low to redact other people's events.")
	}
	return target, nil
}
