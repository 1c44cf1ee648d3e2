package syncing

import (
	"strconv"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/account"
	"allmende/syncapi/clientevent"
	"allmende/syncapi/tail"
	"allmende/syncapi/token"
)

// write writes the answer into one buffer.
func (a *assembly) write() (response, error) {
	next := a.next.String()
	b := append(make([]byte, 0, a.guess()), `{"next_batch":"`...)
	b = append(append(b, next...), '"')
	empty := true
	if len(a.global) > 0 {
		b = append(b, `,"account_data":{"events":[`...)
		b = append(appendItems(b, a.global), `]}`...)
		empty = false
	}
	presence, err := a.presences(nil)
	if err != nil {
		return response{}, err
	}
	if len(presence) > 0 {
		b = append(append(append(b, `,"presence":{"events":[`...), presence...), `]}`...)
		empty = false
	}
	var any bool
	if b, any, err = a.writeRooms(b); err != nil {
		return response{}, err
	}
	// A client that finds no count believes the server does not do encryption.
	b = append(b, `,"to_device":{"events":[]},"device_lists":{"changed":[],"left":[]},`+
		`"device_one_time_keys_count":{"signed_curve25519":0},"device_unused_fallback_key_types":[]}`...)
	if a.lazy() {
		a.remember().token = next // also when no member is sent: the client goes on from here
	}
	return response{body: b, empty: empty && !any, members: a.sentUpdate}, nil
}

// guess is about how long the answer will be.
func (a *assembly) guess() int {
	n := 512
	for _, r := range a.rooms() {
		n += 700 + 700*(len(r.picked)+len(r.state)) + len(r.receipts)
	}
	return n
}

// list writes the members of an object of objects, with commas between.
type list struct {
	open  string
	close string
	any   bool
}

func (l *list) next(b []byte) []byte {
	if l.any {
		return append(b, ',')
	}
	l.any = true
	return append(b, l.open...)
}

func (l *list) end(b []byte) []byte {
	if l.any {
		return append(b, l.close...)
	}
	return b
}

func (a *assembly) writeRooms(b []byte) (out []byte, any bool, err error) {
	sections := list{open: `,"rooms":{`, close: `}`}
	for _, section := range []struct {
		name  string
		write func(*list, []byte) ([]byte, error)
	}{
		{"join", func(l *list, b []byte) ([]byte, error) { return a.writeFull(l, b, a.joined) }},
		{"leave", func(l *list, b []byte) ([]byte, error) { return a.writeFull(l, b, a.left) }},
		{"invite", func(l *list, b []byte) ([]byte, error) { return a.writeStripped(l, b, "invite_state", a.invited) }},
		{"knock", func(l *list, b []byte) ([]byte, error) { return a.writeStripped(l, b, "knock_state", a.knocked) }},
	} {
		before, had := len(b), sections.any
		rooms := list{open: `"` + section.name + `":{`, close: `}`}
		if b, err = section.write(&rooms, sections.next(b)); err != nil {
			return nil, false, err
		}
		if b = rooms.end(b); !rooms.any {
			b, sections.any = b[:before], had // nothing to say: take the opening back
		}
	}
	return sections.end(b), sections.any, nil
}

