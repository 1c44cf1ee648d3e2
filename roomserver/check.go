package roomserver

import (
	"context"

	"allmende/internal/pg"
	"allmende/roomserver/store"
)

// Violation is something in the room server's tables that contradicts what
// always holds.
type Violation = store.Violation

// Check looks for violations in a database whose schema is migrated, as of one
// moment. It changes nothing and may run beside a working server; it reads every
// event, which takes minutes on a large installation.
func Check(ctx context.Context, db *pg.DB) ([]Violation, error) { return store.New(db).Check(ctx) }
