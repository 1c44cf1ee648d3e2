package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var prefixes = cmpopts.EquateComparable(netip.Prefix{})

func mustParse(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	c, problems := Parse("a.yaml", []byte(text), environ)
	for _, p := range problems {
		t.Error(p)
	}
	return c
}

func TestServerNameAloneIsEnough(t *testing.T) {
	c := mustParse(t, "server_name: example.org")
	if diff := cmp.Diff(Default("example.org"), c, prefixes); diff != "" {
		t.Error(diff)
	}
}

func TestExampleIsTheDefault(t *testing.T) {
	c := mustParse(t, string(Example()))
	if diff := cmp.Diff(Default("example.org"), c, prefixes); diff != "" {
		t.Errorf("the example changes a default:\n%s", diff)
	}
}

// Every line the example has commented out must be accepted when somebody takes the # away.
func TestExampleUncommented(t *testing.T) {
	var lines []string
	for line := range strings.SplitSeq(string(Example()), "\n") {
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		if rest := line[len(indent):]; strings.HasPrefix(rest, "#") && !strings.HasPrefix(rest, "# ") {
			line = indent + rest[1:]
		}
		lines = append(lines, line)
	}
	_, problems := Parse("example.yaml", []byte(strings.Join(lines, "\n")), nil)
	for _, p := range problems {
		// Files of the examples do not exist here, and the example shows alternatives side by side.
		if strings.Contains(p.Text, "not an option") || strings.Contains(p.Text, "should be") || strings.Contains(p.Text, "YAML") {
			t.Error(p)
		}
	}
}

func TestValuesOfEveryKind(t *testing.T) {
	c := mustParse(t, `
server_name: example.org
listen: {client: [":443", "[::1]:8008"]}
trusted_proxies: [10.0.0.0/8]
registration: {policy: closed}
rooms: {default_version: 11}
auth: {access_token_lifetime: 2h, refresh_token_lifetime: 30d, argon2: {memory: 32MiB}}
rate_limits: {write: {per_second: 2.5}}
log: {level: debug}
presence: {enabled: yes}
database:
`, "ALLMENDE_LISTEN_METRICS=127.0.0.1:9008", "ALLMENDE_TRUSTED_PROXIES=192.0.2.0/24, 2001:db8::/32",
		"ALLMENDE_DATABASE_MAX_CONNECTIONS=40", "ALLMENDE_ROOMS_DEFAULT_VERSION=10", "ALLMENDE_DATABASE_BIN_DIR=",
		"ALLMENDE_PORT=tcp://10.0.0.1:80", "PATH=/bin")
	want := Default("example.org")
	want.Listen = Listen{Client: []string{":443", "[::1]:8008"}, Metrics: "127.0.0.1:9008"}
	want.TrustedProxies = c.TrustedProxies
	want.Registration.Policy = RegistrationClosed
	want.Rooms.DefaultVersion = "10"
	want.Auth.AccessTokenLifetime = Duration(2 * time.Hour)
	want.Auth.RefreshTokenLifetime = Duration(30 * 24 * time.Hour)
	want.Auth.Argon2.Memory = 32 << 20
	want.RateLimits.Write.PerSecond = 2.5
	want.Log.Level = "debug"
	want.Presence.Enabled = true
	want.Database.MaxConnections = 40
	if diff := cmp.Diff(want, c, prefixes); diff != "" {
		t.Error(diff)
	}
	if got := fmt.Sprint(c.TrustedProxies); got != "[192.0.2.0/24 2001:db8::/32]" {
		t.Errorf("trusted_proxies = %s", got)
	}
}

