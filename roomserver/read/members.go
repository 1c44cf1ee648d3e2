package read

import (
	"context"
	"errors"
	"fmt"

	"allmende/internal/matrix"

	"github.com/jackc/pgx/v5"
)

// Membership is the standing of a user in a room, as stored in current_state.
type Membership int16

// The memberships. None means there is no member event.
const (
	None Membership = iota
	Join
	Invite
	Knock
	Leave
	Ban
)

// String is the membership's name in events.
func (m Membership) String() string {
	switch m {
	case Join:
		return "join"
	case Invite:
		return "invite"
	case Knock:
		return "knock"
	case Leave:
		return "leave"
	case Ban:
		return "ban"
	}
	return ""
}

// ParseMembership reads a membership's name; unknown names are None.
func ParseMembership(s string) Membership {
	switch s {
	case "join":
		return Join
	case "invite":
		return Invite
	case "knock":
		return Knock
	case "leave":
		return Leave
	case "ban":
		return Ban
	}
	return None
}

// UserRoom is a user's current membership in one room.
type UserRoom struct {
	RoomNID    RoomNID    `db:"room_nid"`
	EventNID   EventNID   `db:"event_nid"` // the member event
	Membership Membership `db:"membership"`
	Forgotten  bool       `db:"forgotten"`
}

const selectUserRooms = `
SELECT s.room_nid, s.event_nid, s.membership, (f.user_nid IS NOT NULL) AS forgotten
FROM roomserver.current_state s
LEFT JOIN roomserver.forgotten f ON f.user_nid = s.key_nid AND f.room_nid = s.room_nid
WHERE s.type_nid = 2 AND s.key_nid = $1`

// UserRooms are all rooms with a current member event of the user.
func (m *Model) UserRooms(ctx context.Context, user UserNID) ([]UserRoom, error) {
	rows, err := m.db.Query(ctx, selectUserRooms, user)
	if err != nil {
		return nil, fmt.Errorf("read rooms of user: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[UserRoom])
}

const selectUserRoom = selectUserRooms + ` AND s.room_nid = $2`

// UserRoom is the user's current membership in one room; Membership None if
// there was never one.
func (m *Model) UserRoom(ctx context.Context, user UserNID, room RoomNID) (UserRoom, error) {
	rows, err := m.db.Query(ctx, selectUserRoom, user, room)
	if err != nil {
		return UserRoom{}, fmt.Errorf("read membership: %w", err)
	}
	ur, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[UserRoom])
	if errors.Is(err, pgx.ErrNoRows) {
		return UserRoom{RoomNID: room}, nil
	}
	return ur, err
}

// Member is one member of a room.
type Member struct {
	UserNID    UserNID    `db:"key_nid"`
	EventNID   EventNID   `db:"event_nid"`
	Membership Membership `db:"membership"`
}

const selectMembers = `
SELECT key_nid, event_nid, membership FROM roomserver.current_state
WHERE room_nid = $1 AND type_nid = 2`

// Members are the current members of a room, of every membership, without the
// content of their events.
func (m *Model) Members(ctx context.Context, room RoomNID) ([]Member, error) {
	rows, err := m.db.Query(ctx, selectMembers, room)
	if err != nil {
		return nil, fmt.Errorf("read members: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Member])
}

const selectMemberCounts = `
SELECT room_nid, membership, count(*) FROM roomserver.current_state
WHERE room_nid = ANY($1) AND type_nid = 2 AND membership IN (1, 2) GROUP BY 1, 2`

// MemberCounts are numbers of joined and invited members.
type MemberCounts struct {
	Joined, Invited int
}

// MemberCounts counts the members of several rooms.
func (m *Model) MemberCounts(ctx context.Context, rooms []RoomNID) (map[RoomNID]MemberCounts, error) {
	r, err := m.db.Query(ctx, selectMemberCounts, rooms)
	if err != nil {
		return nil, fmt.Errorf("count members: %w", err)
	}
	out := make(map[RoomNID]MemberCounts, len(rooms))
	var room int64
	var ms Membership
	var n int
	_, err = pgx.ForEachRow(r, []any{&room, &ms, &n}, func() error {
		c := out[room]
		if ms == Join {
			c.Joined = n
		} else {
			c.Invited = n
		}
		out[room] = c
		return nil
	})
	return out, err
}

// MembershipChange is one step in the history of a user's membership, and where
// in the room's timeline it stands.
type MembershipChange struct {
	Ord  int64  `db:"ord"`
	JSON []byte `db:"json"`
}

const selectMembershipHistory = `
SELECT e.ord, c.json FROM roomserver.events e
JOIN roomserver.event_content c USING (event_nid)
WHERE e.type_nid = 2 AND e.key_nid = $2 AND e.room_nid = $1 AND e.ord IS NOT NULL ORDER BY e.ord`

// MembershipHistory are the member events of one user in one room, oldest first.
func (m *Model) MembershipHistory(ctx context.Context, room RoomNID, user UserNID) ([]MembershipChange, error) {
	rows, err := m.db.Query(ctx, selectMembershipHistory, room, user)
	if err != nil {
		return nil, fmt.Errorf("read membership history: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[MembershipChange])
}

const selectRoomsInCommon = `
SELECT a.room_nid FROM roomserver.current_state a
JOIN roomserver.current_state b ON b.room_nid = a.room_nid AND b.type_nid = 2 AND b.key_nid = $2 AND b.membership = 1
WHERE a.type_nid = 2 AND a.key_nid = $1 AND a.membership = 1`

// RoomsInCommon are the rooms two users are both joined to.
func (m *Model) RoomsInCommon(ctx context.Context, a, b UserNID) ([]RoomNID, error) {
	rows, err := m.db.Query(ctx, selectRoomsInCommon, a, b)
	if err != nil {
		return nil, fmt.Errorf("read rooms in common: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[RoomNID])
}

// JoinedRoomIDs lists the ids of the rooms a user is joined to.
func (m *Model) JoinedRoomIDs(ctx context.Context, user matrix.UserID) ([]matrix.RoomID, error) {
	nid, err := m.UserNID(ctx, user)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := m.UserRooms(ctx, nid)
	if err != nil {
		return nil, err
	}
	var nids []RoomNID
	for _, ur := range list {
		if ur.Membership == Join {
			nids = append(nids, ur.RoomNID)
		}
	}
	rooms, err := m.Rooms(ctx, nids)
	if err != nil {
		return nil, err
	}
	ids := make([]matrix.RoomID, 0, len(nids))
	for _, n := range nids {
		ids = append(ids, rooms[n].ID)
	}
	return ids, nil
}
