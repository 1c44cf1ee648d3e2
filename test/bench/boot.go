package main

import (
	"fmt"
	"os"
	"time"
)

func firstBoot(b *bench) {
	took, err := b.home.start(b.ctx)
	check(err)
	b.tell("first boot", "ms until `/versions` answers, initdb included", "357", "2,000", milliseconds(took))
	if b.opts.profile == "" {
		info, err := os.Stat(b.home.binary)
		check(err)
		b.tell("binary", "MiB stripped", "40", "≤ 40", number(float64(info.Size())/(1<<20)))
	}
}

func milliseconds(d time.Duration) string { return number(d.Seconds() * 1000) }

// idle watches a server nobody uses.
func idle(b *bench) {
	b.settle()
	watch := 20 * time.Second
	if b.opts.quick {
		watch = 5 * time.Second
	}
	before := b.home.cpu()
	time.Sleep(watch)
	busy := (b.home.cpu() - before) / watch.Seconds() * 100
	m := b.home.memory()
	b.tell("idle", "RSS MiB of the server (+ PSS of PostgreSQL)", "46", "≤ 45 (+ ≤ 35)", fmt.Sprintf("%s (+ %s)", number(m.server), number(m.database)))
	b.tellCPU("idle", "% of a core", "0.3", "≤ 0.2", busy, "")
}

func afterAll(b *bench) {
	m := b.home.memory()
	b.tell("after the whole run", "RSS MiB (peak), + PSS of PostgreSQL", "266 (350)", "≤ 150 (220)",
		fmt.Sprintf("%s (%s) + %s", number(m.server), number(m.peak), number(m.database)))
}

// registering looks at what is done beside hashing the password.
func registering(b *bench) {
	n := b.size(300)
	names := make([]string, n)
	for i := range names {
		b.names++
		names[i] = fmt.Sprintf("r%d", b.names)
	}
	beyond := func(l load) float64 { return l.cpu/float64(l.ops)*1000 - hashCPU() }
	l := b.drive(n, 2, func(_, i int) error {
		u := b.home.user()
		defer u.close()
		return u.register(b.ctx, names[i])
	})
	b.tellCPU("register", "CPU ms beyond the password hash, two requests", "~2", "≤ 1.5", beyond(l), "")
	l = b.drive(n, 2, func(_, i int) error {
		u := b.home.user()
		defer u.close()
		return u.login(b.ctx, names[i])
	})
	b.tellCPU("login", "CPU ms beyond the password hash", "~2", "≤ 1.5", beyond(l), "")
}