func TestEveryProblemIsListed(t *testing.T) {
	_, problems := Parse("a.yaml", []byte(`server_nam: example.org
listen:
  client: localhost:8008
  client: [x]
log: {level: loud, format: [a]}
rooms: 12
auth: {argon2: {memory: 19, iterations: many}}
data_dir: {a: b}
trusted_proxies: [10.0.0.1]
`), []string{"ALLMENDE_DATABASE_ULR=x", "ALLMENDE_LOG_LEVEL=quiet"})
	want := []string{
		`a.yaml:1: server_nam: is not an option; did you mean server_name?`,
		`a.yaml:3: listen.client: "localhost:8008" should be a list, as in [a, b]; see docs/config.md for what it may be`,
		`a.yaml:4: listen.client: is set twice; keep one of the two`,
		`a.yaml:5: log.level: "loud" is not one of debug, info, warn, error; see docs/config.md for what it may be`,
		`a.yaml:5: log.format: should be text; see docs/config.md for what it may be`,
		`a.yaml:6: rooms: should hold options of its own; write them on indented lines below it`,
		`a.yaml:7: auth.argon2.memory: "19" is not a size such as 512KiB, 1MiB or 2GiB; see docs/config.md for what it may be`,
		`a.yaml:7: auth.argon2.iterations: "many" should be a whole number; see docs/config.md for what it may be`,
		`a.yaml:8: data_dir: holds a value, not options; write the value behind the colon`,
		`a.yaml:9: trusted_proxies: netip.ParsePrefix("10.0.0.1"): no '/'; see docs/config.md for what it may be`,
		`ALLMENDE_LOG_LEVEL: "quiet" is not one of debug, info, warn, error; see docs/config.md for what it may be`,
		`ALLMENDE_DATABASE_ULR is not an option of database; see docs/config.md; the closest is ALLMENDE_DATABASE_URL`,
	}
	if diff := cmp.Diff(want, texts(problems)); diff != "" {
		t.Error(diff)
	}
}

func texts(problems []Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}

