package tail

import (
	"context"
	"errors"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
)

// batch is a run of new events, made ready before the lock is taken.
type batch struct {
	upTo     int64 // position after the batch
	events   []read.Event
	ready    map[read.EventNID]*Event // of rooms whose content is, or is being, loaded
	redacted []*Event                 // events whose content was taken away
	names    map[read.UserNID]string  // of members who have just got a number
}

// prepare encodes the events of rooms in use and loads what they show of
// others. Only this goroutine applies events, so nothing can come between.
func (t *Tail) prepare(ctx context.Context, list []read.Event) (*batch, error) {
	b := &batch{events: list}
	if len(list) == 0 {
		return b, nil
	}
	b.upTo = list[len(list)-1].NID
	var encode []read.Event
	var targets []matrix.EventID
	var unknown []int64
	t.mu.RLock()
	nameless := len(t.users) > len(t.numbered)
	for _, e := range list {
		if e.TypeNID == read.TypeRedaction {
			targets = append(targets, redacts(e.JSON))
		}
		if nameless && e.TypeNID == read.TypeMember && e.IsState() && t.numbered[*e.KeyNID] == nil {
			unknown = append(unknown, *e.KeyNID)
		}
		r := t.rooms[e.RoomNID]
		if r == nil || (r.content == nil && r.loading == nil) {
			continue
		}
		encode = append(encode, e)
	}
	t.mu.RUnlock()
	made, err := t.loader.Events(ctx, encode)
	if err != nil {
		return nil, err
	}
	b.ready = make(map[read.EventNID]*Event, len(made))
	for _, e := range made {
		b.ready[e.NID] = newEvent(e)
	}
	if b.redacted, err = t.reload(ctx, targets); err != nil {
		return nil, err
	}
	if len(unknown) > 0 {
		if b.names, err = t.model.Strings(ctx, unknown); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// reload reads events anew whose content has changed.
func (t *Tail) reload(ctx context.Context, ids []matrix.EventID) ([]*Event, error) {
	var list []read.Event
	for _, id := range ids {
		e, err := t.model.EventByID(ctx, id)
		if errors.Is(err, read.ErrNotFound) {
			continue // a redaction of something we do not have
		}
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		t.memberEvents.Invalidate(e.NID)
	}
	made, err := t.loader.Events(ctx, list)
	if err != nil {
		return nil, err
	}
	out := make([]*Event, len(made))
	for i, e := range made {
		out[i] = newEvent(e)
	}
	return out, nil
}

// apply makes the batch visible, all at once, and wakes whom it concerns.
func (t *Tail) apply(b *batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for nid, name := range b.names {
		if u := t.users[matrix.UserID(name)]; u != nil && u.nid == 0 {
			u.nid = nid
			t.numbered[nid] = u
		}
	}
	woken := map[*User]struct{}{}
	for i := range b.events {
		t.applyEvent(&b.events[i], b.ready[b.events[i].NID], woken)
	}
	for _, e := range b.redacted {
		if r := t.rooms[e.RoomNID]; r != nil && r.content != nil {
			r.content.replace(e)
		}
	}
	for u := range woken {
		u.wake()
	}
	if b.upTo > t.pos {
		t.pos = b.upTo
		close(t.moved)
		t.moved = make(chan struct{})
	}
}

func (t *Tail) applyEvent(e *read.Event, ready *Event, woken map[*User]struct{}) {
	if e.TypeNID == read.TypeMember && e.IsState() {
		if u := t.numbered[*e.KeyNID]; u != nil {
			t.applyMembership(u, e)
			woken[u] = struct{}{}
		}
	}
	r := t.rooms[e.RoomNID]
	if r == nil {
		return
	}
	r.latest = max(r.latest, e.NID)
	switch {
	case ready == nil:
	case r.loading != nil:
		r.loading.pending = append(r.loading.pending, ready)
	case r.content != nil:
		before := r.content.weight
		r.content.apply(ready)
		t.weight += r.content.weight - before
	}
	for u := range r.users {
		u.latest = max(u.latest, e.NID)
		woken[u] = struct{}{}
	}
}

// applyMembership notes a user's new standing. Only joined users are woken by
// what happens in a room; who is invited sees a snapshot.
func (t *Tail) applyMembership(u *User, e *read.Event) {
	if u.loading != nil {
		u.loading.pending = append(u.loading.pending, *e)
		return
	}
	old := u.rooms[e.RoomNID]
	if e.NID <= old.EventNID {
		return
	}
	now := Standing{RoomNID: e.RoomNID, EventNID: e.NID, Membership: read.MembershipOf(e.JSON)}
	u.rooms[e.RoomNID] = now
	u.latest = max(u.latest, e.NID)
	t.index(u, now)
}

// index keeps the room's set of users to wake.
func (t *Tail) index(u *User, s Standing) {
	r := t.rooms[s.RoomNID]
	if s.Membership != read.Join {
		if r != nil {
			delete(r.users, u)
		}
		return
	}
	if r == nil {
		r = t.room(s.RoomNID)
		r.latest = s.EventNID
	}
	r.users[u] = struct{}{}
}

func (t *Tail) room(nid read.RoomNID) *Room {
	r := t.rooms[nid]
	if r == nil {
		r = &Room{nid: nid, users: map[*User]struct{}{}}
		t.rooms[nid] = r
	}
	return r
}

// encoded is an event with nothing but its own text.
func encoded(e read.Event) *clientevent.Event { return clientevent.New(e) }
