package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// validate checks what a single value's type cannot say.
func (d *decoder) validate(c *Config) {
	d.serverName(c)
	d.addresses(c)
	d.tls(c)
	d.bus(c)
	d.database(c)
	d.numbers(c)
}

// at reports a problem of an option at the line that set it.
func (d *decoder) at(path, text, mend string) { d.problem(path, d.lines[path], text, mend) }

// spec: appendices §Server Name
var hostname = regexp.MustCompile(`^[A-Za-z0-9.-]{1,230}$`)

func (d *decoder) serverName(c *Config) {
	if c.ServerName == "" {
		d.at("server_name", "is missing", "set it to your domain, as in server_name: example.org")
		return
	}
	if !validServerName(c.ServerName) {
		d.at("server_name", fmt.Sprintf("%q is not a server name", c.ServerName),
			"use a domain such as example.org, without https:// and without a path")
	}
}

func validServerName(s string) bool {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		port, err := strconv.ParseUint(s[i+1:], 10, 16)
		if err != nil || port == 0 {
			return false
		}
		host = s[:i]
	}
	if v6, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(v6, "]"))
		return err == nil && a.Is6() && a.Zone() == "" && strings.HasSuffix(host, "]")
	}
	return hostname.MatchString(host)
}

func (d *decoder) addresses(c *Config) {
	for _, a := range c.Listen.Client {
		d.address("listen.client", a)
	}
	if c.Listen.Metrics != "" {
		d.address("listen.metrics", c.Listen.Metrics)
	}
	if c.ClientBaseURL != "" {
		u, err := url.Parse(c.ClientBaseURL)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			d.at("client_base_url", fmt.Sprintf("%q is not a web address", c.ClientBaseURL), "write it as https://matrix.example.org")
		}
	}
	if c.DataDir == "" {
		d.at("data_dir", "is empty", "name a folder, or take the line out for ./data")
	}
}

func (d *decoder) address(path, a string) {
	_, port, err := net.SplitHostPort(a)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		d.at(path, fmt.Sprintf("%q is not an address", a), "write host:port, as in localhost:8008 or :443")
	}
}

func (d *decoder) tls(c *Config) {
	t := c.TLS
	if (t.CertFile == "") != (t.KeyFile == "") {
		d.at("tls", "cert_file and key_file belong together", "set both or neither")
	}
	if t.CertFile != "" && len(t.ACME.Domains) > 0 {
		d.at("tls.acme.domains", "there are certificate files too", "keep either cert_file and key_file, or acme")
	}
	d.readable("tls.cert_file", t.CertFile)
	d.readable("tls.key_file", t.KeyFile)
	for _, dom := range t.ACME.Domains {
		if !hostname.MatchString(dom) || !strings.Contains(dom, ".") {
			d.at("tls.acme.domains", fmt.Sprintf("%q is not a domain", dom), "write it as matrix.example.org")
		}
	}
	if len(t.ACME.Domains) > 0 && !strings.HasPrefix(t.ACME.Directory, "https://") {
		d.at("tls.acme.directory", "is not an https:// address", "take the line out for Let's Encrypt")
	}
}

func (d *decoder) bus(c *Config) {
	n := c.NATS
	if n.URL == "" {
		if n.CredsFile != "" || n.User != "" || n.Password != "" || n.TLS != (NATSTLS{}) {
			d.at("nats", "has access data but no url", "set nats.url, or take the section out to run without a cluster")
		}
		return
	}
	for u := range strings.SplitSeq(n.URL, ",") {
		p, err := url.Parse(strings.TrimSpace(u))
		if err != nil || (p.Scheme != "nats" && p.Scheme != "tls") || p.Host == "" {
			d.at("nats.url", "is not the address of a NATS server", "write it as nats://host:4222 or tls://host:4222")
			break
		}
	}
	if (n.User == "") != (n.Password == "") {
		d.at("nats.user", "user and password belong together", "set both or neither")
	}
	if (n.TLS.CertFile == "") != (n.TLS.KeyFile == "") {
		d.at("nats.tls", "cert_file and key_file belong together", "set both or neither")
	}
	d.readable("nats.creds_file", n.CredsFile)
	d.readable("nats.tls.ca_file", n.TLS.CAFile)
	d.readable("nats.tls.cert_file", n.TLS.CertFile)
	d.readable("nats.tls.key_file", n.TLS.KeyFile)
	if c.Database.URL == "" {
		d.at("nats.url", "there is no database.url", "a cluster needs a PostgreSQL that all its machines reach: set database.url")
	}
}

