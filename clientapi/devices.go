package clientapi

import (
	"context"
	"errors"
	"slices"
	"strings"

	"allmende/clientapi/store"
	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
)

func (s *Service) deviceRoutes() []httpx.Route {
	const one = "/_matrix/client/v3/devices/{deviceId}"
	return []httpx.Route{
		{Method: "GET", Path: "/_matrix/client/v3/devices", Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.devices)},
		{Method: "GET", Path: one, Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.device)},
		{Method: "PUT", Path: one, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.renameDevice)},
		{Method: "DELETE", Path: one, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.deleteDevice)},
		{Method: "POST", Path: "/_matrix/client/v3/delete_devices", Auth: httpx.Required, Rate: httpx.RateWrite,
			Handler: httpx.Handle(s.deleteManyDevices)},
		{Method: "GET", Path: "/_matrix/client/v3/admin/whois/{userId}", Auth: httpx.Required, Rate: httpx.RateRead,
			Handler: httpx.Handle(s.whois)},
	}
}

// deviceOut has no address of the device: none is stored. The last use is known by day.
type deviceOut struct {
	DeviceID    string `json:"device_id"`
	DisplayName string `json:"display_name,omitempty"`
	LastSeenTS  int64  `json:"last_seen_ts"`
}

func newDeviceOut(d store.Device) deviceOut {
	return deviceOut{d.DeviceID, d.DisplayName, d.LastSeen.UnixMilli()}
}

type devicesOut struct {
	Devices []deviceOut `json:"devices"`
}

// devices lists one's own devices. spec: c-s §GET /devices
func (s *Service) devices(ctx context.Context, u auth.Session, _ struct{}) (devicesOut, error) {
	list, err := s.store.ListDevices(ctx, u.Account)
	out := devicesOut{make([]deviceOut, len(list))}
	for i, d := range list {
		out.Devices[i] = newDeviceOut(d)
	}
	return out, err
}

type deviceIn struct {
	DeviceID string `path:"deviceId"`
}

var errNoDevice = matrix.NotFound("You have no device with this ID")

// device shows one. spec: c-s §GET /devices/{deviceId}
func (s *Service) device(ctx context.Context, u auth.Session, in deviceIn) (deviceOut, error) {
	d, err := s.store.FindDevice(ctx, u.Account, in.DeviceID)
	if errors.Is(err, store.ErrNotFound) {
		return deviceOut{}, errNoDevice
	}
	return newDeviceOut(d), err
}

type renameDeviceIn struct {
	DeviceID string `path:"deviceId"`
	Body     struct {
		DisplayName *string `json:"display_name"`
	} `body:""`
}

// renameDevice changes the name. spec: c-s §PUT /devices/{deviceId}
func (s *Service) renameDevice(ctx context.Context, u auth.Session, in renameDeviceIn) (empty, error) {
	if n := in.Body.DisplayName; n != nil {
		if err := checkDeviceName(*n); err != nil {
			return empty{}, err
		}
	}
	err := s.store.RenameDevice(ctx, u.Account, in.DeviceID, in.Body.DisplayName)
	if errors.Is(err, store.ErrNotFound) {
		return empty{}, errNoDevice
	}
	return empty{}, err
}

type deleteDeviceIn struct {
	DeviceID string            `path:"deviceId"`
	Body     uiaBody[struct{}] `body:"optional"`
}

// deleteDevice logs one device out. spec: c-s §DELETE /devices/{deviceId}
func (s *Service) deleteDevice(ctx context.Context, u auth.Session, in deleteDeviceIn) (empty, error) {
	return empty{}, s.deleteAuthorised(ctx, u, []string{in.DeviceID}, uiaRequest{
		operation: "DELETE devices/" + in.DeviceID, body: in.Body.raw, auth: in.Body.Auth,
	})
}

type deleteDevicesIn struct {
	Body uiaBody[struct {
		Devices []string `json:"devices"`
	}] `body:""`
}

// maxDevicesAtOnce bounds one request.
const maxDevicesAtOnce = 1000

// deleteManyDevices logs several devices out. spec: c-s §POST /delete_devices
func (s *Service) deleteManyDevices(ctx context.Context, u auth.Session, in deleteDevicesIn) (empty, error) {
	ids := in.Body.Fields.Devices
	switch {
	case ids == nil:
		return empty{}, matrix.MissingParam("The list of devices is missing")
	case len(ids) > maxDevicesAtOnce:
		return empty{}, matrix.InvalidParam("Too many devices at once")
	case slices.ContainsFunc(ids, func(id string) bool { return strings.ContainsRune(id, 0) }):
		return empty{}, matrix.InvalidParam("A device ID has characters that are not allowed")
	}
	return empty{}, s.deleteAuthorised(ctx, u, ids, uiaRequest{
		operation: "POST delete_devices", body: in.Body.raw, auth: in.Body.Auth,
	})
}

// deleteAuthorised deletes devices after the password was given.
func (s *Service) deleteAuthorised(ctx context.Context, u auth.Session, ids []string, r uiaRequest) error {
	r.flows, r.account = passwordFlow, u.Account
	g, err := s.interact(ctx, r)
	if err != nil {
		return err
	}
	var ended [][]byte
	err = s.store.Tx(ctx, func(q *store.Queries) (err error) {
		if ended, err = q.DeleteDevices(ctx, u.Account, ids); err != nil {
			return err
		}
		return g.finish(ctx, q)
	})
	if err != nil {
		return err
	}
	s.revoke(ctx, u.Account, ended)
	return nil
}

type whoisIn struct {
	UserID matrix.UserID `path:"userId"`
}

type whoisOut struct {
	UserID  matrix.UserID          `json:"user_id"`
	Devices map[string]whoisDevice `json:"devices"`
}

type whoisDevice struct {
	Sessions []whoisSession `json:"sessions"`
}

type whoisSession struct {
	Connections []whoisConnection `json:"connections"`
}

type whoisConnection struct {
	LastSeen int64 `json:"last_seen"`
}

// whois shows what is recorded about one's own devices: the day of their last use. Nobody else is shown it, admins
// included: they have no need to know.
//
// spec: c-s §GET /admin/whois/{userId}
func (s *Service) whois(ctx context.Context, u auth.Session, in whoisIn) (whoisOut, error) {
	if in.UserID != u.UserID {
		return whoisOut{}, matrix.Forbidden("You may look up yourself only")
	}
	list, err := s.store.ListDevices(ctx, u.Account)
	out := whoisOut{u.UserID, make(map[string]whoisDevice, len(list))}
	for _, d := range list {
		out.Devices[d.DeviceID] = whoisDevice{[]whoisSession{{[]whoisConnection{{d.LastSeen.UnixMilli()}}}}}
	}
	return out, err
}
