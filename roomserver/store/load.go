package store

import (
	"context"
	"errors"
	"fmt"

	"allmende/internal/matrix"
	"allmende/roomserver/read"

	"github.com/jackc/pgx/v5"
)

// ErrNotFound says that a room or event is not in the database.
var ErrNotFound = errors.New("not found in the room store")

// LoadedRoom is a room as the database has it at one moment.
type LoadedRoom struct {
	NID         int64
	Version     matrix.RoomVersion
	LastNID     int64
	Depth       int64
	Snapshot    int64
	Extremities []LoadedRef
	State       []LoadedState
	Chain       []LoadedSnapshot // from the current snapshot towards the empty state
}

// LoadedRef is an event by number and id.
type LoadedRef struct {
	NID int64          `db:"event_nid"`
	ID  matrix.EventID `db:"event_id"`
}

// LoadedState is one entry of the current state. JSON is empty for member
// events: there may be many, and few are needed.
type LoadedState struct {
	NID        int64           `db:"event_nid"`
	ID         matrix.EventID  `db:"event_id"`
	Type       string          `db:"type"`
	Key        string          `db:"key"`
	Membership read.Membership `db:"membership"`
	JSON       []byte          `db:"json"`
}

// LoadedSnapshot is one link of a delta chain.
type LoadedSnapshot struct {
	Snapshot int64   `db:"snapshot"`
	Parent   int64   `db:"parent"`
	Seq      int64   `db:"seq"`
	Added    []int64 `db:"added"`
}

// LoadedKey says which place in the state an event holds.
type LoadedKey struct {
	NID     int64 `db:"event_nid"`
	TypeNID int64 `db:"type_nid"`
	KeyNID  int64 `db:"key_nid"`
}

const selectHead = `
SELECT r.room_nid, r.version, h.last_nid, h.depth, h.snapshot, h.extremities
FROM roomserver.rooms r JOIN roomserver.room_heads h USING (room_nid) WHERE r.room_id = $1`

const selectRefs = `SELECT event_nid, event_id FROM roomserver.events WHERE event_nid = ANY($1) ORDER BY event_nid`

const selectState = `
SELECT s.event_nid, e.event_id, t.value AS type, k.value AS key, coalesce(s.membership, 0) AS membership,
       CASE WHEN s.type_nid = 2 THEN '' ELSE c.json END AS json
FROM roomserver.current_state s
JOIN roomserver.events e ON e.event_nid = s.event_nid
JOIN roomserver.strings t ON t.nid = s.type_nid
JOIN roomserver.strings k ON k.nid = s.key_nid
LEFT JOIN roomserver.event_content c ON c.event_nid = s.event_nid AND s.type_nid <> 2
WHERE s.room_nid = $1`

const selectChain = `
WITH RECURSIVE chain AS (
    SELECT snapshot, parent, seq, added FROM roomserver.snapshots WHERE snapshot = $1
    UNION ALL
    SELECT s.snapshot, s.parent, s.seq, s.added FROM chain c JOIN roomserver.snapshots s ON s.snapshot = c.parent)
SELECT snapshot, parent, seq, added FROM chain ORDER BY seq DESC`

// Load reads a room. All parts are of one moment. Errors: ErrNotFound.
func (s *Store) Load(ctx context.Context, id matrix.RoomID) (LoadedRoom, error) {
	var room LoadedRoom
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, s.db, opts, func(tx pgx.Tx) error {
		var ext []int64
		err := tx.QueryRow(ctx, selectHead, string(id)).
			Scan(&room.NID, &room.Version, &room.LastNID, &room.Depth, &room.Snapshot, &ext)
		if err != nil {
			return err
		}
		q := &pgx.Batch{}
		q.Queue(selectRefs, ext).Query(collect(&room.Extremities))
		q.Queue(selectState, room.NID).Query(collect(&room.State))
		q.Queue(selectChain, room.Snapshot).Query(collect(&room.Chain))
		return tx.SendBatch(ctx, q).Close()
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return LoadedRoom{}, ErrNotFound
	}
	if err != nil {
		return LoadedRoom{}, fmt.Errorf("load room: %w", err)
	}
	return room, nil
}

const selectLastNID = `SELECT last_nid FROM roomserver.room_heads WHERE room_nid = $1`

// LastNID is a room's newest event. Errors: ErrNotFound.
func (s *Store) LastNID(ctx context.Context, room int64) (int64, error) {
	var nid int64
	err := s.db.QueryRow(ctx, selectLastNID, room).Scan(&nid)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("read newest event of room: %w", err)
	}
	return nid, nil
}

func collect[T any](into *[]T) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByName[T])
		return err
	}
}

const selectContent = `SELECT event_nid, json FROM roomserver.event_content WHERE event_nid = ANY($1)`

// Content is the JSON of events by number; missing ones are absent.
func (s *Store) Content(ctx context.Context, nids []int64) (map[int64][]byte, error) {
	rows, err := s.db.Query(ctx, selectContent, nids)
	if err != nil {
		return nil, fmt.Errorf("load event content: %w", err)
	}
	out := make(map[int64][]byte, len(nids))
	var nid int64
	var json []byte
	_, err = pgx.ForEachRow(rows, []any{&nid, &json}, func() error {
		out[nid] = append([]byte(nil), json...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load event content: %w", err)
	}
	return out, nil
}

// LoadedEvent is a stored event with what a redaction needs to know.
type LoadedEvent struct {
	NID      int64          `db:"event_nid"`
	ID       matrix.EventID `db:"event_id"`
	RoomNID  int64          `db:"room_nid"`
	JSON     []byte         `db:"json"`
	Redacted bool           `db:"redacted"`
}

const selectEvent = `
SELECT e.event_nid, e.event_id, e.room_nid, c.json, e.redacted_by IS NOT NULL AS redacted
FROM roomserver.events e JOIN roomserver.event_content c USING (event_nid) WHERE e.event_id = $1`

// Event finds an event by id. Errors: ErrNotFound.
func (s *Store) Event(ctx context.Context, id matrix.EventID) (LoadedEvent, error) {
	rows, err := s.db.Query(ctx, selectEvent, string(id))
	if err != nil {
		return LoadedEvent{}, fmt.Errorf("load event: %w", err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[LoadedEvent])
	if errors.Is(err, pgx.ErrNoRows) {
		return LoadedEvent{}, ErrNotFound
	}
	return e, err
}

const nextRoomNID = `SELECT nextval(pg_get_serial_sequence('roomserver.rooms', 'room_nid'))`

// NextRoomNID reserves a number for a room to be made.
func (s *Store) NextRoomNID(ctx context.Context) (int64, error) {
	var nid int64
	if err := s.db.QueryRow(ctx, nextRoomNID).Scan(&nid); err != nil {
		return 0, fmt.Errorf("reserve room number: %w", err)
	}
	return nid, nil
}

const selectKeys = `
SELECT event_nid, type_nid, key_nid FROM roomserver.events WHERE event_nid = ANY($1) AND key_nid IS NOT NULL`

// Keys tells which places in the state events hold.
func (s *Store) Keys(ctx context.Context, nids []int64) (map[int64]LoadedKey, error) {
	rows, err := s.db.Query(ctx, selectKeys, nids)
	if err != nil {
		return nil, fmt.Errorf("load state keys: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[LoadedKey])
	if err != nil {
		return nil, fmt.Errorf("load state keys: %w", err)
	}
	out := make(map[int64]LoadedKey, len(list))
	for _, k := range list {
		out[k.NID] = k
	}
	return out, nil
}
