package read

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"

	"github.com/jackc/pgx/v5"
)

// Viewer decides which events of one room one user may be shown. Every path
// that shows events to a member asks a Viewer: history visibility, ignored
// senders and expiry are decided here and nowhere else.
//
// spec: c-s §History visibility, §Ignoring Users
type Viewer struct {
	user        UserNID
	memberships []memberStep     // oldest first
	visibility  []visibilityStep // oldest first
	lastJoin    int64            // position of the newest join, 0: never
	ignored     map[UserNID]bool
}

type memberStep struct {
	at int64
	is Membership
}

type visibilityStep struct {
	at int64
	is visibility
}

// visibility is the room's m.room.history_visibility, from most to least open.
type visibility int8

const (
	worldReadable visibility = iota
	shared
	invited
	joined
)

const selectViewerHistory = `
SELECT e.type_nid, e.ord, c.json FROM (
    SELECT event_nid, type_nid, ord FROM roomserver.events WHERE room_nid = $1 AND type_nid = 6 AND key_nid = 1
    UNION ALL
    SELECT event_nid, type_nid, ord FROM roomserver.events WHERE type_nid = 2 AND key_nid = $2 AND room_nid = $1) e
JOIN roomserver.event_content c USING (event_nid)
WHERE e.ord IS NOT NULL ORDER BY e.ord`

// Viewer reads what it needs to decide for one user (0: somebody who is not
// known here) and room. ignored are the senders the user does not want to see.
func (m *Model) Viewer(ctx context.Context, user UserNID, room RoomNID, ignored map[UserNID]bool) (*Viewer, error) {
	v := &Viewer{user: user, ignored: ignored}
	rows, err := m.db.Query(ctx, selectViewerHistory, room, user)
	if err != nil {
		return nil, fmt.Errorf("read history of visibility and membership: %w", err)
	}
	var typ, ord int64
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&typ, &ord, &raw}, func() error {
		if typ == TypeMember {
			v.addMembership(ord, MembershipOf(raw))
		} else {
			v.addVisibility(ord, raw)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read history of visibility and membership: %w", err)
	}
	return v, nil
}

// Extend takes a newer event of the room into account, so that a Viewer can be
// kept while the room goes on. Events must come in order of position.
func (v *Viewer) Extend(e *Event) {
	switch {
	case e.TypeNID == TypeHistoryVisibility && e.KeyNID != nil && *e.KeyNID == EmptyKey:
		v.addVisibility(e.NID, e.JSON)
	case e.TypeNID == TypeMember && e.KeyNID != nil && *e.KeyNID == v.user:
		v.addMembership(e.NID, MembershipOf(e.JSON))
	}
}

func (v *Viewer) addMembership(at int64, is Membership) {
	v.memberships = append(v.memberships, memberStep{at, is})
	if is == Join {
		v.lastJoin = at
	}
}

func (v *Viewer) addVisibility(at int64, raw []byte) {
	var ev struct {
		Content struct {
			Visibility string `json:"history_visibility"`
		} `json:"content"`
	}
	// A value nobody understands must not open the room: the spec's default
	// is "shared", and that is also what servers assume for nonsense.
	is := shared
	if json.Unmarshal(raw, &ev) == nil {
		switch ev.Content.Visibility {
		case "world_readable":
			is = worldReadable
		case "invited":
			is = invited
		case "joined":
			is = joined
		}
	}
	v.visibility = append(v.visibility, visibilityStep{at, is})
}

// MembershipOf is the membership a member event speaks of.
func MembershipOf(raw []byte) Membership {
	var ev struct {
		Content struct {
			Membership string `json:"membership"`
		} `json:"content"`
	}
	if json.Unmarshal(raw, &ev) != nil {
		return None
	}
	return ParseMembership(ev.Content.Membership)
}

// MaySee tells whether the user may be shown the event.
func (v *Viewer) MaySee(e *Event) bool {
	if v.ignored[e.SenderNID] && !e.IsState() {
		return false
	}
	if v.allows(v.MembershipAt(e), v.visibilityBefore(e.place()), e.place()) {
		return true
	}
	// What happened to one's own membership is one's own to know: a rejected
	// invite or a ban must be able to leave the client's room list.
	if e.TypeNID == TypeMember && e.KeyNID != nil && *e.KeyNID == v.user {
		return true
	}
	// A change of visibility is also judged by what it changes to.
	return e.TypeNID == TypeHistoryVisibility && v.allows(v.MembershipAt(e), v.visibilityBefore(e.place()+1), e.place())
}

func (v *Viewer) allows(m Membership, vis visibility, at int64) bool {
	switch {
	case vis == worldReadable, m == Join:
		return true
	case vis == shared:
		return v.lastJoin > at
	case vis == invited:
		return m == Invite && v.lastJoin > at
	}
	return false
}

// MembershipAt is the user's membership at an event; of a change to that very
// membership, the one the event leads to, except that a leaver still sees the
// leave itself.
//
// spec: c-s §Room event fields, unsigned.membership
func (v *Viewer) MembershipAt(e *Event) Membership {
	before, after := v.membershipBefore(e.place()), v.membershipBefore(e.place()+1)
	if before == Join && after != Join {
		return Join
	}
	return after
}

// MembershipAfter is the user's membership once the event has happened.
func (v *Viewer) MembershipAfter(e *Event) Membership { return v.membershipBefore(e.place() + 1) }

func (v *Viewer) membershipBefore(pos int64) Membership {
	i := sort.Search(len(v.memberships), func(i int) bool { return v.memberships[i].at >= pos })
	if i == 0 {
		return None
	}
	return v.memberships[i-1].is
}

func (v *Viewer) visibilityBefore(pos int64) visibility {
	i := sort.Search(len(v.visibility), func(i int) bool { return v.visibility[i].at >= pos })
	if i == 0 {
		return shared
	}
	return v.visibility[i-1].is
}
