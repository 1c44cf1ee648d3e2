package run

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"allmende/config"
)

// writePair makes a self-signed certificate for the name, written at that time.
func writePair(t *testing.T, cert, key, name string, written time.Time) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{
		cert: issue(t, []string{name}, k.Public(), nil, k),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, written, written); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificateFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	c := config.Default("example.org")
	c.TLS.CertFile, c.TLS.KeyFile = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	if _, err := listenerTLS(t.Context(), c, &net.TCPAddr{}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("missing files are accepted")
	}

	files := &certFiles{cert: c.TLS.CertFile, key: c.TLS.KeyFile, log: slog.New(slog.DiscardHandler)}
	name := func() string {
		t.Helper()
		files.looked = time.Time{}
		got, err := files.current(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return got.Leaf.DNSNames[0]
	}
	writePair(t, c.TLS.CertFile, c.TLS.KeyFile, "old.example", time.Unix(1000, 0))
	if got := name(); got != "old.example" {
		t.Errorf("serves %s", got)
	}
	writePair(t, c.TLS.CertFile, c.TLS.KeyFile, "new.example", time.Unix(2000, 0))
	if got := name(); got != "new.example" {
		t.Errorf("after renewal it serves %s", got)
	}
	if err := os.WriteFile(c.TLS.CertFile, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := name(); got != "new.example" {
		t.Errorf("after a broken renewal it serves %s", got)
	}
}

func TestBusTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	writePair(t, cert, key, "nats.example", time.Now())
	if conf, err := busTLS(config.NATSTLS{}); conf != nil || err != nil {
		t.Errorf("nothing set: %v, %v", conf, err)
	}
	conf, err := busTLS(config.NATSTLS{CAFile: cert, CertFile: cert, KeyFile: key})
	if err != nil {
		t.Fatal(err)
	}
	if conf.RootCAs == nil || len(conf.Certificates) != 1 {
		t.Errorf("roots %v, %d certificates", conf.RootCAs, len(conf.Certificates))
	}
	if _, err := busTLS(config.NATSTLS{CAFile: key}); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("a key as authority: %v", err)
	}
}
