package syncing

import (
	"sync"
	"time"

	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"

	"github.com/maypok86/otter/v2"
)

const (
	// keepSent is how long it is remembered which members a device was sent,
	// maxSent of how many devices. What is forgotten is sent again.
	keepSent = time.Hour
	maxSent  = 2000
)

// deviceKey names a device.
type deviceKey struct {
	account int64
	device  string
}

// sentMembers is which member events a device has been sent by lazy loading.
type sentMembers struct {
	mu sync.Mutex
	// token is the last answer's next_batch: a client that comes with another
	// one did not get that answer, or has forgotten.
	token string
	rooms map[read.RoomNID]map[read.UserNID]read.EventNID
}

func newSentCache() *otter.Cache[deviceKey, *sentMembers] {
	return otter.Must(&otter.Options[deviceKey, *sentMembers]{
		MaximumSize: maxSent, ExpiryCalculator: otter.ExpiryAccessing[deviceKey, *sentMembers](keepSent),
	})
}

// sentUpdate is what will be remembered when the answer goes out.
type sentUpdate struct {
	sent  *sentMembers
	from  string // the token the answer goes on from
	token string // the answer's own
	known bool   // the device has what is remembered
	added map[read.RoomNID]map[read.UserNID]read.EventNID
}

func (u *sentUpdate) commit() {
	u.sent.mu.Lock()
	defer u.sent.mu.Unlock()
	if !u.known || u.sent.token != u.from {
		u.sent.rooms = map[read.RoomNID]map[read.UserNID]read.EventNID{}
	}
	for room, members := range u.added {
		if u.sent.rooms[room] == nil {
			u.sent.rooms[room] = members
			continue
		}
		for user, nid := range members {
			u.sent.rooms[room][user] = nid
		}
	}
	u.sent.token = u.token
}

func (a *assembly) lazy() bool { return a.request.filter.Room.State.LazyLoadMembers }

// remember opens what is known of the device.
func (a *assembly) remember() *sentUpdate {
	if a.sentUpdate != nil {
		return a.sentUpdate
	}
	sent, _ := a.sent.ComputeIfAbsent(deviceKey{a.session.Account, a.session.DeviceID}, func() (*sentMembers, bool) {
		return &sentMembers{}, false
	})
	u := &sentUpdate{sent: sent, added: map[read.RoomNID]map[read.UserNID]read.EventNID{}}
	if !a.initial && !a.full {
		u.from = a.since.String()
		sent.mu.Lock()
		u.known = sent.token == u.from
		sent.mu.Unlock()
	}
	a.sentUpdate = u
	return u
}

// note remembers that a member event goes out and tells whether it is new to
// the device.
func (u *sentUpdate) note(room read.RoomNID, user read.UserNID, nid read.EventNID) bool {
	if u.added[room][user] == nid {
		return false
	}
	if u.known {
		u.sent.mu.Lock()
		has := u.sent.token == u.from && u.sent.rooms[room][user] == nid
		u.sent.mu.Unlock()
		if has {
			return false
		}
	}
	if u.added[room] == nil {
		u.added[room] = map[read.UserNID]read.EventNID{}
	}
	u.added[room][user] = nid
	return true
}

// lazyMembers sends the members whom the timeline shows, unless the client has
// them; to a client that is new to the room also the user's own membership.
//
// spec: c-s §Lazy-loading room members
func (a *assembly) lazyMembers(r *room, changed map[read.StateKey]*clientevent.Event) {
	update := a.remember()
	for k, e := range changed {
		if k.TypeNID == read.TypeMember {
			update.note(r.RoomNID, k.KeyNID, e.NID)
		}
	}
	var users []read.UserNID
	if r.full {
		users = append(users, a.me)
	}
	for _, e := range r.picked {
		users = append(users, e.SenderNID)
		if a.stateAfter != "" && e.TypeNID == read.TypeMember && e.IsState() {
			users = append(users, *e.KeyNID)
		}
	}
	a.needMembers(r, users, changed)
	for _, e := range r.picked {
		if e.TypeNID == read.TypeMember && e.IsState() {
			update.note(r.RoomNID, *e.KeyNID, e.NID) // the timeline itself sends it
		}
	}
}

// needMembers sends member events of users, each once, unless the client has
// them or they are sent already.
func (a *assembly) needMembers(r *room, users []read.UserNID, changed map[read.StateKey]*clientevent.Event) {
	before, update := a.before(r), a.remember()
	redundant := a.request.filter.Room.State.IncludeRedundantMembers
	seen := make(map[read.UserNID]bool, len(users))
	for _, id := range r.needed {
		seen[id] = true
	}
	var wanted []read.UserNID
	for _, u := range users {
		if !seen[u] && changed[read.StateKey{TypeNID: read.TypeMember, KeyNID: u}] == nil {
			wanted = append(wanted, u)
		}
		seen[u] = true
	}
	r.needed = append(r.needed, wanted...)
	for _, m := range a.Tail.Members(r.RoomNID, wanted) {
		nid := m.EventNID
		prev, moved := before[read.StateKey{TypeNID: read.TypeMember, KeyNID: m.UserNID}]
		if moved {
			if prev == nil {
				continue // the timeline itself says how the member came
			}
			nid = prev.NID
		}
		if isNew := update.note(r.RoomNID, m.UserNID, nid); !isNew && !redundant {
			continue
		}
		if moved {
			r.state = append(r.state, clientevent.New(*prev))
		} else {
			r.memberIDs = append(r.memberIDs, nid)
		}
	}
}

// loadMembers loads all member events the answer shows, in one query, and puts
// those that are state where they belong.
func (a *assembly) loadMembers() error {
	var nids []read.EventNID
	for _, r := range a.joined {
		nids = append(nids, r.memberIDs...)
	}
	for _, v := range append(a.invited, a.knocked...) {
		nids = append(nids, v.EventNID)
	}
	if len(nids) == 0 {
		return nil
	}
	var err error
	if a.members, err = a.Tail.MemberEvents(a.ctx, nids); err != nil {
		return err
	}
	for _, r := range a.joined {
		for _, nid := range r.memberIDs {
			if e := a.members[nid]; e != nil && a.wantsState(e) {
				r.state = append(r.state, e)
			}
		}
	}
	return nil
}
