package store

import (
	"allmende/roomserver/read"

	"github.com/jackc/pgx/v5"
)

const insertEvents = `
INSERT INTO roomserver.events (event_nid, room_nid, ord, snapshot, depth, origin_ts, received_ts, type_nid, key_nid,
    sender_nid, prev_nids, auth_nids, event_id)
SELECT nid, room, nid, snap, depth, ots, rts, typ, key, sender, prev::bigint[], auth::bigint[], id
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::text[])
  AS u(nid, room, snap, depth, ots, rts, typ, key, sender, prev, auth, id)`

const insertContent = `
INSERT INTO roomserver.event_content (event_nid, json) SELECT * FROM unnest($1::bigint[], $2::bytea[])`

func (b *batch) queueEvents(q *pgx.Batch) {
	n := len(b.rows)
	numbers, texts := make([]int64, 8*n), make([]string, 3*n)
	column := func(i int) []int64 { return numbers[i*n : (i+1)*n] }
	nid, room, snap, depth := column(0), column(1), column(2), column(3)
	ots, rts, typ, sender := column(4), column(5), column(6), column(7)
	key := make([]*int64, n)
	prev, auth, id := texts[:n], texts[n:2*n], texts[2*n:]
	json := make([][]byte, n)
	for i, r := range b.rows {
		nid[i], room[i], snap[i], depth[i] = r.nid(), b.rooms[i], r.Snapshot.NID(), r.Event.Depth
		ots[i], rts[i], typ[i], sender[i] = r.Event.OriginServerTS, r.ReceivedTS, r.TypeNID, r.SenderNID
		key[i], prev[i], auth[i] = r.KeyNID, arrayText(r.Prev), arrayText(r.Auth)
		id[i], json[i] = string(r.Event.ID), r.Event.JSON
	}
	q.Queue(insertEvents, nid, room, snap, depth, ots, rts, typ, key, sender, prev, auth, id)
	q.Queue(insertContent, nid, json)
}

const upsertHeads = `
INSERT INTO roomserver.room_heads AS h (room_nid, last_nid, depth, snapshot, extremities)
SELECT room, last, depth, snap, ext::bigint[]
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[]) AS u(room, last, depth, snap, ext)
ON CONFLICT (room_nid) DO UPDATE SET last_nid = EXCLUDED.last_nid, depth = EXCLUDED.depth,
    snapshot = EXCLUDED.snapshot, extremities = EXCLUDED.extremities`

func (b *batch) queueHeads(q *pgx.Batch) {
	n := len(b.units)
	numbers, ext := make([]int64, 0, 4*n), make([]string, 0, n)
	column := func(i int) []int64 { return numbers[i*n : i*n : (i+1)*n] }
	room, last, depth, snap := column(0), column(1), column(2), column(3)
	for i, u := range b.units {
		if len(u.Rows) == 0 || b.roomFollows(i) {
			continue
		}
		room = append(room, u.RoomNID)
		last = append(last, u.Rows[len(u.Rows)-1].nid())
		depth = append(depth, u.Head.Depth)
		snap = append(snap, u.Head.Snapshot.NID())
		ext = append(ext, arrayText(u.Head.Extremities))
	}
	if len(room) > 0 {
		q.Queue(upsertHeads, room, last, depth, snap, ext)
	}
}

// roomFollows tells whether a later unit is of the same room as the one at i:
// only the last one's head is written.
func (b *batch) roomFollows(i int) bool {
	for _, u := range b.units[i+1:] {
		if u.RoomNID == b.units[i].RoomNID && len(u.Rows) > 0 {
			return true
		}
	}
	return false
}

const insertSnapshots = `
INSERT INTO roomserver.snapshots (snapshot, room_nid, parent, seq, added, removed)
SELECT snap, room, parent, seq, added::bigint[], removed::bigint[]
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])
  AS u(snap, room, parent, seq, added, removed)`

