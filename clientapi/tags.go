package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"allmende/clientapi/store"
	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
)

func (s *Service) tagRoutes() []httpx.Route {
	const tags = "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags"
	return []httpx.Route{
		{Method: "GET", Path: tags, Auth: httpx.Required, Rate: httpx.RateRead, Handler: httpx.Handle(s.tags)},
		{Method: "PUT", Path: tags + "/{tag}", Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.putTag), MaxBody: maxAccountData},
		{Method: "DELETE", Path: tags + "/{tag}", Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.deleteTag)},
	}
}

// roomTags is the content of m.tag: tags of a room are one item of its account data.
//
// spec: c-s §Room Tagging
type roomTags struct {
	Tags map[string]json.RawMessage `json:"tags"`
}

type tagsIn struct {
	UserID matrix.UserID `path:"userId"`
	RoomID matrix.RoomID `path:"roomId"`
}

func (s *Service) tags(ctx context.Context, sess auth.Session, in tagsIn) (roomTags, error) {
	if err := ownRoomData(sess, in.UserID, in.RoomID); err != nil {
		return roomTags{}, err
	}
	return findTags(ctx, s.store.Queries, sess.Account, in.RoomID)
}

func findTags(ctx context.Context, q *store.Queries, account int64, room matrix.RoomID) (roomTags, error) {
	var t roomTags
	content, err := q.FindAccountData(ctx, account, room, typeTag)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return t, err
	}
	if json.Unmarshal(content, &t) != nil || t.Tags == nil {
		// Nothing stored, or something else that a client has put there itself.
		t.Tags = map[string]json.RawMessage{}
	}
	return t, nil
}

type putTagIn struct {
	UserID matrix.UserID   `path:"userId"`
	RoomID matrix.RoomID   `path:"roomId"`
	Tag    string          `path:"tag"`
	Body   json.RawMessage `body:"optional"`
}

func (s *Service) putTag(ctx context.Context, sess auth.Session, in putTagIn) (empty, error) {
	if err := ownRoomData(sess, in.UserID, in.RoomID); err != nil {
		return empty{}, err
	}
	if len(in.Tag) > maxType {
		return empty{}, matrix.InvalidParam("The tag is too long.")
	}
	var body struct {
		Order *float64 `json:"order"`
	}
	if err := json.Unmarshal(in.Body, &body); err != nil {
		return empty{}, matrix.BadJSON("order must be a number.")
	}
	if body.Order != nil && (*body.Order < 0 || *body.Order > 1) {
		return empty{}, matrix.InvalidParam("order must be between 0 and 1.")
	}
	return empty{}, s.changeTags(ctx, sess.Account, in.RoomID, func(t roomTags) bool {
		t.Tags[in.Tag] = in.Body
		return true
	})
}

type deleteTagIn struct {
	UserID matrix.UserID `path:"userId"`
	RoomID matrix.RoomID `path:"roomId"`
	Tag    string        `path:"tag"`
}

func (s *Service) deleteTag(ctx context.Context, sess auth.Session, in deleteTagIn) (empty, error) {
	if err := ownRoomData(sess, in.UserID, in.RoomID); err != nil {
		return empty{}, err
	}
	return empty{}, s.changeTags(ctx, sess.Account, in.RoomID, func(t roomTags) bool {
		_, had := t.Tags[in.Tag]
		delete(t.Tags, in.Tag)
		return had
	})
}

// changeTags applies a change to a room's tags; false from it means that nothing changed.
func (s *Service) changeTags(ctx context.Context, account int64, room matrix.RoomID, change func(roomTags) bool) error {
	return s.changeUserData(ctx, account, func(q *store.Queries) (int64, error) {
		t, err := findTags(ctx, q, account, room)
		if err != nil || !change(t) {
			return 0, err
		}
		content, err := json.Marshal(t)
		if err != nil {
			return 0, fmt.Errorf("encode tags: %w", err)
		}
		if len(content) > maxAccountData {
			return 0, matrix.TooLarge("There are too many tags.")
		}
		return q.SetAccountData(ctx, account, store.AccountData{RoomID: room, Type: typeTag, Content: content})
	})
}
