package read

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Visibility is the history of a room's m.room.history_visibility, from which
// Viewers are made without asking the database again. It is never changed.
type Visibility struct {
	steps []visibilityStep // oldest first
}

const selectVisibilityHistories = `
SELECT e.room_nid, e.ord, c.json FROM roomserver.events e
JOIN roomserver.event_content c USING (event_nid)
WHERE e.room_nid = ANY($1) AND e.key_nid = 1 AND e.type_nid = 6 AND e.ord IS NOT NULL ORDER BY e.ord`

// Visibilities are the visibility histories of several rooms; rooms that never
// said anything about it are absent.
func (m *Model) Visibilities(ctx context.Context, rooms []RoomNID) (map[RoomNID]*Visibility, error) {
	rows, err := m.db.Query(ctx, selectVisibilityHistories, rooms)
	if err != nil {
		return nil, fmt.Errorf("read history visibility: %w", err)
	}
	made := map[RoomNID]*Viewer{}
	var room, nid int64
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&room, &nid, &raw}, func() error {
		v := made[room]
		if v == nil {
			v = &Viewer{}
			made[room] = v
		}
		v.addVisibility(nid, raw)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read history visibility: %w", err)
	}
	out := make(map[RoomNID]*Visibility, len(made))
	for room, v := range made {
		out[room] = &Visibility{v.visibility}
	}
	return out, nil
}

// After is the history with one more change, e, behind it.
func (v *Visibility) After(e *Event) *Visibility {
	next := Viewer{}
	if v != nil {
		next.visibility = append(next.visibility, v.steps...)
	}
	next.addVisibility(e.NID, e.JSON)
	return &Visibility{next.visibility}
}

// Member makes the Viewer of somebody who has been joined without interruption
// since the event with the number joined. What the user was before is not
// known to it: it is for events from then on, and hides what lies before unless
// members may see the past anyway.
func (v *Visibility) Member(user UserNID, joined EventNID, ignored map[UserNID]bool) *Viewer {
	w := &Viewer{user: user, ignored: ignored, memberships: []memberStep{{joined, Join}}, lastJoin: joined}
	if v != nil {
		w.visibility = v.steps
	}
	return w
}

// Viewer makes the Viewer of somebody whose whole history in the room is known.
func (v *Visibility) Viewer(user UserNID, history []MembershipChange, ignored map[UserNID]bool) *Viewer {
	w := &Viewer{user: user, ignored: ignored}
	if v != nil {
		w.visibility = v.steps
	}
	for _, c := range history {
		w.addMembership(c.Ord, MembershipOf(c.JSON))
	}
	return w
}

// MembershipAtPosition is the user's membership when the installation stood at
// a position.
func (v *Viewer) MembershipAtPosition(pos int64) Membership { return v.membershipBefore(pos + 1) }

const selectMembershipHistories = `
SELECT e.room_nid, e.ord, c.json FROM roomserver.events e
JOIN roomserver.event_content c USING (event_nid)
WHERE e.type_nid = 2 AND e.key_nid = $2 AND e.room_nid = ANY($1) AND e.ord IS NOT NULL ORDER BY e.ord`

// MembershipHistories are the member events of one user in several rooms, oldest first.
func (m *Model) MembershipHistories(ctx context.Context, rooms []RoomNID, user UserNID) (map[RoomNID][]MembershipChange, error) {
	rows, err := m.db.Query(ctx, selectMembershipHistories, rooms, user)
	if err != nil {
		return nil, fmt.Errorf("read membership history: %w", err)
	}
	out := make(map[RoomNID][]MembershipChange, len(rooms))
	var room RoomNID
	var nid int64
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&room, &nid, &raw}, func() error {
		out[room] = append(out[room], MembershipChange{nid, raw})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read membership history: %w", err)
	}
	return out, nil
}
