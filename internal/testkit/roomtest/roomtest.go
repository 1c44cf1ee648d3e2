// Package roomtest writes rooms into the room server's tables the way the room
// server leaves them there, so that what reads rooms can be tested without it:
// skeletons, content, snapshots, current state, relations, transactions,
// redactions, aliases. It builds no signatures and checks no rules: a test says
// exactly what happened, also what the room server would refuse.
//
// It is for tests alone and the only other writer of those tables.
package roomtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"sync/atomic"
	"testing"

	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/internal/testkit"
	"allmende/roomserver/read"
	"allmende/roomserver/store"
)

// Rooms writes rooms into one database. Different rooms may be written to at
// once.
type Rooms struct {
	DB    *pg.DB
	Model *read.Model

	t     testing.TB
	clock atomic.Int64
	rooms int
}

// Now is the time of the newest event, in ms; each event advances it by a second.
func (a *Rooms) Now() int64 { return a.clock.Load() }

// SetNow sets the clock, in ms.
func (a *Rooms) SetNow(ms int64) { a.clock.Store(ms) }

// Open writes into a database of the test's own, with the room server's schema
// and what else the test needs.
func Open(t testing.TB, more ...testkit.Migrator) *Rooms {
	t.Helper()
	return New(t, testkit.Migrated(t, append([]testkit.Migrator{store.Migrate}, more...)...))
}

// New writes into a database whose roomserver schema is migrated.
func New(t testing.TB, db *pg.DB) *Rooms {
	a := &Rooms{DB: db, Model: read.New(db), t: t}
	a.SetNow(1_790_000_000_000)
	return a
}

// Room is one room.
type Room struct {
	ID      matrix.RoomID
	NID     read.RoomNID
	Version matrix.RoomVersion
	Creator matrix.UserID

	all      *Rooms
	depth    int64
	last     int64 // newest event
	snapshot int64
	seq      int64
	firstOrd int64 // of the oldest event, for backfill
}

// C is the content of an event.
type C = map[string]any

// Options shape a new room. The zero value is a private room of the default
// version with shared history.
type Options struct {
	Version    matrix.RoomVersion
	JoinRule   string // default "invite"
	Visibility string // history visibility; empty: none said, which means shared
	Name       string
	Type       string // for example "m.space"
	Published  bool
}

// Room makes a room with the events every room has: create, the creator's
// join, power levels, join rules and what the options ask for.
func (a *Rooms) Room(creator matrix.UserID, o Options) *Room {
	a.t.Helper()
	if o.Version == "" {
		o.Version = matrix.DefaultVersion
	}
	if o.JoinRule == "" {
		o.JoinRule = "invite"
	}
	a.rooms++
	r := &Room{Version: o.Version, Creator: creator, all: a, firstOrd: math.MaxInt64}
	create := C{"room_version": string(o.Version)}
	if o.Type != "" {
		create["type"] = o.Type
	}
	r.ID = matrix.RoomID(fmt.Sprintf("!room%d:%s", a.rooms, creator.Server()))
	if o.Version.RoomIDFromCreate() {
		sum := sha256.Sum256([]byte(fmt.Sprint("room", a.rooms, creator)))
		r.ID = matrix.RoomID("!" + base64.RawURLEncoding.EncodeToString(sum[:]))
	}
	a.queryRow(`INSERT INTO roomserver.rooms (room_id, version, published) VALUES ($1, $2, $3) RETURNING room_nid`,
		&r.NID, string(r.ID), string(o.Version), o.Published)
	r.State(creator, "m.room.create", "", create)
	r.Join(creator)
	r.State(creator, "m.room.power_levels", "", C{"users": C{}})
	r.State(creator, "m.room.join_rules", "", C{"join_rule": o.JoinRule})
	if o.Visibility != "" {
		r.State(creator, "m.room.history_visibility", "", C{"history_visibility": o.Visibility})
	}
	if o.Name != "" {
		r.State(creator, "m.room.name", "", C{"name": o.Name})
	}
	return r
}

// Send adds a message event.
func (r *Room) Send(sender matrix.UserID, typ string, content any) read.Event {
	return r.Add(Event{Sender: sender, Type: typ, Content: content})
}

// Text adds an m.room.message.
func (r *Room) Text(sender matrix.UserID, body string) read.Event {
	return r.Send(sender, "m.room.message", C{"msgtype": "m.text", "body": body})
}

// Relate adds a message related to another event.
func (r *Room) Relate(sender matrix.UserID, typ, relType string, to matrix.EventID, content C) read.Event {
	c := C{"m.relates_to": C{"rel_type": relType, "event_id": string(to)}}
	for k, v := range content {
		c[k] = v
	}
	return r.Send(sender, typ, c)
}

