package timeline_test

import (
	"errors"
	"fmt"
	"testing"

	"allmende/internal/testkit"
	"allmende/roomserver/store"
	"allmende/roomserver/timeline"
)

// TestBettingOnBeingAlone lets one instance write for so long that it bets on
// being the only one, and then loses that bet: to another instance, which wrote
// to another room and to the same, and to a transaction id that was used before.
func TestBettingOnBeingAlone(t *testing.T) {
	db := testkit.Migrated(t, store.Migrate)
	a, b := open(t, db), open(t, db)
	ctx := within(t)
	room, other := create(t, a), create(t, a)
	expect := func(rs *timeline.Rooms, want error, body string, scope ...[16]byte) {
		t.Helper()
		if _, err := say(ctx, rs, room, body, scope...); !errors.Is(err, want) {
			t.Fatalf("%s: %v, want %v", body, err, want)
		}
	}
	used := [16]byte{1}
	expect(a, nil, "first", used)
	for round := range 3 {
		for i := range 100 {
			expect(a, nil, fmt.Sprint("alone ", i))
		}
		expect(a, store.ErrTxnTaken, "repeated", used)
		expect(a, nil, "after the repetition")
		switch round {
		case 0:
			if _, err := say(ctx, b, other, "in another room"); err != nil {
				t.Fatal(err)
			}
		case 1:
			expect(b, nil, "in the same room")
		}
		expect(a, nil, "after the other instance")
	}
	if got, want := number(t, db, `SELECT count(*) FROM roomserver.events WHERE type_nid = 7`), int64(1+3*102+2); got != want {
		t.Errorf("%d messages are stored, want %d", got, want)
	}
	assertSound(t, db)
}
