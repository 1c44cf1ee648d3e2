package scenario

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"allmende/config"
	"allmende/internal/testkit"

	"go.yaml.in/yaml/v3"
)

// members are the processes of a cluster: what one would run on several machines.
var members = []string{"roomserver", "roomserver", "clientapi", "syncapi", "syncapi"}

// Process is one process of a cluster.
type Process struct {
	Service string

	config string // file
	client string // address for clients, empty for services without
	health string // address of metrics and health
	cmd    *exec.Cmd
	ended  chan struct{}
}

// Cluster is a Home whose processes can be hurt one by one.
type Cluster struct {
	*Home
	Processes []*Process
}

// Split starts a cluster: each service in processes of its own, two of some, an
// external NATS and PostgreSQL, and a reverse proxy in front that knows the same
// path table as the examples in deploy.
func Split(t testing.TB) *Home {
	t.Helper()
	return NewCluster(t, Config(t), testkit.NATS(t), testkit.DatabaseURL(t)).Home
}

// NewCluster starts a cluster on a given bus and database.
func NewCluster(t testing.TB, c *config.Config, natsURL, databaseURL string) *Cluster {
	t.Helper()
	front := newProxy(t)
	cl := &Cluster{}
	admin := *c
	admin.NATS.URL = natsURL
	for i, service := range members {
		p := &Process{Service: service, health: freeAddress(t)}
		if service != "roomserver" {
			p.client = freeAddress(t)
			front.add(service, p.client)
		}
		p.config = writeConfig(t, i, p, c, natsURL, databaseURL)
		cl.Processes = append(cl.Processes, p)
	}
	cl.Home = &Home{
		ServerName: c.ServerName,
		config:     &admin,
		url:        func() string { return front.url },
		restart: func(t testing.TB) {
			for _, p := range cl.Processes {
				p.Stop(t)
			}
			cl.startAll(t)
		},
		transport: newTransport(t),
	}
	t.Cleanup(func() {
		for _, p := range cl.Processes {
			p.Stop(t)
		}
	})
	cl.startAll(t)
	return cl
}

func (cl *Cluster) startAll(t testing.TB) {
	t.Helper()
	for _, p := range cl.Processes {
		p.Start(t)
	}
	for _, p := range cl.Processes {
		p.WaitReady(t)
	}
}

// Start starts the process without waiting for it.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	args := []string{"serve", "--config", p.config}
	if p.Service != "" {
		args = append(args, "--only", p.Service)
	}
	p.cmd = exec.Command(binary(t), args...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = append(os.Environ(), "ALLMENDE_LOG_LEVEL=warn")
	out := &lines{t: t, prefix: p.Service}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.Service, err)
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // how it ended is judged by who ended it
		close(ended)
	}(p.cmd, p.ended)
}

// WaitReady waits until the process answers that it is ready.
func (p *Process) WaitReady(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		select {
		case <-p.ended:
			t.Fatalf("%s ended while it was starting", p.Service)
		default:
		}
		resp, err := http.Get("http://" + p.health + "/health/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("%s was not ready in time", p.Service)
}

// Stop ends the process in order and fails the test if it does not end well.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.ended:
	case <-time.After(startTimeout):
		t.Errorf("%s did not stop in time", p.Service)
		p.Kill()
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s ended with code %d", p.Service, code)
	}
	p.cmd = nil
}

// Kill ends the process as a power cut would.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.ended
	p.cmd = nil
}

func writeConfig(t testing.TB, n int, p *Process, c *config.Config, natsURL, databaseURL string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), fmt.Sprintf("%s-%d.yaml", p.Service, n))
	settings := M{
		"server_name":     c.ServerName,
		"data_dir":        filepath.Join(c.DataDir, fmt.Sprintf("%s-%d", p.Service, n)),
		"client_base_url": "http://localhost:8008",
		"registration":    M{"policy": string(c.Registration.Policy)},
		"presence":        M{"enabled": c.Presence.Enabled},
		"auth":            M{"argon2": M{"memory": "8MiB", "iterations": 1, "parallelism": 1}},
		"rate_limits":     unlimited(),
	}
	if natsURL != "" {
		settings["nats"] = M{"url": natsURL}
		settings["database"] = M{"url": databaseURL, "max_connections": 8}
	}
	listen := M{"metrics": p.health}
	if p.client != "" {
		listen["client"] = []string{p.client}
	}
	settings["listen"] = listen
	raw, err := yaml.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func unlimited() M {
	none := M{"per_second": 0, "burst": 0}
	return M{"login": none, "write": none, "read": none, "expensive": none}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

var built struct {
	sync.Once
	path string
	err  error
}

// binary builds the program once per test binary.
func binary(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		dir, err := os.MkdirTemp("", "allmende-binary-")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "allmende")
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", built.path, "allmende/cmd/allmende").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build the program: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// lines hands a process's log to the test.
type lines struct {
	t      testing.TB
	prefix string
}

func (l *lines) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		fmt.Fprintf(l.t.Output(), "%s: %s", l.prefix, line)
	}
	return len(b), nil
}
