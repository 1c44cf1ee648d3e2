package clientapi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"allmende/clientapi/api"
	"allmende/clientapi/store"
	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
)

// maxFilter bounds a filter, in bytes.
const maxFilter = 64 << 10

func (s *Service) filterRoutes() []httpx.Route {
	const filters = "/_matrix/client/v3/user/{userId}/filter"
	return []httpx.Route{
		{Method: "POST", Path: filters, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.createFilter), MaxBody: maxFilter},
		{Method: "GET", Path: filters + "/{filterId}", Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.filter)},
	}
}

type createFilterIn struct {
	UserID matrix.UserID   `path:"userId"`
	Filter json.RawMessage `body:""`
}

type createFilterOut struct {
	FilterID string `json:"filter_id"`
}

// createFilter stores a filter under an id made from its content: clients upload the same one at every start.
//
// spec: c-s §POST /user/{userId}/filter
func (s *Service) createFilter(ctx context.Context, sess auth.Session, in createFilterIn) (createFilterOut, error) {
	if err := ownData(sess, in.UserID); err != nil {
		return createFilterOut{}, err
	}
	if err := checkFilter(in.Filter); err != nil {
		return createFilterOut{}, err
	}
	sum := sha256.Sum256(in.Filter)
	id := base64.RawURLEncoding.EncodeToString(sum[:12])
	return createFilterOut{id}, s.store.EnsureFilter(ctx, sess.Account, id, in.Filter)
}

type filterIn struct {
	UserID   matrix.UserID `path:"userId"`
	FilterID string        `path:"filterId"`
}

// spec: c-s §GET /user/{userId}/filter/{filterId}
func (s *Service) filter(ctx context.Context, sess auth.Session, in filterIn) (json.RawMessage, error) {
	if err := ownData(sess, in.UserID); err != nil {
		return nil, err
	}
	return s.findFilter(ctx, sess.Account, in.FilterID)
}

func (s *Service) findFilter(ctx context.Context, account int64, id string) (json.RawMessage, error) {
	f, err := s.store.FindFilter(ctx, account, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, matrix.NotFound("No such filter.")
	}
	return f, err
}

func (s *Service) busFilter(ctx context.Context, req api.FilterReq) (api.FilterResp, error) {
	f, err := s.findFilter(ctx, req.AccountNID, req.FilterID)
	return api.FilterResp{Filter: f}, err
}

// The shape of a filter as the specification has it. Members it does not know are kept.
//
// spec: c-s §POST /user/{userId}/filter
type syncFilter struct {
	EventFields []string     `json:"event_fields"`
	EventFormat *string      `json:"event_format"`
	Presence    *eventFilter `json:"presence"`
	AccountData *eventFilter `json:"account_data"`
	Room        *struct {
		Rooms        []string         `json:"rooms"`
		NotRooms     []string         `json:"not_rooms"`
		IncludeLeave *bool            `json:"include_leave"`
		Ephemeral    *roomEventFilter `json:"ephemeral"`
		State        *roomEventFilter `json:"state"`
		Timeline     *roomEventFilter `json:"timeline"`
		AccountData  *roomEventFilter `json:"account_data"`
	} `json:"room"`
}

type eventFilter struct {
	Limit      *int64   `json:"limit"`
	Senders    []string `json:"senders"`
	NotSenders []string `json:"not_senders"`
	Types      []string `json:"types"`
	NotTypes   []string `json:"not_types"`
}

type roomEventFilter struct {
	eventFilter
	Rooms                     []string `json:"rooms"`
	NotRooms                  []string `json:"not_rooms"`
	ContainsURL               *bool    `json:"contains_url"`
	LazyLoadMembers           *bool    `json:"lazy_load_members"`
	IncludeRedundantMembers   *bool    `json:"include_redundant_members"`
	UnreadThreadNotifications *bool    `json:"unread_thread_notifications"`
}

// checkFilter verifies a filter. A limit of 0 is let through although the specification asks for more: clients send it
// to say that they want no events.
func checkFilter(raw json.RawMessage) error {
	var f syncFilter
	if err := json.Unmarshal(raw, &f); err != nil {
		return matrix.BadJSON("The filter does not have the right shape.").Wrap(err)
	}
	if f.EventFormat != nil && *f.EventFormat != "client" && *f.EventFormat != "federation" {
		return matrix.InvalidParam("event_format must be client or federation.")
	}
	if err := errors.Join(f.Presence.check(), f.AccountData.check()); err != nil {
		return invalidFilter(err)
	}
	if r := f.Room; r != nil {
		err := errors.Join(allBegin("!", r.Rooms, r.NotRooms), r.Ephemeral.check(), r.State.check(), r.Timeline.check(), r.AccountData.check())
		return invalidFilter(err)
	}
	return nil
}

func invalidFilter(err error) error {
	if err == nil {
		return nil
	}
	return matrix.InvalidParam("The filter holds a value that is not allowed.").Wrap(err)
}

func (f *eventFilter) check() error {
	if f == nil {
		return nil
	}
	if f.Limit != nil && *f.Limit < 0 {
		return errors.New("negative limit")
	}
	return allBegin("@", f.Senders, f.NotSenders)
}

func (f *roomEventFilter) check() error {
	if f == nil {
		return nil
	}
	return errors.Join(f.eventFilter.check(), allBegin("!", f.Rooms, f.NotRooms))
}

func allBegin(sigil string, lists ...[]string) error {
	for _, list := range lists {
		for _, id := range list {
			if !strings.HasPrefix(id, sigil) {
				return errors.New("an id does not begin with " + sigil)
			}
		}
	}
	return nil
}
