package pgd

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
)

// serverLog passes PostgreSQL's standard error on to our log, line by line, and remembers the last lines to
// explain a failed start. The settings keep everything personal out of these lines.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	rest  []byte   // an unfinished line
	lines []string // the last few
	up    bool     // connections refused before and after are no news
}

const (
	keptLines = 5
	maxLine   = 4 << 10
)

func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			break
		}
		l.line(string(l.rest[:i]))
		l.rest = l.rest[i+1:]
	}
	if len(l.rest) > maxLine {
		l.line(string(l.rest[:maxLine]))
		l.rest = nil
	}
	return len(p), nil
}

func (l *serverLog) line(text string) {
	if text = strings.TrimSpace(text); text == "" {
		return
	}
	l.lines = append(l.lines, text)
	if len(l.lines) > keptLines {
		l.lines = append(l.lines[:0], l.lines[1:]...)
	}
	level := slog.LevelDebug
	switch {
	case strings.HasPrefix(text, "PANIC:"):
		level = slog.LevelError
	case strings.HasPrefix(text, "FATAL:") && l.up:
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, "private PostgreSQL", "line", text)
}

// last is what the server said last, in one line.
func (l *serverLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, " | ")
}

func (l *serverLog) ready() { l.set(true) }

// calm marks the beginning of an orderly end. It may be called on nil.
func (l *serverLog) calm() { l.set(false) }

func (l *serverLog) set(up bool) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = up
}
