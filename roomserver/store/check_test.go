package store_test

import (
	"context"
	"crypto/ed25519"
	"testing"

	"allmende/internal/matrix"
	"allmende/internal/testkit"
	"allmende/roomserver/store"
	"allmende/roomserver/timeline"

	"golang.org/x/sync/errgroup"
)

// TestCheckSeesDamage damages a sound database in one way after the other and
// expects the one violation that says so, among others perhaps.
func TestCheckSeesDamage(t *testing.T) {
	tests := []struct{ rule, damage string }{
		{"every table has a comment that says what it is kept for", `CREATE TABLE roomserver.secret (x int)`},
		{"every event has content, and content belongs to an event", `DELETE FROM roomserver.event_content WHERE event_nid = 3`},
		{"positions are not above the head", `UPDATE roomserver.head SET pos = pos - 1`},
		{"a live event stands in the timeline at its position", `UPDATE roomserver.events SET ord = 1000 WHERE event_nid = 2`},
		{"types, state keys and senders are interned", `DELETE FROM roomserver.strings WHERE value = '@anna:example.org'`},
		{"the events before and the auth events of an event exist in its room", `UPDATE roomserver.events SET prev_nids = '{900}' WHERE event_nid = 3`},
		{"the state before an event is a snapshot of its room, or empty", `UPDATE roomserver.events SET snapshot = 3 WHERE event_nid = 2`},
		{"a snapshot stands after a state event of its room", `UPDATE roomserver.events SET key_nid = NULL WHERE event_nid = 2`},
		{"a snapshot's parent exists and lies the right number of steps back", `UPDATE roomserver.snapshots SET parent = 1 WHERE snapshot = 3`},
		{"a snapshot adds earlier state events of its room, one of each place", `UPDATE roomserver.snapshots SET added = '{3,4}' WHERE snapshot = 3`},
		{"every room has a head", `DELETE FROM roomserver.room_heads`},
		{"a head is at its room's newest event, depth and a snapshot", `UPDATE roomserver.room_heads SET last_nid = last_nid - 1`},
		{"the forward extremities exist, and nothing follows them", `UPDATE roomserver.room_heads SET extremities = '{2}'`},
		{"the current state is the state of the head's snapshot", `DELETE FROM roomserver.current_state WHERE event_nid = 3`},
		{"the membership is that of the member event", `UPDATE roomserver.current_state SET membership = 5 WHERE type_nid = 2`},
		{"only former members forget a room", `INSERT INTO roomserver.forgotten SELECT key_nid, room_nid FROM roomserver.current_state WHERE type_nid = 2`},
		{"relations are of events that exist and are not redacted", `UPDATE roomserver.events SET redacted_by = 6 WHERE event_nid = 5`},
		{"what redacted an event exists in its room", `UPDATE roomserver.events SET redacted_by = 3 WHERE event_nid = 2`},
		{"transaction ids belong to events", `UPDATE roomserver.event_txns SET event_nid = 77`},
		{"aliases belong to rooms", `UPDATE roomserver.aliases SET room_nid = 77`},
		{"an event's id is the hash of its content", `UPDATE roomserver.event_content SET json = (SELECT json FROM roomserver.event_content WHERE event_nid = 4) WHERE event_nid = 3`},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			db := testkit.Migrated(t, store.Migrate)
			st := store.New(db)
			fill(t, st)
			ctx := context.Background()
			if found, err := st.Check(ctx); err != nil || len(found) > 0 {
				t.Fatalf("before the damage: %v, error %v", found, err)
			}
			conn, err := db.Acquire(ctx)
			if err != nil {
				t.Fatal(err)
			}
			_, err = conn.Conn().PgConn().Exec(ctx, test.damage).ReadAll()
			conn.Release()
			if err != nil {
				t.Fatal(err)
			}
			found, err := st.Check(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range found {
				if v.Rule == test.rule && v.Count > 0 {
					return
				}
			}
			t.Errorf("not seen; found %v", found)
		})
	}
}

// fill makes a room of six events: create, member, name, topic, a message that
// relates to another, a message.
func fill(t *testing.T, st *store.Store) {
	t.Helper()
	rs := timeline.New(timeline.Options{
		Store:  st,
		Signer: matrix.Signer{Server: "example.org", KeyID: "ed25519:1", Key: ed25519.NewKeyFromSeed(make([]byte, 32))},
	})
	ctx, stop := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return rs.Run(ctx) })
	const anna = "@anna:example.org"
	_, err := rs.Create(ctx, "11", false, anna, []byte(`{"room_version":"11"}`), func(tx *timeline.Tx) error {
		for _, e := range []struct {
			typ, key, content string
			message           bool
		}{
			{"m.room.member", anna, `{"membership":"join"}`, false},
			{"m.room.name", "", `{"name":"Group"}`, false},
			{"m.room.topic", "", `{"topic":"T"}`, false},
			{"m.room.message", "", `{"body":"x","m.relates_to":{"rel_type":"m.thread","event_id":"$root"}}`, true},
			{"m.room.message", "", `{"body":"y"}`, true},
		} {
			p := timeline.Proto{Type: e.typ, StateKey: &e.key, Sender: anna, Content: []byte(e.content)}
			if e.message {
				p.StateKey = nil
			}
			if _, err := tx.Append(p); err != nil {
				return err
			}
		}
		tx.Claim([16]byte{1}, "D", "1")
		return tx.AddAlias("#group:example.org", anna)
	})
	stop()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
