package read

import (
	"context"
	"fmt"

	"allmende/internal/matrix"

	"github.com/jackc/pgx/v5"
)

// RelationSummary counts the children of one parent by one kind of relation.
type RelationSummary struct {
	ParentID     matrix.EventID `db:"parent_id"`
	RelType      string         `db:"rel_type"`
	Count        int64          `db:"children"`
	LatestNID    EventNID       `db:"latest"`
	Participated bool           `db:"participated"` // the user sent one of them
}

const selectRelationSummaries = `
SELECT r.parent_id, r.rel_type, count(*) AS children, max(r.child_nid) AS latest,
       bool_or(e.sender_nid = $4) AS participated
FROM roomserver.relations r JOIN roomserver.events e ON e.event_nid = r.child_nid
WHERE r.room_nid = $1 AND r.parent_id = ANY($2) AND r.rel_type IN ('m.replace', 'm.thread', 'm.reference')
  AND r.child_nid <= $3 AND e.redacted_by IS NULL AND NOT (e.sender_nid = ANY($5))
GROUP BY r.parent_id, r.rel_type`

// BundleQuery asks for what is aggregated of the events that relate to some
// parents.
type BundleQuery struct {
	Room    RoomNID
	Parents []matrix.EventID
	UpTo    EventNID  // newest child to count
	User    UserNID   // whose participation to tell
	Ignored []UserNID // senders that do not count
}

// RelationSummaries summarises the edits, threads and references of parents. A
// parent without any has no entry.
func (m *Model) RelationSummaries(ctx context.Context, q BundleQuery) ([]RelationSummary, error) {
	rows, err := m.db.Query(ctx, selectRelationSummaries, q.Room, eventIDs(q.Parents), q.UpTo, q.User, noNil(q.Ignored))
	if err != nil {
		return nil, fmt.Errorf("summarise relations: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[RelationSummary])
}

const selectEdits = eventFields + `
FROM unnest($2::text[]) AS p(parent_id)
JOIN roomserver.events o ON o.event_id = p.parent_id AND o.room_nid = $1
CROSS JOIN LATERAL (
    SELECT c.* FROM roomserver.relations r JOIN roomserver.events c ON c.event_nid = r.child_nid
    WHERE r.room_nid = $1 AND r.parent_id = p.parent_id AND r.rel_type = 'm.replace' AND r.child_nid <= $3
      AND c.sender_nid = o.sender_nid AND c.type_nid = o.type_nid AND c.key_nid IS NULL AND c.redacted_by IS NULL
    ORDER BY c.origin_ts DESC, c.event_id DESC LIMIT $4) e` + eventJoins + `
ORDER BY e.origin_ts DESC, e.event_id DESC`

// Edits are the most recent replacements of events by their own senders, newest
// first over all parents, at most perParent of each. Whether one has new
// content is for the caller to look.
//
// spec: c-s §Validity of replacement events
func (m *Model) Edits(ctx context.Context, q BundleQuery, perParent int) ([]Event, error) {
	return m.events(ctx, selectEdits, q.Room, eventIDs(q.Parents), q.UpTo, perParent)
}

// Reference is an event that refers to another.
type Reference struct {
	ParentID matrix.EventID `db:"parent_id"`
	ChildID  matrix.EventID `db:"event_id"`
}

const selectReferences = `
SELECT p.parent_id, e.event_id
FROM unnest($2::text[]) AS p(parent_id)
CROSS JOIN LATERAL (
    SELECT r.child_nid, c.event_id FROM roomserver.relations r JOIN roomserver.events c ON c.event_nid = r.child_nid
    WHERE r.room_nid = $1 AND r.parent_id = p.parent_id AND r.rel_type = 'm.reference' AND r.child_nid <= $3
      AND c.redacted_by IS NULL AND NOT (c.sender_nid = ANY($4))
    ORDER BY r.child_nid LIMIT $5) e
ORDER BY p.parent_id, e.child_nid`

// References are the events that refer to parents by m.reference, oldest first,
// at most perParent of each.
func (m *Model) References(ctx context.Context, q BundleQuery, perParent int) ([]Reference, error) {
	rows, err := m.db.Query(ctx, selectReferences, q.Room, eventIDs(q.Parents), q.UpTo, noNil(q.Ignored), perParent)
	if err != nil {
		return nil, fmt.Errorf("read references: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Reference])
}

const selectRelatedTo = `
SELECT DISTINCT r.parent_id
FROM roomserver.relations r JOIN roomserver.events e ON e.event_nid = r.child_nid
WHERE r.room_nid = $1 AND r.parent_id = ANY($2) AND e.redacted_by IS NULL
  AND ($3::text[] IS NULL OR r.rel_type = ANY($3)) AND ($4::bigint[] IS NULL OR e.sender_nid = ANY($4))`

// RelatedTo tells which of the parents some event relates to, by one of the
// types and from one of the senders; nil lists mean any.
func (m *Model) RelatedTo(ctx context.Context, room RoomNID, parents []matrix.EventID, relTypes []string, senders []UserNID) (map[matrix.EventID]bool, error) {
	rows, err := m.db.Query(ctx, selectRelatedTo, room, eventIDs(parents), relTypes, senders)
	if err != nil {
		return nil, fmt.Errorf("find related events: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[matrix.EventID])
	if err != nil {
		return nil, fmt.Errorf("find related events: %w", err)
	}
	out := make(map[matrix.EventID]bool, len(ids))
	for _, id := range ids {
		out[id] = true
	}
	return out, nil
}

// selectReplaced walks back from each state event to the one before it of the
// same type and key. Member events have an index of their own.
const selectReplaced = `
WITH pairs AS (
    SELECT n.event_nid AS nid, p.event_nid AS prev
    FROM unnest($1::bigint[]) AS u(nid)
    JOIN roomserver.events n ON n.event_nid = u.nid AND n.key_nid IS NOT NULL AND n.ord IS NOT NULL
    CROSS JOIN LATERAL (
        (SELECT x.event_nid FROM roomserver.events x
         WHERE n.type_nid = 2 AND x.type_nid = 2 AND x.key_nid = n.key_nid AND x.room_nid = n.room_nid
           AND x.event_nid < n.event_nid AND x.ord < n.ord
         ORDER BY x.event_nid DESC LIMIT 1)
        UNION ALL
        (SELECT x.event_nid FROM roomserver.events x
         WHERE n.type_nid <> 2 AND x.type_nid = n.type_nid AND x.key_nid = n.key_nid AND x.room_nid = n.room_nid
           AND x.event_nid < n.event_nid AND x.ord < n.ord
         ORDER BY x.event_nid DESC LIMIT 1)) p)
SELECT nid, prev FROM pairs`

// Replaced finds, for state events, the event that held their place in the
// state before. The first of its kind has no entry.
func (m *Model) Replaced(ctx context.Context, nids []EventNID) (map[EventNID]EventNID, error) {
	rows, err := m.db.Query(ctx, selectReplaced, nids)
	if err != nil {
		return nil, fmt.Errorf("find replaced state: %w", err)
	}
	out := make(map[EventNID]EventNID, len(nids))
	var nid, prev int64
	_, err = pgx.ForEachRow(rows, []any{&nid, &prev}, func() error {
		out[nid] = prev
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find replaced state: %w", err)
	}
	return out, nil
}

func eventIDs(ids []matrix.EventID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

// noNil turns a nil list into an empty one: "= ANY(NULL)" is neither true nor
// false.
func noNil(list []int64) []int64 {
	if list == nil {
		return []int64{}
	}
	return list
}
