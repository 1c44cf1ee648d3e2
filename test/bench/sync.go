package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

func sendThenSync(b *bench) {
	list := b.users(16)
	u := list[0]
	room := b.room(list...)
	_, since, err := u.sync(b.ctx, "", 0)
	check(err)
	l := b.drive(b.size(2000), 1, func(_, i int) error {
		mark := "Message " + strconv.Itoa(i)
		if err := u.say(b.ctx, room, mark); err != nil {
			return err
		}
		for range 100 {
			body, next, err := u.sync(b.ctx, since, 10000)
			if err != nil {
				return err
			}
			since = next
			if bytes.Contains(body, []byte(mark+",")) {
				return nil
			}
		}
		return fmt.Errorf("message %d does not come", i)
	})
	b.tell("send, then the sync that shows it", "p50 / p99 ms", "8.3", "≤ 1.5", number(l.percentile(0.5))+" / "+number(l.percentile(0.99)))
	b.tellCPU("send, then the sync that shows it", "CPU s / 1000 (server + PostgreSQL)", "36", "≤ 1.2", l.perThousand(), l.split())
}

// neighbourhood makes rooms in which everybody is and in which much has been said.
func (b *bench) neighbourhood(rooms, members, messages int) *user {
	list := b.users(members)
	var g errgroup.Group
	g.SetLimit(8)
	for range rooms {
		room := b.room(list...)
		g.Go(func() error {
			u := list[0].another(room[1:6])
			defer u.close()
			for range messages {
				if err := u.say(b.ctx, room, "Hello"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	check(g.Wait())
	return list[0]
}

// initialSync restarts the server, so that nothing is in memory.
func initialSync(b *bench) {
	small := b.neighbourhood(b.size(50), 20, 20)
	b.many = b.neighbourhood(b.size(200), 2, 50)
	b.settle()
	b.restart(small)
	b.many.close()
	b.initial(small, fmt.Sprintf("initial sync, %d rooms of 20", b.size(50)), "251; 132", "≤ 25; ≤ 15", "")
	b.initial(b.many, fmt.Sprintf("initial sync, %d rooms × 50 messages", b.size(200)), "", "", "≤ 100, linear in rooms")
}

// restart measures a start with everything there.
func (b *bench) restart(witness *user) {
	check(b.profile())
	check(b.home.stop())
	took, err := b.home.start(b.ctx)
	check(err)
	witness.close() // the connection went with the server
	b.tell("cold start", "ms until `/versions` answers, PostgreSQL's start included", "98 (database already there)", "400", milliseconds(took))
	b.settle()
	b.profile = b.home.startProfile(b.ctx, b.opts.profile, "restarted")
}

func (b *bench) initial(u *user, name, established, reach, reachMany string) {
	var size int
	sync := func(int, int) error {
		body, _, err := u.sync(b.ctx, "", 0)
		size = len(body)
		return err
	}
	first := b.drive(1, 1, sync)
	again := b.drive(b.size(50), 1, sync)
	sizeText := fmt.Sprintf(" (%d KiB)", size>>10)
	if reachMany == "" {
		b.tell(name+sizeText, "first after a restart, ms; CPU ms", established, reach, number(first.percentile(0.5))+"; "+number(first.perThousand()))
	} else {
		b.tell(name+sizeText, "first after a restart, ms; CPU ms", "–", "–", number(first.percentile(0.5))+"; "+number(first.perThousand()))
	}
	b.tell(name+sizeText, "p50 / p99 ms", "–", reachMany, number(again.percentile(0.5))+" / "+number(again.percentile(0.99)))
	b.tellCPU(name+sizeText, "CPU ms (server + PostgreSQL)", "–", "–", again.perThousand(), again.split())
}

func nothingNew(b *bench) {
	u := b.many
	if u == nil {
		u = b.neighbourhood(b.size(50), 2, 5)
	}
	_, since, err := u.sync(b.ctx, "", 0)
	check(err)
	l := b.drive(b.size(20000), 1, func(int, int) error {
		_, _, err := u.sync(b.ctx, since, 0)
		return err
	})
	b.tell("incremental sync, nothing new", "p50 / p99 ms", "1.6", "≤ 0.6", number(l.percentile(0.5))+" / "+number(l.percentile(0.99)))
	b.tellCPU("incremental sync, nothing new", "CPU s / 1000 (server + PostgreSQL)", "1.55", "≤ 0.2", l.perThousand(), l.split())
}

// fanOut lets everybody in a room wait for what one of them says.
func fanOut(b *bench) {
	members, messages := b.size(100), b.size(200)
	list := b.users(members + 1)
	room := b.room(list...)
	speaker, crowd := list[0], list[1:]
	sinces := make([]string, members)
	for i, u := range crowd {
		var err error
		_, sinces[i], err = u.sync(b.ctx, "", 0)
		check(err)
	}
	w := &waiting{arrived: make(chan time.Time, members)}
	var g errgroup.Group
	for i, u := range crowd {
		g.Go(func() error { return w.wait(b, u, sinces[i], messages) })
	}
	time.Sleep(quiet)
	b.settle()
	var arrivals []time.Duration
	l := b.drive(messages, 1, func(_, i int) error {
		sent := time.Now()
		if err := speaker.say(b.ctx, room, "Call "+strconv.Itoa(i)); err != nil {
			return err
		}
		for range members {
			select {
			case at := <-w.arrived:
				arrivals = append(arrivals, at.Sub(sent))
			case <-time.After(time.Minute):
				return fmt.Errorf("message %d reaches not everybody", i)
			}
		}
		return nil
	})
	check(g.Wait())
	name := fmt.Sprintf("fan-out to %d syncing members", members)
	b.tell(name, "arrival p50 / p99 ms", "337 / 648", "≤ 15 / 40", number(percentile(arrivals, 0.5))+" / "+number(percentile(arrivals, 0.99)))
	b.tellCPU(name, "CPU ms per message (server + PostgreSQL)", "535", "≤ 12", l.perThousand(), l.split())
}

type waiting struct {
	arrived chan time.Time
}

// wait syncs until all messages have come, and reports each.
func (w *waiting) wait(b *bench, u *user, since string, messages int) error {
	for seen := 0; seen < messages; {
		body, next, err := u.sync(b.ctx, since, 30000)
		if err != nil {
			return err
		}
		at := time.Now()
		since = next
		for range strings.Count(string(body), `"body":"Call `) {
			w.arrived <- at
			seen++
		}
	}
	return nil
}
