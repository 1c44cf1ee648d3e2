package clientapi

import (
	"context"

	"allmende/clientapi/api"
	"allmende/internal/auth"
	"allmende/internal/bus"

	"golang.org/x/sync/errgroup"
)

// Run serves the bus and does the work nobody asks for, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	svc := s.Bus.Service(api.Service, bus.ServiceOptions{})
	s.serveAccounts(svc)
	s.serveUserData(svc)
	g.Go(func() error { return svc.Run(ctx) })
	g.Go(func() error { return s.runJobs(ctx) })
	g.Go(func() error { return s.runSweeper(ctx) })
	return g.Wait()
}

// serveAccounts registers what concerns accounts and sessions.
func (s *Service) serveAccounts(svc *bus.Service) {
	bus.Handle(svc, auth.Authenticate, s.authenticate)
	bus.Handle(svc, api.AdminCreateUser, s.adminCreateUser)
	bus.Handle(svc, api.AdminSetPassword, s.adminSetPassword)
	bus.Handle(svc, api.AdminListUsers, s.adminListUsers)
	bus.Handle(svc, api.AdminLockUser, s.adminLockUser)
	bus.Handle(svc, api.AdminCreateRegistrationToken, s.adminCreateRegistrationToken)
	bus.Handle(svc, api.AdminListRegistrationTokens, s.adminListRegistrationTokens)
	bus.Handle(svc, api.AdminRevokeRegistrationToken, s.adminRevokeRegistrationToken)
}
