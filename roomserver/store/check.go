package store

import (
	"context"
	"fmt"

	"allmende/internal/matrix"

	"github.com/jackc/pgx/v5"
)

// Violation is something in the tables that contradicts what always holds.
type Violation struct {
	Rule  string // what should hold
	Count int64  // of rows that break it
	First int64  // number of one of them: an event, a room or a snapshot
}

// String is for people; it names nobody.
func (v Violation) String() string {
	return fmt.Sprintf("%s: not so %d times, first at %d", v.Rule, v.Count, v.First)
}

// invariants are statements that count the rows breaking a rule. Each answers
// one row: how many, and the smallest number of one.
var invariants = []struct{ rule, sql string }{
	{"every table has a comment that says what it is kept for", checkComments},
	{"every event has content, and content belongs to an event", checkContent},
	{"positions are not above the head", checkPositions},
	{"a live event stands in the timeline at its position", checkOrder},
	{"types, state keys and senders are interned", checkStrings},
	{"the events before and the auth events of an event exist in its room", checkEdges},
	{"the state before an event is a snapshot of its room, or empty", checkEventSnapshots},
	{"a snapshot stands after a state event of its room", checkSnapshotEvents},
	{"a snapshot's parent exists and lies the right number of steps back", checkSnapshotParents},
	{"a snapshot adds earlier state events of its room, one of each place", checkSnapshotEntries},
	{"every room has a head", checkHeads},
	{"a head is at its room's newest event, depth and a snapshot", checkHeadValues},
	{"the forward extremities exist, and nothing follows them", checkExtremities},
	{"the current state is the state of the head's snapshot", checkCurrentState},
	{"the membership is that of the member event", checkMemberships},
	{"only former members forget a room", checkForgotten},
	{"relations are of events that exist and are not redacted", checkRelations},
	{"what redacted an event exists in its room", checkRedactions},
	{"transaction ids belong to events", checkTxns},
	{"aliases belong to rooms", checkAliases},
}

const checkComments = `
SELECT count(*), coalesce(min(c.oid::bigint), 0) FROM pg_class c
WHERE c.relnamespace = 'roomserver'::regnamespace AND c.relkind IN ('r', 'p')
  AND coalesce(obj_description(c.oid, 'pg_class'), '') = ''`

const checkContent = `
SELECT count(*), coalesce(min(coalesce(e.event_nid, c.event_nid)), 0)
FROM roomserver.events e FULL JOIN roomserver.event_content c ON c.event_nid = e.event_nid
WHERE e.event_nid IS NULL OR c.event_nid IS NULL`

const checkPositions = `
SELECT count(*), coalesce(min(event_nid), 0) FROM roomserver.events
WHERE event_nid < 1 OR event_nid > (SELECT pos FROM roomserver.head)`

const checkOrder = `
SELECT count(*), coalesce(min(event_nid), 0) FROM roomserver.events WHERE ord > 0 AND ord <> event_nid`

const checkStrings = `
SELECT count(*), coalesce(min(e.event_nid), 0) FROM roomserver.events e
WHERE NOT EXISTS (SELECT 1 FROM roomserver.strings s WHERE s.nid = e.type_nid)
   OR NOT EXISTS (SELECT 1 FROM roomserver.strings s WHERE s.nid = e.sender_nid)
   OR e.key_nid IS NOT NULL AND NOT EXISTS (SELECT 1 FROM roomserver.strings s WHERE s.nid = e.key_nid)`

const checkEdges = `
SELECT count(*), coalesce(min(e.event_nid), 0)
FROM roomserver.events e CROSS JOIN LATERAL unnest(e.prev_nids || e.auth_nids) AS u(nid)
LEFT JOIN roomserver.events o ON o.event_nid = u.nid AND o.room_nid = e.room_nid
WHERE o.event_nid IS NULL`

const checkEventSnapshots = `
SELECT count(*), coalesce(min(e.event_nid), 0)
FROM roomserver.events e LEFT JOIN roomserver.snapshots s ON s.snapshot = e.snapshot AND s.room_nid = e.room_nid
WHERE e.snapshot <> 0 AND (s.snapshot IS NULL OR e.ord > 0 AND s.snapshot >= e.event_nid)`

