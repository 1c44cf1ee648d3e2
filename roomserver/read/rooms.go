package read

import (
	"context"
	"errors"
	"fmt"

	"allmende/internal/matrix"

	"github.com/jackc/pgx/v5"
)

// Room is what never changes about a room.
type Room struct {
	NID     RoomNID            `db:"room_nid"`
	ID      matrix.RoomID      `db:"room_id"`
	Version matrix.RoomVersion `db:"version"`
}

const selectRoom = `SELECT room_nid, room_id, version FROM roomserver.rooms WHERE room_id = $1`

// Room finds a room by its id. Errors: ErrNotFound.
func (m *Model) Room(ctx context.Context, id matrix.RoomID) (Room, error) {
	if r, ok := m.rooms.GetIfPresent(id); ok {
		return r, nil
	}
	rows, err := m.db.Query(ctx, selectRoom, string(id))
	if err != nil {
		return Room{}, fmt.Errorf("read room: %w", err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Room])
	if errors.Is(err, pgx.ErrNoRows) {
		return Room{}, ErrNotFound
	}
	if err != nil {
		return Room{}, fmt.Errorf("read room: %w", err)
	}
	m.rememberRoom(r)
	return r, nil
}

const selectRooms = `SELECT room_nid, room_id, version FROM roomserver.rooms WHERE room_nid = ANY($1)`

// Rooms finds rooms by number; unknown ones are absent.
func (m *Model) Rooms(ctx context.Context, nids []RoomNID) (map[RoomNID]Room, error) {
	out := make(map[RoomNID]Room, len(nids))
	var missing []RoomNID
	for _, nid := range nids {
		if r, ok := m.byNID.GetIfPresent(nid); ok {
			out[nid] = r
		} else {
			missing = append(missing, nid)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	rows, err := m.db.Query(ctx, selectRooms, missing)
	if err != nil {
		return nil, fmt.Errorf("read rooms: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[Room])
	if err != nil {
		return nil, fmt.Errorf("read rooms: %w", err)
	}
	for _, r := range found {
		out[r.NID] = r
		m.rememberRoom(r)
	}
	return out, nil
}

func (m *Model) rememberRoom(r Room) {
	m.rooms.Set(r.ID, r)
	m.byNID.Set(r.NID, r)
}

// PublicRoom is a room of the public directory.
type PublicRoom struct {
	NID           RoomNID `db:"room_nid"`
	JoinedMembers int64   `db:"joined_members"`
}

const selectPublicRooms = `
SELECT r.room_nid, count(c.event_nid) AS joined_members
FROM roomserver.rooms r
LEFT JOIN roomserver.current_state c
  ON c.room_nid = r.room_nid AND c.type_nid = 2 AND c.membership = 1
WHERE r.published
GROUP BY r.room_nid
ORDER BY joined_members DESC, r.room_nid`

// PublicRooms are the published rooms, largest first.
func (m *Model) PublicRooms(ctx context.Context) ([]PublicRoom, error) {
	rows, err := m.db.Query(ctx, selectPublicRooms)
	if err != nil {
		return nil, fmt.Errorf("read public rooms: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[PublicRoom])
}

const selectPublished = `SELECT published FROM roomserver.rooms WHERE room_nid = $1`

// Published tells whether a room is in the public directory.
func (m *Model) Published(ctx context.Context, room RoomNID) (bool, error) {
	var p bool
	err := m.db.QueryRow(ctx, selectPublished, room).Scan(&p)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, ErrNotFound
	}
	return p, err
}

const selectAliases = `SELECT alias FROM roomserver.aliases WHERE room_nid = $1 ORDER BY alias`

// Aliases are the local aliases of a room.
func (m *Model) Aliases(ctx context.Context, room RoomNID) ([]string, error) {
	rows, err := m.db.Query(ctx, selectAliases, room)
	if err != nil {
		return nil, fmt.Errorf("read aliases: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

const selectAliasRoom = `SELECT room_nid FROM roomserver.aliases WHERE alias = $1`

// AliasRoom is the room a local alias points at. Errors: ErrNotFound.
func (m *Model) AliasRoom(ctx context.Context, alias matrix.RoomAlias) (RoomNID, error) {
	var nid RoomNID
	err := m.db.QueryRow(ctx, selectAliasRoom, string(alias)).Scan(&nid)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrNotFound
	}
	return nid, err
}
