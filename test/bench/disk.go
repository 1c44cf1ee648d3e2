package main

import (
	"fmt"
)

// disk is what the database holds on disk, in bytes.
type disk struct {
	tables, indexes, txns int64
	wal                   int64 // written since the beginning of time
}

const sizes = `
SELECT sum(pg_table_size(c.oid))::bigint, sum(pg_indexes_size(c.oid))::bigint,
    sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname = 'event_txns')::bigint,
    pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname IN ('roomserver', 'clientapi', 'syncapi')`

func (b *bench) disk() (d disk) {
	c, err := b.home.database(b.ctx, "allmende")
	check(err)
	defer func() { check(c.Close(b.ctx)) }()
	check(c.QueryRow(b.ctx, sizes).Scan(&d.tables, &d.indexes, &d.txns, &d.wal))
	return d
}

// tellDisk tells what a number of events has added.
func (b *bench) tellDisk(where string, before disk, n int) {
	now, per := b.disk(), int64(n)
	tables, indexes, txns := (now.tables-before.tables)/per, (now.indexes-before.indexes)/per, (now.txns-before.txns)/per
	b.tell("disk, "+where, "bytes per event, all tables and indexes, WAL not counted", "31,000 (7,100 without its rows per member and message)", "≤ 1,800",
		fmt.Sprintf("%d (%d tables, %d indexes; of it %d transaction ids, kept a day)", tables+indexes, tables, indexes, txns))
	b.tell("disk, "+where, "bytes of WAL written per event", "–", "–", fmt.Sprint((now.wal-before.wal)/per))
}