const checkSnapshotEvents = `
SELECT count(*), coalesce(min(s.snapshot), 0)
FROM roomserver.snapshots s
LEFT JOIN roomserver.events e ON e.event_nid = s.snapshot AND e.room_nid = s.room_nid AND e.key_nid IS NOT NULL
WHERE e.event_nid IS NULL`

// The steps of package timeline: the largest power of sixteen that divides the
// number, 16⁴ at most. They bound the chains: fifteen links of each size, and one
// for every 65,536 changes.
const checkSnapshotParents = `
SELECT count(*), coalesce(min(s.snapshot), 0)
FROM roomserver.snapshots s
LEFT JOIN roomserver.snapshots p ON p.snapshot = s.parent AND p.room_nid = s.room_nid AND p.snapshot < s.snapshot
WHERE s.seq < 1 OR s.parent <> 0 AND p.snapshot IS NULL
   OR s.seq - coalesce(p.seq, 0) <> CASE WHEN s.seq % 65536 = 0 THEN 65536 WHEN s.seq % 4096 = 0 THEN 4096
        WHEN s.seq % 256 = 0 THEN 256 WHEN s.seq % 16 = 0 THEN 16 ELSE 1 END`

const checkSnapshotEntries = `
SELECT count(*), coalesce(min(s.snapshot), 0)
FROM roomserver.snapshots s
CROSS JOIN LATERAL (
    SELECT count(e.event_nid) AS found, count(DISTINCT (e.type_nid, e.key_nid)) AS places
    FROM roomserver.events e
    WHERE e.event_nid = ANY(s.added || s.removed) AND e.room_nid = s.room_nid AND e.key_nid IS NOT NULL
      AND e.event_nid <= s.snapshot) f
WHERE cardinality(s.added) = 0 OR f.found <> cardinality(s.added || s.removed) OR f.places <> f.found`

const checkHeads = `
SELECT count(*), coalesce(min(coalesce(r.room_nid, h.room_nid)), 0)
FROM roomserver.rooms r FULL JOIN roomserver.room_heads h ON h.room_nid = r.room_nid
WHERE r.room_nid IS NULL OR h.room_nid IS NULL`

const checkHeadValues = `
SELECT count(*), coalesce(min(h.room_nid), 0)
FROM roomserver.room_heads h
CROSS JOIN LATERAL (
    SELECT max(e.event_nid) AS last, max(e.depth) AS depth FROM roomserver.events e
    WHERE e.room_nid = h.room_nid AND e.ord > 0) e
LEFT JOIN roomserver.snapshots s ON s.snapshot = h.snapshot AND s.room_nid = h.room_nid
WHERE h.last_nid IS DISTINCT FROM e.last OR h.depth IS DISTINCT FROM e.depth OR s.snapshot IS NULL
   OR cardinality(h.extremities) = 0`

const checkExtremities = `
SELECT count(*), coalesce(min(h.room_nid), 0)
FROM roomserver.room_heads h CROSS JOIN LATERAL unnest(h.extremities) AS x(nid)
WHERE NOT EXISTS (SELECT 1 FROM roomserver.events e WHERE e.event_nid = x.nid AND e.room_nid = h.room_nid)
   OR EXISTS (SELECT 1 FROM roomserver.events e WHERE e.room_nid = h.room_nid AND e.ord IS NOT NULL AND x.nid = ANY(e.prev_nids))`

const checkCurrentState = `
WITH RECURSIVE chain AS (
    SELECT h.room_nid, s.snapshot, s.parent, s.added, s.removed, 0 AS step
    FROM roomserver.room_heads h JOIN roomserver.snapshots s ON s.snapshot = h.snapshot
    UNION ALL
    SELECT c.room_nid, s.snapshot, s.parent, s.added, s.removed, c.step + 1
    FROM chain c JOIN roomserver.snapshots s ON s.snapshot = c.parent AND s.snapshot < c.snapshot),
entries AS (
    SELECT room_nid, step, unnest(added) AS event_nid, false AS gone FROM chain
    UNION ALL
    SELECT room_nid, step, unnest(removed), true FROM chain),
walked AS (
    SELECT DISTINCT ON (n.room_nid, e.type_nid, e.key_nid) n.room_nid, e.type_nid, e.key_nid, e.event_nid, n.gone
    FROM entries n JOIN roomserver.events e ON e.event_nid = n.event_nid
    ORDER BY n.room_nid, e.type_nid, e.key_nid, n.step)
SELECT count(*), coalesce(min(room_nid), 0)
FROM (SELECT * FROM walked WHERE NOT gone) w
FULL JOIN roomserver.current_state s USING (room_nid, type_nid, key_nid)
WHERE w.event_nid IS DISTINCT FROM s.event_nid`

