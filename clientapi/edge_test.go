package clientapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"allmende/clientapi"
	"allmende/clientapi/api"
	"allmende/clientapi/store"
	"allmende/config"
	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/testkit"
	rooms "allmende/roomserver/api"
)

// edge is an env with people in it who need not register first, and with a room server's stand-in on the bus.
type edge struct {
	*env
	store *store.Store
}

func newEdge(t *testing.T, neighbours ...*neighbour) *edge {
	t.Helper()
	e := stoppedEdge(t)
	for _, n := range neighbours {
		e.join(n)
	}
	e.url = e.instance()
	return e
}

// stoppedEdge is an edge whose service does not run yet.
func stoppedEdge(t *testing.T) *edge {
	t.Helper()
	db := testkit.Migrated(t, clientapi.Migrate)
	return &edge{&env{t: t, cfg: config.Default("example.org"), db: db, bus: testkit.Bus(t)}, store.New(db)}
}

// neighbour stands for the room server: it remembers what it was asked, and gives simple answers.
type neighbour struct {
	mu    sync.Mutex
	asked []any

	joined []matrix.RoomID                                       // answer of JoinedRooms
	member func(rooms.SetMembershipReq) (rooms.EventResp, error) // nil: $event
	show   func(rooms.UpdateProfileReq) (rooms.EventResp, error) // nil: $event
	alias  func(rooms.ResolveAliasReq) (rooms.ResolveAliasResp, error)
}

func (n *neighbour) note(req any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, req)
}

// take returns what was asked since the last time.
func (n *neighbour) take() []any {
	n.mu.Lock()
	defer n.mu.Unlock()
	asked := n.asked
	n.asked = nil
	return asked
}

func answerWith[Req, Resp any](n *neighbour, f func(Req) (Resp, error), otherwise Resp) func(context.Context, Req) (Resp, error) {
	return func(_ context.Context, req Req) (Resp, error) {
		n.note(req)
		if f == nil {
			return otherwise, nil
		}
		return f(req)
	}
}

func (e *edge) join(n *neighbour) {
	e.t.Helper()
	event := rooms.EventResp{EventID: "$event"}
	made := rooms.CreateRoomResp{RoomID: "!made:example.org"}
	s := e.bus.Service(rooms.Service, bus.ServiceOptions{})
	bus.Handle(s, rooms.SendEvent, answerWith[rooms.SendEventReq](n, nil, event))
	bus.Handle(s, rooms.SetMembership, answerWith(n, n.member, event))
	bus.Handle(s, rooms.UpdateProfile, answerWith(n, n.show, event))
	bus.Handle(s, rooms.Forget, answerWith[rooms.ForgetReq](n, nil, struct{}{}))
	bus.Handle(s, rooms.JoinedRooms, answerWith[rooms.JoinedRoomsReq](n, nil, rooms.JoinedRoomsResp{RoomIDs: n.joined}))
	bus.Handle(s, rooms.CreateRoom, answerWith[rooms.CreateRoomReq](n, nil, made))
	bus.Handle(s, rooms.UpgradeRoom, answerWith[rooms.UpgradeRoomReq](n, nil, made))
	bus.Handle(s, rooms.SetAlias, answerWith[rooms.SetAliasReq](n, nil, struct{}{}))
	bus.Handle(s, rooms.DeleteAlias, answerWith[rooms.DeleteAliasReq](n, nil, struct{}{}))
	bus.Handle(s, rooms.ResolveAlias, answerWith(n, n.alias, rooms.ResolveAliasResp{RoomID: "!aliased:example.org"}))
	bus.Handle(s, rooms.Publish, answerWith[rooms.PublishReq](n, nil, struct{}{}))
	run(e.t, s.Run)
	<-s.Ready()
}

// person is a logged-in user.
type person struct {
	e       *edge
	id      matrix.UserID
	account int64
	token   string
}

func (e *edge) person(localpart string) *person {
	e.t.Helper()
	p := &person{e: e, id: matrix.UserID("@" + localpart + ":example.org"), token: "token-of-" + localpart}
	hash := auth.HashToken(p.token)
	err := e.store.Tx(e.t.Context(), func(q *store.Queries) (err error) {
		if p.account, err = q.CreateAccount(e.t.Context(), localpart, "", false); err != nil {
			return err
		}
		device, _, err := q.EnsureDevice(e.t.Context(), p.account, "DEVICE", "")
		if err != nil {
			return err
		}
		return q.CreateSession(e.t.Context(), store.NewSession{DeviceNID: device, AccessHash: hash[:]})
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return p
}

// result is a reply to be compared with JSON.
type result struct{ *reply }

// do makes a request as the person; paths begin after /_matrix/client.
func (p *person) do(method, path string, body any) result {
	p.e.t.Helper()
	return p.e.as(p.token, method, path, body)
}

func (e *edge) as(token, method, path string, body any) result {
	e.t.Helper()
	return result{e.env.do(method, "/_matrix/client"+path, token, body)}
}

// ok wants success, and the body to be this JSON (in any order of members) unless want is empty.
func (r result) ok(want string) result {
	r.t.Helper()
	if r.status != 200 {
		r.t.Fatalf("%s: %d %s", r.req, r.status, r.raw)
	}
	if want != "" && !sameJSON(r.raw, []byte(want)) {
		r.t.Errorf("%s:\n got %s\nwant %s", r.req, r.raw, want)
	}
	return r
}

func (r result) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.raw, v); err != nil {
		r.t.Fatalf("%s: %v", r.req, err)
	}
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// changes reads the account's stream behind a position, page by page.
func (p *person) changes(after int64, limit int) (items []api.AccountDataItem, pos int64) {
	p.e.t.Helper()
	for pos = after; ; {
		resp, err := bus.Call(p.e.t.Context(), p.e.bus, api.AccountData, api.AccountDataReq{AccountNID: p.account, After: pos, Limit: limit})
		if err != nil {
			p.e.t.Fatal(err)
		}
		items = append(items, resp.Items...)
		if pos = resp.Position; !resp.More {
			return items, pos
		}
	}
}

// summary is a list of items as room/type=content, without the contents of push rules.
func summary(items []api.AccountDataItem) []string {
	var out []string
	for _, i := range items {
		content := string(i.Content)
		if i.Type == "m.push_rules" {
			content = "…"
		}
		out = append(out, fmt.Sprintf("%s/%s=%s", i.RoomID, i.Type, content))
	}
	return out
}
