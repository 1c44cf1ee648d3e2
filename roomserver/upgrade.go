package roomserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"allmende/internal/matrix"
	"allmende/roomserver/api"
	"allmende/roomserver/read"
	"allmende/roomserver/timeline"
)

// carried are the state events that a replacement room takes over as they are.
//
// spec: c-s §Room Upgrades, Server behaviour
var carried = []string{
	"m.room.server_acl", "m.room.encryption", "m.room.name", "m.room.avatar", "m.room.topic", "m.room.guest_access",
	matrix.TypeHistory, matrix.TypeJoinRules, "m.space.child", "m.space.parent",
}

// old is what the replacement needs to know about the room it replaces.
type old struct {
	nid    int64
	last   matrix.EventID
	create map[string]any
	levels map[string]any
	state  []api.StateEvent
	bans   []ban
	names  map[string]any // content of the canonical alias event
	// creators stood above all levels, where the version knows such.
	creators []matrix.UserID
}

type ban struct {
	user    matrix.UserID
	content json.RawMessage
}

// upgradeRoom replaces a room by one of another version.
func (s *Service) upgradeRoom(ctx context.Context, req api.UpgradeRoomReq) (api.CreateRoomResp, error) {
	if !req.Version.Creatable() {
		return api.CreateRoomResp{}, matrix.UnsupportedRoomVersion("This server does not make rooms of that version.")
	}
	var o old
	err := s.rooms.Update(ctx, req.RoomID, func(tx *timeline.Tx) (err error) {
		o, err = survey(tx, req.Sender)
		return err
	})
	if err != nil {
		return api.CreateRoomResp{}, answer(hidden(err))
	}
	fresh, err := s.createReplacement(ctx, req, o)
	if err != nil {
		return api.CreateRoomResp{}, answer(err)
	}
	err = s.rooms.Update(ctx, req.RoomID, func(tx *timeline.Tx) error {
		return bury(tx, req.Sender, fresh)
	})
	if err != nil {
		return api.CreateRoomResp{}, answer(hidden(err))
	}
	return api.CreateRoomResp{RoomID: fresh}, answer(s.moveDirectory(ctx, o.nid, fresh))
}

// survey reads the old room and makes sure that the user may close it.
func survey(tx *timeline.Tx, user matrix.UserID) (old, error) {
	o := old{nid: tx.RoomNID(), last: tx.LastEvent()}
	if tx.Membership(user) != read.Join {
		return o, notJoined()
	}
	levels, err := tx.PowerLevels()
	if err != nil {
		return o, err
	}
	if levels.User(user) < levels.State("m.room.tombstone") {
		return o, matrix.Forbidden("Your power level is too low to upgrade the room.")
	}
	if o.create, err = contentOf(tx, matrix.TypeCreate); err != nil {
		return o, err
	}
	if create, err := tx.State(matrix.TypeCreate, ""); err == nil && create != nil && tx.Version().CreatorsPrivileged() {
		o.creators = create.Creators()
	}
	if o.levels, err = contentOf(tx, matrix.TypePowerLevels); err != nil {
		return o, err
	}
	if o.names, err = contentOf(tx, canonicalAlias); err != nil {
		return o, err
	}
	return o, o.surveyState(tx)
}

func (o *old) surveyState(tx *timeline.Tx) error {
	for _, typ := range carried {
		for _, k := range tx.StateKeys(typ) {
			ev, err := tx.State(k.Type, k.Key)
			if err != nil {
				return err
			}
			o.state = append(o.state, api.StateEvent{Type: k.Type, StateKey: k.Key, Content: ev.Content})
		}
	}
	var err error
	tx.Members(func(u matrix.UserID, m read.Membership) bool {
		if m != read.Ban {
			return true
		}
		var ev *matrix.Event
		if ev, err = tx.State(matrix.TypeMember, string(u)); err != nil {
			return false
		}
		o.bans = append(o.bans, ban{u, ev.Content})
		return true
	})
	return err
}

func contentOf(tx *timeline.Tx, typ string) (map[string]any, error) {
	ev, err := tx.State(typ, "")
	if err != nil || ev == nil {
		return nil, err
	}
	content := map[string]any{}
	if err := json.Unmarshal(ev.Content, &content); err != nil {
		return nil, fmt.Errorf("decode %s: %w", typ, err)
	}
	return content, nil
}