func TestValidation(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"no name":         {"{}", "server_name: is missing"},
		"empty file":      {"", "server_name: is missing"},
		"url as name":     {"server_name: https://example.org", "is not a server name"},
		"bad port":        {"server_name: example.org:99999", "is not a server name"},
		"bad v6":          {"server_name: '[::1'", "is not a server name"},
		"address":         {"server_name: a.b\nlisten: {client: [localhost]}", "a.yaml:2: listen.client"},
		"metrics":         {"server_name: a.b\nlisten: {metrics: ':x'}", "listen.metrics"},
		"base url":        {"server_name: a.b\nclient_base_url: matrix.a.b", "client_base_url"},
		"half tls":        {"server_name: a.b\ntls: {cert_file: /dev/null}", "belong together"},
		"missing cert":    {"server_name: a.b\ntls: {cert_file: /nowhere, key_file: /dev/null}", "cannot be read"},
		"acme and files":  {"server_name: a.b\ntls: {cert_file: /dev/null, key_file: /dev/null, acme: {domains: [a.b]}}", "either"},
		"acme domain":     {"server_name: a.b\ntls: {acme: {domains: [localhost]}}", "is not a domain"},
		"bus without url": {"server_name: a.b\nnats: {user: x}", "has access data but no url"},
		"bus alone":       {"server_name: a.b\nnats: {url: nats://h}", "set database.url"},
		"bus scheme":      {"server_name: a.b\nnats: {url: http://h}\ndatabase: {url: postgres://h/d}", "NATS server"},
		"bus user":        {"server_name: a.b\nnats: {url: nats://h, user: u}\ndatabase: {url: postgres://h/d}", "belong together"},
		"database scheme": {"server_name: a.b\ndatabase: {url: mysql://h}", "database.url"},
		"bin_dir":         {"server_name: a.b\ndatabase: {bin_dir: /nowhere}", "no such folder"},
		"bin_dir and url": {"server_name: a.b\ndatabase: {bin_dir: /, url: postgres://h/d}", "private database"},
		"version":         {"server_name: a.b\nrooms: {default_version: 9}", "use 10, 11 or 12"},
		"connections":     {"server_name: a.b\ndatabase: {max_connections: 1}", "choose between 4 and 50"},
		"lifetimes":       {"server_name: a.b\nauth: {refresh_token_lifetime: 1h}", "auth.refresh_token_lifetime"},
		"rate":            {"server_name: a.b\nrate_limits: {read: {burst: 0}}", "nobody"},
		"negative rate":   {"server_name: a.b\nrate_limits: {read: {per_second: -1}}", "out of range"},
		"not yaml":        {"server_name: [", "is not YAML"},
		"not a mapping":   {"hello", "should hold options"},
		"secret file":     {"server_name: a.b\ndatabase: {url: 'file:/nowhere'}", "its file cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := Parse("a.yaml", []byte(tc.text), nil)
			if all := strings.Join(texts(problems), "\n"); !strings.Contains(all, tc.want) {
				t.Errorf("problems %q lack %q", all, tc.want)
			}
			for _, p := range problems {
				if p.Mend == "" {
					t.Errorf("%s: no mend", p)
				}
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Setenv("ALLMENDE_LOG_FORMAT", "json")
	name := filepath.Join(t.TempDir(), "a.yaml")
	if _, problems := Load(name); len(problems) != 1 || !strings.Contains(problems[0].String(), "server_name: example.org") {
		t.Errorf("missing file: %v", problems)
	}
	if err := os.WriteFile(name, []byte("server_name: example.org"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems := Load(name)
	if len(problems) > 0 || c.Log.Format != LogJSON {
		t.Errorf("format %q, problems %v", c.Log.Format, problems)
	}
	if _, problems := Load(filepath.Dir(name)); len(problems) != 1 {
		t.Errorf("a folder as file: %v", problems)
	}
	t.Setenv("ALLMENDE_SERVER_NAME", "a.example")
	if c, problems := Load(""); len(problems) > 0 || c.ServerName != "a.example" {
		t.Errorf("environment alone: %q, %v", c.ServerName, problems)
	}
}

func TestSecrets(t *testing.T) {
	name := filepath.Join(t.TempDir(), "url")
	const url = "postgres://u:hunter2@h/d"
	if err := os.WriteFile(name, []byte(url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := mustParse(t, "server_name: a.b\ndatabase: {url: 'file:"+name+"'}")
	if got := c.Database.URL.Reveal(); got != url {
		t.Errorf("Reveal() = %q", got)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "c", c, "u", c.Database.URL)
	if s := fmt.Sprintf("%v %+v %#v %s %s", c.Database, c, c, c.Database.URL, log.String()); strings.Contains(s, "hunter2") {
		t.Errorf("the secret is printed: %s", s)
	}
}

func TestValueForms(t *testing.T) {
	for in, want := range map[string]string{"90s": "1m30s", "24h": "1d", "30d": "30d", "1h": "1h", "90m": "1h30m", "0s": "0s", "10m": "10m"} {
		var d Duration
		if err := d.UnmarshalText([]byte(in)); err != nil || d.String() != want {
			t.Errorf("duration %q = %q, %v; want %q", in, d, err, want)
		}
	}
	for _, in := range []string{"", "-1h", "1.5d", "90000d", "d", "5"} {
		var d Duration
		if err := d.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("duration %q is accepted as %q", in, d)
		}
	}
	for in, want := range map[string]string{"1024KiB": "1MiB", "1 MiB": "1MiB", "3B": "3B", "0B": "0B", "2GiB": "2GiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(in)); err != nil || s.String() != want {
			t.Errorf("size %q = %q, %v; want %q", in, s, err, want)
		}
	}
	for _, in := range []string{"", "1", "-1MiB", "9999999999GiB", "1MB", "1.5MiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("size %q is accepted as %q", in, s)
		}
	}
	if LogLevel("warn").Slog() != slog.LevelWarn || LogLevel("").Slog() != slog.LevelInfo {
		t.Error("log levels are mapped wrongly")
	}
}

func TestBaseURL(t *testing.T) {
	listener := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}
	for _, tc := range []struct {
		name, base, want, delegate string
	}{
		{"example.org", "", "https://example.org", "example.org:443"},
		{"example.org", "https://matrix.example.org/", "https://matrix.example.org", "matrix.example.org:443"},
		{"example.org", "https://matrix.example.org:8448", "https://matrix.example.org:8448", "matrix.example.org:8448"},
		{"localhost", "", "http://localhost:4711", "localhost:4711"},
		{"localhost:8008", "", "http://localhost:4711", "localhost:4711"},
		{"[::1]", "", "http://localhost:4711", "localhost:4711"},
		{"a.localhost", "http://a.localhost", "http://a.localhost", "a.localhost:80"},
	} {
		c := Default(tc.name)
		c.ClientBaseURL = tc.base
		if configured := strings.Replace(tc.want, ":4711", ":8008", 1); c.BaseURL(nil) != configured {
			t.Errorf("%s, %q, before listening: %s, want %s", tc.name, tc.base, c.BaseURL(nil), configured)
		}
		got := c.BaseURL(listener)
		if got != tc.want || Delegate(got) != tc.delegate {
			t.Errorf("%s, %q: %s and %s, want %s and %s", tc.name, tc.base, got, Delegate(got), tc.want, tc.delegate)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("server_name: a\nlisten: {client: [x]}"), "ALLMENDE_DATABASE_URL=postgres://h")
	f.Add([]byte("a: &a [*a]\nserver_name: *a"), "ALLMENDE_LOG_LEVEL=")
	f.Add(Example(), "")
	f.Fuzz(func(t *testing.T, text []byte, env string) {
		if strings.Contains(string(text), "file:") || strings.Contains(env, "file:") {
			return // would read files of the machine
		}
		c, problems := Parse("f", text, []string{env})
		if len(problems) == 0 && (!validServerName(c.ServerName) || c.DataDir == "") {
			t.Errorf("accepted %+v", c)
		}
	})
}
