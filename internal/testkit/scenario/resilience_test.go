package scenario_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"allmende/internal/pgd"
	"allmende/internal/testkit"
	"allmende/internal/testkit/scenario"
)

// rounds is how often each thing happens: a few times in a test run, as often as
// ALLMENDE_SOAK says in a soak.
func rounds(t *testing.T, quick int) int {
	s := os.Getenv("ALLMENDE_SOAK")
	if s == "" {
		return quick
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("ALLMENDE_SOAK must be a number of rounds, not %q", s)
	}
	return n
}

// TestKilledServices kills one process of each service after the other while
// people talk and read.
func TestKilledServices(t *testing.T) {
	cl := scenario.NewCluster(t, scenario.Config(t), testkit.NATS(t), testkit.DatabaseURL(t))
	byService := map[string][]*scenario.Process{}
	for _, p := range cl.Processes {
		byService[p.Service] = append(byService[p.Service], p)
	}
	for _, service := range []string{"roomserver", "clientapi", "syncapi"} {
		t.Run(service, func(t *testing.T) {
			load := scenario.StartLoad(t, cl.Home, 3)
			for round := range rounds(t, 2) {
				p := byService[service][round%len(byService[service])]
				load.Progress()
				p.Kill()
				time.Sleep(time.Duration(round%5) * 50 * time.Millisecond) // how long it is away should not matter
				p.Start(t)
				p.WaitReady(t)
				load.Progress()
			}
			load.Stop()
			t.Logf("%s: %s", service, load.Summary())
		})
	}
}

// TestStoppedServices stops processes in order while people talk and read.
func TestStoppedServices(t *testing.T) {
	cl := scenario.NewCluster(t, scenario.Config(t), testkit.NATS(t), testkit.DatabaseURL(t))
	load := scenario.StartLoad(t, cl.Home, 3)
	for range rounds(t, 1) {
		for _, p := range cl.Processes {
			load.Progress()
			p.Stop(t) // fails the test when it does not end in order
			p.Start(t)
			p.WaitReady(t)
		}
	}
	load.Progress()
	load.Stop()
	t.Log(load.Summary())
}

// TestStopAnswersLongPolls shows that an orderly stop answers whoever waits.
func TestStopAnswersLongPolls(t *testing.T) {
	cl := scenario.NewCluster(t, scenario.Config(t), testkit.NATS(t), testkit.DatabaseURL(t))
	anna := cl.Register(t, "anna")
	room := anna.CreateRoom(scenario.M{})
	_, since := anna.Until("", func(m scenario.M) bool { return scenario.At(m, "rooms", "join", room) != nil })
	since, _ = anna.Sync(since, 0)["next_batch"].(string)
	const polls = 20
	answers := make(chan string, polls)
	for range polls {
		go func() {
			a, err := anna.Try("GET", "/_matrix/client/v3/sync?timeout=60000&since="+since, nil)
			answers <- fmt.Sprint(a.Status, " ", err)
		}()
	}
	// Requests that came later have been answered, so these have arrived.
	time.Sleep(time.Second)
	anna.Warm()
	for _, p := range cl.Processes {
		if p.Service == "syncapi" {
			p.Stop(t)
		}
	}
	for range polls {
		if got := <-answers; got != "200 <nil>" {
			t.Errorf("a long poll was answered %s", got)
		}
	}
}

// TestNATSRestarted stops the bus under a cluster while people talk and read.
func TestNATSRestarted(t *testing.T) {
	nats := testkit.NewNATSServer(t)
	cl := scenario.NewCluster(t, scenario.Config(t), nats.URL(), testkit.DatabaseURL(t))
	load := scenario.StartLoad(t, cl.Home, 3)
	for round := range rounds(t, 1) {
		load.Progress()
		nats.Stop()
		time.Sleep(time.Duration(1+round%3) * 300 * time.Millisecond)
		nats.Start(t)
		load.Progress()
	}
	load.Stop()
	t.Log(load.Summary())
}

// TestPostgreSQLRestarted kills the database under a cluster; it comes back by itself.
func TestPostgreSQLRestarted(t *testing.T) {
	dir := filepath.Join(testkit.Dir(t), "postgres")
	db, err := pgd.Start(t.Context(), pgd.Options{DataDir: dir, Durable: true, DieWithParent: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	cl := scenario.NewCluster(t, scenario.Config(t), testkit.NATS(t), db.URL())
	load := scenario.StartLoad(t, cl.Home, 3)
	for round := range rounds(t, 2) {
		load.Progress()
		old := postmaster(t, dir)
		signal := syscall.SIGINT // fast shutdown
		if round%2 == 1 {
			signal = syscall.SIGQUIT // as after a crash: recovery
		}
		if err := syscall.Kill(old, signal); err != nil {
			t.Fatal(err)
		}
		load.Progress()
		if postmaster(t, dir) == old {
			t.Error("PostgreSQL was not restarted")
		}
	}
	load.Stop()
	t.Log(load.Summary())
}

// TestKilledServer kills a whole server with its private PostgreSQL: in turn the
// process alone, whose database the next start adopts, and both, as in a power cut.
func TestKilledServer(t *testing.T) {
	s := scenario.NewStandalone(t, scenario.Config(t))
	load := scenario.StartLoad(t, s.Home, 3)
	for round := range rounds(t, 2) {
		load.Progress()
		s.Process.Kill()
		if round%2 == 1 {
			if err := syscall.Kill(postmaster(t, filepath.Join(s.DataDir, "postgres")), syscall.SIGQUIT); err != nil {
				t.Fatal(err)
			}
		}
		s.Process.Start(t)
		s.Process.WaitReady(t)
		load.Progress()
	}
	load.Stop()
	t.Log(load.Summary())
}

// postmaster is the process id of a private PostgreSQL.
func postmaster(t *testing.T, dir string) int {
	t.Helper()
	pid := scenario.PostmasterPID(dir)
	if pid == 0 {
		t.Fatal("PostgreSQL does not run")
	}
	return pid
}
