package main

import (
	"fmt"
	"strconv"
)

// tellSend tells the figures of a load of sends.
func (b *bench) tellSend(scenario string, l load, cpu, cpuReach, other, otherReach string, latency bool) {
	b.tellCPU(scenario, "CPU s / 1000 (server + PostgreSQL)", cpu, cpuReach, l.perThousand(), l.split())
	if latency {
		b.tell(scenario, "p50 / p99 ms", other, otherReach, number(l.percentile(0.5))+" / "+number(l.percentile(0.99)))
		return
	}
	b.tell(scenario, "events/s (p50 / p99 ms)", other, otherReach,
		fmt.Sprintf("%s (%s / %s)", number(l.rate()), number(l.percentile(0.5)), number(l.percentile(0.99))))
}

func sendOne(b *bench) {
	u := b.users(1)[0]
	room := b.room(u)
	l := b.drive(b.size(4000), 1, func(int, int) error { return u.say(b.ctx, room, "Hello") })
	b.tellSend("send, one sender, one room", l, "12.5", "≤ 0.7", "9.9", "≤ 2", true)
	b.tell("send, one sender, one room", "s of work left after the last answer", "1 – 120", "< 1", number(l.left.Seconds()))
}

func sendSixteen(b *bench) {
	users := b.users(16)
	room := b.room(users...)
	disk := b.disk()
	n := b.size(20000)
	l := b.drive(n, 16, func(w, _ int) error { return users[w].say(b.ctx, room, "Hello") })
	b.tellSend("send, 16 senders, one room of 16", l, "14.6", "≤ 0.6", "92", "≥ 2,000", false)
	b.tellDisk("room of 16", disk, n)
}

func sendFifty(b *bench) {
	users := b.users(50)
	rooms := make([]string, len(users))
	for i, u := range users {
		rooms[i] = b.room(u)
	}
	l := b.drive(b.size(20000), 50, func(w, _ int) error { return users[w].say(b.ctx, rooms[w], "Hello") })
	b.tellSend("send, 50 senders, 50 rooms", l, "10.8", "≤ 0.6", "226", "≥ 2,500", false)
}

// stateEvents sets fifty places of one room's state again and again.
func stateEvents(b *bench) {
	u := b.users(1)[0]
	room := b.room(u)
	conns := make([]*user, 4)
	for i := range conns {
		conns[i] = u.another(strconv.Itoa(i))
	}
	l := b.drive(b.size(4000), len(conns), func(w, i int) error {
		_, err := conns[w].must(b.ctx, "PUT", fmt.Sprintf("/_matrix/client/v3/rooms/%s/state/example.bench/place%d", room, i%50),
			fmt.Appendf(nil, `{"turn":%d}`, i))
		return err
	})
	b.tellSend("state events in one room, 4 connections", l, "37", "≤ 1.2", "35", "≥ 800", false)
}

// growth fills one room and looks at what a send costs on the way.
func growth(b *bench) {
	users := b.users(16)
	room := b.room(users...)
	sent := 0
	const probe = 400
	first := load{}
	for _, at := range []int{1000, 20000, 50000} {
		at = b.size(at)
		if at > sent {
			b.drive(at-sent, 16, func(w, _ int) error { return users[w].say(b.ctx, room, "Hello") })
		}
		l := b.drive(probe, 1, func(int, int) error { return users[0].say(b.ctx, room, "Hello") })
		sent = at + probe
		if first.ops == 0 {
			first = l
		}
		b.tell("growth", fmt.Sprintf("send p50 ms and CPU s / 1000 at %d events, × the first", at), "–", "≤ 1.1",
			fmt.Sprintf("%s, %s (× %s, × %s)", number(l.percentile(0.5)), number(l.perThousand()),
				number(l.percentile(0.5)/first.percentile(0.5)), number(l.perThousand()/first.perThousand())))
	}
}
