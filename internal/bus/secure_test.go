package bus_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"allmende/internal/bus"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

func clientPort(t testing.TB, clientURL string) int {
	t.Helper()
	u, err := url.Parse(clientURL)
	if err != nil {
		t.Fatal(err)
	}
	p, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLSAndPassword(t *testing.T) {
	cert, pool := selfSigned(t)
	s := natsServer(t, -1, func(o *server.Options) {
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
		o.Username, o.Password = "u", "p"
	})
	b := connect(t, bus.Options{URL: s.ClientURL(), TLS: &tls.Config{RootCAs: pool}, User: "u", Password: "p"})
	if err := b.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := bus.Connect(t.Context(), bus.Options{URL: s.ClientURL(), TLS: &tls.Config{RootCAs: pool}, User: "u", Password: "wrong", Log: testLog(t)}); err == nil {
		t.Error("a wrong password was taken")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := bus.Connect(ctx, bus.Options{URL: s.ClientURL(), TLS: &tls.Config{RootCAs: x509.NewCertPool()}, User: "u", Password: "p", Log: testLog(t)}); err == nil {
		t.Error("an unknown certificate was taken")
	}
}

func TestCredentialsFile(t *testing.T) {
	operator, operatorPub := newKey(t, nkeys.CreateOperator)
	account, accountPub := newKey(t, nkeys.CreateAccount)
	user, userPub := newKey(t, nkeys.CreateUser)
	oc := jwt.NewOperatorClaims(operatorPub)
	operatorJWT, err := oc.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := jwt.DecodeOperatorClaims(operatorJWT)
	if err != nil {
		t.Fatal(err)
	}
	accountJWT, err := jwt.NewAccountClaims(accountPub).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	userJWT, err := jwt.NewUserClaims(userPub).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(userJWT, seed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "user.creds")
	if err := os.WriteFile(file, creds, 0o600); err != nil {
		t.Fatal(err)
	}
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(accountPub, accountJWT); err != nil {
		t.Fatal(err)
	}
	s := natsServer(t, -1, func(o *server.Options) {
		o.TrustedOperators = []*jwt.OperatorClaims{decoded}
		o.AccountResolver = resolver
	})
	b := connect(t, bus.Options{URL: s.ClientURL(), CredsFile: file})
	if err := b.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := bus.Connect(t.Context(), bus.Options{URL: s.ClientURL(), Log: testLog(t)}); err == nil {
		t.Error("connected without credentials")
	}
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	k, err := create()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return k, pub
}

func TestConnectNeedsOneServer(t *testing.T) {
	if _, err := bus.Connect(t.Context(), bus.Options{}); err == nil {
		t.Error("connected to nothing")
	}
}

func TestConnectWaitsForTheServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	type result struct {
		b   *bus.Bus
		err error
	}
	done := make(chan result, 1)
	go func() {
		b, err := bus.Connect(context.Background(), bus.Options{URL: "nats://127.0.0.1:" + strconv.Itoa(port), Log: testLog(t)})
		done <- result{b, err}
	}()
	time.Sleep(150 * time.Millisecond)
	natsServer(t, port, nil)
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	r.b.Close()
}
