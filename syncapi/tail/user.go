package tail

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

// Standing is a user's membership in a room and the event it comes from.
type Standing struct {
	RoomNID    read.RoomNID
	EventNID   read.EventNID
	Membership read.Membership
}

// User is somebody who syncs, or did a moment ago. Fields are guarded by the
// tail's lock.
type User struct {
	id      matrix.UserID
	nid     read.UserNID // 0: no event names the user yet
	rooms   map[read.RoomNID]Standing
	latest  int64 // no event in the user's rooms is newer
	changed chan struct{}
	waiting int
	used    time.Time
	loading *userLoading
}

type userLoading struct {
	done    chan struct{}
	pending []read.Event // member events applied meanwhile
}

// wake tells whoever waits for the user that something may be new.
func (u *User) wake() {
	close(u.changed)
	u.changed = make(chan struct{})
}

// User makes sure that the user's rooms are known and followed, and answers how
// to ask about them. Errors: the database's, ctx's.
func (t *Tail) User(ctx context.Context, id matrix.UserID) (*User, error) {
	select {
	case <-t.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		t.mu.Lock()
		u := t.users[id]
		if u == nil {
			u = &User{id: id, changed: make(chan struct{}), loading: &userLoading{done: make(chan struct{})}, used: time.Now()}
			t.users[id] = u
			t.mu.Unlock()
			return u, t.loadUser(ctx, u)
		}
		u.used = time.Now()
		l := u.loading
		t.mu.Unlock()
		if l == nil {
			return u, nil
		}
		select {
		case <-l.done: // by somebody else; look whether it went well
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// loadUser reads the user's rooms while what happens meanwhile is set aside.
func (t *Tail) loadUser(ctx context.Context, u *User) error {
	err := t.readUser(ctx, u)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		delete(t.users, u.id)
		delete(t.numbered, u.nid)
		for _, s := range u.rooms {
			if r := t.rooms[s.RoomNID]; r != nil {
				delete(r.users, u)
			}
		}
	}
	close(u.loading.done)
	u.loading = nil
	return err
}

func (t *Tail) readUser(ctx context.Context, u *User) error {
	// The number first: from then on member events of the user are set aside.
	nid, err := t.model.UserNID(ctx, u.id)
	if err != nil && !errors.Is(err, read.ErrNotFound) {
		return fmt.Errorf("read number of user: %w", err)
	}
	if err == nil {
		t.mu.Lock()
		u.nid = nid
		t.numbered[nid] = u
		t.mu.Unlock()
	}
	var rooms []read.UserRoom
	var heads map[read.RoomNID]int64
	var at int64
	err = t.model.AsOf(ctx, func(m *read.Model, pos int64) error {
		at = pos
		// The number may have been given since we asked.
		if nid, err = m.UserNID(ctx, u.id); err != nil {
			if errors.Is(err, read.ErrNotFound) {
				return nil
			}
			return err
		}
		if rooms, err = m.UserRooms(ctx, nid); err != nil {
			return err
		}
		nids := make([]read.RoomNID, 0, len(rooms))
		for _, r := range rooms {
			if r.Membership == read.Join {
				nids = append(nids, r.RoomNID)
			}
		}
		heads, err = m.RoomPositions(ctx, nids)
		return err
	})
	if err != nil {
		return fmt.Errorf("read rooms of user: %w", err)
	}
	if err := t.Await(ctx, at); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if nid != 0 {
		u.nid = nid
		t.numbered[nid] = u
	}
	t.install(u, rooms, heads, at)
	return nil
}

// install makes the rooms known as they were at a position, then applies what has
// happened since.
func (t *Tail) install(u *User, rooms []read.UserRoom, heads map[read.RoomNID]int64, at int64) {
	u.rooms = make(map[read.RoomNID]Standing, len(rooms))
	u.latest = t.pos
	for _, ur := range rooms {
		s := Standing{RoomNID: ur.RoomNID, EventNID: ur.EventNID, Membership: ur.Membership}
		u.rooms[ur.RoomNID] = s
		if ur.Membership == read.Join {
			r := t.room(ur.RoomNID)
			r.latest = max(r.latest, heads[ur.RoomNID])
			r.users[u] = struct{}{}
		}
	}
	pending := u.loading.pending
	l := u.loading
	u.loading = nil
	for i := range pending {
		t.applyMembership(u, &pending[i])
	}
	u.loading = l
	if t.pos == at {
		return
	}
	// Events applied while we read were not noted in rooms that nobody followed.
	for nid, s := range u.rooms {
		if s.Membership == read.Join {
			r := t.room(nid)
			r.latest = max(r.latest, t.pos)
		}
	}
}

// Changed is closed as soon as something may be new for the user. Take it
// before looking, so that nothing can happen in between.
func (t *Tail) Changed(u *User) <-chan struct{} {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return u.changed
}

// Waiting notes that a request waits for the user (by +1) or has ended (-1); the
// user stays known meanwhile.
func (t *Tail) Waiting(u *User, by int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.waiting += by
	u.used = time.Now()
}

// WakeUser wakes a user for a reason of another stream.
func (t *Tail) WakeUser(id matrix.UserID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u := t.users[id]; u != nil {
		u.wake()
	}
}

// WakeRooms wakes the joined users of rooms for a reason of another stream.
func (t *Tail) WakeRooms(rooms []read.RoomNID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	woken := map[*User]struct{}{}
	for _, nid := range rooms {
		if r := t.rooms[nid]; r != nil {
			for u := range r.users {
				woken[u] = struct{}{}
			}
		}
	}
	for u := range woken {
		u.wake()
	}
}

// Sharing is every user in memory who is joined to a room together with the
// given one, himself included.
func (t *Tail) Sharing(nid read.UserNID) []matrix.UserID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	found := map[matrix.UserID]struct{}{}
	if u := t.numbered[nid]; u != nil {
		found[u.id] = struct{}{}
	}
	for _, r := range t.rooms {
		if r.content == nil || r.content.members[nid].Membership != read.Join {
			continue
		}
		for u := range r.users {
			found[u.id] = struct{}{}
		}
	}
	out := make([]matrix.UserID, 0, len(found))
	for id := range maps.Keys(found) {
		out = append(out, id)
	}
	return out
}

// forgetIdle drops users who have not asked for a while.
func (t *Tail) forgetIdle(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, u := range t.users {
		if u.waiting > 0 || u.loading != nil || now.Sub(u.used) < keepUser {
			continue
		}
		delete(t.users, id)
		delete(t.numbered, u.nid)
		for nid := range u.rooms {
			if r := t.rooms[nid]; r != nil {
				delete(r.users, u)
				if len(r.users) == 0 && r.content == nil && r.loading == nil {
					delete(t.rooms, nid)
				}
			}
		}
	}
}

// NID is the user's number; 0 while no event names the user.
func (t *Tail) NID(u *User) read.UserNID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return u.nid
}

// Share tells whether a user is joined to a room in memory together with
// another.
func (t *Tail) Share(u *User, other read.UserNID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for nid, s := range u.rooms {
		if s.Membership != read.Join {
			continue
		}
		if r := t.rooms[nid]; r != nil && r.content != nil && r.content.members[other].Membership == read.Join {
			return true
		}
	}
	return false
}
