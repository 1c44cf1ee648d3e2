package roomtest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

// Event is an event to be written, with everything that can be said of it.
type Event struct {
	Sender   matrix.UserID
	Type     string
	StateKey *string
	Content  any
	Redacts  matrix.EventID // at the top level
	// OriginTS is the sender's clock, in ms; 0: the next tick of the clock.
	OriginTS int64
	// DeviceID and TxnID name the request that made the event.
	DeviceID, TxnID string
	// Top are further members of the event's top level.
	Top map[string]any
	// Backfilled puts the event before everything that is in the timeline.
	Backfilled bool
	// Outlier leaves the event out of the timeline and of the state.
	Outlier bool
}

// Add writes one event in one transaction, as the newest of its room, and
// returns it as it is stored.
func (r *Room) Add(e Event) read.Event {
	a := r.all
	a.t.Helper()
	if e.OriginTS == 0 {
		e.OriginTS = a.clock.Add(1000)
	}
	r.depth++
	body := C{
		"type": e.Type, "sender": string(e.Sender), "content": e.Content, "origin_server_ts": e.OriginTS, "depth": r.depth,
		"prev_events": []string{"$prev"}, "auth_events": []string{"$auth"},
		"hashes": C{"sha256": "x"}, "signatures": C{string(e.Sender.Server()): C{"ed25519:1": "y"}},
	}
	if e.Type != "m.room.create" || !r.Version.RoomIDFromCreate() {
		body["room_id"] = string(r.ID)
	}
	if e.StateKey != nil {
		body["state_key"] = *e.StateKey
	}
	if e.Redacts != "" {
		body["redacts"] = string(e.Redacts)
	}
	for k, v := range e.Top {
		body[k] = v
	}
	raw := canonical(a.t, body)
	sum := sha256.Sum256(append(raw, r.ID...))
	id := "$" + base64.RawURLEncoding.EncodeToString(sum[:])
	r.write(e, id, raw)
	stored, err := a.Model.EventByID(context.Background(), matrix.EventID(id))
	if err != nil {
		a.t.Fatalf("read back: %v", err)
	}
	return stored
}

func (r *Room) write(e Event, id string, raw []byte) {
	a := r.all
	typ, sender := a.NID(e.Type), a.NID(string(e.Sender))
	var key *int64
	if e.StateKey != nil {
		k := a.NID(*e.StateKey)
		key = &k
	}
	ctx := context.Background()
	tx, err := a.DB.Begin(ctx)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	exec := func(sql string, args ...any) {
		a.t.Helper()
		if _, err := tx.Exec(ctx, sql, args...); err != nil {
			a.t.Fatalf("%s: %v", sql, err)
		}
	}
	var nid int64
	if err := tx.QueryRow(ctx, `UPDATE roomserver.head SET pos = pos + 1 RETURNING pos`).Scan(&nid); err != nil {
		a.t.Fatal(err)
	}
	ord := &nid
	r.firstOrd = min(r.firstOrd, nid)
	if e.Backfilled {
		r.firstOrd--
		ord = new(int64)
		*ord = r.firstOrd
	}
	if e.Outlier {
		ord = nil
	}
	exec(`INSERT INTO roomserver.events (event_nid, room_nid, ord, snapshot, depth, origin_ts, received_ts, type_nid, key_nid,
		sender_nid, prev_nids, auth_nids, event_id) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)`,
		nid, r.NID, ord, r.snapshot, r.depth, e.OriginTS, a.Now(), typ, key, sender, []int64{r.last}, []int64{}, id)
	exec(`INSERT INTO roomserver.event_content (event_nid, json) VALUES ($1, $2)`, nid, raw)
	if e.TxnID != "" {
		exec(`INSERT INTO roomserver.event_txns (scope, event_nid, device_id, txn_id) VALUES ($1, $2, $3, $4)`,
			[]byte(e.DeviceID+"|"+e.TxnID+"|"+string(r.ID)), nid, e.DeviceID, e.TxnID)
	}
	if to, rel := relation(raw); to != "" {
		exec(`INSERT INTO roomserver.relations (room_nid, parent_id, child_nid, rel_type) VALUES ($1, $2, $3, $4)`, r.NID, to, nid, rel)
	}
	if !e.Backfilled && !e.Outlier {
		if key != nil {
			r.writeState(exec, e, nid, typ, *key, raw)
		}
		r.last = nid
		exec(`INSERT INTO roomserver.room_heads (room_nid, last_nid, depth, snapshot, extremities) VALUES ($1,$2,$3,$4,$5)
			ON CONFLICT (room_nid) DO UPDATE SET last_nid = $2, depth = $3, snapshot = $4, extremities = $5`,
			r.NID, nid, r.depth, r.snapshot, []int64{nid})
	}
	if err := tx.Commit(ctx); err != nil {
		a.t.Fatal(err)
	}
}

// writeState makes the event part of the current state and of a new snapshot.
// Each snapshot is a delta on the one before it.
func (r *Room) writeState(exec func(string, ...any), e Event, nid, typ, key int64, raw []byte) {
	r.seq++
	exec(`INSERT INTO roomserver.snapshots (snapshot, room_nid, parent, seq, added, removed) VALUES ($1,$2,$3,$4,$5,'{}')`,
		nid, r.NID, r.snapshot, r.seq, []int64{nid})
	r.snapshot = nid
	var membership *int16
	if e.Type == "m.room.member" {
		m := int16(read.MembershipOf(raw))
		membership = &m
	}
	exec(`INSERT INTO roomserver.current_state (room_nid, type_nid, key_nid, event_nid, membership) VALUES ($1,$2,$3,$4,$5)
		ON CONFLICT (room_nid, type_nid, key_nid) DO UPDATE SET event_nid = $4, membership = $5`,
		r.NID, typ, key, nid, membership)
}

func relation(raw []byte) (to, rel string) {
	r := matrix.Member(raw, "content", "m.relates_to")
	return matrix.Text(matrix.Member(r, "event_id")), matrix.Text(matrix.Member(r, "rel_type"))
}
