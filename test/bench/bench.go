package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// bench is one run. Scenarios tell it their figures, and leave what later ones can use.
type bench struct {
	ctx   context.Context
	opts  options
	home  *home
	rows  []row
	facts facts

	profile func() error // ends the profile that is being recorded
	names   int
	large   largeRoom
	many    *user // is in many rooms
}

// failure carries an error out of a scenario: they are scripts, in which nothing can go on after an error.
type failure struct{ err error }

func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

func (b *bench) runOne(s scenario) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(failure)
			if !ok {
				panic(p)
			}
			err = f.err
		}
	}()
	b.profile = b.home.startProfile(b.ctx, b.opts.profile, s.name)
	s.run(b)
	return b.profile()
}

// size is n, or a tenth of it in a quick run.
func (b *bench) size(n int) int {
	if b.opts.quick {
		return max(n/10, 4)
	}
	return n
}

// users makes accounts.
func (b *bench) users(n int) []*user {
	list := make([]*user, n)
	for i := range list {
		b.names++
		list[i] = b.home.user()
		check(list[i].register(b.ctx, "u"+strconv.Itoa(b.names)))
	}
	return list
}

// room makes a public room of the first user that the others join.
func (b *bench) room(members ...*user) string {
	id, err := members[0].createRoom(b.ctx)
	check(err)
	for _, u := range members[1:] {
		check(u.join(b.ctx, id))
	}
	return id
}

// load is what a piece of work took.
type load struct {
	ops              int
	wall             time.Duration
	cpu              float64 // seconds of server and database, with what was left to do afterwards
	server, database float64
	left             time.Duration // until nothing was left to do
	took             []time.Duration
}

func (l load) perThousand() float64 { return l.cpu / float64(l.ops) * 1000 }
func (l load) rate() float64        { return float64(l.ops) / l.wall.Seconds() }

// split tells whose CPU it is.
func (l load) split() string {
	n := float64(l.ops) / 1000
	return fmt.Sprintf("%s + %s", number(l.server/n), number(l.database/n))
}

// percentile is in milliseconds.
func (l load) percentile(p float64) float64 { return percentile(l.took, p) }

func percentile(list []time.Duration, p float64) float64 {
	if len(list) == 0 {
		return math.NaN()
	}
	list = slices.Sorted(slices.Values(list))
	i := min(int(p*float64(len(list))), len(list)-1)
	return list[i].Seconds() * 1000
}

// drive lets every worker do its share of n operations, one after the other, and measures.
func (b *bench) drive(n, workers int, op func(worker, i int) error) load {
	var next atomic.Int64
	var mu sync.Mutex
	l := load{ops: n}
	server, database := b.home.cpuApart()
	began := time.Now()
	var g errgroup.Group
	for w := range workers {
		g.Go(func() error {
			took := make([]time.Duration, 0, n/workers+1)
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				start := time.Now()
				if err := op(w, i); err != nil {
					return err
				}
				took = append(took, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			l.took = append(l.took, took...)
			return nil
		})
	}
	check(g.Wait())
	l.wall = time.Since(began)
	l.left = b.settle()
	s, d := b.home.cpuApart()
	l.server, l.database = s-server, d-database
	l.cpu = l.server + l.database
	return l
}

const (
	quiet    = 300 * time.Millisecond
	patience = 20 * time.Second
)

// settle waits until the server does nothing any more and answers how long that took.
func (b *bench) settle() time.Duration {
	began := time.Now()
	last, since := b.home.cpu(), began
	for time.Since(began) < patience {
		time.Sleep(50 * time.Millisecond)
		now := b.home.cpu()
		if now-last > 1.5/ticks { // a single tick is the clock's noise, or a heartbeat
			last, since = now, time.Now()
		}
		if time.Since(since) > quiet {
			break
		}
	}
	return since.Sub(began)
}
