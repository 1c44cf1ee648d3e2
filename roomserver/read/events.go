package read

import (
	"context"
	"errors"
	"fmt"

	"allmende/internal/matrix"

	"github.com/jackc/pgx/v5"
)

// Event is one stored event as readers need it. Sender and StateKey are given
// as numbers; JSON holds them as text.
type Event struct {
	NID        EventNID // also its position
	RoomNID    RoomNID
	Ord        int64 // place in the room's timeline; NoOrd: not in it
	Snapshot   int64 // state before the event
	OriginTS   int64
	ReceivedTS int64
	TypeNID    int64
	KeyNID     *int64 // nil: not a state event
	SenderNID  UserNID
	RedactedBy *int64
	ID         matrix.EventID
	// JSON is the canonical event without unsigned, redacted if it has been.
	JSON []byte
	// DeviceID and TxnID name the request that made the event, for a day.
	DeviceID string
	TxnID    string
}

// IsState tells whether the event carries a state key.
func (e *Event) IsState() bool { return e.KeyNID != nil }

const eventFields = `
SELECT e.event_nid, e.room_nid, coalesce(e.ord, -9223372036854775808) AS ord, e.snapshot, e.origin_ts, e.received_ts, e.type_nid,
       e.key_nid, e.sender_nid, e.redacted_by, e.event_id, c.json,
       coalesce(t.device_id, '') AS device_id, coalesce(t.txn_id, '') AS txn_id`

// State is sent without transaction ids: for it, looking for one is spared.
const eventJoins = `
JOIN roomserver.event_content c ON c.event_nid = e.event_nid
LEFT JOIN roomserver.event_txns t ON t.event_nid = CASE WHEN e.key_nid IS NULL THEN e.event_nid END`

const eventColumns = eventFields + `
FROM roomserver.events e` + eventJoins

func (m *Model) events(ctx context.Context, sql string, args ...any) ([]Event, error) {
	rows, err := m.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanEvent)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return list, nil
}

// scanEvent reads the columns of eventFields by their places: pages and first
// syncs consist of this, and looking up names costs something for each row.
func scanEvent(row pgx.CollectableRow) (e Event, err error) {
	err = row.Scan(&e.NID, &e.RoomNID, &e.Ord, &e.Snapshot, &e.OriginTS, &e.ReceivedTS, &e.TypeNID,
		&e.KeyNID, &e.SenderNID, &e.RedactedBy, &e.ID, &e.JSON, &e.DeviceID, &e.TxnID)
	return e, err
}

const selectEventsAfter = eventColumns + `
WHERE e.event_nid > $1 AND e.ord = e.event_nid ORDER BY e.event_nid LIMIT $2`

// EventsAfter are the live events of all rooms behind a position, oldest first,
// at most limit. Positions are gapless in commit order, so none is ever skipped.
func (m *Model) EventsAfter(ctx context.Context, pos int64, limit int) ([]Event, error) {
	return m.events(ctx, selectEventsAfter, pos, limit)
}

const selectEventByID = eventColumns + ` WHERE e.event_id = $1`

// EventByID finds an event. Errors: ErrNotFound.
func (m *Model) EventByID(ctx context.Context, id matrix.EventID) (Event, error) {
	list, err := m.events(ctx, selectEventByID, string(id))
	if err != nil {
		return Event{}, err
	}
	if len(list) == 0 {
		return Event{}, ErrNotFound
	}
	return list[0], nil
}

const selectEvents = eventColumns + ` WHERE e.event_nid = ANY($1) ORDER BY e.event_nid`

// Events are the events of the given numbers, in order of their numbers.
func (m *Model) Events(ctx context.Context, nids []EventNID) ([]Event, error) {
	if len(nids) == 0 {
		return nil, nil
	}
	return m.events(ctx, selectEvents, nids)
}

const selectTimelineBack = eventColumns + `
WHERE e.room_nid = $1 AND e.ord <= $2 AND e.ord > $3 ORDER BY e.ord DESC LIMIT $4`

// TimelineBack walks a room's timeline backwards: events with until < ord ≤ from,
// newest first.
func (m *Model) TimelineBack(ctx context.Context, room RoomNID, from, until int64, limit int) ([]Event, error) {
	return m.events(ctx, selectTimelineBack, room, from, until, limit)
}

const selectTimelineForth = eventColumns + `
WHERE e.room_nid = $1 AND e.ord > $2 AND e.ord <= $3 ORDER BY e.ord LIMIT $4`

// TimelineForth walks a room's timeline forwards: events with from < ord ≤ until,
// oldest first.
func (m *Model) TimelineForth(ctx context.Context, room RoomNID, from, until int64, limit int) ([]Event, error) {
	return m.events(ctx, selectTimelineForth, room, from, until, limit)
}

const selectEventAtTimeForth = `
SELECT event_nid FROM roomserver.events
WHERE room_nid = $1 AND ord IS NOT NULL AND origin_ts >= $2 ORDER BY origin_ts, ord LIMIT 1`

const selectEventAtTimeBack = `
SELECT event_nid FROM roomserver.events
WHERE room_nid = $1 AND ord IS NOT NULL AND origin_ts <= $2 ORDER BY origin_ts DESC, ord DESC LIMIT 1`

// EventAtTime finds the room's event nearest to a time (ms), looking forwards
// (at or after) or backwards (at or before). Errors: ErrNotFound.
func (m *Model) EventAtTime(ctx context.Context, room RoomNID, ts int64, forwards bool) (EventNID, error) {
	sql := selectEventAtTimeBack
	if forwards {
		sql = selectEventAtTimeForth
	}
	var nid EventNID
	err := m.db.QueryRow(ctx, sql, room, ts).Scan(&nid)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrNotFound
	}
	return nid, err
}

const selectRoomPositions = `SELECT room_nid, last_nid FROM roomserver.room_heads WHERE room_nid = ANY($1)`

// RoomPositions are the positions of the newest events of rooms.
func (m *Model) RoomPositions(ctx context.Context, rooms []RoomNID) (map[RoomNID]int64, error) {
	rows, err := m.db.Query(ctx, selectRoomPositions, rooms)
	if err != nil {
		return nil, fmt.Errorf("read room positions: %w", err)
	}
	out := make(map[RoomNID]int64, len(rooms))
	var room, pos int64
	_, err = pgx.ForEachRow(rows, []any{&room, &pos}, func() error {
		out[room] = pos
		return nil
	})
	return out, err
}

const selectTimelineOfRooms = eventFields + `
FROM unnest($1::bigint[]) AS r(room_nid)
CROSS JOIN LATERAL (
    SELECT * FROM roomserver.events l
    WHERE l.room_nid = r.room_nid AND l.ord <= $2 ORDER BY l.ord DESC LIMIT $3) e` + eventJoins + `
ORDER BY e.room_nid, e.ord`

// LatestTimelines are the newest events of several rooms up to a position, at
// most limit of each, oldest first within a room: one query for an initial sync.
func (m *Model) LatestTimelines(ctx context.Context, rooms []RoomNID, upTo int64, limit int) (map[RoomNID][]Event, error) {
	list, err := m.events(ctx, selectTimelineOfRooms, rooms, upTo, limit)
	if err != nil {
		return nil, err
	}
	out := make(map[RoomNID][]Event, len(rooms))
	for _, e := range list {
		out[e.RoomNID] = append(out[e.RoomNID], e)
	}
	return out, nil
}
