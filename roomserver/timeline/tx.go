package timeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/roomserver/store"
)

// maxDepth is the largest depth an event may have; a hostile event of that
// depth must not keep others from following it.
const maxDepth = 1<<53 - 1

// Tx is a room held for a decision. Only a Tx can append events, and only
// [Rooms.Update] and [Rooms.Create] hand one out, so nothing is ever appended
// to a room that is not held. All a Tx appends is committed together or not at
// all. A Tx must not be used after the function it was given to has returned.
type Tx struct {
	ctx   context.Context
	rooms *Rooms
	room  *Room
	unit  *store.Unit

	// What to put back when the decision is given up.
	undo      []undone
	wasChain  chain
	wasTips   []tip
	wasDepth  int64
	wasJoined int
}

type undone struct {
	key   matrix.StateKey
	entry *entry // nil: there was none
}

func newTx(ctx context.Context, rs *Rooms, r *Room) *Tx {
	return &Tx{
		ctx: ctx, rooms: rs, room: r,
		unit:     newUnit(r),
		wasChain: r.chain, wasTips: r.tips, wasDepth: r.depth, wasJoined: r.joined,
	}
}

func newUnit(r *Room) *store.Unit {
	return &store.Unit{RoomNID: r.nid, Fence: r.lastNID.Load, Checked: r.checked.Load}
}

// RoomID is the room's id.
func (tx *Tx) RoomID() matrix.RoomID { return tx.room.id }

// RoomNID is the room's number.
func (tx *Tx) RoomNID() int64 { return tx.room.nid }

// Version is the room's version.
func (tx *Tx) Version() matrix.RoomVersion { return tx.room.version }

// State is the event that holds a place in the room's state, nil for none.
func (tx *Tx) State(typ, key string) (*matrix.Event, error) {
	e := tx.room.state[matrix.StateKey{Type: typ, Key: key}]
	if e == nil {
		return nil, nil
	}
	if e.event == nil {
		if err := tx.loadEvents([]*entry{e}); err != nil {
			return nil, err
		}
	}
	return e.event, nil
}

// Membership is a user's current membership, None if there never was one.
func (tx *Tx) Membership(user matrix.UserID) read.Membership {
	e := tx.room.state[matrix.StateKey{Type: matrix.TypeMember, Key: string(user)}]
	if e == nil {
		return read.None
	}
	return e.membership
}

// MembershipEvent is the id of a user's current member event, empty if none.
func (tx *Tx) MembershipEvent(user matrix.UserID) matrix.EventID {
	e := tx.room.state[matrix.StateKey{Type: matrix.TypeMember, Key: string(user)}]
	if e == nil {
		return ""
	}
	return e.id
}

// Joined is the number of joined members.
func (tx *Tx) Joined() int { return tx.room.joined }

// Members calls f for every member until it answers false.
func (tx *Tx) Members(f func(matrix.UserID, read.Membership) bool) {
	for k, e := range tx.room.state {
		if k.Type == matrix.TypeMember && !f(matrix.UserID(k.Key), e.membership) {
			return
		}
	}
}

// StateKeys lists the places of the room's state that hold an event of a type;
// "" lists those of all types but members.
func (tx *Tx) StateKeys(typ string) []matrix.StateKey {
	var out []matrix.StateKey
	for k := range tx.room.state {
		if k.Type == typ || typ == "" && k.Type != matrix.TypeMember {
			out = append(out, k)
		}
	}
	return out
}

// PowerLevels are the room's current power levels.
func (tx *Tx) PowerLevels() (matrix.PowerLevels, error) {
	pl, err := tx.State(matrix.TypePowerLevels, "")
	if err != nil {
		return matrix.PowerLevels{}, err
	}
	create, err := tx.State(matrix.TypeCreate, "")
	if err != nil {
		return matrix.PowerLevels{}, err
	}
	return matrix.ParsePowerLevels(tx.room.version, pl, create)
}

// loadEvents reads the JSON of entries that were kept without.
func (tx *Tx) loadEvents(entries []*entry) error {
	nids := make([]int64, len(entries))
	for i, e := range entries {
		nids[i] = e.stored
	}
	content, err := tx.rooms.store.Content(tx.ctx, nids)
	if err != nil {
		return err
	}
	for _, e := range entries {
		ev, err := matrix.ParseStored(tx.room.version, e.id, content[e.stored])
		if err != nil {
			return fmt.Errorf("parse event %d: %w", e.stored, err)
		}
		tx.room.weight -= e.weight()
		e.event = ev
		tx.room.weight += e.weight()
	}
	return nil
}

