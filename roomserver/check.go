package roomserver

import (
	"context"

	"allmende/internal/pg"
	"allmende/roomserver/api"
	"allmende/roomserver/store"
)

// Violation is something in the room server's tables that contradicts what
// always holds.
type Violation = store.Violation

// Check looks for violations in a database whose schema is migrated, as of one
// moment. It changes nothing and may run beside a working server; it reads every
// event, which takes minutes on a large installation.
func Check(ctx context.Context, db *pg.DB) ([]Violation, error) { return store.New(db).Check(ctx) }

// check answers an admin who wants to know whether the tables are sound.
func (s *Service) check(ctx context.Context, _ struct{}) (api.CheckResp, error) {
	found, err := s.store.Check(ctx)
	if err != nil {
		return api.CheckResp{}, answer(err)
	}
	var out api.CheckResp
	for _, v := range found {
		out.Violations = append(out.Violations, api.Violation{Rule: v.Rule, Count: v.Count, First: v.First})
	}
	return out, nil
}
