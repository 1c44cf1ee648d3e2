package syncing

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/account"
	"allmende/syncapi/clientevent"
	"allmende/syncapi/receipt"
	"allmende/syncapi/tail"
	"allmende/syncapi/token"
)

// response is an answer that has been written.
type response struct {
	body  []byte
	empty bool
	// members is what has to be remembered once the answer is sent.
	members *sentUpdate
}

func (o *response) commit() {
	if o.members != nil {
		o.members.commit()
	}
}

// assembly is one answer in the making.
type assembly struct {
	*Service
	*request
	ctx     context.Context
	next    token.Sync
	account *account.Account
	ignored map[read.UserNID]bool
	me      read.UserNID
	format  clientevent.Format

	global   []account.Item // account data
	roomData map[read.RoomNID][]account.Item

	joined, left     []*room
	invited, knocked []*tail.View
	receipts         receipt.Loaded
	members          map[read.EventNID]*clientevent.Event
	strings          map[int64]string // users' ids, as far as needed
	sentUpdate       *sentUpdate
}

// respond puts together and writes what is new at this moment.
func (s *Service) respond(ctx context.Context, r *request) (response, error) {
	a := &assembly{Service: s, request: r, ctx: ctx, format: clientevent.Format{
		Federation: r.filter.Federation, Fields: r.filter.Fields, Now: s.now().UnixMilli(),
	}}
	if err := a.positions(); err != nil {
		return response{}, err
	}
	if err := a.accountData(); err != nil {
		return response{}, err
	}
	views, err := a.moment()
	if err != nil {
		return response{}, err
	}
	if err := a.sort(views); err != nil {
		return response{}, err
	}
	for _, step := range []func() error{a.timelines, a.states, a.ephemeral, a.unread, a.loadMembers, a.names} {
		if err := step(); err != nil {
			return response{}, err
		}
	}
	return a.write()
}

// positions takes where the other streams stand before the events are looked
// at: what comes in meanwhile is sent twice rather than never.
func (a *assembly) positions() (err error) {
	a.next.Memory = a.Memory.Position()
	if a.next.Receipts, err = a.Receipts.Position(a.ctx); err != nil {
		return err
	}
	// Another instance may have been ahead of this one.
	a.next.Receipts = max(a.next.Receipts, a.since.Receipts)
	if a.account, err = a.Accounts.Account(a.ctx, a.session); err != nil {
		return err
	}
	a.next.AccountData = max(a.account.Position(), a.since.AccountData)
	a.ignored, err = a.Accounts.Ignored(a.ctx, a.account)
	return err
}

// accountData fetches the items behind the token and sorts them by room.
func (a *assembly) accountData() error {
	items, err := a.Accounts.Since(a.ctx, a.account, a.since.AccountData, a.next.AccountData)
	if err != nil {
		return err
	}
	a.roomData = map[read.RoomNID][]account.Item{}
	for _, it := range items {
		if it.RoomID == "" {
			if a.request.filter.AccountData.Pass(it.Type, string(a.session.UserID)) {
				a.global = append(a.global, it)
			}
			continue
		}
		room, err := a.Model.Room(a.ctx, it.RoomID)
		if errors.Is(err, read.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if f := &a.request.filter.Room.AccountData; f.Rooms.Pass(string(it.RoomID)) && f.Pass(it.Type, string(a.session.UserID)) {
			a.roomData[room.NID] = append(a.roomData[room.NID], it)
		}
	}
	return nil
}

// loadAttempts is how often rooms are loaded again that were dropped before
// they could be looked at.
const loadAttempts = 4

// moment takes a view of the rooms that may have news, all at one moment.
func (a *assembly) moment() ([]tail.View, error) {
	since := a.since.Events
	if a.initial || a.full || len(a.roomData) > 0 || a.since.Receipts < a.next.Receipts || a.since.Memory != a.next.Memory {
		since = math.MinInt64 // look at every room
	}
	for range loadAttempts {
		m := a.Tail.At(a.user, since, a.interesting)
		var missing []read.RoomNID
		for i := range m.Rooms {
			if !m.Rooms[i].Loaded {
				missing = append(missing, m.Rooms[i].RoomNID)
			}
		}
		if len(missing) == 0 {
			a.next.Events, a.me = max(m.Position, a.since.Events), m.User
			return m.Rooms, nil
		}
		if err := a.Tail.Load(a.ctx, missing); err != nil {
			return nil, err
		}
	}
	return nil, matrix.Unavailable(time.Second).Wrap(errors.New("rooms are dropped from memory faster than they are read"))
}

// interesting tells whether a room may have news. It is called under the tail's
// lock and looks at memory alone.
func (a *assembly) interesting(s tail.Standing, latest int64) bool {
	since := a.since.Events
	switch s.Membership {
	case read.Join:
		if a.initial || a.full || latest > since || len(a.roomData[s.RoomNID]) > 0 {
			return true
		}
		if a.since.Receipts < a.next.Receipts && !a.Receipts.Quiet(s.RoomNID, a.since.Receipts) {
			return true
		}
		_, typing := a.Memory.TypingSince(s.RoomNID, a.since.Memory)
		return typing
	case read.Invite, read.Knock:
		return a.initial || s.EventNID > since
	case read.Leave, read.Ban:
		if a.initial || a.full {
			return a.request.filter.Room.IncludeLeave
		}
		return s.EventNID > since
	}
	return false
}

// sort puts the rooms into the sections of the answer.
func (a *assembly) sort(views []tail.View) error {
	pass := &a.request.filter.Room.Rooms
	var gone []*tail.View
	for i := range views {
		v := &views[i]
		if !pass.Pass(string(v.ID)) {
			continue
		}
		switch v.Membership {
		case read.Join:
			a.joined = append(a.joined, a.joinedRoom(v))
		case read.Invite:
			a.invited = append(a.invited, v)
		case read.Knock:
			a.knocked = append(a.knocked, v)
		default:
			gone = append(gone, v)
		}
	}
	for _, v := range gone {
		ur, err := a.Model.UserRoom(a.ctx, a.me, v.RoomNID)
		if err != nil {
			return err
		}
		if !ur.Forgotten {
			a.left = append(a.left, a.leftRoom(v))
		}
	}
	return a.histories()
}

// histories reads what the user was in rooms where that has changed within the
// time that is looked at, and decides which rooms are new to the client.
func (a *assembly) histories() error {
	var nids []read.RoomNID
	for _, r := range a.rooms() {
		if r.needsHistory {
			nids = append(nids, r.RoomNID)
		}
	}
	if len(nids) == 0 {
		return nil
	}
	found, err := a.Model.MembershipHistories(a.ctx, nids, a.me)
	if err != nil {
		return err
	}
	for _, r := range a.rooms() {
		if !r.needsHistory {
			continue
		}
		r.viewer.Viewer = r.Visibility.Viewer(a.me, found[r.RoomNID], a.ignored)
		was := r.viewer.MembershipAtPosition(a.since.Events)
		if !a.initial {
			r.wasJoined = was == read.Join
		}
		if !r.left && !r.wasJoined {
			r.full, r.fresh, r.lower = true, true, math.MinInt64
		}
	}
	return nil
}

func (a *assembly) rooms() []*room {
	if len(a.left) == 0 {
		return a.joined
	}
	return append(append([]*room{}, a.joined...), a.left...)
}

// isNull tells whether an item of account data was deleted.
func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }
