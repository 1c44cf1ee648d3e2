package directory

import (
	"context"
	"errors"

	"allmende/internal/auth"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

// outlineTypes are the types of state a summary is made of.
var outlineTypes = []int64{
	read.TypeCreate, read.TypeJoinRules, read.TypeHistoryVisibility, read.TypeName, read.TypeTopic, read.TypeAvatar,
	read.TypeCanonicalAlias, read.TypeEncryption, read.TypeGuestAccess,
}

// summary is what is shown of a room.
//
// spec: c-s §GET /room_summary; §GET /publicRooms
type summary struct {
	RoomID         matrix.RoomID   `json:"room_id"`
	Name           string          `json:"name,omitempty"`
	Topic          string          `json:"topic,omitempty"`
	AvatarURL      string          `json:"avatar_url,omitempty"`
	CanonicalAlias string          `json:"canonical_alias,omitempty"`
	JoinRule       string          `json:"join_rule,omitempty"`
	RoomType       string          `json:"room_type,omitempty"`
	JoinedMembers  int64           `json:"num_joined_members"`
	WorldReadable  bool            `json:"world_readable"`
	GuestCanJoin   bool            `json:"guest_can_join"`
	AllowedRoomIDs []matrix.RoomID `json:"allowed_room_ids,omitempty"`
	Encryption     string          `json:"encryption,omitempty"`
	RoomVersion    string          `json:"room_version,omitempty"`
}

// outline is a summary with what decides who may see it.
type outline struct {
	summary
	room       read.Room
	membership read.Membership // of who asks
	children   []read.Event    // m.space.child
}

// outlines makes the outlines of rooms for somebody; rooms that are not known
// are absent. children adds the children of spaces.
func (s *Service) outlines(ctx context.Context, who asker, nids []read.RoomNID, children bool) (map[read.RoomNID]*outline, error) {
	if len(nids) == 0 {
		return nil, nil
	}
	rooms, err := s.model.Rooms(ctx, nids)
	if err != nil {
		return nil, err
	}
	types := outlineTypes
	if children {
		types = append(types[:len(types):len(types)], read.TypeSpaceChild)
	}
	state, err := s.model.StateOfTypes(ctx, nids, types)
	if err != nil {
		return nil, err
	}
	counts, err := s.model.MemberCounts(ctx, nids)
	if err != nil {
		return nil, err
	}
	out := make(map[read.RoomNID]*outline, len(rooms))
	for nid, room := range rooms {
		o := &outline{room: room, membership: who.rooms[nid]}
		o.RoomID, o.RoomVersion = room.ID, string(room.Version)
		o.JoinedMembers = int64(counts[nid].Joined)
		o.JoinRule = "invite" // what the rules say where there is no such event
		for i := range state[nid] {
			o.add(&state[nid][i])
		}
		out[nid] = o
	}
	return out, nil
}

// add takes a state event into account. Contents are whatever members sent, so
// nothing is expected of them.
func (o *outline) add(e *read.Event) {
	content := matrix.Member(e.JSON, "content")
	if e.TypeNID == read.TypeSpaceChild {
		o.children = append(o.children, *e)
		return
	}
	if e.KeyNID == nil || *e.KeyNID != read.EmptyKey {
		return
	}
	str := func(key string) string { return matrix.Text(matrix.Member(content, key)) }
	switch e.TypeNID {
	case read.TypeCreate:
		o.RoomType = str("type")
	case read.TypeName:
		o.Name = str("name")
	case read.TypeTopic:
		o.Topic = topic(content)
	case read.TypeAvatar:
		o.AvatarURL = str("url")
	case read.TypeCanonicalAlias:
		o.CanonicalAlias = str("alias")
	case read.TypeEncryption:
		o.Encryption = str("algorithm")
	case read.TypeGuestAccess:
		o.GuestCanJoin = str("guest_access") == "can_join"
	case read.TypeHistoryVisibility:
		o.WorldReadable = str("history_visibility") == "world_readable"
	case read.TypeJoinRules:
		if rule := str("join_rule"); rule != "" {
			o.JoinRule = rule
		}
		o.AllowedRoomIDs = allowed(content)
	}
}

// topic is the room's plain text topic.
//
// spec: c-s §m.room.topic "m.topic"
func topic(content []byte) string {
	for part := range matrix.Elements(matrix.Member(content, "m.topic", "m.text")) {
		if mime := matrix.Member(part, "mimetype"); mime == nil || matrix.Text(mime) == "text/plain" {
			return matrix.Text(matrix.Member(part, "body"))
		}
	}
	return matrix.Text(matrix.Member(content, "topic"))
}

// allowed are the rooms whose members may join a restricted room.
//
// spec: c-s §Restricted rooms
func allowed(content []byte) []matrix.RoomID {
	var out []matrix.RoomID
	for cond := range matrix.Elements(matrix.Member(content, "allow")) {
		id := matrix.Text(matrix.Member(cond, "room_id"))
		if matrix.Text(matrix.Member(cond, "type")) == "m.room_membership" && id != "" {
			out = append(out, matrix.RoomID(id))
		}
	}
	return out
}

// asker is who asks, and where that user stands in which rooms.
type asker struct {
	rooms map[read.RoomNID]read.Membership
}

// asker reads the memberships of who asks.
func (s *Service) asker(ctx context.Context, who auth.Session) (asker, error) {
	a := asker{map[read.RoomNID]read.Membership{}}
	if who.Anonymous() {
		return a, nil
	}
	user, err := s.model.UserNID(ctx, who.UserID)
	if errors.Is(err, read.ErrNotFound) {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	list, err := s.model.UserRooms(ctx, user)
	for _, ur := range list {
		a.rooms[ur.RoomNID] = ur.Membership
	}
	return a, err
}

// open tells whether somebody may see the room's summary: members and invited
// people, and whoever may join, knock or read it. A ban closes what is open to
// all but readers.
//
// spec: c-s §GET /hierarchy "The server should return any rooms where …"
func (s *Service) open(ctx context.Context, who asker, o *outline) (bool, error) {
	switch {
	case o.membership == read.Join, o.membership == read.Invite, o.WorldReadable:
		return true, nil
	case o.membership == read.Ban:
		return false, nil
	case o.membership == read.Knock:
		return true, nil
	}
	v := o.room.Version
	switch o.JoinRule {
	case "public":
		return true, nil
	case "knock":
		return v.Knock(), nil
	case "knock_restricted":
		return v.KnockRestricted(), nil
	case "restricted":
		if v.Restricted() {
			return s.joinedToAny(ctx, who, o.AllowedRoomIDs)
		}
	}
	return false, nil
}

// joinedToAny tells whether the user is joined to one of the rooms.
func (s *Service) joinedToAny(ctx context.Context, who asker, ids []matrix.RoomID) (bool, error) {
	for _, id := range ids {
		room, err := s.model.Room(ctx, id)
		if errors.Is(err, read.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		if who.rooms[room.NID] == read.Join {
			return true, nil
		}
	}
	return false, nil
}
