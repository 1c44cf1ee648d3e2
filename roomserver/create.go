package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"allmende/internal/matrix"
	"allmende/roomserver/api"
	"allmende/roomserver/store"
	"allmende/roomserver/timeline"
)

// createRoom makes a room with all its first events in one transaction.
//
// spec: c-s §POST /createRoom
func (s *Service) createRoom(ctx context.Context, req api.CreateRoomReq) (api.CreateRoomResp, error) {
	p, err := s.planRoom(req)
	if err != nil {
		return api.CreateRoomResp{}, err
	}
	id, err := s.rooms.Create(ctx, p.version, req.Published, req.Creator, p.create, p.fill)
	switch {
	case errors.Is(err, store.ErrAliasTaken):
		return api.CreateRoomResp{}, matrix.RoomInUse("The room alias is taken.").Wrap(err)
	case errors.Is(err, matrix.Forbidden("")):
		// The creator asked for a state that the room's own rules forbid.
		return api.CreateRoomResp{}, matrix.InvalidRoomState("The initial state contradicts itself: " + matrix.AsError(err).Msg).Wrap(err)
	}
	return api.CreateRoomResp{RoomID: id}, answer(err)
}

// plan is a room about to be made.
type plan struct {
	req     api.CreateRoomReq
	version matrix.RoomVersion
	create  json.RawMessage
	alias   matrix.RoomAlias
	initial map[matrix.StateKey]json.RawMessage
	order   []matrix.StateKey
	// creators stand above all levels (room version 12).
	creators []matrix.UserID
}

func (s *Service) planRoom(req api.CreateRoomReq) (*plan, error) {
	p := &plan{req: req, version: req.Version, initial: map[matrix.StateKey]json.RawMessage{}}
	if p.version == "" {
		p.version = matrix.RoomVersion(s.Config.Rooms.DefaultVersion)
	}
	if !p.version.Creatable() {
		return nil, matrix.UnsupportedRoomVersion("This server does not make rooms of that version.")
	}
	switch req.Preset {
	case "", privateChat, publicChat, trustedPrivateChat:
	default:
		return nil, matrix.InvalidParam("Unknown preset.")
	}
	if req.AliasLocalpart != "" {
		alias, err := matrix.ParseRoomAlias("#" + req.AliasLocalpart + ":" + string(s.serverName()))
		if err != nil || alias.Server() != s.serverName() {
			return nil, matrix.InvalidParam("The local part of the alias is not valid.").Wrap(err)
		}
		p.alias = alias
	}
	for _, i := range req.Invite {
		if !s.local(i.UserID) {
			return nil, matrix.Forbidden("This server does not federate: only its own members can be invited.")
		}
	}
	if err := p.planInitial(); err != nil {
		return nil, err
	}
	return p, p.planCreate()
}

func (p *plan) planInitial() error {
	for _, e := range p.req.InitialState {
		switch e.Type {
		case matrix.TypeCreate, matrix.TypeMember:
			return matrix.InvalidRoomState("initial_state cannot hold " + e.Type + ".")
		case "":
			return matrix.BadJSON("Each event of initial_state needs a type.")
		}
		k := matrix.StateKey{Type: e.Type, Key: e.StateKey}
		if _, twice := p.initial[k]; !twice {
			p.order = append(p.order, k)
		}
		p.initial[k] = e.Content
		if len(e.Content) == 0 {
			return matrix.BadJSON("Each event of initial_state needs content.")
		}
	}
	return nil
}

// planCreate writes the content of the create event.
func (p *plan) planCreate() error {
	content := map[string]any{}
	if len(p.req.CreationContent) > 0 {
		if err := json.Unmarshal(p.req.CreationContent, &content); err != nil || content == nil {
			return matrix.BadJSON("creation_content must be an object.").Wrap(err)
		}
	}
	if f, ok := content["m.federate"]; ok {
		if _, ok := f.(bool); !ok {
			return matrix.BadJSON("m.federate must be true or false.")
		}
	}
	delete(content, "creator")
	content["room_version"] = string(p.version)
	if p.version.CreatorInContent() {
		content["creator"] = string(p.req.Creator)
	}
	if p.version.CreatorsPrivileged() {
		if err := p.planCreators(content); err != nil {
			return err
		}
	} else {
		delete(content, "additional_creators")
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode create event: %w", err)
	}
	p.create = raw
	return nil
}

// planCreators gathers the additional creators; in a trusted private chat all
// invited stand as high as who invites them.
func (p *plan) planCreators(content map[string]any) error {
	var more []string
	if given, ok := content["additional_creators"]; ok {
		list, ok := given.([]any)
		if !ok {
			return matrix.BadJSON("additional_creators must be a list of user IDs.")
		}
		for _, g := range list {
			id, _ := g.(string)
			if _, err := matrix.ParseUserID(id); err != nil {
				return matrix.BadJSON("additional_creators must be a list of user IDs.").Wrap(err)
			}
			more = append(more, id)
		}
	}
	if p.req.Preset == trustedPrivateChat {
		for _, i := range p.req.Invite {
			if !slices.Contains(more, string(i.UserID)) {
				more = append(more, string(i.UserID))
			}
		}
	}
	p.creators = []matrix.UserID{p.req.Creator}
	for _, m := range more {
		p.creators = append(p.creators, matrix.UserID(m))
	}
	if len(more) > 0 {
		content["additional_creators"] = more
	}
	return nil
}