// The content is compared as JSON text: some member events hold escapes that
// PostgreSQL cannot decode.
const checkMemberships = `
SELECT count(*), coalesce(min(s.event_nid), 0)
FROM roomserver.current_state s
JOIN roomserver.event_content c ON c.event_nid = s.event_nid
WHERE (s.type_nid = 2) <> (s.membership IS NOT NULL)
   OR s.type_nid = 2 AND (convert_from(c.json, 'UTF8')::json -> 'content' -> 'membership')::text IS DISTINCT FROM
      CASE s.membership WHEN 1 THEN '"join"' WHEN 2 THEN '"invite"' WHEN 3 THEN '"knock"' WHEN 4 THEN '"leave"' WHEN 5 THEN '"ban"' END`

const checkForgotten = `
SELECT count(*), coalesce(min(f.room_nid), 0)
FROM roomserver.forgotten f
LEFT JOIN roomserver.current_state s ON s.room_nid = f.room_nid AND s.type_nid = 2 AND s.key_nid = f.user_nid
WHERE s.membership IS NULL OR s.membership NOT IN (4, 5)`

const checkRelations = `
SELECT count(*), coalesce(min(r.child_nid), 0)
FROM roomserver.relations r LEFT JOIN roomserver.events e ON e.event_nid = r.child_nid AND e.room_nid = r.room_nid
WHERE e.event_nid IS NULL OR e.redacted_by IS NOT NULL`

const checkRedactions = `
SELECT count(*), coalesce(min(e.event_nid), 0)
FROM roomserver.events e
LEFT JOIN roomserver.events r ON r.event_nid = e.redacted_by AND r.room_nid = e.room_nid AND r.type_nid = 9
WHERE e.redacted_by IS NOT NULL AND r.event_nid IS NULL`

const checkTxns = `
SELECT count(*), coalesce(min(t.event_nid), 0)
FROM roomserver.event_txns t LEFT JOIN roomserver.events e USING (event_nid) WHERE e.event_id IS NULL`

const checkAliases = `
SELECT count(*), coalesce(min(a.room_nid), 0)
FROM roomserver.aliases a LEFT JOIN roomserver.rooms r USING (room_nid) WHERE r.room_id IS NULL`

// Check looks for rows that contradict what always holds, as of one moment. It
// reads every event: minutes on a large installation.
func (s *Store) Check(ctx context.Context) ([]Violation, error) {
	var found []Violation
	opts := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, s.db, opts, func(tx pgx.Tx) error {
		for _, i := range invariants {
			v := Violation{Rule: i.rule}
			if err := tx.QueryRow(ctx, i.sql).Scan(&v.Count, &v.First); err != nil {
				return fmt.Errorf("check that %s: %w", i.rule, err)
			}
			if v.Count > 0 {
				found = append(found, v)
			}
		}
		v, err := checkHashes(ctx, tx)
		if v.Count > 0 {
			found = append(found, v)
		}
		return err
	})
	return found, err
}

const selectStoredEvents = `
SELECT e.event_nid, e.event_id, r.version, c.json
FROM roomserver.events e JOIN roomserver.rooms r USING (room_nid) JOIN roomserver.event_content c USING (event_nid)
ORDER BY e.event_nid`

// checkHashes computes every event's id from its content: the id is a hash of
// what redaction leaves.
func checkHashes(ctx context.Context, tx pgx.Tx) (Violation, error) {
	v := Violation{Rule: "an event's id is the hash of its content"}
	rows, err := tx.Query(ctx, selectStoredEvents)
	if err != nil {
		return v, fmt.Errorf("check that %s: %w", v.Rule, err)
	}
	var nid int64
	var id matrix.EventID
	var version matrix.RoomVersion
	var json []byte
	_, err = pgx.ForEachRow(rows, []any{&nid, &id, &version, &json}, func() error {
		if got, err := matrix.NewEventIDOf(version, json); err != nil || got != id {
			v.Count++
			if v.First == 0 {
				v.First = nid
			}
		}
		return nil
	})
	if err != nil {
		return v, fmt.Errorf("check that %s: %w", v.Rule, err)
	}
	return v, nil
}
