package read

import (
	"math"
	"slices"
)

// NoOrd is the Ord of an event outside of its room's timeline.
const NoOrd = math.MinInt64

// place is where the event stands among the changes of membership and
// visibility: its place in the timeline, so that an old event that was fetched
// late counts as old. Outside of the timeline, when it came here.
func (e *Event) place() int64 {
	if e.Ord != NoOrd {
		return e.Ord
	}
	return e.NID
}

// Membership is the user's membership after everything the Viewer knows of.
func (v *Viewer) Membership() Membership { return v.membershipBefore(math.MaxInt64) }

// EverJoined tells whether the user ever was a member of the room.
func (v *Viewer) EverJoined() bool { return v.lastJoin != 0 }

// WorldReadable tells whether strangers may read the room now.
func (v *Viewer) WorldReadable() bool { return v.visibilityBefore(math.MaxInt64) == worldReadable }

// LastLeave is the position of the event that ended the user's newest join; 0
// if there is none.
func (v *Viewer) LastLeave() int64 {
	for i := len(v.memberships) - 1; i > 0; i-- {
		if v.memberships[i].is != Join && v.memberships[i-1].is == Join {
			return v.memberships[i].at
		}
	}
	return 0
}

// IncludingIgnored is the same Viewer for somebody who ignores nobody.
func (v *Viewer) IncludingIgnored() *Viewer {
	w := *v
	w.ignored = nil
	return &w
}

// SkipBack is the greatest place at or before pos at which the user may be
// shown something; math.MinInt64 if there is none. It lets walks through a
// room's history leave out the long stretches that are hidden from the user.
func (v *Viewer) SkipBack(pos int64) int64 {
	if v.open(pos) {
		return pos
	}
	prev := int64(math.MinInt64)
	for _, s := range v.steps() {
		if s <= pos {
			prev = s
		}
	}
	return prev
}

// SkipForth is the smallest place at or after pos at which the user may be
// shown something; math.MaxInt64 if there is none.
func (v *Viewer) SkipForth(pos int64) int64 {
	if v.open(pos) {
		return pos
	}
	next := int64(math.MaxInt64)
	for _, s := range v.steps() {
		if s >= pos {
			next = min(next, s)
		}
	}
	return next
}

// open tells whether an ordinary event at pos would be shown. Between two
// changes of membership or visibility the answer is the same everywhere.
func (v *Viewer) open(pos int64) bool {
	return v.allows(v.membershipBefore(pos), v.visibilityBefore(pos), pos)
}

// steps are the places of the changes, ascending. The changes themselves have
// rules of their own, so they always count as places to look at, and so does
// the place behind each of them, where a new stretch begins.
func (v *Viewer) steps() []int64 {
	out := make([]int64, 0, 2*(len(v.memberships)+len(v.visibility)))
	for _, m := range v.memberships {
		out = append(out, m.at, m.at+1)
	}
	for _, s := range v.visibility {
		out = append(out, s.at, s.at+1)
	}
	slices.Sort(out)
	return out
}
