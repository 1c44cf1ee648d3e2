package directory

import (
	"context"
	"errors"
	"strings"

	"allmende/internal/auth"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

// errNoRoom answers for rooms that do not exist and for those the user may not
// know of.
var errNoRoom = matrix.NotFound("Room not found.")

type summaryIn struct {
	Room string   `path:"roomIdOrAlias"`
	Via  []string `query:"via"`
}

type summaryOut struct {
	summary
	Membership string `json:"membership,omitempty"`
	// OldEncryption and OldRoomVersion are what clients of the proposal read.
	OldEncryption  string `json:"im.nheko.summary.encryption,omitempty"`
	OldRoomVersion string `json:"im.nheko.summary.room_version,omitempty"`
}

// roomSummary answers what a room is, before one joins it.
//
// spec: c-s §GET /room_summary/{roomIdOrAlias}
func (s *Service) roomSummary(ctx context.Context, session auth.Session, in summaryIn) (summaryOut, error) {
	nid, err := s.find(ctx, in.Room)
	if errors.Is(err, read.ErrNotFound) {
		return summaryOut{}, errNoRoom
	}
	if err != nil {
		return summaryOut{}, err
	}
	who, err := s.asker(ctx, session)
	if err != nil {
		return summaryOut{}, err
	}
	found, err := s.outlines(ctx, who, []read.RoomNID{nid}, false)
	if err != nil {
		return summaryOut{}, err
	}
	o := found[nid]
	if o == nil {
		return summaryOut{}, errNoRoom
	}
	ok, err := s.open(ctx, who, o)
	if err != nil {
		return summaryOut{}, err
	}
	if !ok {
		return summaryOut{}, errNoRoom
	}
	return summaryOut{o.summary, o.membership.String(), o.Encryption, o.RoomVersion}, nil
}

// find resolves a room id or a local alias. Errors: ErrNotFound, M_INVALID_PARAM.
func (s *Service) find(ctx context.Context, idOrAlias string) (read.RoomNID, error) {
	if strings.HasPrefix(idOrAlias, "#") {
		alias, err := matrix.ParseRoomAlias(idOrAlias)
		if err != nil {
			return 0, err
		}
		return s.model.AliasRoom(ctx, alias)
	}
	id, err := matrix.ParseRoomID(idOrAlias)
	if err != nil {
		return 0, err
	}
	room, err := s.model.Room(ctx, id)
	return room.NID, err
}

type publishedIn struct {
	RoomID matrix.RoomID `path:"roomId"`
}

type publishedOut struct {
	Visibility string `json:"visibility"`
}

// published answers whether a room is in the public directory. That an
// unpublished room exists is told to its members only.
//
// spec: c-s §GET /directory/list/room/{roomId}
func (s *Service) published(ctx context.Context, session auth.Session, in publishedIn) (publishedOut, error) {
	room, err := s.model.Room(ctx, in.RoomID)
	if errors.Is(err, read.ErrNotFound) {
		return publishedOut{}, errNoRoom
	}
	if err != nil {
		return publishedOut{}, err
	}
	public, err := s.model.Published(ctx, room.NID)
	if err != nil {
		return publishedOut{}, err
	}
	if public {
		return publishedOut{"public"}, nil
	}
	who, err := s.asker(ctx, session)
	if err != nil {
		return publishedOut{}, err
	}
	switch who.rooms[room.NID] {
	case read.Join, read.Invite:
		return publishedOut{"private"}, nil
	}
	return publishedOut{}, errNoRoom
}
