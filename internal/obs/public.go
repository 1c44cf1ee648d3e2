package obs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"

	"allmende/internal/matrix"
)

// ErrorIDKey is the member of an error body that carries the id under which the cause was logged.
const ErrorIDKey = "org.allmende.error_id"

// Public makes the error that may leave the process out of err, at the top of a request: where it
// is answered. Unforeseen errors (5xx that no one has logged yet) are logged with their cause,
// once, under an id that the answer carries too; the cause itself stays here.
func Public(ctx context.Context, err error) *matrix.Error {
	if err == nil {
		return nil
	}
	var known *matrix.Error
	if !errors.As(err, &known) && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return matrix.Timeout("The server did not answer in time").Wrap(err)
	}
	e := matrix.AsError(err)
	if e.Status < 500 {
		return e
	}
	if _, logged := e.Extra[ErrorIDKey]; logged {
		return e // by the process that made it
	}
	log := Logger(ctx)
	if e.Status != 500 {
		// Something is away for the moment or slow; whoever watches it says so itself.
		log.LogAttrs(ctx, slog.LevelDebug, "request could not be served", slog.Any("error", err))
		return e
	}
	id := NewID()
	attrs := []slog.Attr{slog.String("error_id", id), slog.Any("error", err)}
	var p *panicError
	if errors.As(err, &p) {
		attrs = append(attrs, slog.String("stack", p.stack))
	}
	log.LogAttrs(ctx, slog.LevelError, "request failed", attrs...)
	return e.With(ErrorIDKey, id)
}

type panicError struct {
	text  string
	stack string
}

func (p *panicError) Error() string { return p.text }

// PanicError makes an error of a recovered panic, to be called in the deferred function itself.
// Only the texts of the Go runtime are kept: any other value may hold somebody's data.
func PanicError(p any) error {
	text := fmt.Sprintf("panic: %T", p)
	if re, ok := p.(runtime.Error); ok {
		text = "panic: " + re.Error()
	}
	return &panicError{text, string(debug.Stack())}
}
