package clientapi

import (
	"context"

	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	rooms "allmende/roomserver/api"
)

func (s *Service) directoryRoutes() []httpx.Route {
	const (
		alias = "/_matrix/client/v3/directory/room/{roomAlias}"
		list  = "/_matrix/client/v3/directory/list/room/{roomId}"
	)
	return []httpx.Route{
		{Method: "GET", Path: alias, Auth: httpx.None, Rate: httpx.RateRead, Handler: httpx.Handle(s.resolveAlias)},
		{Method: "PUT", Path: alias, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.setAlias)},
		{Method: "DELETE", Path: alias, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.deleteAlias)},
		{Method: "PUT", Path: list, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.publish)},
	}
}

type aliasIn struct {
	Alias string `path:"roomAlias"`
}

type resolveAliasOut struct {
	RoomID  matrix.RoomID       `json:"room_id"`
	Servers []matrix.ServerName `json:"servers"`
}

// spec: c-s §GET /directory/room/{roomAlias}
func (s *Service) resolveAlias(ctx context.Context, _ auth.Session, in aliasIn) (resolveAliasOut, error) {
	alias, err := matrix.ParseRoomAlias(in.Alias)
	if err != nil {
		return resolveAliasOut{}, err
	}
	found, err := bus.Call(ctx, s.Bus, rooms.ResolveAlias, rooms.ResolveAliasReq{Alias: alias})
	if found.Servers == nil {
		found.Servers = []matrix.ServerName{}
	}
	return resolveAliasOut{found.RoomID, found.Servers}, err
}

type setAliasIn struct {
	Alias string `path:"roomAlias"`
	Body  struct {
		RoomID *string `json:"room_id"`
	} `body:""`
}

// spec: c-s §PUT /directory/room/{roomAlias}
func (s *Service) setAlias(ctx context.Context, sess auth.Session, in setAliasIn) (empty, error) {
	alias, err := s.ownAlias(sess, in.Alias)
	if err != nil {
		return empty{}, err
	}
	if in.Body.RoomID == nil {
		return empty{}, matrix.MissingParam("Missing room_id.")
	}
	room, err := matrix.ParseRoomID(*in.Body.RoomID)
	if err != nil {
		return empty{}, err
	}
	_, err = bus.Call(ctx, s.Bus, rooms.SetAlias, rooms.SetAliasReq{Alias: alias, RoomID: room, UserID: sess.UserID})
	return empty{}, err
}

// spec: c-s §DELETE /directory/room/{roomAlias}
func (s *Service) deleteAlias(ctx context.Context, sess auth.Session, in aliasIn) (empty, error) {
	alias, err := s.ownAlias(sess, in.Alias)
	if err != nil {
		return empty{}, err
	}
	_, err = bus.Call(ctx, s.Bus, rooms.DeleteAlias, rooms.DeleteAliasReq{Alias: alias, UserID: sess.UserID})
	return empty{}, err
}

// ownAlias checks that the session may act, and that the alias is one this server can change.
func (s *Service) ownAlias(sess auth.Session, text string) (matrix.RoomAlias, error) {
	if err := mayAct(sess); err != nil {
		return "", err
	}
	alias, err := matrix.ParseRoomAlias(text)
	if err == nil && string(alias.Server()) != s.Config.ServerName {
		err = matrix.InvalidParam("The alias belongs to another server.")
	}
	return alias, err
}

type publishIn struct {
	RoomID string `path:"roomId"`
	Body   struct {
		Visibility string `json:"visibility"`
	} `body:"optional"`
}

// spec: c-s §PUT /directory/list/room/{roomId}
func (s *Service) publish(ctx context.Context, sess auth.Session, in publishIn) (empty, error) {
	room, err := actingIn(sess, in.RoomID)
	if err != nil {
		return empty{}, err
	}
	public, err := published(in.Body.Visibility, true)
	if err != nil {
		return empty{}, err
	}
	_, err = bus.Call(ctx, s.Bus, rooms.Publish, rooms.PublishReq{RoomID: room, UserID: sess.UserID, Published: public})
	return empty{}, err
}
