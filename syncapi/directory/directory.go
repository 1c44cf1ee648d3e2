// Package directory serves what can be known of rooms from outside: the public
// room directory, room summaries and the rooms of a space. It owns no table and
// serves no subject; it reads the room server's state through roomserver/read.
//
// Invariants: of a room only its summary is shown, and only to those who could
// join or read it ([outline.open] decides); every other room is answered like
// one that does not exist. Events of the timeline are never shown.
package directory

import (
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

// Deps is what the service needs.
type Deps struct {
	Model *read.Model
	// ServerName is our own name: directories of other servers are not here.
	ServerName matrix.ServerName
}

// Service answers questions about rooms from outside. Safe for concurrent use.
type Service struct {
	model  *read.Model
	server matrix.ServerName
}

// New makes the service.
func New(d Deps) *Service { return &Service{model: d.Model, server: d.ServerName} }

// Routes is the service's table.
func (s *Service) Routes() []httpx.Route {
	const v1, v3, nheko = "/_matrix/client/v1", "/_matrix/client/v3", "/_matrix/client/unstable/im.nheko.summary"
	get := func(path string, auth httpx.AuthKind, rate httpx.RateClass, h httpx.Handler) httpx.Route {
		return httpx.Route{Method: "GET", Path: path, Auth: auth, Rate: rate, Handler: h}
	}
	return []httpx.Route{
		get(v3+"/publicRooms", httpx.Optional, httpx.RateExpensive, httpx.Handle(s.publicRooms)),
		{Method: "POST", Path: v3 + "/publicRooms", Auth: httpx.Required, Rate: httpx.RateExpensive, Handler: httpx.Handle(s.searchPublicRooms)},
		get(v3+"/directory/list/room/{roomId}", httpx.Optional, httpx.RateRead, httpx.Handle(s.published)),
		get(v1+"/room_summary/{roomIdOrAlias}", httpx.Required, httpx.RateRead, httpx.Handle(s.roomSummary)),
		get(nheko+"/summary/{roomIdOrAlias}", httpx.Required, httpx.RateRead, httpx.Handle(s.roomSummary)),
		get(nheko+"/rooms/{roomIdOrAlias}/summary", httpx.Required, httpx.RateRead, httpx.Handle(s.roomSummary)),
		get(v1+"/rooms/{roomId}/hierarchy", httpx.Required, httpx.RateExpensive, httpx.Handle(s.hierarchy)),
	}
}
