package store_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"allmende/internal/pg"
	"allmende/internal/pgd"
	"allmende/internal/testkit"

	"github.com/jackc/pgx/v5"
)

// BenchmarkPositions compares the two designs by which a reader never skips a
// row that commits late, with fsync on: a head row locked to the end of the
// transaction, and rows marked with their transaction id. Each is measured with
// one transaction an event and with group commit. What was measured, and what
// was chosen for it, stands in docs/decisions.
func BenchmarkPositions(b *testing.B) {
	ctx := context.Background()
	srv, err := pgd.Start(ctx, pgd.Options{DataDir: testkit.Dir(b), Durable: true, DieWithParent: true})
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Stop(ctx)
	db, err := pg.Open(ctx, pg.Options{URL: srv.URL(), MaxConns: 20, Name: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for _, sql := range []string{
		`CREATE TABLE bench_head (pos bigint NOT NULL)`,
		`INSERT INTO bench_head VALUES (0)`,
		`CREATE TABLE bench_head_events (nid bigint PRIMARY KEY, body bytea NOT NULL)`,
		`CREATE TABLE bench_xid_events (nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, xid xid8 NOT NULL DEFAULT pg_current_xact_id(), body bytea NOT NULL)`,
		`CREATE INDEX ON bench_xid_events (xid)`,
	} {
		if _, err := db.Exec(ctx, sql); err != nil {
			b.Fatal(err)
		}
	}
	for _, d := range []struct {
		name  string
		write func(context.Context, *pg.DB, [][]byte) error
	}{{"head", writeHead}, {"xid", writeXid}} {
		for _, senders := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/each/%d", d.name, senders), func(b *testing.B) {
				spread(b, senders, func() error { return d.write(ctx, db, [][]byte{body}) })
			})
			b.Run(fmt.Sprintf("%s/grouped/%d", d.name, senders), func(b *testing.B) {
				g := newGroup(func(list [][]byte) error { return d.write(ctx, db, list) })
				defer g.close()
				spread(b, senders, func() error { return g.add(body) })
			})
		}
	}
}

var body = make([]byte, 800)

func writeHead(ctx context.Context, db *pg.DB, list [][]byte) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		var pos int64
		if err := tx.QueryRow(ctx, `UPDATE bench_head SET pos = pos + $1 RETURNING pos`, len(list)).Scan(&pos); err != nil {
			return err
		}
		nids := make([]int64, len(list))
		for i := range nids {
			nids[i] = pos - int64(len(list)) + int64(i) + 1
		}
		_, err := tx.Exec(ctx, `INSERT INTO bench_head_events SELECT * FROM unnest($1::bigint[], $2::bytea[])`, nids, list)
		return err
	})
}

func writeXid(ctx context.Context, db *pg.DB, list [][]byte) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO bench_xid_events (body) SELECT unnest($1::bytea[])`, list)
		return err
	})
}

// spread shares b.N events out among senders that each wait for the last one.
func spread(b *testing.B, senders int, send func() error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if err := send(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// group commits what was added while the last commit was under way.
type group struct {
	in   chan waiting
	done sync.WaitGroup
}

type waiting struct {
	body []byte
	err  chan error
}

func newGroup(write func([][]byte) error) *group {
	g := &group{in: make(chan waiting, 64)}
	g.done.Go(func() {
		for w := range g.in {
			all := []waiting{w}
		more:
			for {
				select {
				case w, ok := <-g.in:
					if !ok {
						break more
					}
					all = append(all, w)
				default:
					break more
				}
			}
			list := make([][]byte, len(all))
			for i, w := range all {
				list[i] = w.body
			}
			err := write(list)
			for _, w := range all {
				w.err <- err
			}
		}
	})
	return g
}

func (g *group) add(b []byte) error {
	w := waiting{b, make(chan error, 1)}
	g.in <- w
	return <-w.err
}

func (g *group) close() {
	close(g.in)
	g.done.Wait()
}
