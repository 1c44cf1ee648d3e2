package config

import (
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// Secret is a value that must not be printed. It formats as "[secret]" everywhere; Reveal gives the text.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret; an unset one is empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[secret]"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// LogValue hides the secret from structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the secret as written.
func (s *Secret) UnmarshalText(b []byte) error { *s = Secret(b); return nil }

// Duration is a length of time, written as 90s, 15m, 12h or 30d.
type Duration time.Duration

// Std returns it as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes whole days as days.
func (d Duration) String() string {
	t := time.Duration(d)
	if t >= 24*time.Hour && t%(24*time.Hour) == 0 {
		return strconv.FormatInt(int64(t/(24*time.Hour)), 10) + "d"
	}
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// UnmarshalText reads the written form.
func (d *Duration) UnmarshalText(b []byte) error {
	s := strings.TrimSpace(string(b))
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 64)
		if err != nil || n < 0 || n > 36500 {
			return fmt.Errorf("%q is not a length of time such as 90s, 15m, 12h or 30d", s)
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	t, err := time.ParseDuration(s)
	if err != nil || t < 0 {
		return fmt.Errorf("%q is not a length of time such as 90s, 15m, 12h or 30d", s)
	}
	*d = Duration(t)
	return nil
}

// Size is a number of bytes, written as 512KiB, 1MiB or 2GiB.
type Size int64

// Bytes returns the number of bytes.
func (s Size) Bytes() int64 { return int64(s) }

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// String uses the largest unit that divides the size.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if int64(s) >= u.bytes && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// UnmarshalText reads the written form.
func (s *Size) UnmarshalText(b []byte) error {
	text := strings.TrimSpace(string(b))
	for _, u := range sizeUnits {
		num, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(num), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.bytes {
			break
		}
		*s = Size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is not a size such as 512KiB, 1MiB or 2GiB", text)
}

// RegistrationPolicy says who may make an account.
type RegistrationPolicy string

// The registration policies.
const (
	RegistrationClosed RegistrationPolicy = "closed"
	RegistrationToken  RegistrationPolicy = "token"
	RegistrationOpen   RegistrationPolicy = "open"
)

// UnmarshalText accepts only the known policies.
func (p *RegistrationPolicy) UnmarshalText(b []byte) error {
	return oneOf(p, b, RegistrationClosed, RegistrationToken, RegistrationOpen)
}

// LogLevel is the least important kind of line that is still written.
type LogLevel string

// UnmarshalText accepts only the known levels.
func (l *LogLevel) UnmarshalText(b []byte) error {
	return oneOf(l, b, "debug", "info", "warn", "error")
}

// Slog returns the level as the standard library's type.
func (l LogLevel) Slog() slog.Level {
	var s slog.Level
	if err := s.UnmarshalText([]byte(l)); err != nil {
		return slog.LevelInfo
	}
	return s
}

// LogFormat is how a log line is written.
type LogFormat string

// The log formats.
const (
	LogAuto LogFormat = "auto"
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// UnmarshalText accepts only the known formats.
func (f *LogFormat) UnmarshalText(b []byte) error { return oneOf(f, b, LogAuto, LogText, LogJSON) }

func oneOf[T ~string](dst *T, b []byte, allowed ...T) error {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		if string(a) == string(b) {
			*dst = a
			return nil
		}
		names[i] = string(a)
	}
	return fmt.Errorf("%q is not one of %s", b, strings.Join(names, ", "))
}
