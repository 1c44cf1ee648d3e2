package run

import (
	"context"
	"log/slog"

	"go.uber.org/zap/zapcore"
)

// slogCore takes what the certificate library has to say into the server's own log: warnings and worse, and that a
// certificate was obtained.
type slogCore struct {
	log    *slog.Logger
	fields []zapcore.Field
}

var _ zapcore.Core = slogCore{}

func (c slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.InfoLevel }

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{log: c.log, fields: append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Level >= zapcore.WarnLevel || e.Message == "certificate obtained successfully" || e.Message == "certificate renewed successfully" {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write keeps domain, authority and cause; the library's other fields are of no use to an admin.
func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(c.fields[:len(c.fields):len(c.fields)], fields...) {
		switch f.Key {
		case "identifier", "identifiers", "issuer", "error", "problem":
			f.AddTo(enc)
		}
	}
	attrs := []any{"part", "certificates"}
	for _, key := range []string{"identifier", "identifiers", "issuer", "error", "problem"} {
		if v, ok := enc.Fields[key]; ok {
			attrs = append(attrs, key, v)
		}
	}
	level := slog.LevelInfo
	switch {
	case e.Level >= zapcore.ErrorLevel:
		level = slog.LevelError
	case e.Level == zapcore.WarnLevel:
		level = slog.LevelWarn
	}
	c.log.Log(context.Background(), level, e.Message, attrs...)
	return nil
}

func (c slogCore) Sync() error { return nil }
