package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// largeRoom is the room that many have joined.
type largeRoom struct {
	id      string
	members []*user
}

// joining lets many join one room, and compares the last joins with the first.
func joining(b *bench) {
	all := b.size(2000)
	half := b.size(500)
	users := b.crowd(all + 1)
	room := b.room(users[0])
	joins := func(from, to int) load {
		return b.drive(to-from, 4, func(_, i int) error {
			u := users[1+from+i]
			defer u.close()
			return u.join(b.ctx, room)
		})
	}
	step := half / 5
	first := joins(0, step)
	middle := joins(step, half-step)
	last := joins(half-step, half)
	b.tell(fmt.Sprintf("%d joins of one room, 4 connections", half), "joins/s", "25", "≥ 300", number(middle.rate()))
	b.tellCPU(fmt.Sprintf("%d joins of one room, 4 connections", half), "CPU s / 1000 (server + PostgreSQL)", "45", "≤ 2", middle.perThousand(), middle.split())
	b.large = largeRoom{room, users[:half+1]}
	b.tell("large room", fmt.Sprintf("a join's CPU, last of %d × first", half), "–", "≤ 1.3", number(last.perThousand()/first.perThousand()))
	// The figures of 500 are taken before it grows on.
	sendLarge(b)
	membersOfLarge(b)
	joins(half, all-step)
	end := joins(all-step, all)
	b.tell("large room", fmt.Sprintf("a join's CPU, last of %d × first", all), "–", "≤ 1.3", number(end.perThousand()/first.perThousand()))
	b.large.members = users
}

// crowd makes many accounts at once.
func (b *bench) crowd(n int) []*user {
	list := make([]*user, n)
	var g errgroup.Group
	g.SetLimit(4)
	for i := range list {
		b.names++
		name := fmt.Sprintf("c%d", b.names)
		list[i] = b.home.user()
		g.Go(func() error {
			defer list[i].close()
			return list[i].register(b.ctx, name)
		})
	}
	check(g.Wait())
	return list
}

func sendLarge(b *bench) {
	u := b.large.members[0]
	before, n := b.disk(), b.size(4000)
	l := b.drive(n, 1, func(int, int) error { return u.say(b.ctx, b.large.id, "Hello") })
	name := fmt.Sprintf("send into a room of %d", len(b.large.members)-1)
	b.tellSend(name, l, "53.7", "≤ 1", "15.7", "≤ 2.5", true)
	b.tellDisk(fmt.Sprintf("room of %d", len(b.large.members)-1), before, n)
}

func membersOfLarge(b *bench) {
	u := b.large.members[0]
	l := b.drive(b.size(300), 1, func(int, int) error {
		_, err := u.must(b.ctx, "GET", "/_matrix/client/v3/rooms/"+b.large.id+"/members", nil)
		return err
	})
	name := fmt.Sprintf("/members of %d", len(b.large.members)-1)
	b.tell(name, "p50 / p99 ms", "13.6", "≤ 4", number(l.percentile(0.5))+" / "+number(l.percentile(0.99)))
	b.tellCPU(name, "CPU s / 1000 (server + PostgreSQL)", "–", "–", l.perThousand(), l.split())
}

// backwards reads a long room page by page; each event has to come exactly once.
func backwards(b *bench) {
	n := b.size(10000)
	users := b.users(16)
	room := b.room(users...)
	b.drive(n, 16, func(w, _ int) error { return users[w].say(b.ctx, room, "Hello") })
	for _, limit := range []int{100, 1000} {
		seen := map[string]bool{}
		check(b.readAll(users[0], room, limit, func(page []byte) error { return collect(page, seen) }))
		if len(seen) != n {
			check(fmt.Errorf("%d of %d messages came", len(seen), n))
		}
		l := b.drive(5, 1, func(int, int) error {
			return b.readAll(users[0], room, limit, func([]byte) error { return nil })
		})
		million := float64(5*n) / 1e6
		name := fmt.Sprintf("/messages through %d events, %d at a time", n, limit)
		b.tell(name, "events/s, none skipped", "10,003", "≥ 60,000", number(float64(5*n)/l.wall.Seconds()))
		b.tellCPU(name, "CPU s / 1,000,000 events (server + PostgreSQL)", "–", "–", l.cpu/million, number(l.server/million)+" + "+number(l.database/million))
	}
}

// readAll goes through a room page by page.
func (b *bench) readAll(u *user, room string, limit int, page func([]byte) error) error {
	for from := ""; ; {
		path := fmt.Sprintf("/_matrix/client/v3/rooms/%s/messages?dir=b&limit=%d", room, limit)
		if from != "" {
			path += "&from=" + from
		}
		body, err := u.must(b.ctx, "GET", path, nil)
		if err != nil {
			return err
		}
		if err := page(body); err != nil {
			return err
		}
		// Looked for by hand: the driver shall not take longer than the server.
		_, rest, ok := bytes.Cut(body, []byte(`"end":"`))
		if !ok {
			return nil
		}
		end, _, _ := bytes.Cut(rest, []byte(`"`))
		from = string(end)
	}
}

// collect notes the messages of a page.
func collect(body []byte, seen map[string]bool) error {
	var page struct {
		Chunk []struct {
			Type string `json:"type"`
			ID   string `json:"event_id"`
		} `json:"chunk"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return err
	}
	for _, e := range page.Chunk {
		switch {
		case e.Type != "m.room.message":
		case seen[e.ID]:
			return fmt.Errorf("%s came twice", e.ID)
		default:
			seen[e.ID] = true
		}
	}
	return nil
}