// fill appends the events after the create event, in the order the
// specification gives.
func (p *plan) fill(tx *timeline.Tx) error {
	steps := []func(*timeline.Tx) error{
		p.joinCreator, p.sendPowerLevels, p.sendAlias, p.sendPreset, p.sendInitial, p.sendNames, p.sendInvites,
	}
	for _, step := range steps {
		if err := step(tx); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) send(tx *timeline.Tx, typ, key string, content any) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode %s: %w", typ, err)
	}
	_, err = tx.Append(timeline.Proto{Type: typ, StateKey: &key, Sender: p.req.Creator, Content: raw})
	return err
}

func (p *plan) joinCreator(tx *timeline.Tx) error {
	content := map[string]any{"membership": matrix.Join}
	setProfile(content, p.req.Profile)
	return p.send(tx, matrix.TypeMember, string(p.req.Creator), content)
}

func (p *plan) sendPowerLevels(tx *timeline.Tx) error {
	if given, ok := p.initial[matrix.StateKey{Type: matrix.TypePowerLevels}]; ok {
		return p.send(tx, matrix.TypePowerLevels, "", given)
	}
	levels := p.defaultLevels()
	if len(p.req.PowerLevels) > 0 {
		var override map[string]any
		if err := json.Unmarshal(p.req.PowerLevels, &override); err != nil {
			return matrix.BadJSON("power_level_content_override must be an object.").Wrap(err)
		}
		for k, v := range override {
			levels[k] = v
		}
	}
	return p.send(tx, matrix.TypePowerLevels, "", levels)
}

// defaultLevels are the power levels of a new room. Upgrading is for its
// creators alone where the version knows creators.
func (p *plan) defaultLevels() map[string]any {
	users := map[string]any{}
	tombstone := 100
	if p.version.CreatorsPrivileged() {
		tombstone = 150
	} else {
		users[string(p.req.Creator)] = 100
		if p.req.Preset == trustedPrivateChat {
			for _, i := range p.req.Invite {
				users[string(i.UserID)] = 100
			}
		}
	}
	invite := 0
	if p.preset() == publicChat {
		invite = 50
	}
	return map[string]any{
		"users": users, "users_default": 0, "events_default": 0, "state_default": 50,
		"ban": 50, "kick": 50, "redact": 50, "invite": invite,
		"events": map[string]any{
			"m.room.name": 50, "m.room.avatar": 50, canonicalAlias: 50, "m.room.power_levels": 100,
			"m.room.history_visibility": 100, "m.room.encryption": 100, "m.room.server_acl": 100,
			"m.room.tombstone": tombstone,
		},
	}
}

func (p *plan) sendAlias(tx *timeline.Tx) error {
	if p.alias == "" {
		return nil
	}
	if err := tx.AddAlias(p.alias, p.req.Creator); err != nil {
		return err
	}
	return p.send(tx, canonicalAlias, "", map[string]any{"alias": p.alias})
}

// The presets of createRoom.
const (
	privateChat        = "private_chat"
	publicChat         = "public_chat"
	trustedPrivateChat = "trusted_private_chat"
)

func (p *plan) preset() string {
	switch {
	case p.req.Preset != "":
		return p.req.Preset
	case p.req.Published:
		return publicChat
	}
	return privateChat
}

func (p *plan) sendPreset(tx *timeline.Tx) error {
	join, guests := "invite", "can_join"
	if p.preset() == publicChat {
		join, guests = "public", "forbidden"
	}
	for _, e := range []struct{ typ, field, value string }{
		{matrix.TypeJoinRules, "join_rule", join},
		{matrix.TypeHistory, "history_visibility", "shared"},
		{"m.room.guest_access", "guest_access", guests},
	} {
		if _, given := p.initial[matrix.StateKey{Type: e.typ}]; given {
			continue
		}
		if err := p.send(tx, e.typ, "", map[string]any{e.field: e.value}); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) sendInitial(tx *timeline.Tx) error {
	for _, k := range p.order {
		if k == (matrix.StateKey{Type: matrix.TypePowerLevels}) {
			continue // sent first: what follows is judged by it
		}
		if err := p.send(tx, k.Type, k.Key, p.initial[k]); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) sendNames(tx *timeline.Tx) error {
	if p.req.Name != "" {
		if err := p.send(tx, "m.room.name", "", map[string]any{"name": p.req.Name}); err != nil {
			return err
		}
	}
	if p.req.Topic == "" {
		return nil
	}
	return p.send(tx, "m.room.topic", "", map[string]any{
		"topic":   p.req.Topic,
		"m.topic": map[string]any{"m.text": []any{map[string]any{"body": p.req.Topic}}},
	})
}

func (p *plan) sendInvites(tx *timeline.Tx) error {
	for _, i := range p.req.Invite {
		content := map[string]any{"membership": matrix.Invite}
		setProfile(content, i.Profile)
		if p.req.IsDirect {
			content["is_direct"] = true
		}
		if err := p.send(tx, matrix.TypeMember, string(i.UserID), content); err != nil {
			return err
		}
	}
	return nil
}
