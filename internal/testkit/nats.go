package testkit

import (
	"net"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// NATS is the address of a NATS server as an admin would run it, for tests of clusters. It ends with the test.
func NATS(t testing.TB) string {
	t.Helper()
	return NewNATSServer(t).URL()
}

// NATSServer is a NATS server that can be stopped and started again on its port.
type NATSServer struct {
	server *natsserver.Server
	port   int
}

// NewNATSServer starts a server that ends with the test.
func NewNATSServer(t testing.TB) *NATSServer {
	t.Helper()
	n := &NATSServer{port: natsserver.RANDOM_PORT}
	n.Start(t)
	t.Cleanup(n.Stop)
	return n
}

// URL is its address, the same after a restart.
func (n *NATSServer) URL() string { return n.server.ClientURL() }

// Start starts it again after Stop.
func (n *NATSServer) Start(t testing.TB) {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: n.port, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	n.server = s
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server was not ready in time")
	}
	n.port = s.Addr().(*net.TCPAddr).Port
}

// Stop ends it; whoever is connected is cut off.
func (n *NATSServer) Stop() {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}
