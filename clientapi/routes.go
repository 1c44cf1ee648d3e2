package clientapi

import (
	"slices"

	"allmende/internal/httpx"
)

// Routes is every HTTP endpoint the service answers.
func (s *Service) Routes() []httpx.Route {
	return slices.Concat()
}
