package roomserver_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/internal/pgd"
	"allmende/internal/testkit"
	"allmende/roomserver"
	"allmende/roomserver/api"

	"golang.org/x/sync/errgroup"
)

// TestLostConnections cuts the connections again and again while messages are
// sent. Each is sent with one transaction id until it is acknowledged.
func TestLostConnections(t *testing.T) {
	db := testkit.Migrated(t, roomserver.Migrate)
	b := start(t, db)
	room := call(t, b, api.CreateRoom, api.CreateRoomReq{Creator: anna}).RoomID
	knife, err := pg.Open(t.Context(), pg.Options{URL: db.Config().ConnString(), MaxConns: 1, Name: "knife"})
	if err != nil {
		t.Fatal(err)
	}
	defer knife.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var cutting, sending errgroup.Group
	cutting.Go(func() error {
		for ctx.Err() == nil {
			_, err := knife.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'`)
			if err != nil {
				return err
			}
			time.Sleep(40 * time.Millisecond)
		}
		return nil
	})
	const senders, each = 8, 15
	for s := range senders {
		sending.Go(func() error {
			for i := range each {
				if err := insist(b, message(room, anna, fmt.Sprint(s, ".", i), "x")); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = sending.Wait()
	stop()
	if err := errors.Join(err, cutting.Wait()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, knife, `SELECT count(*) FROM roomserver.events WHERE type_nid = 7`); n != senders*each {
		t.Errorf("%d messages sent, %d stored", senders*each, n)
	}
	assertSound(t, knife)
}

// insist sends until the message is acknowledged. Any refusal but "unavailable"
// is an error.
func insist(b *bus.Bus, req api.SendEventReq) error {
	for {
		_, err := bus.Call(context.Background(), b, api.SendEvent, req)
		if err == nil {
			return nil
		}
		if e := matrix.AsError(err); e.Status != 503 {
			return err
		}
	}
}

// TestDatabaseGoesAndComesBack stops the database server under way.
func TestDatabaseGoesAndComesBack(t *testing.T) {
	ctx := context.Background()
	o := pgd.Options{DataDir: filepath.Join(testkit.Dir(t), "postgres"), DieWithParent: true}
	server, err := pgd.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	db, err := pg.Open(ctx, pg.Options{URL: server.URL(), MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if err := roomserver.Migrate(ctx, db); err != nil {
		t.Fatal(err)
	}
	b := start(t, db)
	room := call(t, b, api.CreateRoom, api.CreateRoomReq{Creator: anna}).RoomID
	call(t, b, api.SendEvent, message(room, anna, "before", "x"))

	var sending errgroup.Group
	var away atomic.Int64
	for i := range 6 {
		sending.Go(func() error {
			for n := 0; away.Load() < 12; n++ {
				_, err := bus.Call(ctx, b, api.SendEvent, message(room, anna, fmt.Sprint(i, ".", n), "x"))
				switch {
				case err == nil:
				case matrix.AsError(err).Status == 503 && matrix.AsError(err).RetryAfter > 0:
					away.Add(1)
				default:
					return fmt.Errorf("while the database is away: %w", err)
				}
			}
			return nil
		})
	}
	if err := server.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := sending.Wait(); err != nil {
		t.Error(err)
	}
	if server, err = pgd.Start(ctx, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop(ctx) })
	if err := insist(b, message(room, anna, "after", "x")); err != nil {
		t.Error(err)
	}
	assertSound(t, db)
}
