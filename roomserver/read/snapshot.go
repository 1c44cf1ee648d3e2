package read

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// beginner is a Querier that can open a transaction: a pool.
type beginner interface {
	BeginTx(context.Context, pgx.TxOptions) (pgx.Tx, error)
}

// AsOf runs f with a model that sees the database as it was at one moment, and
// tells f the position of that moment. It holds one connection for as long as f
// runs; f must not use the outer model.
func (m *Model) AsOf(ctx context.Context, f func(m *Model, pos int64) error) error {
	b, ok := m.db.(beginner)
	if !ok {
		return errors.New("read as of one moment: the model has no pool of its own")
	}
	tx, err := b.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("begin reading: %w", err)
	}
	// Nothing was written: rolling back is the shortest way out, and its
	// failure loses nothing but the connection.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	inner := *m
	inner.db = tx
	pos, err := inner.Position(ctx)
	if err != nil {
		return err
	}
	return f(&inner, pos)
}

const selectStateOfRoomsSince = eventColumns + `
WHERE e.room_nid = ANY($1) AND e.key_nid IS NOT NULL AND e.event_nid > $2 AND e.event_nid <= $3 AND e.ord = e.event_nid
ORDER BY e.room_nid, e.event_nid`

// StateOfRoomsBetween is [Model.StateBetween] for several rooms at once.
func (m *Model) StateOfRoomsBetween(ctx context.Context, rooms []RoomNID, from, until int64) (map[RoomNID][]Event, error) {
	list, err := m.events(ctx, selectStateOfRoomsSince, rooms, from, until)
	if err != nil {
		return nil, err
	}
	out := make(map[RoomNID][]Event, len(rooms))
	for _, e := range list {
		out[e.RoomNID] = append(out[e.RoomNID], e)
	}
	return out, nil
}

const selectMembersOfRooms = `
SELECT room_nid, key_nid, event_nid, membership FROM roomserver.current_state
WHERE room_nid = ANY($1) AND type_nid = 2`

// MembersOfRooms are the current members of several rooms, of every membership.
func (m *Model) MembersOfRooms(ctx context.Context, rooms []RoomNID) (map[RoomNID][]Member, error) {
	rows, err := m.db.Query(ctx, selectMembersOfRooms, rooms)
	if err != nil {
		return nil, fmt.Errorf("read members: %w", err)
	}
	out := make(map[RoomNID][]Member, len(rooms))
	var room RoomNID
	var mb Member
	_, err = pgx.ForEachRow(rows, []any{&room, &mb.UserNID, &mb.EventNID, &mb.Membership}, func() error {
		out[room] = append(out[room], mb)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read members: %w", err)
	}
	return out, nil
}

const selectBundledParents = `
SELECT DISTINCT parent_id FROM roomserver.relations
WHERE room_nid = ANY($1) AND parent_id = ANY($2) AND rel_type <> 'm.annotation'`

// Parents tells which of the events others relate to in a way that is shown
// bundled with them.
//
// spec: c-s §Aggregations of child events
func (m *Model) Parents(ctx context.Context, rooms []RoomNID, ids []string) ([]string, error) {
	rows, err := m.db.Query(ctx, selectBundledParents, rooms, ids)
	if err != nil {
		return nil, fmt.Errorf("read parents: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
