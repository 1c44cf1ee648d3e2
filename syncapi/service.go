// Package syncapi is everything a client reads, and the small things reading
// leaves behind: /sync, the history and state of rooms, the room directory,
// receipts and read markers, typing, presence. It owns the schema syncapi
// (written by package store alone: receipts and the head of their stream),
// serves syncapi.SetPresence and syncapi.Presence on the bus and announces
// syncapi/api.Receipts, Typing and PresenceChanged.
//
// Several instances run at once and none depends on another: each follows the
// room server's events (package tail), the receipts (receipt), account data
// (account) and what is in memory only (memory) by itself; a sync token of one
// is good at all others.
package syncapi

import (
	"context"
	"slices"
	"time"

	"allmende/config"
	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/internal/pg"
	"allmende/roomserver/read"
	"allmende/syncapi/account"
	"allmende/syncapi/api"
	"allmende/syncapi/directory"
	"allmende/syncapi/history"
	"allmende/syncapi/memory"
	"allmende/syncapi/receipt"
	"allmende/syncapi/store"
	"allmende/syncapi/syncing"
	"allmende/syncapi/tail"

	"golang.org/x/sync/errgroup"
)

// Deps is what the service needs from outside.
type Deps struct {
	Config   *config.Config
	DB       *pg.DB
	Bus      *bus.Bus
	Sessions *auth.Cache
	// Recent is what the room server in this process committed last; nil if it
	// runs elsewhere.
	Recent *read.Recent
}

// Service is syncapi. Its methods may be used concurrently.
type Service struct {
	Deps
	model     *read.Model
	tail      *tail.Tail
	receipts  *receipt.Stream
	memory    *memory.Stream
	accounts  *account.Stream
	syncing   *syncing.Service
	history   *history.Service
	directory *directory.Service
	now       func() time.Time
}

// New makes the service; nothing runs before Run.
func New(d Deps) *Service {
	s := &Service{Deps: d, model: read.New(d.DB), now: time.Now}
	s.tail = tail.New(s.model, d.Recent, d.Bus)
	s.receipts = receipt.New(store.New(d.DB), d.Bus, s.tail.WakeRooms)
	s.memory = memory.New(d.Bus, d.Config.Presence.Enabled, s.tail.WakeRooms, s.wakePresence)
	s.accounts = account.New(s.model, d.Bus, s.tail.WakeUser)
	s.syncing = syncing.New(syncing.Deps{
		Sessions: d.Sessions, Bus: d.Bus, Model: s.model, Tail: s.tail, Receipts: s.receipts, Memory: s.memory, Accounts: s.accounts,
	})
	s.history = history.New(history.Deps{Model: s.model, Ignored: s.ignored})
	s.directory = directory.New(directory.Deps{Model: s.model, ServerName: matrix.ServerName(d.Config.ServerName)})
	return s
}

// Migrate brings syncapi's schema up to date. The room server's must be there
// when the service runs.
func Migrate(ctx context.Context, db *pg.DB) error { return store.Migrate(ctx, db) }

// Routes is every HTTP endpoint the service answers.
func (s *Service) Routes() []httpx.Route {
	return slices.Concat(s.syncing.Routes(), s.history.Routes(), s.directory.Routes(), s.ownRoutes())
}

func (s *Service) ownRoutes() []httpx.Route {
	const v3 = "/_matrix/client/v3"
	route := func(method, path string, rate httpx.RateClass, h httpx.Handler) httpx.Route {
		return httpx.Route{Method: method, Path: v3 + path, Auth: httpx.Required, Rate: rate, Handler: h}
	}
	return []httpx.Route{
		route("POST", "/rooms/{roomId}/receipt/{receiptType}/{eventId}", httpx.RateWrite, httpx.Handle(s.setReceipt)),
		route("POST", "/rooms/{roomId}/read_markers", httpx.RateWrite, httpx.Handle(s.setReadMarkers)),
		route("PUT", "/rooms/{roomId}/typing/{userId}", httpx.RateWrite, httpx.Handle(s.setTyping)),
		route("PUT", "/presence/{userId}/status", httpx.RateWrite, httpx.Handle(s.setPresence)),
		route("GET", "/presence/{userId}/status", httpx.RateRead, httpx.Handle(s.getPresence)),
	}
}

// Run follows all streams and serves the bus until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	svc := s.Bus.Service(api.Service, bus.ServiceOptions{})
	s.memory.Register(svc)
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{
		s.tail.Run, s.receipts.Run, s.memory.Run, s.accounts.Run, svc.Run,
	} {
		g.Go(func() error { return run(ctx) })
	}
	return g.Wait()
}

// wakePresence wakes who may see a user's presence.
func (s *Service) wakePresence(user read.UserNID) {
	for _, id := range s.tail.Sharing(user) {
		s.tail.WakeUser(id)
	}
}

// ignored are the users whom the session's user does not want to see.
func (s *Service) ignored(ctx context.Context, session auth.Session) (map[read.UserNID]bool, error) {
	if session.Anonymous() {
		return nil, nil
	}
	acc, err := s.accounts.Account(ctx, session)
	if err != nil {
		return nil, err
	}
	return s.accounts.Ignored(ctx, acc)
}

// joined is a room together with its member who asks.
type joined struct {
	room read.Room
	user read.UserNID
}

// joinedRoom finds the room and checks that the session's user is in it. A room
// that does not exist is answered like one the user is not in.
func (s *Service) joinedRoom(ctx context.Context, session auth.Session, id matrix.RoomID) (joined, error) {
	forbidden := matrix.Forbidden("You are not in this room")
	room, err := s.model.Room(ctx, id)
	if err != nil {
		return joined{}, orElse(err, forbidden)
	}
	user, err := s.model.UserNID(ctx, session.UserID)
	if err != nil {
		return joined{}, orElse(err, forbidden)
	}
	ur, err := s.model.UserRoom(ctx, user, room.NID)
	if err != nil {
		return joined{}, pg.Error(err)
	}
	if ur.Membership != read.Join {
		return joined{}, forbidden
	}
	return joined{room, user}, nil
}
