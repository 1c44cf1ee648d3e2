package read

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Numbers of strings that the schema fixes, so that queries may name them.
const (
	EmptyKey              = int64(1)
	TypeMember            = int64(2)
	TypeCreate            = int64(3)
	TypePowerLevels       = int64(4)
	TypeJoinRules         = int64(5)
	TypeHistoryVisibility = int64(6)
	TypeMessage           = int64(7)
	TypeEncrypted         = int64(8)
	TypeRedaction         = int64(9)
	TypeName              = int64(10)
	TypeTopic             = int64(11)
	TypeAvatar            = int64(12)
	TypeCanonicalAlias    = int64(13)
	TypeEncryption        = int64(14)
	TypeGuestAccess       = int64(15)
	TypeTombstone         = int64(16)
	TypeSpaceChild        = int64(17)
	TypeSpaceParent       = int64(18)
	TypeServerACL         = int64(19)
	TypeThirdPartyInvite  = int64(20)
	TypeReaction          = int64(21)
	TypePinnedEvents      = int64(22)
)

const selectCurrentState = eventFields + `
FROM roomserver.current_state s
JOIN roomserver.events e ON e.event_nid = s.event_nid` + eventJoins + `
WHERE s.room_nid = $1`

// CurrentState is the whole current state of a room.
func (m *Model) CurrentState(ctx context.Context, room RoomNID) ([]Event, error) {
	return m.events(ctx, selectCurrentState, room)
}

const selectCurrentStateNoMembers = selectCurrentState + ` AND s.type_nid <> 2`

// CurrentStateWithoutMembers is the current state without member events.
func (m *Model) CurrentStateWithoutMembers(ctx context.Context, room RoomNID) ([]Event, error) {
	return m.events(ctx, selectCurrentStateNoMembers, room)
}

const selectCurrentStateOfRooms = eventFields + `
FROM roomserver.current_state s
JOIN roomserver.events e ON e.event_nid = s.event_nid` + eventJoins + `
WHERE s.room_nid = ANY($1) AND s.type_nid <> 2`

// CurrentStateOfRooms is the current state without member events of several
// rooms, in one query.
func (m *Model) CurrentStateOfRooms(ctx context.Context, rooms []RoomNID) (map[RoomNID][]Event, error) {
	list, err := m.events(ctx, selectCurrentStateOfRooms, rooms)
	if err != nil {
		return nil, err
	}
	out := make(map[RoomNID][]Event, len(rooms))
	for _, e := range list {
		out[e.RoomNID] = append(out[e.RoomNID], e)
	}
	return out, nil
}

const selectCurrentMembers = selectCurrentState + ` AND s.type_nid = 2 AND s.key_nid = ANY($2)`

// CurrentMembers are the current member events of the named users.
func (m *Model) CurrentMembers(ctx context.Context, room RoomNID, users []UserNID) ([]Event, error) {
	return m.events(ctx, selectCurrentMembers, room, users)
}

const selectCurrentStateEvent = selectCurrentState + ` AND s.type_nid = $2 AND s.key_nid = $3`

// CurrentStateEvent is one event of the current state. Errors: ErrNotFound.
func (m *Model) CurrentStateEvent(ctx context.Context, room RoomNID, typeNID, keyNID int64) (Event, error) {
	list, err := m.events(ctx, selectCurrentStateEvent, room, typeNID, keyNID)
	if err != nil {
		return Event{}, err
	}
	if len(list) == 0 {
		return Event{}, ErrNotFound
	}
	return list[0], nil
}

const selectStateBetween = eventColumns + `
WHERE e.room_nid = $1 AND e.key_nid IS NOT NULL AND e.event_nid > $2 AND e.event_nid <= $3 AND e.ord = e.event_nid
ORDER BY e.event_nid`

// StateBetween are the live state events of a room with from < position ≤ until,
// oldest first; later ones supersede earlier ones of the same type and key.
func (m *Model) StateBetween(ctx context.Context, room RoomNID, from, until int64) ([]Event, error) {
	return m.events(ctx, selectStateBetween, room, from, until)
}

// selectSnapshot walks the delta chain from a snapshot to the empty state and
// keeps, of each type and key, the entry nearest to the snapshot.
const selectSnapshot = `
WITH RECURSIVE chain AS (
    SELECT snapshot, parent, added, removed, 0 AS step FROM roomserver.snapshots WHERE snapshot = $1
    UNION ALL
    SELECT s.snapshot, s.parent, s.added, s.removed, c.step + 1
    FROM chain c JOIN roomserver.snapshots s ON s.snapshot = c.parent),
entries AS (
    SELECT step, unnest(added) AS event_nid, false AS gone FROM chain
    UNION ALL
    SELECT step, unnest(removed), true FROM chain)
SELECT DISTINCT ON (e.type_nid, e.key_nid) e.type_nid, e.key_nid, e.event_nid, n.gone
FROM entries n JOIN roomserver.events e ON e.event_nid = n.event_nid
WHERE ($2::bigint[] IS NULL OR e.type_nid = ANY($2))
ORDER BY e.type_nid, e.key_nid, n.step`

// StateKey names one place in a room's state by numbers.
type StateKey struct {
	TypeNID, KeyNID int64
}

// StateAt is the state a snapshot stands for, as event numbers; types limits it
// to some event types, nil means all.
func (m *Model) StateAt(ctx context.Context, snapshot int64, types []int64) (map[StateKey]EventNID, error) {
	rows, err := m.db.Query(ctx, selectSnapshot, snapshot, types)
	if err != nil {
		return nil, fmt.Errorf("read state snapshot: %w", err)
	}
	out := map[StateKey]EventNID{}
	var k StateKey
	var nid int64
	var gone bool
	_, err = pgx.ForEachRow(rows, []any{&k.TypeNID, &k.KeyNID, &nid, &gone}, func() error {
		if !gone {
			out[k] = nid
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read state snapshot: %w", err)
	}
	return out, nil
}

const selectSnapshotAt = `
SELECT CASE WHEN e.key_nid IS NOT NULL AND EXISTS (SELECT 1 FROM roomserver.snapshots s WHERE s.snapshot = e.event_nid)
            THEN e.event_nid ELSE e.snapshot END
FROM roomserver.events e
WHERE e.room_nid = $1 AND e.ord <= $2 ORDER BY e.ord DESC LIMIT 1`

// SnapshotAt is the snapshot of the state after the last event of a room's
// timeline at or before ord. Errors: ErrNotFound (no such event).
func (m *Model) SnapshotAt(ctx context.Context, room RoomNID, ord int64) (int64, error) {
	var snap int64
	err := m.db.QueryRow(ctx, selectSnapshotAt, room, ord).Scan(&snap)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrNotFound
	}
	return snap, err
}
