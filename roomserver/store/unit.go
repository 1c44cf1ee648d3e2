package store

import (
	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

// Ref points at an event that has a number or will get one when the transaction
// it is part of commits. The zero Ref is number 0: no event. It keeps nothing of
// the event in memory but the number.
type Ref struct {
	num *int64 // of an event that had no number yet when the Ref was made
	nid int64
}

// Stored is a Ref to an event that is in the database.
func Stored(nid int64) Ref { return Ref{nid: nid} }

// NID is the event's number; of a row that is not committed yet, 0. Only the
// committer may ask for those.
func (r Ref) NID() int64 {
	if r.num != nil {
		return *r.num
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

	num *int64
}

// Ref points at the row.
func (r *Row) Ref() Ref {
	if r.num == nil {
		r.num = new(int64)
	}
	return Ref{num: r.num}
}

// NewNumberedRow is a row that has its number already, as if it were
// committed.
func NewNumberedRow(nid int64) *Row { return &Row{num: &nid} }

func (r *Row) nid() int64 { return r.Ref().NID() }

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
	// Fence tells the newest event that the database has of the room in this
	// process's eyes. Commit compares it with what the database says.
	Fence func() int64
	// Checked tells the position at which this copy of the room last was
	// compared with the database; negative: never. While only this process
	// commits it need not be compared again.
	Checked func() int64

	// Err is set by Commit when this unit, but not the whole batch, failed.
	Err error
}

// Alias is a local alias to be made for the unit's room.
type Alias struct {
	Alias      matrix.RoomAlias
	CreatorNID int64
}
