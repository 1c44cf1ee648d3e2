// Package roomserver owns rooms: it is the only writer of events and room state.
// It alone writes the schema roomserver (package store) and serves the calls of
// roomserver/api on the bus. Package timeline holds rooms in memory and commits
// what is decided on them; package read is the read model for other services;
// this package knows what members may ask of a room.
//
// What always holds: an event is acknowledged after it is committed, with fsync;
// positions are gapless and in commit order; every event was checked against the
// rules of its room before it was stored; a device's transaction id makes one
// event, however often it is sent.
package roomserver

import (
	"context"
	"errors"

	"allmende/config"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/roomserver/api"
	"allmende/roomserver/read"
	"allmende/roomserver/store"
	"allmende/roomserver/timeline"

	"golang.org/x/sync/errgroup"
)

// Deps is what the service needs from outside.
type Deps struct {
	Config *config.Config
	DB     *pg.DB
	Bus    *bus.Bus
	// Recent is told of what is committed, for readers in this process; nil if
	// there are none.
	Recent *read.Recent
}

// Service is the room server. Its methods may be used concurrently.
type Service struct {
	Deps
	store *store.Store
	read  *read.Model
	rooms *timeline.Rooms
}

// New makes the service. It reads the signing key, making it at the first start.
func New(ctx context.Context, d Deps) (*Service, error) {
	st := store.New(d.DB)
	key, err := st.EnsureSigningKey(ctx)
	if err != nil {
		return nil, err
	}
	s := &Service{Deps: d, store: st, read: read.New(d.DB)}
	s.rooms = timeline.New(timeline.Options{
		Store:  st,
		Recent: d.Recent,
		Signer: matrix.Signer{Server: matrix.ServerName(d.Config.ServerName), KeyID: key.ID, Key: key.Key},
		Announce: func(c store.Committed) {
			// Whoever misses it looks by itself before long.
			_ = bus.Publish(d.Bus, api.Committed, api.CommittedAnn{From: c.From, To: c.To})
		},
	})
	return s, nil
}

// Migrate brings the room server's schema up to date.
func Migrate(ctx context.Context, db *pg.DB) error { return store.Migrate(ctx, db) }

// Run serves calls until ctx ends; decisions under way are committed first.
func (s *Service) Run(ctx context.Context) error {
	calls := s.Bus.Service(api.Service, bus.ServiceOptions{})
	s.handle(calls)
	unsubscribe := s.Bus.OnReconnect(func() {
		// Rooms may have gone to another instance and back meanwhile.
		s.rooms.Forget(func(matrix.RoomID) bool { return true })
	})
	defer unsubscribe()

	// The committer ends after the calls, which wait for it.
	commits, stopCommits := context.WithCancel(context.WithoutCancel(ctx))
	var committer errgroup.Group
	committer.Go(func() error { return s.rooms.Run(commits) })
	err := calls.Run(ctx)
	stopCommits()
	return errors.Join(err, committer.Wait())
}

func (s *Service) handle(c *bus.Service) {
	bus.Handle(c, api.SendEvent, s.sendEvent)
	bus.Handle(c, api.SetMembership, s.setMembership)
	bus.Handle(c, api.UpdateProfile, s.updateProfile)
	bus.Handle(c, api.Forget, s.forget)
	bus.Handle(c, api.LeaveAll, s.leaveAll)
	bus.Handle(c, api.JoinedRooms, s.joinedRooms)
	bus.Handle(c, api.ShareRoom, s.shareRoom)
	bus.Handle(c, api.CreateRoom, s.createRoom)
	bus.Handle(c, api.UpgradeRoom, s.upgradeRoom)
	bus.Handle(c, api.SetAlias, s.setAlias)
	bus.Handle(c, api.DeleteAlias, s.deleteAlias)
	bus.Handle(c, api.ResolveAlias, s.resolveAlias)
	bus.Handle(c, api.Publish, s.publish)
	bus.Handle(c, api.Check, s.check)
}

func (s *Service) serverName() matrix.ServerName { return s.rooms.Server() }

func (s *Service) local(u matrix.UserID) bool { return u.Server() == s.serverName() }

// notJoined is what somebody outside is told about any room, existing or not.
func notJoined() *matrix.Error { return matrix.Forbidden("You are not joined to this room.") }

// hidden answers an unknown room like one the asker is not in.
func hidden(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return notJoined().Wrap(err)
	}
	return err
}

// answer turns the store's errors into what clients are told. What it does not
// know is logged, with its cause and without ids, by the bus.
func answer(err error) error {
	var me *matrix.Error
	if errors.As(err, &me) {
		return err
	}
	return pg.Error(err)
}
