package read

import (
	"context"
	"fmt"

	"allmende/internal/matrix"

	"github.com/jackc/pgx/v5"
)

// Relation is a child event and how it relates to its parent.
type Relation struct {
	ParentID matrix.EventID `db:"parent_id"`
	RelType  string         `db:"rel_type"`
	ChildNID EventNID       `db:"child_nid"`
}

const selectRelations = `
SELECT parent_id, rel_type, child_nid FROM roomserver.relations
WHERE room_nid = $1 AND parent_id = ANY($2) ORDER BY child_nid`

// Relations are all direct relations to the given parents, oldest first.
func (m *Model) Relations(ctx context.Context, room RoomNID, parents []matrix.EventID) ([]Relation, error) {
	ids := make([]string, len(parents))
	for i, p := range parents {
		ids[i] = string(p)
	}
	rows, err := m.db.Query(ctx, selectRelations, room, ids)
	if err != nil {
		return nil, fmt.Errorf("read relations: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Relation])
}

const selectRelationsPage = eventFields + `
FROM roomserver.relations r
JOIN roomserver.events e ON e.event_nid = r.child_nid` + eventJoins + `
WHERE r.room_nid = $1 AND r.parent_id = ANY($2) AND e.redacted_by IS NULL
  AND ($3 = '' OR r.rel_type = $3) AND ($4::bigint = 0 OR e.type_nid = $4)
  AND r.child_nid > $5 AND r.child_nid < $6`

const (
	selectRelationsForth = selectRelationsPage + ` ORDER BY r.child_nid LIMIT $7`
	selectRelationsBack  = selectRelationsPage + ` ORDER BY r.child_nid DESC LIMIT $7`
)

// RelationQuery asks for one page of related events. Zero values mean "any".
type RelationQuery struct {
	Room      RoomNID
	Parents   []matrix.EventID
	RelType   string
	TypeNID   int64
	After     EventNID // exclusive
	Before    EventNID // exclusive
	Forwards  bool
	PageLimit int
}

// RelatedEvents is one page of events related to the parents that are not
// redacted, in the direction asked for.
func (m *Model) RelatedEvents(ctx context.Context, q RelationQuery) ([]Event, error) {
	ids := make([]string, len(q.Parents))
	for i, p := range q.Parents {
		ids[i] = string(p)
	}
	sql := selectRelationsBack
	if q.Forwards {
		sql = selectRelationsForth
	}
	return m.events(ctx, sql, q.Room, ids, q.RelType, q.TypeNID, q.After, q.Before, q.PageLimit)
}

const selectAnnotationsBy = eventFields + `
FROM roomserver.relations r
JOIN roomserver.events e ON e.event_nid = r.child_nid` + eventJoins + `
WHERE r.room_nid = $1 AND r.parent_id = $2 AND r.rel_type = 'm.annotation'
  AND e.type_nid = $3 AND e.sender_nid = $4 AND e.redacted_by IS NULL`

// AnnotationsBy are one user's annotations of an event that are of a type and
// not redacted.
func (m *Model) AnnotationsBy(ctx context.Context, room RoomNID, parent matrix.EventID, typeNID int64, sender UserNID) ([]Event, error) {
	return m.events(ctx, selectAnnotationsBy, room, parent, typeNID, sender)
}

// Thread is a thread root and the newest event in its thread.
type Thread struct {
	RootID    matrix.EventID `db:"parent_id"`
	LatestNID EventNID       `db:"latest"`
	Count     int64          `db:"replies"`
}

const selectThreads = `
SELECT r.parent_id, max(r.child_nid) AS latest, count(*) AS replies
FROM roomserver.relations r JOIN roomserver.events e ON e.event_nid = r.child_nid
WHERE r.room_nid = $1 AND r.rel_type = 'm.thread' AND e.redacted_by IS NULL
GROUP BY r.parent_id HAVING max(r.child_nid) < $2
ORDER BY latest DESC LIMIT $3`

// Threads are the threads of a room whose newest event lies before a position,
// most recently active first.
func (m *Model) Threads(ctx context.Context, room RoomNID, before EventNID, limit int) ([]Thread, error) {
	rows, err := m.db.Query(ctx, selectThreads, room, before, limit)
	if err != nil {
		return nil, fmt.Errorf("read threads: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Thread])
}
