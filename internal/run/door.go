package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"allmende/clientapi/api"
	"allmende/config"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/obs"
	rooms "allmende/roomserver/api"
)

// The admin's door is a Unix socket in a folder that only the server's own account may enter: whoever can open it could
// read the database as well, so it asks for nothing else.
const (
	doorFolder = "admin"
	doorSocket = "socket"
	doorRead   = 30 * time.Second
	doorAnswer = 15 * time.Minute // longer than any call takes: each has a limit of its own
	doorBody   = 256 << 10
)

// doorCall is one admin call as the door answers it.
type doorCall func(context.Context, *bus.Bus, []byte) (any, error)

// doorCalls are the calls the door lets through, by method.
var doorCalls = map[string]doorCall{
	api.AdminCreateUser.Method:              door(api.AdminCreateUser),
	api.AdminSetPassword.Method:             door(api.AdminSetPassword),
	api.AdminListUsers.Method:               door(api.AdminListUsers),
	api.AdminLockUser.Method:                door(api.AdminLockUser),
	api.AdminCreateRegistrationToken.Method: door(api.AdminCreateRegistrationToken),
	api.AdminListRegistrationTokens.Method:  door(api.AdminListRegistrationTokens),
	api.AdminRevokeRegistrationToken.Method: door(api.AdminRevokeRegistrationToken),
	rooms.Check.Method:                      door(rooms.Check),
}

func door[Req, Resp any](e bus.Endpoint[Req, Resp]) doorCall {
	return func(ctx context.Context, b *bus.Bus, body []byte) (any, error) {
		var req Req
		if err := json.Unmarshal(body, &req); err != nil {
			return nil, matrix.BadJSON("The request is not what the call takes").Wrap(err)
		}
		return bus.Call(ctx, b, e, req)
	}
}

// openDoor serves the admin calls on the socket. Where another process of the installation already does, it stays closed.
func (i *Instance) openDoor() error {
	folder := i.config.Path(doorFolder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("make the folder of the admin socket: %w", err)
	}
	path, done, err := socketPath(folder)
	if err != nil {
		return err
	}
	defer done()
	if conn, err := net.Dial("unix", path); err == nil {
		i.log.Debug("another process answers admin commands")
		return conn.Close()
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old admin socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen on admin socket: %w", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // its path may be a short-lived one; removed below
	srv := &http.Server{
		Handler: http.HandlerFunc(i.answerDoor), ReadTimeout: doorRead, WriteTimeout: doorAnswer,
		ErrorLog:    slog.NewLogLogger(i.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return i.base },
	}
	i.keep("admin socket", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { srv.Close() })
		defer stop()
		err := srv.Serve(ln)
		if errors.Is(err, http.ErrServerClosed) {
			return errors.Join(ctx.Err(), os.Remove(filepath.Join(folder, doorSocket)))
		}
		return err
	})
	return nil
}

// socketPath is the socket's path in a form short enough for the kernel (about 100 bytes); done gives back what it took.
func socketPath(folder string) (path string, done func(), err error) {
	path = filepath.Join(folder, doorSocket)
	if len(path) < 100 {
		return path, func() {}, nil
	}
	dir, err := os.Open(folder)
	if err != nil {
		return "", nil, fmt.Errorf("open the folder of the admin socket: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), doorSocket), func() { dir.Close() }, nil
}

func (i *Instance) answerDoor(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	resp, err := i.passDoor(ctx, w, r)
	status := http.StatusOK
	if err != nil {
		e := obs.Public(ctx, err)
		status, resp = e.Status, e
	}
	body, err := json.Marshal(resp)
	if err != nil {
		i.log.Error("encode admin reply", "error", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		i.log.Debug("admin command went away", "error", err)
	}
}

func (i *Instance) passDoor(ctx context.Context, w http.ResponseWriter, r *http.Request) (any, error) {
	call, ok := doorCalls[r.URL.Path[1:]]
	if !ok || r.Method != http.MethodPost {
		return nil, matrix.Unrecognized("There is no such admin call")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, doorBody))
	if err != nil {
		return nil, matrix.BadJSON("The request could not be read").Wrap(err)
	}
	return call(ctx, i.bus, body)
}

// Admin is the way of an admin command to the services: the running server's door, the bus of a cluster, or services
// started for the purpose when nothing runs.
type Admin struct {
	door  *http.Client
	bus   *bus.Bus
	close func() error
}

// OpenAdmin finds the way.
func OpenAdmin(ctx context.Context, c *config.Config, log *slog.Logger) (*Admin, error) {
	folder := c.Path(doorFolder)
	conn, err := dialDoor(ctx, folder)
	switch {
	case err == nil:
		conn.Close()
		return &Admin{
			door: &http.Client{Transport: &http.Transport{
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialDoor(ctx, folder) },
			}},
			close: func() error { return nil },
		}, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s belongs to another account: run the command as the one the server runs as", c.DataDir)
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("reach the running server: %w", err)
	case c.NATS.URL != "":
		o, err := busOptions(c, log)
		if err != nil {
			return nil, err
		}
		b, err := bus.Connect(ctx, o)
		if err != nil {
			return nil, err
		}
		return &Admin{bus: b, close: func() error { b.Close(); return nil }}, nil
	}
	i, err := Start(ctx, c, Options{Log: log, Offline: true})
	if err != nil {
		return nil, err
	}
	return &Admin{bus: i.bus, close: i.Close}, nil
}

func dialDoor(ctx context.Context, folder string) (net.Conn, error) {
	path, done, err := socketPath(folder)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// Close gives the way free again.
func (a *Admin) Close() error { return a.close() }

// AdminCall makes one call. Errors are those of the endpoint.
func AdminCall[Req, Resp any](ctx context.Context, a *Admin, e bus.Endpoint[Req, Resp], req Req) (resp Resp, err error) {
	if a.bus != nil {
		return bus.Call(ctx, a.bus, e, req)
	}
	body, err := json.Marshal(req)
	if err != nil {
		return resp, fmt.Errorf("encode %s: %w", e.Method, err)
	}
	answer, status, err := a.post(ctx, e.Method, body)
	if err != nil {
		return resp, fmt.Errorf("call %s: %w", e.Method, err)
	}
	if status != http.StatusOK {
		var public struct{ ErrCode, Error string }
		if err := json.Unmarshal(answer, &public); err != nil {
			return resp, fmt.Errorf("call %s: answered %d", e.Method, status)
		}
		return resp, &matrix.Error{Code: public.ErrCode, Status: status, Msg: public.Error}
	}
	if err := json.Unmarshal(answer, &resp); err != nil {
		return resp, fmt.Errorf("decode answer of %s: %w", e.Method, err)
	}
	return resp, nil
}

func (a *Admin) post(ctx context.Context, method string, body []byte) (answer []byte, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://admin/"+method, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	resp, err := a.door.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return answer, resp.StatusCode, err
}