// createReplacement makes the new room.
func (s *Service) createReplacement(ctx context.Context, req api.UpgradeRoomReq, o old) (matrix.RoomID, error) {
	content := map[string]any{}
	for _, k := range []string{"type", "m.federate"} {
		if v, ok := o.create[k]; ok {
			content[k] = v
		}
	}
	predecessor := map[string]any{"room_id": req.RoomID}
	if !req.Version.CreatorsPrivileged() {
		predecessor["event_id"] = o.last
	}
	content["predecessor"] = predecessor
	if len(req.AdditionalCreators) > 0 && req.Version.CreatorsPrivileged() {
		content["additional_creators"] = req.AdditionalCreators
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encode creation content: %w", err)
	}
	p, err := s.planRoom(api.CreateRoomReq{
		Creator: req.Sender, Profile: req.Profile, Version: req.Version, CreationContent: raw, InitialState: o.state,
	})
	if err != nil {
		return "", err
	}
	wanted, whileFilling := carriedLevels(o, p)
	p.req.PowerLevels = whileFilling
	return s.rooms.Create(ctx, p.version, false, req.Sender, p.create, func(tx *timeline.Tx) error {
		if err := p.fill(tx); err != nil {
			return err
		}
		if len(o.names) > 0 {
			// Its aliases follow in a moment; they need not point here yet.
			if err := appendJSON(tx, canonicalAlias, req.Sender, o.names); err != nil {
				return err
			}
		}
		for _, b := range o.bans {
			key := string(b.user)
			if _, err := tx.Append(timeline.Proto{Type: matrix.TypeMember, StateKey: &key, Sender: req.Sender, Content: b.content}); err != nil {
				return err
			}
		}
		return appendJSON(tx, matrix.TypePowerLevels, req.Sender, wanted)
	})
}

// carriedLevels are the power levels of the replacement: those of the old room,
// and such as let its creator fill it first.
func carriedLevels(o old, p *plan) (wanted map[string]any, whileFilling json.RawMessage) {
	wanted = maps.Clone(o.levels)
	if wanted == nil {
		wanted = p.defaultLevels()
	}
	users := objectOf(wanted, "users")
	wanted["users"] = users
	if p.version.CreatorsPrivileged() {
		// Creators stand above all levels and must not be listed.
		for _, c := range p.creators {
			delete(users, string(c))
		}
		events := objectOf(wanted, "events")
		events["m.room.tombstone"] = 150
		wanted["events"] = events
		return wanted, nil
	}
	highest := highestLevel(wanted)
	for _, c := range o.creators {
		users[string(c)] = highest // stood above all levels in the old room
	}
	// Whoever fills the room must be able to give away its highest level.
	whileFilling, _ = json.Marshal(map[string]any{"users": map[string]any{string(p.req.Creator): highest}})
	return wanted, whileFilling
}

// highestLevel is the highest level that the content of a power levels event
// speaks of, 100 at least.
func highestLevel(content map[string]any) float64 {
	highest := 100.0
	for _, v := range content {
		switch v := v.(type) {
		case float64:
			highest = max(highest, v)
		case int:
			highest = max(highest, float64(v))
		case map[string]any:
			highest = max(highest, highestLevel(v))
		}
	}
	return highest
}

// objectOf is a copy of an object inside content, empty when there is none.
func objectOf(content map[string]any, key string) map[string]any {
	if o, ok := content[key].(map[string]any); ok {
		return maps.Clone(o)
	}
	return map[string]any{}
}

// bury marks the old room as replaced and makes talking in it hard.
func bury(tx *timeline.Tx, user matrix.UserID, fresh matrix.RoomID) error {
	err := appendJSON(tx, "m.room.tombstone", user, map[string]any{
		"body": "This room has been replaced", "replacement_room": fresh,
	})
	if err != nil {
		return err
	}
	levels, err := tx.PowerLevels()
	if err != nil {
		return err
	}
	if now, err := tx.State(canonicalAlias, ""); err != nil {
		return err
	} else if now != nil && levels.User(user) >= levels.State(canonicalAlias) {
		if err := appendJSON(tx, canonicalAlias, user, map[string]any{}); err != nil {
			return err
		}
	}
	// Quieting the old room is a courtesy: without the power to do so, leave it.
	if levels.User(user) < levels.State(matrix.TypePowerLevels) {
		return nil
	}
	content, err := contentOf(tx, matrix.TypePowerLevels)
	if err != nil || content == nil {
		return err
	}
	quiet := max(50, levels.UsersDefault+1)
	if levels.EventsDefault < quiet {
		content["events_default"] = quiet
	}
	if levels.Invite < quiet {
		content["invite"] = quiet
	}
	err = appendJSON(tx, matrix.TypePowerLevels, user, content)
	if errors.Is(err, matrix.Forbidden("")) {
		return nil
	}
	return err
}

// moveDirectory lets the replacement be found where the old room was.
func (s *Service) moveDirectory(ctx context.Context, from int64, fresh matrix.RoomID) error {
	room, err := s.read.Room(ctx, fresh)
	if err != nil {
		return err
	}
	return s.store.MoveDirectory(ctx, from, room.NID)
}
