package config

import (
	"net/netip"
	"time"
)

// letsEncrypt is the directory of the authority that costs nothing.
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// Default returns the configuration of a server of that name with everything else unset by the admin.
func Default(serverName string) *Config {
	return &Config{
		ServerName: serverName,
		DataDir:    "data",
		Listen:     Listen{Client: []string{"localhost:8008"}},
		TLS:        TLS{ACME: ACME{Directory: letsEncrypt}},
		TrustedProxies: []netip.Prefix{
			netip.MustParsePrefix("127.0.0.0/8"),
			netip.MustParsePrefix("::1/128"),
		},
		Database:     Database{MaxConnections: 16},
		Registration: Registration{Policy: RegistrationToken},
		Rooms:        Rooms{DefaultVersion: "12"},
		Auth: Auth{
			AccessTokenLifetime:  Duration(24 * time.Hour),
			RefreshTokenLifetime: Duration(180 * 24 * time.Hour),
			Argon2:               Argon2{Memory: 19 << 20, Iterations: 2, Parallelism: 1},
		},
		RateLimits: RateLimits{
			Login:     Rate{PerSecond: 0.2, Burst: 10},
			Write:     Rate{PerSecond: 10, Burst: 100},
			Read:      Rate{PerSecond: 50, Burst: 300},
			Expensive: Rate{PerSecond: 1, Burst: 30},
		},
		Log: Log{Level: "info", Format: LogAuto},
	}
}