// Proto is an event to append.
type Proto struct {
	Type     string
	StateKey *string
	Sender   matrix.UserID
	Content  json.RawMessage
	Redacts  matrix.EventID
}

// Append builds an event on top of the room, checks it against the room's rules
// and puts it into the decision. Errors: M_FORBIDDEN with the rule that forbids
// it, M_TOO_LARGE, M_BAD_JSON.
func (tx *Tx) Append(p Proto) (*matrix.Event, error) {
	r := tx.room
	mp := matrix.Proto{
		RoomID: r.id, Type: p.Type, Sender: p.Sender, StateKey: p.StateKey, Content: p.Content, Redacts: p.Redacts,
		Depth: min(r.depth+1, maxDepth), OriginServerTS: tx.rooms.now().UnixMilli(),
	}
	for _, t := range r.tips {
		mp.PrevEvents = append(mp.PrevEvents, t.id)
	}
	if p.Type == matrix.TypeCreate {
		mp.OriginServerTS = tx.rooms.creationTime()
	}
	auth, err := tx.authEvents(&mp)
	if err != nil {
		return nil, err
	}
	ev, err := matrix.Build(r.version, mp, tx.rooms.signer)
	if err != nil {
		return nil, err
	}
	if err := matrix.Allowed(ev, authState{r}); err != nil {
		return nil, err
	}
	return ev, tx.add(ev, auth)
}

// authState is the room's state as the authorisation rules see it. What they
// may ask for was loaded by authEvents.
type authState struct{ room *Room }

// State implements matrix.AuthState.
func (a authState) State(typ, key string) *matrix.Event {
	if e := a.room.state[matrix.StateKey{Type: typ, Key: key}]; e != nil {
		return e.event
	}
	return nil
}

// authEvents names in the proto the state that the event is judged by, and
// makes sure that it is in memory.
func (tx *Tx) authEvents(p *matrix.Proto) ([]store.Ref, error) {
	keys := matrix.AuthTypes(tx.room.version, p)
	p.AuthEvents = make([]matrix.EventID, 0, len(keys))
	refs := make([]store.Ref, 0, len(keys))
	var missing []*entry
	for _, k := range keys {
		e := tx.room.state[k]
		if e == nil {
			continue
		}
		p.AuthEvents = append(p.AuthEvents, e.id)
		refs = append(refs, e.ref)
		if e.event == nil {
			missing = append(missing, e)
		}
	}
	// Version 12 does not name the create event, but judges by it.
	if e := tx.room.state[matrix.StateKey{Type: matrix.TypeCreate}]; e != nil && e.event == nil && !slices.Contains(missing, e) {
		missing = append(missing, e)
	}
	if len(missing) == 0 {
		return refs, nil
	}
	return refs, tx.loadEvents(missing)
}

// add puts a built and allowed event on top of the room.
func (tx *Tx) add(ev *matrix.Event, auth []store.Ref) error {
	r := tx.room
	names := append(make([]string, 0, 3), ev.Type, string(ev.Sender))
	if ev.IsState() {
		names = append(names, *ev.StateKey)
	}
	nids, err := tx.rooms.store.Intern(tx.ctx, names...)
	if err != nil {
		return err
	}
	row := &store.Row{
		Event: ev, ReceivedTS: ev.OriginServerTS, TypeNID: nids[0], SenderNID: nids[1],
		Snapshot: r.chain.current(), Auth: auth,
	}
	for _, t := range r.tips {
		row.Prev = append(row.Prev, t.ref)
	}
	if ev.IsState() {
		row.KeyNID = &nids[2]
		tx.setState(ev, row)
	}
	if rel := relationOf(ev); rel.RelType != "" {
		rel.Child = row
		tx.unit.Relations = append(tx.unit.Relations, rel)
	}
	tx.unit.Rows = append(tx.unit.Rows, row)
	r.tips = []tip{{row.Ref(), ev.ID}}
	r.depth = ev.Depth
	return nil
}

func (tx *Tx) setState(ev *matrix.Event, row *store.Row) {
	r := tx.room
	k := ev.Key()
	was := r.state[k]
	tx.undo = append(tx.undo, undone{k, was})
	e := &entry{ref: row.Ref(), id: ev.ID, event: ev}
	if ev.Type == matrix.TypeMember {
		e.membership = read.ParseMembership(ev.Membership())
		if was != nil && was.membership == read.Join {
			r.joined--
		}
		if e.membership == read.Join {
			r.joined++
		}
	}
	r.set(k, e)
	tx.unit.Snapshots = append(tx.unit.Snapshots, r.chain.add(stateKey{row.TypeNID, *row.KeyNID}, row))
	tx.unit.State = append(tx.unit.State, store.StateSet{
		TypeNID: row.TypeNID, KeyNID: *row.KeyNID, Event: row.Ref(), Membership: e.membership,
	})
}

