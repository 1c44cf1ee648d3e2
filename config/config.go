// Package config owns what an admin may set: the structs below are the manual. Their doc comments become
// example.yaml and docs/config.md (go generate; a test compares), so a comment here speaks to the admin first.
//
// A working server needs server_name alone. Values come from a strict YAML file (an unknown option is a problem, not
// a surprise), then from the environment: ALLMENDE_ and the option's path in capitals, dots as underscores, lists
// separated by commas (ALLMENDE_DATABASE_URL, ALLMENDE_LISTEN_CLIENT). A secret may be written as file:/path, its value
// is then the file's content. Every problem is listed, each with its mend; nothing is guessed.
//
// The package writes no table and serves no subject. A loaded Config is never changed afterwards.
package config

import (
	_ "embed" // for the example
	"net/netip"
)

//go:generate go test -run TestGenerated . -update

//go:embed example.yaml
var example []byte

// Example is a configuration with every option, its explanation and its default, all commented out but server_name.
func Example() []byte { return example }

// Config is the whole configuration of one process. All processes of a split installation share the same file.
type Config struct {
	// The name after the colon in every user id of this server, as in @anna:example.org. It is part of every
	// id and signature and can never be changed: choose the association's domain, not the machine's name.
	ServerName string `yaml:"server_name" example:"example.org"`

	// Folder for everything the server keeps on disk: the private database, keys, certificates. Created with
	// permissions for the server's own account only. Relative paths start at the folder the server was started in.
	DataDir string `yaml:"data_dir"`

	// The address under which clients reach this server from outside, told to them by
	// /.well-known/matrix/client. Empty: https:// and the server name; for localhost, the client listener itself.
	ClientBaseURL string `yaml:"client_base_url" example:"https://matrix.example.org"`

	// Addresses the server listens on.
	Listen Listen `yaml:"listen"`

	// Encryption by the server itself. Not needed behind a reverse proxy.
	TLS TLS `yaml:"tls"`

	// Networks of reverse proxies whose X-Forwarded-For header is believed, in CIDR form. Anyone else could claim to be
	// any address and so escape the rate limits.
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies"`

	// The message bus between the services. Without url the server runs its own inside the process.
	NATS NATS `yaml:"nats"`

	// Where the data is kept. Without url the server runs a private PostgreSQL in data_dir.
	Database Database `yaml:"database"`

	// Who may make an account.
	Registration Registration `yaml:"registration"`

	// Settings of new rooms.
	Rooms Rooms `yaml:"rooms"`

	// Passwords and sessions.
	Auth Auth `yaml:"auth"`

	// How often one client may ask, for each kind of request. More is answered with M_LIMIT_EXCEEDED and the time to wait.
	RateLimits RateLimits `yaml:"rate_limits"`

	// What the server writes about itself. It never writes who talks with whom.
	Log Log `yaml:"log"`

	// Online and last-active marks.
	Presence Presence `yaml:"presence"`
}

// Listen names the listeners. A process of a split installation opens those its services need.
type Listen struct {
	// Addresses for clients, as host:port. Behind a reverse proxy on the same machine the default is right; with tls
	// it is usually ":443".
	Client []string `yaml:"client"`

	// Address for Prometheus (/metrics) and health checks (/health/live, /health/ready). Empty: no metrics; health is
	// always answered on the client listener too. Never open it to the internet.
	Metrics string `yaml:"metrics" example:"127.0.0.1:9008"`
}

// TLS is either cert_file and key_file, or acme, or nothing.
type TLS struct {
	// Certificate chain in PEM form. Read again when it changes.
	CertFile string `yaml:"cert_file" example:"/etc/ssl/allmende/fullchain.pem"`

	// Private key in PEM form.
	KeyFile string `yaml:"key_file" example:"/etc/ssl/allmende/privkey.pem"`

	// Certificates fetched and renewed by the server itself (Let's Encrypt). Needs port 443 reachable from the internet.
	ACME ACME `yaml:"acme"`
}

// ACME asks a certificate authority for certificates; the challenge is answered on the client listener.
type ACME struct {
	// Domains to hold certificates for. Empty: no ACME.
	Domains []string `yaml:"domains" example:"[matrix.example.org]"`

	// Where the authority may write to when something is wrong with a certificate. Optional.
	Email string `yaml:"email" example:"admin@example.org"`

	// Directory URL of the certificate authority.
	Directory string `yaml:"directory"`
}

