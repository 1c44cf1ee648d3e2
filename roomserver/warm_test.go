package roomserver_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/internal/testkit"
	"allmende/roomserver"
	"allmende/roomserver/api"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// listener notes the statements that a pool sends.
type listener struct {
	mu         sync.Mutex
	statements []string
}

func (l *listener) note(sql string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statements = append(l.statements, strings.TrimSpace(sql))
}

// take answers the first words of what was noted since the last time.
func (l *listener) take() (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.statements {
		words := strings.Fields(s)
		out = append(out, strings.Join(words[:min(3, len(words))], " "))
	}
	l.statements = nil
	return out
}

func (l *listener) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	l.note(d.SQL)
	return ctx
}
func (l *listener) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (l *listener) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}
func (l *listener) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	l.note(d.SQL)
}
func (l *listener) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// listen opens a second pool to a database, with a listener on it.
func listen(t *testing.T, db *pg.DB) (*pg.DB, *listener) {
	t.Helper()
	l := &listener{}
	cfg := db.Config()
	cfg.ConnConfig.Tracer = l
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return &pg.DB{Pool: pool}, l
}

// TestWarmSendReadsNothing counts what a message costs the database once its
// room and sender are in memory: one transaction in one round trip and nothing
// else, however many members the room has, once the server was alone for a while.
func TestWarmSendReadsNothing(t *testing.T) {
	plain := testkit.Migrated(t, roomserver.Migrate)
	db, heard := listen(t, plain)
	b := start(t, db)
	room := call(t, b, api.CreateRoom, api.CreateRoomReq{Creator: anna, Preset: "public_chat"}).RoomID
	want := []string{
		"UPDATE roomserver.head SET",
		"INSERT INTO roomserver.event_txns",
		"INSERT INTO roomserver.events",
		"INSERT INTO roomserver.event_content",
		"INSERT INTO roomserver.room_heads",
	}
	members := 1
	for _, more := range []int{60, 60} {
		for range more {
			who := matrix.UserID(fmt.Sprintf("@m%d:example.org", members))
			call(t, b, api.SetMembership, api.SetMembershipReq{RoomID: room, Sender: who, Target: who, Action: api.Join})
			members++
		}
		call(t, b, api.SendEvent, message(room, anna, fmt.Sprint("first", members), "warm up"))
		heard.take()
		call(t, b, api.SendEvent, message(room, anna, fmt.Sprint("second", members), "hello"))
		if diff := cmp.Diff(want, heard.take()); diff != "" {
			t.Errorf("statements of a warm send in a room of %d (-want +got):\n%s", members, diff)
		}
	}
	assertSound(t, db)
}