// relationOf reads what an event relates to. Clients write it in clear text
// also on encrypted events. A relation that could not be asked for is none.
//
// spec: c-s §Forming relationships between events
func relationOf(ev *matrix.Event) store.Relation {
	if ev.IsState() {
		return store.Relation{}
	}
	to := matrix.Member(ev.Content, "m.relates_to")
	relType := matrix.Text(matrix.Member(to, "rel_type"))
	parent, err := matrix.ParseEventID(matrix.Text(matrix.Member(to, "event_id")))
	if err != nil || len(relType) > matrix.MaxIDBytes || strings.IndexByte(relType, 0) >= 0 {
		return store.Relation{}
	}
	return store.Relation{ParentID: parent, RelType: relType}
}

// Claim binds a device's transaction id to an event of this decision.
func (tx *Tx) Claim(scope [16]byte, deviceID, txnID string) {
	if len(tx.unit.Rows) == 0 {
		return // the event that answers the request was there before
	}
	last := tx.unit.Rows[len(tx.unit.Rows)-1]
	tx.unit.Txns = append(tx.unit.Txns, store.Txn{Scope: scope, Row: last, DeviceID: deviceID, TxnID: txnID})
}

// LastEvent is the newest event of the room.
func (tx *Tx) LastEvent() matrix.EventID {
	if len(tx.room.tips) == 0 {
		return ""
	}
	return tx.room.tips[len(tx.room.tips)-1].id
}

// AddAlias makes a local alias for the room, with the rest of the decision.
func (tx *Tx) AddAlias(alias matrix.RoomAlias, creator matrix.UserID) error {
	nids, err := tx.rooms.store.Intern(tx.ctx, string(creator))
	if err != nil {
		return err
	}
	tx.unit.Aliases = append(tx.unit.Aliases, store.Alias{Alias: alias, CreatorNID: nids[0]})
	return nil
}

// Redact takes the content out of an event of this room, because of the event
// appended last. Redacting what is redacted already changes nothing.
func (tx *Tx) Redact(target store.LoadedEvent) error {
	if target.Redacted {
		return nil
	}
	redacted, err := matrix.Redact(tx.room.version, target.JSON)
	if err != nil {
		return fmt.Errorf("redact event: %w", err)
	}
	by := tx.unit.Rows[len(tx.unit.Rows)-1]
	ref := store.Stored(target.NID)
	tx.unit.Redactions = append(tx.unit.Redactions, store.Redaction{Target: ref, By: by, JSON: redacted})
	return tx.redactState(target, redacted)
}

// redactState keeps the state in memory in step when a state event is redacted.
func (tx *Tx) redactState(target store.LoadedEvent, redacted []byte) error {
	ev, err := matrix.ParseStored(tx.room.version, target.ID, redacted)
	if err != nil {
		return fmt.Errorf("parse redacted event: %w", err)
	}
	if !ev.IsState() {
		return nil
	}
	was := tx.room.state[ev.Key()]
	if was == nil || was.id != ev.ID {
		return nil
	}
	tx.undo = append(tx.undo, undone{ev.Key(), was})
	tx.room.set(ev.Key(), &entry{ref: was.ref, id: was.id, membership: was.membership, event: ev})
	return nil
}

// giveUp puts the room back as it was before the decision.
func (tx *Tx) giveUp() {
	for i := len(tx.undo) - 1; i >= 0; i-- {
		u := tx.undo[i]
		tx.room.set(u.key, u.entry)
	}
	r := tx.room
	r.chain, r.tips, r.depth, r.joined = tx.wasChain, tx.wasTips, tx.wasDepth, tx.wasJoined
	tx.undo = nil
	tx.unit = newUnit(r)
}

// finish completes the unit with what the room looks like now.
func (tx *Tx) finish() {
	h := store.Head{Depth: tx.room.depth, Snapshot: tx.room.chain.current()}
	for _, t := range tx.room.tips {
		h.Extremities = append(h.Extremities, t.ref)
	}
	tx.unit.Head = h
}

// errGone says that the room was dropped from memory: start over.
var errGone = errors.New("room was dropped from memory")

// clock is replaceable so that tests may turn it.
type clock func() time.Time
