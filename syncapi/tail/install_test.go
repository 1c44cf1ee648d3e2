package tail

import (
	"testing"

	"allmende/roomserver/read"
)

// TestInstallMissesNothing: while a user's rooms are read, the tail goes on, and
// events in rooms that nobody follows yet leave no trace. A client that has seen
// everything up to the moment of the read must still be shown them.
func TestInstallMissesNothing(t *testing.T) {
	const room, at, since = 1, 7, 7
	for _, tc := range []struct {
		what string
		pos  int64 // of the tail by the time the rooms are installed
		want int   // rooms looked at for news behind since
	}{
		{"nothing happened meanwhile", at, 0},
		{"an event was applied meanwhile", at + 1, 1},
	} {
		tl := &Tail{pos: tc.pos, rooms: map[read.RoomNID]*Room{}, numbered: map[read.UserNID]*User{}}
		u := &User{changed: make(chan struct{}), loading: &userLoading{}}
		tl.install(u, []read.UserRoom{{RoomNID: room, EventNID: 3, Membership: read.Join}}, map[read.RoomNID]int64{room: at}, at)
		m := tl.At(u, since, func(_ Standing, latest int64) bool { return latest > since })
		if len(m.Rooms) != tc.want {
			t.Errorf("%s: %d rooms are looked at, want %d", tc.what, len(m.Rooms), tc.want)
		}
	}
}
