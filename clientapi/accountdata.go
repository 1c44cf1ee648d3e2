package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"allmende/clientapi/api"
	"allmende/clientapi/store"
	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/internal/obs"
	"allmende/internal/pushrules"
)

// Types of account data that the server controls.
const (
	typePushRules = "m.push_rules"
	typeFullyRead = "m.fully_read"
	typeTag       = "m.tag"
)

const (
	// maxAccountData bounds the content of one item, in bytes: one must fit into a reply on the bus.
	maxAccountData = 128 << 10
	// maxType bounds types and tags, in bytes.
	maxType = 255
)

// empty is the answer {}.
type empty struct{}

func (s *Service) accountDataRoutes() []httpx.Route {
	const (
		global   = "/_matrix/client/v3/user/{userId}/account_data/{type}"
		room     = "/_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}"
		unstable = "/_matrix/client/unstable/org.matrix.msc3391/user/{userId}"
	)
	return []httpx.Route{
		{Method: "GET", Path: global, Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.accountData)},
		{Method: "PUT", Path: global, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.putAccountData), MaxBody: maxAccountData},
		{Method: "GET", Path: room, Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.roomAccountData)},
		{Method: "PUT", Path: room, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.putRoomAccountData), MaxBody: maxAccountData},
		{Method: "DELETE", Path: unstable + "/account_data/{type}", Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.deleteAccountData)},
		{Method: "DELETE", Path: unstable + "/rooms/{roomId}/account_data/{type}", Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.deleteRoomAccountData)},
	}
}

// serveUserData registers what concerns account data, filters, push rules and profiles on the bus.
func (s *Service) serveUserData(svc *bus.Service) {
	bus.Handle(svc, api.Position, s.busPosition)
	bus.Handle(svc, api.AccountData, s.busAccountData)
	bus.Handle(svc, api.SetRoomAccountData, s.busSetRoomAccountData)
	bus.Handle(svc, api.Filter, s.busFilter)
	bus.Handle(svc, api.Profile, s.busProfile)
	bus.Handle(svc, api.PushRules, s.busPushRules)
}

type accountDataIn struct {
	UserID matrix.UserID `path:"userId"`
	Type   string        `path:"type"`
}

type roomAccountDataIn struct {
	UserID matrix.UserID `path:"userId"`
	RoomID matrix.RoomID `path:"roomId"`
	Type   string        `path:"type"`
}

type putAccountDataIn struct {
	UserID  matrix.UserID   `path:"userId"`
	Type    string          `path:"type"`
	Content json.RawMessage `body:""`
}

type putRoomAccountDataIn struct {
	UserID  matrix.UserID   `path:"userId"`
	RoomID  matrix.RoomID   `path:"roomId"`
	Type    string          `path:"type"`
	Content json.RawMessage `body:""`
}

// accountData answers an item of global account data.
//
// spec: c-s §GET /user/{userId}/account_data/{type}
func (s *Service) accountData(ctx context.Context, sess auth.Session, in accountDataIn) (json.RawMessage, error) {
	if err := ownData(sess, in.UserID); err != nil {
		return nil, err
	}
	if in.Type == typePushRules {
		set, err := s.ruleset(ctx, sess)
		if err != nil {
			return nil, err
		}
		return pushRulesContent(set)
	}
	return s.findAccountData(ctx, sess.Account, "", in.Type)
}

func (s *Service) roomAccountData(ctx context.Context, sess auth.Session, in roomAccountDataIn) (json.RawMessage, error) {
	if err := ownRoomData(sess, in.UserID, in.RoomID); err != nil {
		return nil, err
	}
	return s.findAccountData(ctx, sess.Account, in.RoomID, in.Type)
}

func (s *Service) findAccountData(ctx context.Context, account int64, room matrix.RoomID, kind string) (json.RawMessage, error) {
	content, err := s.store.FindAccountData(ctx, account, room, kind)
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("Account data not found.")
	}
	return content, err
}

// spec: c-s §PUT /user/{userId}/account_data/{type}
func (s *Service) putAccountData(ctx context.Context, sess auth.Session, in putAccountDataIn) (empty, error) {
	if err := ownData(sess, in.UserID); err != nil {
		return empty{}, err
	}
	return empty{}, s.writeAccountData(ctx, sess, store.AccountData{Type: in.Type, Content: in.Content})
}

