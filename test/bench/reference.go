package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/natsd"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/errgroup"
)

// reference measures what the machine can do at all.
func reference(b *bench) {
	crypto := b.cryptoLoops()
	b.natsLoop()
	b.commitLoop(1, 0)
	b.commitLoop(16, 22700)
	hash := perCPUSecond(func() { hashPassword(19<<10, 2) })
	b.loop(loop{name: "argon2id, 19 MiB, 2 passes, ms CPU", here: 1 / hash, there: 21, text: number(1000 / hash)})
	// What the server does is computing and hashing: that is what its CPU time is compared by.
	b.facts.speed = crypto
}

func (b *bench) loop(l loop) { b.facts.loops = append(b.facts.loops, l) }

// perCPUSecond runs f for a while and answers how often it fits into a second of one core.
func perCPUSecond(f func()) float64 {
	began, before, n := time.Now(), ownCPU(), 0
	for time.Since(began) < time.Second || n < 5 {
		f()
		n++
	}
	return float64(n) / (ownCPU() - before)
}

// ownCPU is what this process has used, in seconds.
func ownCPU() float64 {
	var u syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// cryptoLoops answers how fast this machine is beside the other one.
func (b *bench) cryptoLoops() float64 {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	check(err)
	event := []byte(`{"type":"m.room.message","content":{"body":"` + strings.Repeat("The shed is open. ", 35) +
		`","msgtype":"m.text"},"sender":"@anna:bench.example","room_id":"!garden","depth":12,"origin_server_ts":1767225600000,` +
		`"prev_events":["$Q3JlYXRlZA"],"auth_events":["$QXV0aA","$TWVtYmVy"]}`)
	signature := ed25519.Sign(key, event)
	measure := func(name string, there float64, f func()) float64 {
		here := perCPUSecond(f)
		b.loop(loop{name, here, there, number(here)})
		return here / there
	}
	speed := measure("ed25519 sign, per CPU second", 56000, func() { ed25519.Sign(key, event) })
	speed += measure("ed25519 verify, per CPU second", 25000, func() { ed25519.Verify(public, event, signature) })
	measure("canonical JSON + SHA-256 of 0.9 KB, per CPU second", 95000, func() {
		canonical, err := matrix.CanonicalJSON(event)
		check(err)
		sha256.Sum256(canonical)
	})
	return speed / 2 // the same code runs there; the canonical JSON is our own
}

// natsLoop is a call over the bus inside one process.
func (b *bench) natsLoop() {
	server, err := natsd.Start(b.ctx, natsd.Options{})
	check(err)
	defer server.Close()
	conn, err := bus.Connect(b.ctx, bus.Options{Server: server, Name: "bench"})
	check(err)
	defer conn.Close()
	type note struct{ Text string }
	echo := bus.New[note, note]("bench", "Echo", 10*time.Second)
	s := conn.Service("bench", bus.ServiceOptions{})
	bus.Handle(s, echo, func(_ context.Context, n note) (note, error) { return n, nil })
	var g errgroup.Group
	running, stop := context.WithCancel(b.ctx)
	g.Go(func() error { return s.Run(running) })
	<-s.Ready()
	call := func() {
		_, err := bus.Call(b.ctx, conn, echo, note{"hello"})
		check(err)
	}
	here := perCPUSecond(call)
	b.loop(loop{"typed call over NATS in one process, per CPU second", here, 0, number(here)})
	stop()
	check(g.Wait())
}

// commitLoop inserts rows of 0.9 KB, each in a transaction of its own, into the server's PostgreSQL.
func (b *bench) commitLoop(clients int, there float64) {
	if clients == 1 {
		there = 7000
	}
	admin, err := b.home.database(b.ctx, "postgres")
	check(err)
	defer func() { check(admin.Close(b.ctx)) }()
	_, err = admin.Exec(b.ctx, "CREATE DATABASE reference")
	check(err)
	conns := make([]*pgx.Conn, clients)
	for i := range conns {
		conns[i], err = b.home.database(b.ctx, "reference")
		check(err)
	}
	_, err = conns[0].Exec(b.ctx, "CREATE TABLE t (id bigint PRIMARY KEY, v bytea)")
	check(err)
	b.settle()
	row := make([]byte, 900)
	var id atomic.Int64
	var mu sync.Mutex
	end := time.Now().Add(3 * time.Second)
	n, before, began := 0, b.home.cpu(), time.Now()
	var g errgroup.Group
	for _, c := range conns {
		g.Go(func() error {
			mine := 0
			for ; time.Now().Before(end); mine++ {
				if _, err := c.Exec(b.ctx, "INSERT INTO t VALUES ($1, $2)", id.Add(1), row); err != nil {
					return err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			n += mine
			return c.Close(b.ctx)
		})
	}
	check(g.Wait())
	wall := time.Since(began)
	cost := (b.home.cpu() - before) / float64(n) * 1000
	b.loop(loop{
		name: fmt.Sprintf("PostgreSQL insert + commit, %d clients, per second", clients), here: float64(n) / wall.Seconds(), there: there,
		text: fmt.Sprintf("%s (%s CPU s / 1000)", number(float64(n)/wall.Seconds()), number(cost)),
	})
	_, err = admin.Exec(b.ctx, "DROP DATABASE reference")
	check(err)
}

func hashPassword(kib, passes uint32) {
	argon2.IDKey([]byte(password), []byte("0123456789abcdef"), passes, kib, 1, 32)
}

// hashCPU is what the hash of the measured server's configuration takes, in ms.
var hashCPU = sync.OnceValue(func() float64 { return 1000 / perCPUSecond(func() { hashPassword(8<<10, 1) }) })