func (d *decoder) database(c *Config) {
	if u := c.Database.URL.Reveal(); u != "" {
		p, err := url.Parse(u)
		if err != nil || (p.Scheme != "postgres" && p.Scheme != "postgresql") {
			d.at("database.url", "is not the address of a PostgreSQL", "write it as postgres://user@host/database?sslmode=verify-full")
		}
		if c.Database.BinDir != "" {
			d.at("database.bin_dir", "is only for the private database, and database.url is set", "keep one of the two")
		}
	}
	if c.Database.BinDir != "" {
		if _, err := os.Stat(c.Database.BinDir); err != nil {
			d.at("database.bin_dir", "there is no such folder", "name the folder that holds initdb and postgres")
		}
	}
}

func (d *decoder) numbers(c *Config) {
	most := int64(1000)
	if c.Database.URL == "" {
		most = 50 // the private PostgreSQL takes 60, and leaves some for pg_dump
	}
	d.between("database.max_connections", int64(c.Database.MaxConnections), 4, most, "")
	d.between("auth.argon2.memory", c.Auth.Argon2.Memory.Bytes(), 8<<20, 1<<30, " bytes")
	d.between("auth.argon2.iterations", int64(c.Auth.Argon2.Iterations), 1, 20, "")
	d.between("auth.argon2.parallelism", int64(c.Auth.Argon2.Parallelism), 1, 16, "")
	d.between("auth.access_token_lifetime", int64(c.Auth.AccessTokenLifetime.Std().Seconds()), 60, 366*86400, " seconds")
	d.between("auth.refresh_token_lifetime", int64(c.Auth.RefreshTokenLifetime.Std().Seconds()),
		int64(c.Auth.AccessTokenLifetime.Std().Seconds()), 10*366*86400, " seconds")
	switch c.Rooms.DefaultVersion {
	case "10", "11", "12":
	default:
		d.at("rooms.default_version", fmt.Sprintf("%q is not a version rooms can be made with", c.Rooms.DefaultVersion),
			"use 10, 11 or 12")
	}
	d.rate("rate_limits.login", c.RateLimits.Login)
	d.rate("rate_limits.write", c.RateLimits.Write)
	d.rate("rate_limits.read", c.RateLimits.Read)
	d.rate("rate_limits.expensive", c.RateLimits.Expensive)
}

func (d *decoder) between(path string, n, low, high int64, unit string) {
	if n < low || n > high {
		d.at(path, fmt.Sprintf("%d%s is out of range", n, unit), fmt.Sprintf("choose between %d and %d%s", low, high, unit))
	}
}

func (d *decoder) rate(path string, r Rate) {
	if r.PerSecond < 0 || r.PerSecond > 1e6 {
		d.at(path+".per_second", "is out of range", "choose a number of requests per second; 0 turns the limit off")
	}
	if r.PerSecond > 0 && r.Burst < 1 {
		d.at(path+".burst", "would let nobody in", "choose 1 or more")
	}
}

func (d *decoder) readable(path, name string) {
	if name == "" {
		return
	}
	f, err := os.Open(name)
	if err != nil {
		d.at(path, fmt.Sprintf("cannot be read (%v)", err), "let the server's account read it, or correct the path")
		return
	}
	f.Close()
}
