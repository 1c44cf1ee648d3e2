package syncing

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/receipt"
	"allmende/syncapi/store"
)

const (
	typeReceipt  = "m.receipt"
	typeTyping   = "m.typing"
	typePresence = "m.presence"
)

// ephemeral writes each room's receipts and who types there.
func (a *assembly) ephemeral() error {
	nids := make([]read.RoomNID, len(a.joined))
	for i, r := range a.joined {
		nids[i] = r.RoomNID
	}
	var err error
	if a.receipts, err = a.Receipts.Load(a.ctx, nids); err != nil {
		return err
	}
	f := &a.request.filter.Room.Ephemeral
	for _, r := range a.joined {
		wanted := f.Rooms.Pass(string(r.ID))
		since := a.since.Receipts
		if r.fresh {
			since = math.MinInt64
		}
		if since < a.next.Receipts {
			list := a.receipts.Since(r.RoomNID, since, a.me)
			r.ownReceipts = slices.ContainsFunc(list, func(x receipt.Receipt) bool { return x.UserNID == a.me })
			if wanted && f.PassType(typeReceipt) {
				if err := a.writeReceipts(r, list); err != nil {
					return err
				}
			}
		}
		if wanted && f.PassType(typeTyping) {
			if err := a.writeTyping(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeReceipts writes one m.receipt event. Receipts are grouped by event and
// kind, as its content nests them.
//
// spec: c-s §m.receipt
func (a *assembly) writeReceipts(r *room, list []receipt.Receipt) error {
	list = slices.DeleteFunc(list, func(x receipt.Receipt) bool { return a.ignored[x.UserNID] })
	if len(list) == 0 {
		return nil
	}
	users, err := a.Model.Strings(a.ctx, receiptUsers(list))
	if err != nil {
		return err
	}
	slices.SortStableFunc(list, func(x, y receipt.Receipt) int {
		switch {
		case x.EventOrd != y.EventOrd:
			return cmp.Compare(x.EventOrd, y.EventOrd)
		case x.EventID != y.EventID: // outside of the timeline all have the same ord
			return strings.Compare(x.EventID, y.EventID)
		case x.Kind != y.Kind:
			return cmp.Compare(x.Kind, y.Kind)
		}
		return cmp.Compare(x.UserNID, y.UserNID)
	})
	b := append(r.receipts, `{"type":"m.receipt","content":{`...)
	for i := 0; i < len(list); {
		if i > 0 {
			b = append(b, ',')
		}
		event := list[i].EventID
		b = append(matrix.AppendText(b, event), ':', '{')
		for first := true; i < len(list) && list[i].EventID == event; first = false {
			if !first {
				b = append(b, ',')
			}
			b, i = appendKind(b, list, i, users)
		}
		b = append(b, '}')
	}
	r.receipts = append(b, '}', '}')
	return nil
}

func receiptUsers(list []receipt.Receipt) []int64 {
	nids := make([]int64, len(list))
	for i, x := range list {
		nids[i] = x.UserNID
	}
	return nids
}

// appendKind writes the receipts of one kind for one event. A user may have
// several there, of different threads; the content has room for one, so the
// ones that say more (unthreaded before threaded) win.
func appendKind(b []byte, list []receipt.Receipt, i int, users map[int64]string) ([]byte, int) {
	event, kind := list[i].EventID, list[i].Kind
	b = append(b, `"m.read`...)
	if kind == store.ReadPrivate {
		b = append(b, `.private`...)
	}
	b = append(b, '"', ':', '{')
	for first := true; i < len(list) && list[i].EventID == event && list[i].Kind == kind; first = false {
		x := list[i]
		for i++; i < len(list) && list[i].EventID == event && list[i].Kind == kind && list[i].UserNID == x.UserNID; i++ {
			if list[i].ThreadID == "" {
				x = list[i]
			}
		}
		if !first {
			b = append(b, ',')
		}
		b = append(matrix.AppendText(b, users[x.UserNID]), ':', '{')
		if x.TS > 0 {
			b = strconv.AppendInt(append(b, `"ts":`...), x.TS, 10)
		}
		if x.ThreadID != "" {
			if x.TS > 0 {
				b = append(b, ',')
			}
			b = matrix.AppendText(append(b, `"thread_id":`...), x.ThreadID)
		}
		b = append(b, '}')
	}
	return append(b, '}'), i
}

// writeTyping writes one m.typing event if who types has changed.
//
// spec: c-s §m.typing
func (a *assembly) writeTyping(r *room) error {
	users, changed := a.Memory.TypingSince(r.RoomNID, a.since.Memory)
	if !changed || (a.initial && len(users) == 0) {
		return nil
	}
	users = slices.DeleteFunc(users, func(u read.UserNID) bool { return a.ignored[u] })
	names, err := a.Model.Strings(a.ctx, users)
	if err != nil {
		return err
	}
	b := append(r.typing, `{"type":"m.typing","content":{"user_ids":[`...)
	for i, u := range users {
		if i > 0 {
			b = append(b, ',')
		}
		b = matrix.AppendText(b, names[u])
	}
	r.typing = append(b, `]}}`...)
	return nil
}
