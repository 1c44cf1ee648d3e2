package run

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"allmende/config"
)

// authority is a small certificate authority that speaks ACME (RFC 8555) and checks the tls-alpn-01 challenge (RFC 8737)
// by connecting to one address, whatever the domain.
type authority struct {
	t      *testing.T
	server *httptest.Server
	target string
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	nonces atomic.Int64

	thumbprint string
	domain     string
	valid      bool
	chain      []byte
}

func newAuthority(t *testing.T, target string) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, target: target, key: key, cert: cert}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dir", func(w http.ResponseWriter, _ *http.Request) {
		a.reply(w, 200, map[string]string{"newNonce": a.url("nonce"), "newAccount": a.url("account"), "newOrder": a.url("order")})
	})
	mux.HandleFunc("/nonce", func(w http.ResponseWriter, _ *http.Request) { a.reply(w, 200, nil) })
	mux.HandleFunc("POST /account", a.account)
	mux.HandleFunc("POST /order", a.order)
	mux.HandleFunc("POST /order/1", func(w http.ResponseWriter, _ *http.Request) { a.reply(w, 200, a.orderBody()) })
	mux.HandleFunc("POST /authz", func(w http.ResponseWriter, _ *http.Request) { a.reply(w, 200, a.authzBody()) })
	mux.HandleFunc("POST /challenge", a.challenge)
	mux.HandleFunc("POST /finalize", a.finalize)
	mux.HandleFunc("POST /cert", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		a.nonce(w)
		w.Write(a.chain)
	})
	a.server = httptest.NewTLSServer(mux)
	t.Cleanup(a.server.Close)
	return a
}

func (a *authority) url(path string) string { return a.server.URL + "/" + path }

func (a *authority) nonce(w http.ResponseWriter) {
	w.Header().Set("Replay-Nonce", fmt.Sprintf("nonce%d", a.nonces.Add(1)))
}

func (a *authority) reply(w http.ResponseWriter, status int, body any) {
	a.nonce(w)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if body != nil {
		json.NewEncoder(w).Encode(body)
	}
}

// jws decodes the two parts of a signed request; the signature is not this test's subject.
func (a *authority) jws(r *http.Request, protected, payload any) {
	var body struct{ Protected, Payload string }
	err := json.NewDecoder(r.Body).Decode(&body)
	for _, part := range []struct {
		text string
		into any
	}{{body.Protected, protected}, {body.Payload, payload}} {
		if part.into != nil && part.text != "" && err == nil {
			var b []byte
			if b, err = base64.RawURLEncoding.DecodeString(part.text); err == nil {
				err = json.Unmarshal(b, part.into)
			}
		}
	}
	if err != nil {
		a.t.Errorf("read ACME request: %v", err)
	}
}

func (a *authority) account(w http.ResponseWriter, r *http.Request) {
	var protected struct {
		JWK struct{ Crv, Kty, X, Y string }
	}
	a.jws(r, &protected, nil)
	j := protected.JWK
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":%q,"kty":%q,"x":%q,"y":%q}`, j.Crv, j.Kty, j.X, j.Y)) // RFC 7638
	a.thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
	w.Header().Set("Location", a.url("account/1"))
	a.reply(w, 201, map[string]any{"status": "valid", "orders": a.url("orders")})
}

func (a *authority) order(w http.ResponseWriter, r *http.Request) {
	var payload struct {
		Identifiers []struct{ Type, Value string }
	}
	a.jws(r, nil, &payload)
	a.domain = payload.Identifiers[0].Value
	w.Header().Set("Location", a.url("order/1"))
	a.reply(w, 201, a.orderBody())
}

func (a *authority) orderBody() map[string]any {
	body := map[string]any{"status": "pending", "authorizations": []string{a.url("authz")}, "finalize": a.url("finalize"),
		"identifiers": []map[string]string{{"type": "dns", "value": a.domain}}}
	if a.valid {
		body["status"] = "ready"
	}
	if a.chain != nil {
		body["status"], body["certificate"] = "valid", a.url("cert")
	}
	return body
}

func (a *authority) authzBody() map[string]any {
	status := "pending"
	if a.valid {
		status = "valid"
	}
	return map[string]any{"status": status, "identifier": map[string]string{"type": "dns", "value": a.domain},
		"challenges": []map[string]string{{"type": "tls-alpn-01", "url": a.url("challenge"), "token": "token", "status": status}}}
}

func (a *authority) challenge(w http.ResponseWriter, _ *http.Request) {
	if err := a.prove(); err != nil {
		a.t.Errorf("challenge: %v", err)
	} else {
		a.valid = true
	}
	a.reply(w, 200, map[string]string{"type": "tls-alpn-01", "url": a.url("challenge"), "token": "token", "status": "processing"})
}

// prove asks the domain's server for the proof: a certificate holding the digest of token and account key.
func (a *authority) prove() error {
	conn, err := tls.Dial("tcp", a.target, &tls.Config{ServerName: a.domain, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer conn.Close()
	want := sha256.Sum256([]byte("token." + a.thumbprint))
	wrapped, err := asn1.Marshal(want[:])
	if err != nil {
		return err
	}
	for _, ext := range conn.ConnectionState().PeerCertificates[0].Extensions {
		if ext.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) && bytes.Equal(ext.Value, wrapped) {
			return nil
		}
	}
	return errors.New("the proof is missing")
}

func (a *authority) finalize(w http.ResponseWriter, r *http.Request) {
	var payload struct{ CSR string }
	a.jws(r, nil, &payload)
	der, err := base64.RawURLEncoding.DecodeString(payload.CSR)
	if err != nil {
		a.t.Error(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		a.t.Error(err)
		return
	}
	a.chain = issue(a.t, csr.DNSNames, csr.PublicKey, a.cert, a.key)
	a.reply(w, 200, a.orderBody())
}

// issue makes a certificate chain in PEM; without a parent it signs itself.
func issue(t *testing.T, names []string, public crypto.PublicKey, parent *x509.Certificate, key crypto.Signer) []byte {
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: names, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if parent == nil {
		parent = tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, public, key)
	if err != nil {
		t.Error(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if parent != tmpl {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: parent.Raw})...)
	}
	return chain
}

// TestACME obtains a certificate on the client listener itself and serves with it.
func TestACME(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t, ln.Addr().String())
	trusted := x509.NewCertPool()
	trusted.AddCert(a.server.Certificate())

	c := config.Default("example.org")
	c.DataDir = t.TempDir()
	c.TLS.ACME = config.ACME{Domains: []string{"matrix.example.org"}, Directory: a.url("dir")}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	conf, err := acmeTLS(ctx, c, ln.Addr(), trusted, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{TLSConfig: conf, Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go srv.ServeTLS(ln, "", "")
	defer srv.Close()

	issued := x509.NewCertPool()
	issued.AddCert(a.cert)
	for {
		conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{ServerName: "matrix.example.org", RootCAs: issued, NextProtos: []string{"h2"}})
		if err == nil {
			defer conn.Close()
			if names := conn.ConnectionState().PeerCertificates[0].DNSNames; !slices.Equal(names, c.TLS.ACME.Domains) {
				t.Errorf("certificate for %q", names)
			}
			if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
				t.Errorf("protocol %q", p)
			}
			return
		}
		if t.Failed() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
