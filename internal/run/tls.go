package run

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"allmende/config"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// listenerTLS is what the client listeners need to speak TLS: from files, from a certificate authority, or nil for neither. The
// authority is asked in the background for as long as ctx lives; until it has answered, handshakes fail.
func listenerTLS(ctx context.Context, c *config.Config, addr net.Addr, log *slog.Logger) (*tls.Config, error) {
	switch {
	case c.TLS.CertFile != "":
		files := &certFiles{cert: c.TLS.CertFile, key: c.TLS.KeyFile, log: log}
		if _, err := files.current(nil); err != nil {
			return nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.current, NextProtos: []string{"h2", "http/1.1"}}, nil
	case len(c.TLS.ACME.Domains) > 0:
		return acmeTLS(ctx, c, addr, nil, log)
	}
	return nil, nil
}

// acmeTLS fetches and renews certificates. roots, when set, replace the system's for talking to the authority.
func acmeTLS(ctx context.Context, c *config.Config, addr net.Addr, roots *x509.CertPool, log *slog.Logger) (*tls.Config, error) {
	_, portText, err := net.SplitHostPort(addr.String())
	if err != nil {
		return nil, fmt.Errorf("read listener address: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("read listener port: %w", err)
	}
	logger := zap.New(slogCore{log: log})
	var magic *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return magic, nil },
		Logger:           logger,
	})
	context.AfterFunc(ctx, cache.Stop)
	magic = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: c.Path("acme")},
		Logger:  logger,
	})
	magic.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(magic, certmagic.ACMEIssuer{
		CA:                   c.TLS.ACME.Directory,
		Email:                c.TLS.ACME.Email,
		Agreed:               true,
		DisableHTTPChallenge: true, // only our own listener answers
		AltTLSALPNPort:       port,
		TrustedRoots:         roots,
		Logger:               logger,
	})}
	if err := magic.ManageAsync(ctx, c.TLS.ACME.Domains); err != nil {
		return nil, fmt.Errorf("manage certificates: %w", err)
	}
	conf := magic.TLSConfig()
	conf.NextProtos = append([]string{"h2", "http/1.1"}, conf.NextProtos...)
	return conf, nil
}

// certFiles serves a certificate from two files and notices when they are replaced.
type certFiles struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	loaded  *tls.Certificate
	changed [2]time.Time
	looked  time.Time
}

// lookEvery is how long a renewed certificate may go unnoticed.
const lookEvery = 10 * time.Second

func (f *certFiles) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded != nil && time.Since(f.looked) < lookEvery {
		return f.loaded, nil
	}
	f.looked = time.Now()
	if err := f.load(); err != nil {
		if f.loaded == nil {
			return nil, err
		}
		f.log.Error("read renewed certificate; the old one stays in use", "error", err)
	}
	return f.loaded, nil
}

func (f *certFiles) load() error {
	var changed [2]time.Time
	for i, name := range []string{f.cert, f.key} {
		st, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("read certificate: %w", err)
		}
		changed[i] = st.ModTime()
	}
	if f.loaded != nil && changed == f.changed {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	f.loaded, f.changed = &pair, changed
	return nil
}

// busTLS is the TLS of the connection to NATS, or nil when the URL alone decides.
func busTLS(t config.NATSTLS) (*tls.Config, error) {
	if t == (config.NATSTLS{}) {
		return nil, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read nats.tls.ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("read nats.tls.ca_file: there is no certificate in it")
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read nats.tls.cert_file: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
