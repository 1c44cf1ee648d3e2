package read

import (
	"context"
	"errors"
	"fmt"

	"allmende/internal/matrix"

	"github.com/jackc/pgx/v5"
)

const selectMembersAt = eventFields + `
FROM unnest($2::bigint[]) AS u(user_nid)
CROSS JOIN LATERAL (
    SELECT x.* FROM roomserver.events x
    WHERE x.type_nid = 2 AND x.key_nid = u.user_nid AND x.room_nid = $1 AND x.ord <= $3
    ORDER BY x.ord DESC LIMIT 1) e` + eventJoins

// MembersAt are the member events of some users as they stood at a place in the
// timeline; who had none is absent.
func (m *Model) MembersAt(ctx context.Context, room RoomNID, users []UserNID, ord int64) ([]Event, error) {
	return m.events(ctx, selectMembersAt, room, users, ord)
}

const selectHeadSnapshot = `SELECT snapshot FROM roomserver.room_heads WHERE room_nid = $1`

// HeadSnapshot is the snapshot of a room's current state. Errors: ErrNotFound.
func (m *Model) HeadSnapshot(ctx context.Context, room RoomNID) (int64, error) {
	var snap int64
	err := m.db.QueryRow(ctx, selectHeadSnapshot, room).Scan(&snap)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("read current snapshot: %w", err)
	}
	return snap, nil
}

const selectCurrentMembersIn = selectCurrentState + ` AND s.type_nid = 2 AND s.membership = ANY($2)`

// CurrentMembersIn are the current member events with one of the memberships.
func (m *Model) CurrentMembersIn(ctx context.Context, room RoomNID, in []Membership) ([]Event, error) {
	list := make([]int16, len(in))
	for i, ms := range in {
		list[i] = int16(ms)
	}
	return m.events(ctx, selectCurrentMembersIn, room, list)
}

const selectStateOfTypes = eventFields + `
FROM roomserver.current_state s
JOIN roomserver.events e ON e.event_nid = s.event_nid` + eventJoins + `
WHERE s.room_nid = ANY($1) AND s.type_nid = ANY($2)`

// StateOfTypes is the current state of some types in several rooms.
func (m *Model) StateOfTypes(ctx context.Context, rooms []RoomNID, types []int64) (map[RoomNID][]Event, error) {
	list, err := m.events(ctx, selectStateOfTypes, rooms, types)
	if err != nil {
		return nil, err
	}
	out := make(map[RoomNID][]Event, len(rooms))
	for _, e := range list {
		out[e.RoomNID] = append(out[e.RoomNID], e)
	}
	return out, nil
}

// selectTree walks relations down from an event, level by level.
const selectTree = `
WITH RECURSIVE tree AS (
    SELECT r.child_nid, r.rel_type, 1 AS level FROM roomserver.relations r WHERE r.room_nid = $1 AND r.parent_id = $2
    UNION
    SELECT r.child_nid, r.rel_type, t.level + 1
    FROM tree t JOIN roomserver.events p ON p.event_nid = t.child_nid
    JOIN roomserver.relations r ON r.room_nid = $1 AND r.parent_id = p.event_id
    WHERE t.level < $3),
found AS (SELECT DISTINCT child_nid FROM tree WHERE $4 = '' OR rel_type = $4)` + eventFields + `
FROM found f JOIN roomserver.events e ON e.event_nid = f.child_nid` + eventJoins + `
WHERE e.redacted_by IS NULL AND ($5::bigint = 0 OR e.type_nid = $5) AND f.child_nid > $6 AND f.child_nid < $7`

const (
	selectTreeForth = selectTree + ` ORDER BY f.child_nid LIMIT $8`
	selectTreeBack  = selectTree + ` ORDER BY f.child_nid DESC LIMIT $8`
)

// Descendants is RelatedEvents for everything that relates to the one parent of
// the query directly or through up to levels-1 others.
func (m *Model) Descendants(ctx context.Context, q RelationQuery, levels int) ([]Event, error) {
	if len(q.Parents) != 1 {
		return nil, fmt.Errorf("read descendants of %d events: want one", len(q.Parents))
	}
	sql := selectTreeBack
	if q.Forwards {
		sql = selectTreeForth
	}
	return m.events(ctx, sql, q.Room, string(q.Parents[0]), levels, q.RelType, q.TypeNID, q.After, q.Before, q.PageLimit)
}

const selectThreadRoots = `
SELECT r.parent_id, max(r.child_nid) AS latest, count(*) AS replies
FROM roomserver.relations r JOIN roomserver.events e ON e.event_nid = r.child_nid
WHERE r.room_nid = $1 AND r.rel_type = 'm.thread' AND e.redacted_by IS NULL AND r.child_nid <= $4
  AND NOT (e.sender_nid = ANY($5))
GROUP BY r.parent_id
HAVING max(r.child_nid) < $2
  AND ($6::bigint = 0 OR bool_or(e.sender_nid = $6)
       OR EXISTS (SELECT 1 FROM roomserver.events p WHERE p.event_id = r.parent_id AND p.sender_nid = $6))
ORDER BY latest DESC LIMIT $3`

// ThreadQuery asks for a page of a room's threads.
type ThreadQuery struct {
	Room        RoomNID
	Before      EventNID // threads whose newest event lies before this
	UpTo        EventNID // newest event that counts
	Participant UserNID  // only threads this user took part in; 0: all
	Ignored     []UserNID
	PageLimit   int
}

// ThreadPage is a page of threads, most recently active first.
func (m *Model) ThreadPage(ctx context.Context, q ThreadQuery) ([]Thread, error) {
	rows, err := m.db.Query(ctx, selectThreadRoots, q.Room, q.Before, q.PageLimit, q.UpTo, noNil(q.Ignored), q.Participant)
	if err != nil {
		return nil, fmt.Errorf("read threads: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Thread])
}

const selectEventsByID = eventColumns + ` WHERE e.event_id = ANY($1)`

// EventsByID are the events with the given ids; unknown ones are absent.
func (m *Model) EventsByID(ctx context.Context, ids []matrix.EventID) (map[matrix.EventID]Event, error) {
	list, err := m.events(ctx, selectEventsByID, eventIDs(ids))
	if err != nil {
		return nil, err
	}
	out := make(map[matrix.EventID]Event, len(list))
	for _, e := range list {
		out[e.ID] = e
	}
	return out, nil
}

// Moment is when an event was sent, by its sender's clock.
type Moment struct {
	Ord      int64 `db:"ord"`
	OriginTS int64 `db:"origin_ts"` // ms
}

const selectMomentForth = `
SELECT ord, origin_ts FROM roomserver.events WHERE room_nid = $1 AND ord >= $2 ORDER BY ord LIMIT 1`

const selectMomentBack = `
SELECT ord, origin_ts FROM roomserver.events WHERE room_nid = $1 AND ord <= $2 ORDER BY ord DESC LIMIT 1`

// MomentAt is the moment of the first event at or after a place of the
// timeline, or of the last at or before it. Errors: ErrNotFound.
func (m *Model) MomentAt(ctx context.Context, room RoomNID, ord int64, forwards bool) (Moment, error) {
	sql := selectMomentBack
	if forwards {
		sql = selectMomentForth
	}
	rows, err := m.db.Query(ctx, sql, room, ord)
	if err != nil {
		return Moment{}, fmt.Errorf("read moment: %w", err)
	}
	out, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Moment])
	if errors.Is(err, pgx.ErrNoRows) {
		return Moment{}, ErrNotFound
	}
	return out, err
}
