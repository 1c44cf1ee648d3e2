package run

import (
	"allmende/clientapi"
	"allmende/config"
	"allmende/internal/httpx"
	"allmende/syncapi"
)

// Tables are the routes of every service that answers clients, by its name: what
// a reverse proxy in front of a split installation has to know.
func Tables() map[string][]httpx.Route {
	c := config.Default("localhost")
	return map[string][]httpx.Route{
		"clientapi": clientapi.New(clientapi.Deps{Config: c}).Routes(),
		"syncapi":   syncapi.New(syncapi.Deps{Config: c}).Routes(),
	}
}