func (b *batch) queueSnapshots(q *pgx.Batch) {
	var snap, room, parent, seq []int64
	var added, removed []string
	for _, u := range b.units {
		for _, s := range u.Snapshots {
			snap = append(snap, s.After.nid())
			room = append(room, u.RoomNID)
			parent = append(parent, s.Parent.NID())
			seq = append(seq, s.Seq)
			added = append(added, arrayText(s.Added))
			removed = append(removed, arrayText(s.Removed))
		}
	}
	if len(snap) > 0 {
		q.Queue(insertSnapshots, snap, room, parent, seq, added, removed)
	}
}

const upsertState = `
INSERT INTO roomserver.current_state AS s (room_nid, type_nid, key_nid, event_nid, membership)
SELECT room, typ, key, nid, nullif(membership, 0)
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[]) AS u(room, typ, key, nid, membership)
ON CONFLICT (room_nid, type_nid, key_nid) DO UPDATE SET event_nid = EXCLUDED.event_nid, membership = EXCLUDED.membership`

const deleteForgotten = `
DELETE FROM roomserver.forgotten f USING unnest($1::bigint[], $2::bigint[]) AS u(room, usr)
WHERE f.room_nid = u.room AND f.user_nid = u.usr`

func (b *batch) queueState(q *pgx.Batch) {
	type place struct{ room, typ, key int64 }
	latest := map[place]StateSet{}
	var order []place // keeps the lock order of rows stable
	for _, u := range b.units {
		for _, s := range u.State {
			p := place{u.RoomNID, s.TypeNID, s.KeyNID}
			if _, ok := latest[p]; !ok {
				order = append(order, p)
			}
			latest[p] = s
		}
	}
	if len(order) == 0 {
		return
	}
	var room, typ, key, nid, backRoom, backUser []int64
	var membership []int16
	for _, p := range order {
		s := latest[p]
		room, typ, key = append(room, p.room), append(typ, p.typ), append(key, p.key)
		nid, membership = append(nid, s.Event.NID()), append(membership, int16(s.Membership))
		// Who comes back no longer forgets.
		switch s.Membership {
		case read.Join, read.Invite, read.Knock:
			backRoom, backUser = append(backRoom, p.room), append(backUser, p.key)
		}
	}
	q.Queue(upsertState, room, typ, key, nid, membership)
	if len(backRoom) > 0 {
		q.Queue(deleteForgotten, backRoom, backUser)
	}
}

const insertRelations = `
INSERT INTO roomserver.relations (room_nid, parent_id, child_nid, rel_type)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[])`

func (b *batch) queueRelations(q *pgx.Batch) {
	var room, child []int64
	var parent, rel []string
	for _, u := range b.units {
		for _, r := range u.Relations {
			room = append(room, u.RoomNID)
			parent = append(parent, string(r.ParentID))
			child = append(child, r.Child.nid())
			rel = append(rel, r.RelType)
		}
	}
	if len(room) > 0 {
		q.Queue(insertRelations, room, parent, child, rel)
	}
}

const redactEvents = `
UPDATE roomserver.events e SET redacted_by = u.by_nid
FROM unnest($1::bigint[], $2::bigint[]) AS u(nid, by_nid) WHERE e.event_nid = u.nid AND e.redacted_by IS NULL`

const redactContent = `
UPDATE roomserver.event_content c SET json = u.json
FROM unnest($1::bigint[], $2::bytea[]) AS u(nid, json) WHERE c.event_nid = u.nid`

const deleteRelations = `DELETE FROM roomserver.relations WHERE child_nid = ANY($1)`

// queueRedactions runs after the inserts, so that an event may be redacted in
// the transaction that wrote it.
func (b *batch) queueRedactions(q *pgx.Batch) {
	var target, by []int64
	var json [][]byte
	seen := map[int64]bool{}
	for _, u := range b.units {
		for _, r := range u.Redactions {
			nid := r.Target.NID()
			if seen[nid] {
				continue
			}
			seen[nid] = true
			target, by, json = append(target, nid), append(by, r.By.nid()), append(json, r.JSON)
		}
	}
	if len(target) == 0 {
		return
	}
	q.Queue(redactEvents, target, by)
	q.Queue(redactContent, target, json)
	// A redacted event relates to nothing any more: the relation is content.
	q.Queue(deleteRelations, target)
}
