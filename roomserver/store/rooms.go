package store

import (
	"context"
	"errors"
	"fmt"

	"allmende/internal/matrix"
	"allmende/roomserver/read"

	"github.com/jackc/pgx/v5"
)

// The row of the membership is locked, so that a new join and forgetting come
// one after the other: the later one wins.
const insertForgotten = `
WITH member AS (
    SELECT s.key_nid, s.room_nid, s.membership FROM roomserver.current_state s
    JOIN roomserver.rooms r USING (room_nid) JOIN roomserver.strings k ON k.nid = s.key_nid
    WHERE r.room_id = $1 AND s.type_nid = 2 AND k.value = $2 FOR UPDATE OF s),
forgotten AS (
    INSERT INTO roomserver.forgotten (user_nid, room_nid)
    SELECT key_nid, room_nid FROM member WHERE membership IN (4, 5) ON CONFLICT DO NOTHING)
SELECT membership FROM member`

// Forget notes that a former member forgets a room. It is idempotent. It
// answers the user's membership: of anybody but former members nothing is
// noted. None: there never was one, or there is no such room.
func (s *Store) Forget(ctx context.Context, room matrix.RoomID, user matrix.UserID) (read.Membership, error) {
	var m read.Membership
	err := s.db.QueryRow(ctx, insertForgotten, string(room), string(user)).Scan(&m)
	if errors.Is(err, pgx.ErrNoRows) {
		return read.None, nil
	}
	if err != nil {
		return read.None, fmt.Errorf("forget room: %w", err)
	}
	return m, nil
}

const updatePublished = `UPDATE roomserver.rooms SET published = $2 WHERE room_nid = $1 AND published <> $2`

// Publish puts a room into the public directory or takes it out.
func (s *Store) Publish(ctx context.Context, room int64, published bool) error {
	if _, err := s.db.Exec(ctx, updatePublished, room, published); err != nil {
		return fmt.Errorf("publish room: %w", err)
	}
	return nil
}

const insertAlias = `
INSERT INTO roomserver.aliases (alias, room_nid, creator_nid) VALUES ($1, $2, $3) ON CONFLICT (alias) DO NOTHING`

// AddAlias makes a local alias. Errors: ErrAliasTaken.
func (s *Store) AddAlias(ctx context.Context, alias matrix.RoomAlias, room int64, creator matrix.UserID) error {
	nids, err := s.Intern(ctx, string(creator))
	if err != nil {
		return err
	}
	tag, err := s.db.Exec(ctx, insertAlias, string(alias), room, nids[0])
	if err != nil {
		return fmt.Errorf("add alias: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrAliasTaken
	}
	return nil
}

// FoundAlias is a local alias with its room and creator.
type FoundAlias struct {
	RoomID  matrix.RoomID `db:"room_id"`
	RoomNID int64         `db:"room_nid"`
	Creator matrix.UserID `db:"creator"`
}

const selectAlias = `
SELECT r.room_id, r.room_nid, s.value AS creator
FROM roomserver.aliases a JOIN roomserver.rooms r USING (room_nid)
JOIN roomserver.strings s ON s.nid = a.creator_nid WHERE a.alias = $1`

// Alias finds a local alias. Errors: ErrNotFound.
func (s *Store) Alias(ctx context.Context, alias matrix.RoomAlias) (FoundAlias, error) {
	rows, err := s.db.Query(ctx, selectAlias, string(alias))
	if err != nil {
		return FoundAlias{}, fmt.Errorf("find alias: %w", err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[FoundAlias])
	if errors.Is(err, pgx.ErrNoRows) {
		return FoundAlias{}, ErrNotFound
	}
	return a, err
}

const deleteAlias = `DELETE FROM roomserver.aliases WHERE alias = $1`

// DeleteAlias removes a local alias.
func (s *Store) DeleteAlias(ctx context.Context, alias matrix.RoomAlias) error {
	if _, err := s.db.Exec(ctx, deleteAlias, string(alias)); err != nil {
		return fmt.Errorf("delete alias: %w", err)
	}
	return nil
}

const moveAliases = `UPDATE roomserver.aliases SET room_nid = $2 WHERE room_nid = $1`

const movePublished = `
UPDATE roomserver.rooms n SET published = o.published FROM roomserver.rooms o WHERE o.room_nid = $1 AND n.room_nid = $2`

// MoveDirectory points the aliases of a room at its replacement, which takes its
// place in the public directory.
func (s *Store) MoveDirectory(ctx context.Context, from, to int64) error {
	err := s.db.Tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, moveAliases, from, to); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, movePublished, from, to); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, updatePublished, from, false)
		return err
	})
	if err != nil {
		return fmt.Errorf("move directory entries: %w", err)
	}
	return nil
}
