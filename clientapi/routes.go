package clientapi

import (
	"slices"

	"allmende/internal/httpx"
)

// Routes is every HTTP endpoint the service answers.
func (s *Service) Routes() []httpx.Route {
	return slices.Concat(
		s.metaRoutes(),
		s.loginRoutes(),
		s.registerRoutes(),
		s.sessionRoutes(),
		s.deviceRoutes(),
		s.accountRoutes(),
		s.contactRoutes(),
		s.fallbackRoutes(),
		s.accountDataRoutes(),
		s.tagRoutes(),
		s.filterRoutes(),
		s.pushRuleRoutes(),
		s.profileRoutes(),
		s.roomRoutes(),
		s.membershipRoutes(),
		s.sendRoutes(),
		s.directoryRoutes(),
	)
}
