package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"allmende/internal/matrix"
	"allmende/internal/obs"
	"allmende/roomserver/api"
	"allmende/roomserver/read"
	"allmende/roomserver/store"
	"allmende/roomserver/timeline"
)

const canonicalAlias = "m.room.canonical_alias"

// setAlias points a local alias at a room.
//
// spec: c-s §PUT /directory/room/{roomAlias}
func (s *Service) setAlias(ctx context.Context, req api.SetAliasReq) (struct{}, error) {
	if req.Alias.Server() != s.serverName() {
		return struct{}{}, matrix.InvalidParam("Only aliases of this server can be made here.")
	}
	in, err := s.joinedTo(ctx, req.RoomID, req.UserID)
	if err != nil {
		return struct{}{}, answer(err)
	}
	if !in {
		return struct{}{}, notJoined()
	}
	room, err := s.read.Room(ctx, req.RoomID)
	if err != nil {
		return struct{}{}, answer(err)
	}
	err = s.store.AddAlias(ctx, req.Alias, room.NID, req.UserID)
	if errors.Is(err, store.ErrAliasTaken) {
		return struct{}{}, matrix.Unknown("The alias points at a room already.").WithStatus(409)
	}
	return struct{}{}, answer(err)
}

// resolveAlias finds a local alias.
func (s *Service) resolveAlias(ctx context.Context, req api.ResolveAliasReq) (api.ResolveAliasResp, error) {
	a, err := s.findAlias(ctx, req.Alias)
	if err != nil {
		return api.ResolveAliasResp{}, err
	}
	return api.ResolveAliasResp{RoomID: a.RoomID, Servers: []matrix.ServerName{s.serverName()}}, nil
}

func (s *Service) findAlias(ctx context.Context, alias matrix.RoomAlias) (store.FoundAlias, error) {
	a, err := s.store.Alias(ctx, alias)
	if errors.Is(err, store.ErrNotFound) {
		return a, matrix.NotFound("There is no such room alias.").Wrap(err)
	}
	return a, answer(err)
}

// deleteAlias removes a local alias, and its name from the room if the user may.
//
// spec: c-s §DELETE /directory/room/{roomAlias}
func (s *Service) deleteAlias(ctx context.Context, req api.DeleteAliasReq) (struct{}, error) {
	a, err := s.findAlias(ctx, req.Alias)
	if err != nil {
		return struct{}{}, err
	}
	if a.Creator != req.UserID {
		if err := s.mayNameRoom(ctx, a.RoomID, req.UserID); err != nil {
			return struct{}{}, answer(err)
		}
	}
	if err := s.store.DeleteAlias(ctx, req.Alias); err != nil {
		return struct{}{}, answer(err)
	}
	err = s.rooms.Update(ctx, a.RoomID, func(tx *timeline.Tx) error {
		return unname(tx, req.UserID, req.Alias)
	})
	if err != nil && !errors.Is(err, matrix.Forbidden("")) {
		// The alias is gone, which is what was asked; the room still names it.
		obs.Logger(ctx).Warn("room still names a deleted alias")
	}
	return struct{}{}, nil
}

// mayNameRoom refuses those who may not change the room's canonical alias.
func (s *Service) mayNameRoom(ctx context.Context, id matrix.RoomID, user matrix.UserID) error {
	return s.rooms.Update(ctx, id, func(tx *timeline.Tx) error {
		if tx.Membership(user) != read.Join {
			return notJoined()
		}
		levels, err := tx.PowerLevels()
		if err != nil {
			return err
		}
		if levels.User(user) < levels.State(canonicalAlias) {
			return matrix.Forbidden("Your power level is too low to change how the room is found.")
		}
		return nil
	})
}

// unname takes an alias out of the room's canonical alias event.
func unname(tx *timeline.Tx, user matrix.UserID, alias matrix.RoomAlias) error {
	now, err := tx.State(canonicalAlias, "")
	if err != nil || now == nil || tx.Membership(user) != read.Join {
		return err
	}
	content := map[string]any{}
	if err := json.Unmarshal(now.Content, &content); err != nil {
		return fmt.Errorf("decode canonical alias: %w", err)
	}
	changed := false
	if content["alias"] == string(alias) {
		delete(content, "alias")
		changed = true
	}
	if alt, ok := content["alt_aliases"].([]any); ok {
		kept := slices.DeleteFunc(alt, func(a any) bool { return a == string(alias) })
		changed = changed || len(kept) != len(alt)
		content["alt_aliases"] = kept
	}
	if !changed {
		return nil
	}
	return appendJSON(tx, canonicalAlias, user, content)
}

// publish puts a room into the public directory or takes it out. A room one is
// not in is answered like one that does not exist.
func (s *Service) publish(ctx context.Context, req api.PublishReq) (struct{}, error) {
	in, err := s.joinedTo(ctx, req.RoomID, req.UserID)
	if err != nil {
		return struct{}{}, answer(err)
	}
	if !in {
		return struct{}{}, matrix.NotFound("This server does not know the room.")
	}
	if err := s.mayNameRoom(ctx, req.RoomID, req.UserID); err != nil {
		return struct{}{}, answer(err)
	}
	room, err := s.read.Room(ctx, req.RoomID)
	if err != nil {
		return struct{}{}, answer(err)
	}
	return struct{}{}, answer(s.store.Publish(ctx, room.NID, req.Published))
}

// appendJSON appends a state event with an empty state key.
func appendJSON(tx *timeline.Tx, typ string, sender matrix.UserID, content any) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode %s: %w", typ, err)
	}
	empty := ""
	_, err = tx.Append(timeline.Proto{Type: typ, StateKey: &empty, Sender: sender, Content: raw})
	return err
}