// spec: c-s §PUT /user/{userId}/rooms/{roomId}/account_data/{type}
func (s *Service) putRoomAccountData(ctx context.Context, sess auth.Session, in putRoomAccountDataIn) (empty, error) {
	if err := ownRoomData(sess, in.UserID, in.RoomID); err != nil {
		return empty{}, err
	}
	return empty{}, s.writeAccountData(ctx, sess, store.AccountData{RoomID: in.RoomID, Type: in.Type, Content: in.Content})
}

// deleteAccountData removes an item; removing what is not there is no error.
//
// MSC3391
func (s *Service) deleteAccountData(ctx context.Context, sess auth.Session, in accountDataIn) (empty, error) {
	if err := ownData(sess, in.UserID); err != nil {
		return empty{}, err
	}
	return empty{}, s.removeAccountData(ctx, sess, "", in.Type)
}

// MSC3391
func (s *Service) deleteRoomAccountData(ctx context.Context, sess auth.Session, in roomAccountDataIn) (empty, error) {
	if err := ownRoomData(sess, in.UserID, in.RoomID); err != nil {
		return empty{}, err
	}
	return empty{}, s.removeAccountData(ctx, sess, in.RoomID, in.Type)
}

func (s *Service) removeAccountData(ctx context.Context, sess auth.Session, room matrix.RoomID, kind string) error {
	if err := writable(kind); err != nil {
		return err
	}
	return s.changeUserData(ctx, sess.Account, func(q *store.Queries) (int64, error) {
		_, err := q.FindAccountData(ctx, sess.Account, room, kind)
		if errors.Is(err, store.ErrNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		return q.SetAccountData(ctx, sess.Account, store.AccountData{RoomID: room, Type: kind})
	})
}

func (s *Service) writeAccountData(ctx context.Context, sess auth.Session, d store.AccountData) error {
	if err := writable(d.Type); err != nil {
		return err
	}
	return s.changeUserData(ctx, sess.Account, func(q *store.Queries) (int64, error) {
		return q.SetAccountData(ctx, sess.Account, d)
	})
}

// changeUserData runs a change of the account's data under the account's lock, and announces the position it returns; 0:
// nothing has changed.
func (s *Service) changeUserData(ctx context.Context, account int64, change func(*store.Queries) (int64, error)) error {
	_, err := s.changeAt(ctx, account, change)
	return err
}

func (s *Service) changeAt(ctx context.Context, account int64, change func(*store.Queries) (int64, error)) (int64, error) {
	var pos int64
	err := s.store.Tx(ctx, func(q *store.Queries) (err error) {
		if err := q.LockAccount(ctx, account); err != nil {
			return err
		}
		pos, err = change(q)
		return err
	})
	if err != nil || pos == 0 {
		return 0, err
	}
	if err := bus.Publish(s.Bus, api.UserChanged, api.UserChangedAnn{AccountNID: account, Position: pos}); err != nil {
		obs.Logger(ctx).Debug("a change of account data could not be announced", "error", err) // readers look by themselves too
	}
	return pos, nil
}

// writable refuses what clients may not write, or name.
//
// spec: c-s §PUT /user/{userId}/account_data/{type}, 405
func writable(kind string) error {
	switch {
	case kind == typePushRules || kind == typeFullyRead:
		return matrix.BadJSON("Cannot set " + kind + " through this API.").WithStatus(http.StatusMethodNotAllowed)
	case len(kind) > maxType:
		return matrix.InvalidParam("The type is too long.")
	}
	return nil
}

// ownData: people see and change their own data only.
func ownData(sess auth.Session, user matrix.UserID) error {
	if user != sess.UserID {
		return matrix.Forbidden("This is another user's data.")
	}
	return nil
}

func ownRoomData(sess auth.Session, user matrix.UserID, room matrix.RoomID) error {
	if err := ownData(sess, user); err != nil {
		return err
	}
	_, err := matrix.ParseRoomID(string(room))
	return err
}

func (s *Service) busPosition(ctx context.Context, _ api.PositionReq) (api.PositionResp, error) {
	pos, err := s.store.Position(ctx)
	return api.PositionResp{Position: pos}, err
}

func (s *Service) busSetRoomAccountData(ctx context.Context, req api.SetRoomAccountDataReq) (api.PositionResp, error) {
	pos, err := s.changeAt(ctx, req.AccountNID, func(q *store.Queries) (int64, error) {
		return q.SetAccountData(ctx, req.AccountNID, store.AccountData{RoomID: req.RoomID, Type: req.Type, Content: req.Content})
	})
	if errors.Is(err, store.ErrNotFound) {
		err = matrix.NotFound("There is no such account.")
	}
	return api.PositionResp{Position: pos}, err
}

// Bounds of one page on the bus: bytes of content with what surrounds it, and items.
const (
	pageBytes    = 190 << 10
	itemOverhead = 100
	pageItems    = 2000
)

// busAccountData answers a page of changes. Only committed positions are visible, in their order, so whatever lies at or
// below the head that was read first, or the last item, has been seen.
func (s *Service) busAccountData(ctx context.Context, req api.AccountDataReq) (api.AccountDataResp, error) {
	limit := pageItems
	if req.Limit > 0 {
		limit = min(limit, req.Limit)
	}
	head, err := s.store.Position(ctx)
	if err != nil {
		return api.AccountDataResp{}, err
	}
	p := page{limit: limit}
	if err := s.store.ListAccountData(ctx, req.AccountNID, req.After, limit+1, p.add); err != nil {
		return api.AccountDataResp{}, err
	}
	if err := s.renderPushRules(ctx, req, &p); err != nil {
		return api.AccountDataResp{}, err
	}
	resp := api.AccountDataResp{Items: p.items, More: p.more, Position: p.last}
	if !p.more {
		resp.Position = max(head, p.last, req.After)
	}
	return resp, nil
}

// page collects items while there is room.
type page struct {
	items []api.AccountDataItem
	limit int
	bytes int
	last  int64 // position of the last item
	more  bool
	rules bool // m.push_rules is among them
}

func (p *page) add(d store.AccountData) bool {
	size := len(d.Content) + len(d.RoomID) + len(d.Type) + itemOverhead
	rules := d.RoomID == "" && d.Type == typePushRules
	if rules {
		size = 2*len(d.Content) + pushRulesBytes
	}
	if len(p.items) > 0 && (p.bytes+size > pageBytes || len(p.items) == p.limit) {
		p.more = true
		return false
	}
	p.rules = p.rules || rules
	p.bytes += size
	p.last = d.Position
	p.items = append(p.items, api.AccountDataItem{Position: d.Position, RoomID: d.RoomID, Type: d.Type, Content: d.Content})
	return true
}

// pushRulesBytes is more than the default rules take in JSON.
const pushRulesBytes = 10 << 10

// renderPushRules replaces the stored changes by the ruleset clients see. Everybody has one, so the first page of a full
// listing holds the defaults for those who have changed nothing.
func (s *Service) renderPushRules(ctx context.Context, req api.AccountDataReq, p *page) error {
	if req.After == 0 && !p.rules {
		_, err := s.store.FindAccountData(ctx, req.AccountNID, "", typePushRules)
		if errors.Is(err, store.ErrNotFound) {
			p.rules = true
			p.items = append([]api.AccountDataItem{{Type: typePushRules}}, p.items...)
		} else if err != nil {
			return err
		}
	}
	if !p.rules {
		return nil
	}
	account, err := s.store.Account(ctx, req.AccountNID)
	if errors.Is(err, store.ErrNotFound) {
		return matrix.NotFound("There is no such account.")
	}
	if err != nil {
		return err
	}
	for i := range p.items {
		it := &p.items[i]
		if it.RoomID != "" || it.Type != typePushRules {
			continue
		}
		custom, err := pushrules.ParseCustom(it.Content)
		if err != nil {
			return err
		}
		if it.Content, err = pushRulesContent(custom.Ruleset(s.userID(account.Localpart))); err != nil {
			return err
		}
	}
	return nil
}

// pushRulesContent is the content of m.push_rules.
//
// spec: c-s §m.push_rules
func pushRulesContent(set pushrules.Ruleset) (json.RawMessage, error) {
	b, err := json.Marshal(struct {
		Global pushrules.Ruleset `json:"global"`
	}{set})
	if err != nil {
		return nil, fmt.Errorf("encode push rules: %w", err)
	}
	return b, nil
}
