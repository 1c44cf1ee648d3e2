package config

import (
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
)

// Local reports whether the server is one's own machine trying things out: the name is localhost or a loopback address.
func (c *Config) Local() bool {
	host := c.ServerName
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// BaseURL is client_base_url or what follows from the rest, without a slash at the end. listener is the address the
// first client listener really has; nil: the one it is configured to have.
func (c *Config) BaseURL(listener net.Addr) string {
	if c.ClientBaseURL != "" {
		return strings.TrimRight(c.ClientBaseURL, "/")
	}
	if c.Local() && len(c.Listen.Client) > 0 {
		addr := c.Listen.Client[0]
		if listener != nil {
			addr = listener.String()
		}
		if _, port, err := net.SplitHostPort(addr); err == nil {
			return "http://localhost:" + port
		}
	}
	return "https://" + c.ServerName
}

// Delegate is host and port of a base URL, as other servers want it in /.well-known/matrix/server.
func Delegate(baseURL string) string {
	u, err := url.Parse(baseURL)
	if err != nil {
		return ""
	}
	if u.Port() != "" {
		return u.Host
	}
	if u.Scheme == "http" {
		return u.Host + ":80"
	}
	return u.Host + ":443"
}

// Path is a file or folder of that name in the data directory.
func (c *Config) Path(name string) string { return filepath.Join(c.DataDir, name) }

// WithTLS reports whether the client listeners speak TLS.
func (c *Config) WithTLS() bool { return c.TLS.CertFile != "" || len(c.TLS.ACME.Domains) > 0 }