func (a *assembly) writeFull(l *list, b []byte, rooms []*room) ([]byte, error) {
	for _, r := range rooms {
		if !a.hasNews(r) {
			continue
		}
		b = l.next(b)
		b = append(matrix.AppendText(b, string(r.ID)), ':')
		var err error
		if b, err = a.writeRoom(b, r); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// hasNews tells whether there is anything to say about a room.
func (a *assembly) hasNews(r *room) bool {
	return r.full || r.fresh || r.limited || r.ownReceipts || r.summary != nil ||
		len(r.picked)+len(r.state)+len(r.receipts)+len(r.typing)+len(a.roomData[r.RoomNID]) > 0
}

func (a *assembly) writeRoom(b []byte, r *room) ([]byte, error) {
	b = append(b, '{')
	if r.summary != nil {
		b = a.writeSummary(b, r.summary)
	}
	name := a.stateAfter
	if name == "" {
		name = "state"
	}
	b = append(append(append(b, '"'), name...), `":{"events":[`...)
	for i, e := range r.state {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.Append(b, &a.format, &r.viewer, nil)
	}
	b = append(b, `]},"timeline":{"events":[`...)
	b, err := a.writeTimeline(b, r)
	if err != nil {
		return nil, err
	}
	b = strconv.AppendBool(append(b, `],"limited":`...), r.limited)
	b = append(append(append(b, `,"prev_batch":"`...), token.Ord(r.prev).String()...), `"},"account_data":{"events":[`...)
	b = append(appendItems(b, a.roomData[r.RoomNID]), `]}`...)
	if !r.left {
		b = a.writeLive(b, r)
	}
	return append(b, '}'), nil
}

func (a *assembly) writeSummary(b []byte, s *summary) []byte {
	b = append(b, `"summary":{`...)
	if !s.named {
		b = append(b, `"m.heroes":[`...)
		for i, u := range s.heroes {
			if i > 0 {
				b = append(b, ',')
			}
			b = matrix.AppendText(b, a.strings[u])
		}
		b = append(b, `],`...)
	}
	b = strconv.AppendInt(append(b, `"m.joined_member_count":`...), int64(s.joined), 10)
	b = strconv.AppendInt(append(b, `,"m.invited_member_count":`...), int64(s.invited), 10)
	return append(b, `},`...)
}

// writeTimeline writes the events; to those that others relate to, what is
// shown of that.
func (a *assembly) writeTimeline(b []byte, r *room) ([]byte, error) {
	bundles, err := a.bundles(r)
	if err != nil {
		return nil, err
	}
	for i, e := range r.picked {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.Append(b, &a.format, &r.viewer, bundles[e.NID])
	}
	return b, nil
}

func (a *assembly) bundles(r *room) (map[read.EventNID][]byte, error) {
	var parents []*clientevent.Event
	for _, e := range r.picked {
		if r.Parents[e.ID] || e.Ord <= r.Floor {
			parents = append(parents, e.Event)
		}
	}
	if len(parents) == 0 {
		return nil, nil
	}
	q := clientevent.Relations{Room: r.RoomNID, Viewer: &r.viewer, Ignored: a.ignored}
	found, err := a.loader.Relations(a.ctx, q, &a.format, parents)
	if err != nil {
		return nil, err
	}
	out := make(map[read.EventNID][]byte, len(parents))
	for i, e := range parents {
		out[e.NID] = found[i]
	}
	return out, nil
}

// writeLive writes what only rooms have that the user is in.
func (a *assembly) writeLive(b []byte, r *room) []byte {
	b = append(b, `,"ephemeral":{"events":[`...)
	b = append(b, r.receipts...)
	if len(r.receipts) > 0 && len(r.typing) > 0 {
		b = append(b, ',')
	}
	b = append(append(b, r.typing...), `]}`...)
	if r.counts != nil {
		b = append(b, `,"unread_notifications":`...)
		b = appendTally(b, *r.counts)
	}
	threads := list{open: `,"unread_thread_notifications":{`, close: `}`}
	for id, t := range r.threads {
		b = threads.next(b)
		b = append(matrix.AppendText(b, id), ':')
		b = appendTally(b, t)
	}
	return threads.end(b)
}

func appendTally(b []byte, t tally) []byte {
	b = strconv.AppendInt(append(b, `{"highlight_count":`...), int64(t.highlight), 10)
	b = strconv.AppendInt(append(b, `,"notification_count":`...), int64(t.notify), 10)
	return append(b, '}')
}

func appendItems(b []byte, items []account.Item) []byte {
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = matrix.AppendText(append(b, `{"type":`...), it.Type)
		b = append(b, `,"content":`...)
		if isNull(it.Content) {
			b = append(b, `{}`...)
		} else {
			b = append(b, it.Content...)
		}
		b = append(b, '}')
	}
	return b
}

// strippedTypes are the state events shown to somebody who is not in a room yet.
//
// spec: c-s §Stripped state
var strippedTypes = []int64{
	read.TypeCreate, read.TypeName, read.TypeAvatar, read.TypeTopic, read.TypeJoinRules, read.TypeCanonicalAlias, read.TypeEncryption,
}

func (a *assembly) writeStripped(l *list, b []byte, name string, rooms []*tail.View) ([]byte, error) {
	for _, v := range rooms {
		own := a.members[v.EventNID]
		if own == nil || a.ignored[own.SenderNID] {
			continue // an invite by somebody the user ignores
		}
		b = l.next(b)
		b = append(matrix.AppendText(b, string(v.ID)), `:{"`...)
		b = append(append(b, name...), `":{"events":[`...)
		for _, typ := range strippedTypes {
			if e := v.State[read.StateKey{TypeNID: typ, KeyNID: read.EmptyKey}]; e != nil {
				b = append(clientevent.AppendStripped(b, &e.Event), ',')
			}
		}
		b = append(clientevent.AppendStripped(b, &own.Event), `]}}`...)
	}
	return b, nil
}
