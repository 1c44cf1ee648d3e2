// Package read is the room server's read model: what syncapi and federation may
// know about rooms without asking the room server. It reads the tables of the
// roomserver schema and writes none.
//
// A [Model] keeps caches of things that never change (the numbers of strings
// and rooms). Everything else is read from the database at each call, so two
// processes with a Model each never disagree about a committed event.
package read

import (
	"context"
	"errors"
	"fmt"

	"allmende/internal/matrix"
	"allmende/internal/pg"

	"github.com/jackc/pgx/v5"
	"github.com/maypok86/otter/v2"
)

// ErrNotFound says that the room, event or user is unknown here.
var ErrNotFound = errors.New("not found in the read model")

// RoomNID is a room's number, UserNID a user's, EventNID an event's: the
// position at which the event was committed.
type (
	RoomNID  = int64
	UserNID  = int64
	EventNID = int64
)

// Model reads rooms. It is safe for concurrent use.
type Model struct {
	db      pg.Querier
	strings *otter.Cache[string, int64]
	values  *otter.Cache[int64, string]
	rooms   *otter.Cache[matrix.RoomID, Room]
	byNID   *otter.Cache[RoomNID, Room]
}

// New makes a model over a connection pool.
func New(db pg.Querier) *Model {
	return &Model{
		db:      db,
		strings: otter.Must(&otter.Options[string, int64]{MaximumSize: cachedStrings}),
		values:  otter.Must(&otter.Options[int64, string]{MaximumSize: cachedStrings}),
		rooms:   otter.Must(&otter.Options[matrix.RoomID, Room]{MaximumSize: cachedRooms}),
		byNID:   otter.Must(&otter.Options[RoomNID, Room]{MaximumSize: cachedRooms}),
	}
}

const (
	cachedStrings = 50_000
	cachedRooms   = 10_000
)

const selectPosition = `SELECT pos FROM roomserver.head`

// Position is the position of the newest committed event.
func (m *Model) Position(ctx context.Context) (int64, error) {
	var pos int64
	if err := m.db.QueryRow(ctx, selectPosition).Scan(&pos); err != nil {
		return 0, fmt.Errorf("read position: %w", err)
	}
	return pos, nil
}

const selectString = `SELECT nid FROM roomserver.strings WHERE value = $1`

// StringNID is the number of an interned string: event type, state key, user id.
// It answers ErrNotFound for a string no event ever used.
func (m *Model) StringNID(ctx context.Context, value string) (int64, error) {
	if nid, ok := m.strings.GetIfPresent(value); ok {
		return nid, nil
	}
	var nid int64
	err := m.db.QueryRow(ctx, selectString, value).Scan(&nid)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("read string number: %w", err)
	}
	m.remember(nid, value)
	return nid, nil
}

// UserNID is the number of a user id, ErrNotFound if no event names the user.
func (m *Model) UserNID(ctx context.Context, user matrix.UserID) (UserNID, error) {
	return m.StringNID(ctx, string(user))
}

const selectStrings = `SELECT nid, value FROM roomserver.strings WHERE nid = ANY($1)`

// Strings are the texts behind numbers. A number without text is absent.
func (m *Model) Strings(ctx context.Context, nids []int64) (map[int64]string, error) {
	out := make(map[int64]string, len(nids))
	var missing []int64
	for _, nid := range nids {
		if v, ok := m.values.GetIfPresent(nid); ok {
			out[nid] = v
		} else {
			missing = append(missing, nid)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	rows, err := m.db.Query(ctx, selectStrings, missing)
	if err != nil {
		return nil, fmt.Errorf("read strings: %w", err)
	}
	var nid int64
	var value string
	_, err = pgx.ForEachRow(rows, []any{&nid, &value}, func() error {
		out[nid] = value
		m.remember(nid, value)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read strings: %w", err)
	}
	return out, nil
}

const selectStringNIDs = `SELECT nid, value FROM roomserver.strings WHERE value = ANY($1)`

// StringNIDs are the numbers of several strings. A string without number is absent.
func (m *Model) StringNIDs(ctx context.Context, values []string) (map[string]int64, error) {
	out := make(map[string]int64, len(values))
	var missing []string
	for _, v := range values {
		if nid, ok := m.strings.GetIfPresent(v); ok {
			out[v] = nid
		} else {
			missing = append(missing, v)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	rows, err := m.db.Query(ctx, selectStringNIDs, missing)
	if err != nil {
		return nil, fmt.Errorf("read string numbers: %w", err)
	}
	var nid int64
	var value string
	_, err = pgx.ForEachRow(rows, []any{&nid, &value}, func() error {
		out[value] = nid
		m.remember(nid, value)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read string numbers: %w", err)
	}
	return out, nil
}

func (m *Model) remember(nid int64, value string) {
	m.strings.Set(value, nid)
	m.values.Set(nid, value)
}
