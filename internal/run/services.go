package run

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"allmende/clientapi"
	"allmende/config"
	"allmende/internal/httpx"
	"allmende/internal/pg"
	"allmende/roomserver"
	"allmende/syncapi"
)

// part is a service as run sees it.
type part interface {
	Run(context.Context) error
}

// routed is a service that answers HTTP.
type routed interface {
	Routes() []httpx.Route
}

// service is one line of the catalogue.
type service struct {
	name    string
	http    bool // it answers clients
	migrate func(context.Context, *pg.DB) error
	build   func(context.Context, *Instance) (part, error)
}

// catalogue is every service there is, in the order in which they start: those that are asked before those that ask.
var catalogue = []service{
	{"roomserver", false, roomserver.Migrate, func(ctx context.Context, i *Instance) (part, error) {
		return roomserver.New(ctx, roomserver.Deps{Config: i.config, DB: i.db, Bus: i.bus, Recent: &i.recent})
	}},
	{"clientapi", true, clientapi.Migrate, func(_ context.Context, i *Instance) (part, error) {
		return clientapi.New(clientapi.Deps{Config: i.config, DB: i.db, Bus: i.bus, Sessions: i.auth, BaseURL: i.BaseURL}), nil
	}},
	{"syncapi", true, syncapi.Migrate, func(_ context.Context, i *Instance) (part, error) {
		return syncapi.New(syncapi.Deps{Config: i.config, DB: i.db, Bus: i.bus, Sessions: i.auth, Recent: &i.recent}), nil
	}},
}

// Services are the names that --only takes.
func Services() []string { return names(catalogue) }

func names(list []service) (out []string) {
	for _, s := range list {
		out = append(out, s.name)
	}
	return out
}

// CheckServices reports names that are not services, and a choice that cannot work: with the bus or the database inside
// the process, services that are left out run nowhere.
func CheckServices(c *config.Config, only []string) error {
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	if len(chosen) < len(catalogue) && (c.NATS.URL == "" || c.Database.URL == "") {
		return fmt.Errorf("running only %s needs nats.url and database.url, so that the others can run elsewhere", strings.Join(names(chosen), ", "))
	}
	return nil
}

// choose finds services by name; no names mean all.
func choose(only []string) ([]service, error) {
	for _, name := range only {
		if !slices.Contains(Services(), name) {
			return nil, fmt.Errorf("there is no service %q; there are %s", name, strings.Join(Services(), ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(catalogue), func(s service) bool {
		return len(only) > 0 && !slices.Contains(only, s.name)
	}), nil
}

// migrate brings every schema up to date, also those of services that run elsewhere: services read each other's schemas,
// and in a cluster the first process of a new version to start moves all of them.
func migrate(ctx context.Context, db *pg.DB) error {
	for _, s := range catalogue {
		if err := s.migrate(ctx, db); err != nil {
			return err
		}
	}
	return nil
}
