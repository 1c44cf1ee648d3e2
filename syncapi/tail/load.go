package tail

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
)

const (
	// loadRooms is how many rooms are read at once.
	loadRooms = 100
	// loadEvents is how many of a room's newest events are read: what a client
	// asks for at first, and what unread counts usually look at.
	loadEvents = 50
)

// Load makes sure that the contents of rooms are in memory. They stay there at
// least until somebody else needs the memory: ask for a View right away, and
// load again what it lacks. Unknown rooms are ignored.
func (t *Tail) Load(ctx context.Context, nids []read.RoomNID) error {
	for chunk := range slices.Chunk(nids, loadRooms) {
		if err := t.loadChunk(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tail) loadChunk(ctx context.Context, nids []read.RoomNID) error {
	mine, others := t.claim(nids)
	var err error
	if len(mine) > 0 {
		err = t.readRooms(ctx, mine)
		t.release(mine)
	}
	for _, done := range others {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// claim marks the rooms that nobody has read or is reading. From here on, what
// happens in them is set aside.
func (t *Tail) claim(nids []read.RoomNID) (mine []read.RoomNID, others []chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, nid := range nids {
		r := t.room(nid)
		switch {
		case r.content != nil:
		case r.loading != nil:
			others = append(others, r.loading.done)
		default:
			r.loading = &loading{done: make(chan struct{})}
			mine = append(mine, nid)
		}
	}
	return mine, others
}

// release ends the claims, whether the rooms were read or not.
func (t *Tail) release(nids []read.RoomNID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, nid := range nids {
		r := t.rooms[nid]
		close(r.loading.done)
		r.loading = nil
		if r.content == nil && len(r.users) == 0 {
			delete(t.rooms, nid)
		}
	}
}

// stored is what is read of rooms at one moment.
type stored struct {
	at         int64
	rooms      map[read.RoomNID]read.Room
	timelines  map[read.RoomNID][]read.Event
	state      map[read.RoomNID][]read.Event
	members    map[read.RoomNID][]read.Member
	visibility map[read.RoomNID]*read.Visibility
	heads      map[read.RoomNID]int64
	parents    map[matrix.EventID]bool
}

func (t *Tail) readRooms(ctx context.Context, nids []read.RoomNID) error {
	s := stored{}
	if err := t.model.AsOf(ctx, func(m *read.Model, pos int64) error { return s.read(ctx, m, pos, nids) }); err != nil {
		return fmt.Errorf("read %d rooms: %w", len(nids), err)
	}
	events, err := t.encodeTimelines(ctx, &s)
	if err != nil {
		return fmt.Errorf("encode %d rooms: %w", len(nids), err)
	}
	if err := t.Await(ctx, s.at); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, nid := range nids {
		if room, ok := s.rooms[nid]; ok {
			t.installRoom(t.rooms[nid], s.content(room, events[nid]), &s)
		}
	}
	t.evict(time.Now())
	return nil
}

func (s *stored) read(ctx context.Context, m *read.Model, pos int64, nids []read.RoomNID) (err error) {
	s.at = pos
	if s.rooms, err = m.Rooms(ctx, nids); err != nil {
		return err
	}
	if s.timelines, err = m.LatestTimelines(ctx, nids, math.MaxInt64, loadEvents); err != nil {
		return err
	}
	if s.state, err = m.CurrentStateOfRooms(ctx, nids); err != nil {
		return err
	}
	if s.members, err = m.MembersOfRooms(ctx, nids); err != nil {
		return err
	}
	if s.visibility, err = m.Visibilities(ctx, nids); err != nil {
		return err
	}
	if s.heads, err = m.RoomPositions(ctx, nids); err != nil {
		return err
	}
	var ids []string
	for _, list := range s.timelines {
		for _, e := range list {
			ids = append(ids, string(e.ID))
		}
	}
	parents, err := m.Parents(ctx, nids, ids)
	s.parents = make(map[matrix.EventID]bool, len(parents))
	for _, p := range parents {
		s.parents[matrix.EventID(p)] = true
	}
	return err
}

// encodeTimelines makes the events of all rooms ready in one go.
func (t *Tail) encodeTimelines(ctx context.Context, s *stored) (map[read.RoomNID][]*Event, error) {
	var all []read.Event
	for _, list := range s.timelines {
		all = append(all, list...)
	}
	made, err := t.loader.Events(ctx, all)
	if err != nil {
		return nil, err
	}
	out := make(map[read.RoomNID][]*Event, len(s.timelines))
	for _, e := range made {
		out[e.RoomNID] = append(out[e.RoomNID], newEvent(e))
	}
	return out, nil
}

func (s *stored) content(room read.Room, timeline []*Event) *content {
	c := &content{
		Room: room, timeline: timeline, floor: math.MinInt64,
		state:      make(map[read.StateKey]*clientevent.Event, len(s.state[room.NID])),
		members:    make(map[read.UserNID]read.Member, len(s.members[room.NID])),
		visibility: s.visibility[room.NID], parents: map[matrix.EventID]bool{},
	}
	if len(timeline) == loadEvents {
		c.floor = timeline[0].Ord - 1
	}
	for _, e := range timeline {
		if e.Thread = threadOf(e.JSON, c.find); s.parents[e.ID] {
			c.parents[e.ID] = true
		}
		c.weight += weigh(e)
	}
	for _, e := range s.state[room.NID] {
		c.state[read.StateKey{TypeNID: e.TypeNID, KeyNID: *e.KeyNID}] = encoded(e)
		c.weight += int64(2*len(e.JSON) + overhead)
	}
	c.levels = notificationLevels(c.state[read.StateKey{TypeNID: read.TypePowerLevels, KeyNID: read.EmptyKey}])
	for _, m := range s.members[room.NID] {
		c.members[m.UserNID] = m
		c.count(m.Membership, 1)
	}
	c.weight += int64(len(c.members)) * 60
	return c
}

// installRoom makes a room visible and applies what has happened since it was read.
func (t *Tail) installRoom(r *Room, c *content, s *stored) {
	r.latest = max(r.latest, s.heads[c.NID])
	for _, e := range r.loading.pending {
		if e.NID > s.at {
			c.apply(e)
		}
	}
	c.used = time.Now().UnixNano()
	r.content = c
	t.weight += c.weight
}

// evict drops the contents that have not been used for longest until the rest
// takes a good deal less than the budget. What was used a moment ago stays: a
// request may need more rooms at once than the budget allows.
func (t *Tail) evict(now time.Time) {
	if t.weight <= budget {
		return
	}
	recent := now.Add(-keepRoom).UnixNano()
	var loaded []*Room
	for _, r := range t.rooms {
		if r.content != nil && r.loading == nil {
			loaded = append(loaded, r)
		}
	}
	slices.SortFunc(loaded, func(a, b *Room) int { return cmp.Compare(a.content.used, b.content.used) })
	for _, r := range loaded {
		if t.weight <= budget*3/4 || r.content.used > recent {
			return
		}
		t.weight -= r.content.weight
		r.content = nil
		if len(r.users) == 0 {
			delete(t.rooms, r.nid)
		}
	}
}