// State adds a state event.
func (r *Room) State(sender matrix.UserID, typ, key string, content any) read.Event {
	return r.Add(Event{Sender: sender, Type: typ, StateKey: &key, Content: content})
}

// Join, Leave and the rest add member events of a user by the user, Invite, Kick
// and Ban by the room's creator.
func (r *Room) Join(user matrix.UserID) read.Event { return r.Member(user, user, "join", nil) }

// Leave adds a leave.
func (r *Room) Leave(user matrix.UserID) read.Event { return r.Member(user, user, "leave", nil) }

// Knock adds a knock.
func (r *Room) Knock(user matrix.UserID) read.Event { return r.Member(user, user, "knock", nil) }

// Invite adds an invite.
func (r *Room) Invite(user matrix.UserID) read.Event {
	return r.Member(r.Creator, user, "invite", nil)
}

// Kick adds a leave by the creator.
func (r *Room) Kick(user matrix.UserID) read.Event { return r.Member(r.Creator, user, "leave", nil) }

// Ban adds a ban.
func (r *Room) Ban(user matrix.UserID) read.Event { return r.Member(r.Creator, user, "ban", nil) }

// Member adds any member event.
func (r *Room) Member(sender, target matrix.UserID, membership string, content C) read.Event {
	c := C{"membership": membership}
	for k, v := range content {
		c[k] = v
	}
	return r.State(sender, "m.room.member", string(target), c)
}

// Redact adds a redaction and takes the content from its target.
func (r *Room) Redact(sender matrix.UserID, target matrix.EventID, reason string) read.Event {
	r.all.t.Helper()
	content := C{}
	if reason != "" {
		content["reason"] = reason
	}
	e := Event{Sender: sender, Type: "m.room.redaction", Content: content}
	if r.Version.RedactsInContent() {
		content["redacts"] = string(target)
	} else {
		e.Redacts = target
	}
	red := r.Add(e)
	old, err := r.all.Model.EventByID(context.Background(), target)
	if err != nil {
		r.all.t.Fatalf("redact: %v", err)
	}
	bare, err := matrix.Redact(r.Version, old.JSON)
	if err != nil {
		r.all.t.Fatalf("redact: %v", err)
	}
	r.all.exec(`UPDATE roomserver.events SET redacted_by = $2 WHERE event_nid = $1`, old.NID, red.NID)
	r.all.exec(`UPDATE roomserver.event_content SET json = $2 WHERE event_nid = $1`, old.NID, bare)
	r.all.exec(`DELETE FROM roomserver.relations WHERE child_nid = $1`, old.NID)
	return red
}

// Alias points a local alias at the room.
func (r *Room) Alias(alias matrix.RoomAlias) {
	r.all.exec(`INSERT INTO roomserver.aliases (alias, room_nid, creator_nid) VALUES ($1, $2, $3)`,
		string(alias), r.NID, r.all.NID(string(r.Creator)))
}

// Publish puts the room into the public directory.
func (r *Room) Publish() {
	r.all.exec(`UPDATE roomserver.rooms SET published = true WHERE room_nid = $1`, r.NID)
}

// Forget marks that a user forgot the room.
func (r *Room) Forget(user matrix.UserID) {
	r.all.exec(`INSERT INTO roomserver.forgotten (user_nid, room_nid) VALUES ($1, $2)`, r.all.NID(string(user)), r.NID)
}

// NID interns a string; of a user id, it is the user's number.
func (a *Rooms) NID(s string) (nid int64) {
	a.queryRow(`WITH new AS (INSERT INTO roomserver.strings (value) VALUES ($1) ON CONFLICT (value) DO NOTHING RETURNING nid)
		SELECT nid FROM new UNION ALL SELECT nid FROM roomserver.strings WHERE value = $1 LIMIT 1`, &nid, s)
	return nid
}

func (a *Rooms) exec(sql string, args ...any) {
	a.t.Helper()
	if _, err := a.DB.Exec(context.Background(), sql, args...); err != nil {
		a.t.Fatalf("%s: %v", sql, err)
	}
}

func (a *Rooms) queryRow(sql string, into any, args ...any) {
	a.t.Helper()
	if err := a.DB.QueryRow(context.Background(), sql, args...).Scan(into); err != nil {
		a.t.Fatalf("%s: %v", sql, err)
	}
}

func canonical(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	out, err := matrix.CanonicalJSON(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return out
}
