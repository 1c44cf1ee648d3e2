package pg

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"allmende/internal/matrix"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNotFound says that no row answers the question. The service decides what a client is told.
var ErrNotFound = errors.New("not found")

// retryAfter is what clients are told while the database is away: a restart takes less.
const retryAfter = 2 * time.Second

// Error translates what a statement returned: nil stays nil, no rows become ErrNotFound, an unreachable
// database becomes matrix.Unavailable (503) with the cause kept for the log. All else passes unchanged.
func Error(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return ErrNotFound
	case Unavailable(err):
		return matrix.Unavailable(retryAfter).Wrap(err)
	}
	return err
}

// Unavailable reports whether err means that the database cannot be reached now and may be soon: refused or
// broken connections, a server that starts, stops or has no connection left, a closed pool. A statement
// that was cut off may or may not have taken effect. The caller's own cancelled context is not meant.
func Unavailable(err error) bool {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return unavailableCode(pe.Code)
	}
	var ce *pgconn.ConnectError
	if errors.As(err, &ce) {
		return transient(err)
	}
	if closedPool(err) {
		return true
	}
	for _, gone := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed,
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE,
	} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// transient parts a server that is away from a connection string that can never work.
func transient(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	var ne net.Error
	return errors.As(err, &ne)
}

func unavailableCode(code string) bool {
	switch code {
	case "57P01", // admin_shutdown
		"57P02", // crash_shutdown
		"57P03", // cannot_connect_now
		"53300": // too_many_connections
		return true
	}
	return strings.HasPrefix(code, "08") // connection_exception
}

// closedPool: the pool's own error is not exported by pgx.
func closedPool(err error) bool {
	for err != nil {
		if err.Error() == "closed pool" {
			return true
		}
		err = errors.Unwrap(err)
	}
	return false
}
