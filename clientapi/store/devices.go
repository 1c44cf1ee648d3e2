package store

import (
	"context"
	"fmt"
	"time"

	"allmende/internal/pg"

	"github.com/jackc/pgx/v5"
)

// Device is what a person sees of one of their devices.
type Device struct {
	DeviceID    string
	DisplayName string    // empty: none
	LastSeen    time.Time // day, UTC
}

const upsertDevice = `
INSERT INTO clientapi.devices (account_nid, device_id, display_name)
VALUES ($1, $2, NULLIF($3, ''))
ON CONFLICT (account_nid, device_id) DO UPDATE SET last_seen = EXCLUDED.last_seen
RETURNING device_nid, xmax = 0`

// EnsureDevice finds or adds a device; an existing one keeps its display name. fresh: it was added.
func (q *Queries) EnsureDevice(ctx context.Context, account int64, deviceID, displayName string) (nid int64, fresh bool, err error) {
	err = q.q.QueryRow(ctx, upsertDevice, account, deviceID, displayName).Scan(&nid, &fresh)
	if err != nil {
		return 0, false, fmt.Errorf("ensure device: %w", pg.Error(err))
	}
	return nid, fresh, nil
}

const selectDevices = `
SELECT device_id, COALESCE(display_name, ''), last_seen::timestamp
FROM clientapi.devices WHERE account_nid = $1 ORDER BY device_nid`

// ListDevices lists an account's devices, oldest first.
func (q *Queries) ListDevices(ctx context.Context, account int64) ([]Device, error) {
	rows, err := q.q.Query(ctx, selectDevices, account)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", pg.Error(err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Device])
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", pg.Error(err))
	}
	return list, nil
}

const selectDevice = `
SELECT device_id, COALESCE(display_name, ''), last_seen::timestamp
FROM clientapi.devices WHERE account_nid = $1 AND device_id = $2`

// FindDevice looks up one device of an account.
func (q *Queries) FindDevice(ctx context.Context, account int64, deviceID string) (Device, error) {
	var d Device
	err := q.q.QueryRow(ctx, selectDevice, account, deviceID).Scan(&d.DeviceID, &d.DisplayName, &d.LastSeen)
	if err != nil {
		return Device{}, fmt.Errorf("find device: %w", pg.Error(err))
	}
	return d, nil
}

const updateDevice = `
UPDATE clientapi.devices SET display_name = CASE WHEN $3::text IS NULL THEN display_name ELSE NULLIF($3, '') END
WHERE account_nid = $1 AND device_id = $2`

// RenameDevice sets the display name; nil leaves it. ErrNotFound: no such device.
func (q *Queries) RenameDevice(ctx context.Context, account int64, deviceID string, name *string) error {
	return q.mustChange(ctx, "rename device", updateDevice, account, deviceID, name)
}

const deleteDevices = `
WITH ended AS (
    DELETE FROM clientapi.sessions s USING clientapi.devices d
    WHERE s.device_nid = d.device_nid AND d.account_nid = $1 AND d.device_id = ANY($2)
    RETURNING s.access_hash
), gone AS (
    DELETE FROM clientapi.devices WHERE account_nid = $1 AND device_id = ANY($2)
)
SELECT access_hash FROM ended`

// DeleteDevices deletes devices and, with them, their sessions, whose access hashes it returns. Unknown devices are
// passed over.
func (q *Queries) DeleteDevices(ctx context.Context, account int64, deviceIDs []string) (ended [][]byte, err error) {
	return q.hashes(ctx, "delete devices", deleteDevices, account, deviceIDs)
}

const deleteOtherDevices = `
WITH ended AS (
    DELETE FROM clientapi.sessions s USING clientapi.devices d
    WHERE s.device_nid = d.device_nid AND d.account_nid = $1 AND d.device_id <> $2
    RETURNING s.access_hash
), gone AS (
    DELETE FROM clientapi.devices WHERE account_nid = $1 AND device_id <> $2
)
SELECT access_hash FROM ended`

// DeleteOtherDevices is DeleteDevices for all devices but one; keep may be empty.
func (q *Queries) DeleteOtherDevices(ctx context.Context, account int64, keep string) (ended [][]byte, err error) {
	return q.hashes(ctx, "delete other devices", deleteOtherDevices, account, keep)
}

// hashes runs a statement that returns token hashes.
func (q *Queries) hashes(ctx context.Context, what, sql string, args ...any) ([][]byte, error) {
	rows, err := q.q.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, pg.Error(err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, pg.Error(err))
	}
	return list, nil
}

const touchDevice = `UPDATE clientapi.devices SET last_seen = $2 WHERE device_nid = $1 AND last_seen < $2`

// TouchDevice writes down that the device was used on that day.
func (q *Queries) TouchDevice(ctx context.Context, device int64, day time.Time) error {
	if _, err := q.q.Exec(ctx, touchDevice, device, day); err != nil {
		return fmt.Errorf("touch device: %w", pg.Error(err))
	}
	return nil
}

const deleteIdleDevices = `
DELETE FROM clientapi.devices d
WHERE last_seen < $1 AND NOT EXISTS (SELECT FROM clientapi.sessions s WHERE s.device_nid = d.device_nid)`

// DeleteIdleDevices deletes devices that have no session left and were last used before the day.
func (q *Queries) DeleteIdleDevices(ctx context.Context, before time.Time) (int64, error) {
	tag, err := q.q.Exec(ctx, deleteIdleDevices, before)
	if err != nil {
		return 0, fmt.Errorf("delete idle devices: %w", pg.Error(err))
	}
	return tag.RowsAffected(), nil
}