// NATS says how to reach the bus. Nothing personal rests there; wiping it loses nothing.
type NATS struct {
	// Address of a NATS server, several separated by commas. Setting it is what makes a cluster possible.
	URL string `yaml:"url" example:"tls://nats.internal:4222"`

	// Credentials file as made by nsc.
	CredsFile string `yaml:"creds_file" example:"/etc/allmende/allmende.creds"`

	// Name of the NATS user, when passwords are used instead of a credentials file.
	User string `yaml:"user"`

	// Password of that user.
	Password Secret `yaml:"password" example:"file:/run/secrets/nats"`

	// Certificates for the connection to the bus.
	TLS NATSTLS `yaml:"tls"`
}

// NATSTLS are the certificates of the connection to the bus.
type NATSTLS struct {
	// Certificate authority that signed the bus's certificate. Empty: those the system trusts.
	CAFile string `yaml:"ca_file"`

	// Certificate this server shows to the bus.
	CertFile string `yaml:"cert_file"`

	// Private key of that certificate.
	KeyFile string `yaml:"key_file"`
}

// Database says where PostgreSQL is.
type Database struct {
	// Connection string of a PostgreSQL 15 or later that you run yourself. Empty: a private one in data_dir.
	URL Secret `yaml:"url" example:"postgres://allmende@db.internal/allmende?sslmode=verify-full"`

	// Connections each process may hold open at most.
	MaxConnections int `yaml:"max_connections"`

	// Folder with the PostgreSQL programs for the private database. Empty: PATH, then the newest under
	// /usr/lib/postgresql.
	BinDir string `yaml:"bin_dir" example:"/usr/lib/postgresql/15/bin"`
}

// Registration decides who may make an account.
type Registration struct {
	// closed: only the admin makes accounts. token: whoever has a registration token (allmende admin token create).
	// open: everyone; the internet will notice within days.
	Policy RegistrationPolicy `yaml:"policy"`
}

// Rooms are settings of new rooms.
type Rooms struct {
	// Room version of rooms made without an explicit one: 10, 11 or 12.
	DefaultVersion string `yaml:"default_version"`
}

// Auth is about passwords and sessions.
type Auth struct {
	// How long an access token is valid for clients that can refresh it. Clients that cannot keep theirs until they log out.
	AccessTokenLifetime Duration `yaml:"access_token_lifetime"`

	// How long a session that can refresh stays logged in while unused.
	RefreshTokenLifetime Duration `yaml:"refresh_token_lifetime"`

	// Cost of hashing a password (argon2id). Raising it applies to a person at their next login.
	Argon2 Argon2 `yaml:"argon2"`
}

// Argon2 is the cost of a password hash.
type Argon2 struct {
	// Memory per hash.
	Memory Size `yaml:"memory"`

	// Passes over the memory.
	Iterations int `yaml:"iterations"`

	// Threads per hash.
	Parallelism int `yaml:"parallelism"`
}

// Log is what the server writes about itself.
type Log struct {
	// debug, info, warn or error. debug shows a line per request and is for hours, not for weeks.
	Level LogLevel `yaml:"level"`

	// auto: text on a terminal, JSON otherwise. text or json: always that.
	Format LogFormat `yaml:"format"`
}

// Presence is who is online and when they were last active.
type Presence struct {
	// Share presence between members who share a room. Off: everyone looks offline and nothing is recorded.
	Enabled bool `yaml:"enabled"`
}

// RateLimits hold one bucket per kind of request and client. A bucket holds burst requests and is refilled by
// per_second; per_second 0 turns that limit off.
type RateLimits struct {
	// Logging in, registering, changing a password: per network address while nobody is known yet.
	Login Rate `yaml:"login"`

	// Whatever changes something, such as sending and inviting: per account.
	Write Rate `yaml:"write"`

	// Whatever only reads, sync included: per account, or per network address without one.
	Read Rate `yaml:"read"`

	// What costs the server much more than the client: joining and creating rooms, searching, directories.
	Expensive Rate `yaml:"expensive"`
}

// Rate is one bucket.
type Rate struct {
	// Requests per second that are refilled.
	PerSecond float64 `yaml:"per_second"`

	// Requests that may come at once.
	Burst int `yaml:"burst"`
}
