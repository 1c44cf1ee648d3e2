package store

import (
	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

// Ref points at an event that has a number or will get one when the transaction
// it is part of commits. The zero Ref is number 0: no event.
type Ref struct {
	row *Row
	nid int64
}

// Stored is a Ref to an event that is in the database.
func Stored(nid int64) Ref { return Ref{nid: nid} }

// NID is the event's number; of a row that is not committed yet, 0. Only the
// committer may ask for those.
func (r Ref) NID() int64 {
	if r.row != nil {
		return r.row.nid
	}
	return r.nid
}

// Row is one event to be written.
type Row struct {
	Event      *matrix.Event
	ReceivedTS int64 // ms
	TypeNID    int64
	KeyNID     *int64
	SenderNID  int64
	Snapshot   Ref // state before the event
	Prev, Auth []Ref

	nid  int64
	unit *Unit
}

// Ref points at the row.
func (r *Row) Ref() Ref { return Ref{row: r} }

// settle lets go of everything but the number once the row is committed.
// Without it each event would hold on to the one before it, for ever.
func (r *Row) settle() { *r = Row{nid: r.nid} }

// Snapshot is the state after a row, as a delta on a parent.
type Snapshot struct {
	After   *Row
	Parent  Ref
	Seq     int64
	Added   []Ref
	Removed []Ref
}

// StateSet puts an event into the current state.
type StateSet struct {
	TypeNID, KeyNID int64
	Event           Ref
	Membership      read.Membership // of member events
}

// Txn is a device's transaction id, claimed for a row.
type Txn struct {
	Scope    [16]byte
	Row      *Row
	DeviceID string
	TxnID    string
}

// Relation says that a row relates to a parent.
type Relation struct {
	ParentID matrix.EventID
	RelType  string
	Child    *Row
}

// Redaction replaces an event's content by its redacted form.
type Redaction struct {
	Target Ref
	By     *Row
	JSON   []byte
}

// Head is what a room looks like after a unit.
type Head struct {
	Depth       int64
	Snapshot    Ref
	Extremities []Ref
}

// NewRoom is the row of a room that the unit creates.
type NewRoom struct {
	ID        matrix.RoomID
	Version   matrix.RoomVersion
	Published bool
}

// Unit is what one decision writes into one room: all of it is committed or
// nothing.
type Unit struct {
	RoomNID    int64
	New        *NewRoom
	Rows       []*Row
	Snapshots  []Snapshot
	State      []StateSet
	Txns       []Txn
	Relations  []Relation
	Redactions []Redaction
	Aliases    []Alias
	Head       Head
	// Fence is the newest event the room had in this process's eyes before
	// the units that are under way; nil for units queued behind another of
	// the same room.
	Fence func() int64

	// Err is set by Commit when this unit, but not the whole batch, failed.
	Err error
}

// Alias is a local alias to be made for the unit's room.
type Alias struct {
	Alias      matrix.RoomAlias
	CreatorNID int64
}
