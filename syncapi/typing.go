package syncapi

import (
	"context"

	"allmende/internal/auth"
	"allmende/internal/matrix"
	"allmende/syncapi/memory"
)

type typingIn struct {
	RoomID matrix.RoomID `path:"roomId"`
	UserID matrix.UserID `path:"userId"`
	Body   struct {
		Typing  *bool  `json:"typing"`
		Timeout *int64 `json:"timeout"`
	} `body:""`
}

// spec: c-s §PUT /rooms/{roomId}/typing/{userId}
func (s *Service) setTyping(ctx context.Context, session auth.Session, in typingIn) (none, error) {
	if in.UserID != session.UserID {
		return none{}, matrix.Forbidden("You cannot type for somebody else")
	}
	if in.Body.Typing == nil {
		return none{}, matrix.MissingParam("typing is missing")
	}
	at, err := s.joinedRoom(ctx, session, in.RoomID)
	if err != nil {
		return none{}, err
	}
	timeout := memory.TypingTimeout(in.Body.Timeout)
	if !*in.Body.Typing {
		timeout = 0
	}
	return none{}, s.memory.SetTyping(at.room.NID, at.user, timeout)
}
