package obs

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// LogOptions of NewLogger.
type LogOptions struct {
	Level slog.Level
	Text  bool // for a terminal; else JSON
}

// NewLogger makes the process's logger. At level debug the type User logs whole ids.
func NewLogger(w io.Writer, o LogOptions) *slog.Logger {
	debugging.Store(o.Level <= slog.LevelDebug)
	ho := &slog.HandlerOptions{Level: o.Level}
	if o.Text {
		return slog.New(slog.NewTextHandler(w, ho))
	}
	return slog.New(slog.NewJSONHandler(w, ho))
}

// debugging says whether the process logs at level debug.
var debugging atomic.Bool

// User is a user id on its way into a log: a pseudonym that changes every day, the id itself only
// while the process logs at level debug. The key of the pseudonym is never written anywhere.
type User string

// LogValue implements slog.LogValuer.
func (u User) LogValue() slog.Value {
	if debugging.Load() {
		return slog.StringValue(string(u))
	}
	return slog.StringValue("user-" + pseudonyms.of(string(u), time.Now()))
}

// pseudonymKey is the key of the day.
type pseudonymKey struct {
	mu  sync.Mutex
	day int64
	key [32]byte
}

var pseudonyms = &pseudonymKey{}

func (p *pseudonymKey) of(text string, now time.Time) string {
	p.mu.Lock()
	if day := now.Unix()/86400 + 1; day != p.day {
		p.day = day
		_, _ = rand.Read(p.key[:]) // cannot fail, by its documentation
	}
	key := p.key
	p.mu.Unlock()
	mac := hmac.New(sha256.New, key[:])
	_, _ = io.WriteString(mac, text) // a hash takes everything
	return hex.EncodeToString(mac.Sum(nil)[:6])
}

// IP is an address on its way into a log: its network only, /24 or /48.
type IP netip.Addr

// LogValue implements slog.LogValuer.
func (ip IP) LogValue() slog.Value {
	a := netip.Addr(ip).Unmap().WithZone("")
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, err := a.Prefix(bits)
	if err != nil || !p.IsValid() { // the zero Addr gives no error
		return slog.StringValue("unknown")
	}
	return slog.StringValue(p.String())
}

// String keeps an address from being printed whole by accident.
func (ip IP) String() string { return ip.LogValue().String() }

// Format does so for every verb of fmt.
func (ip IP) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, ip.String()) }
