package clientapi

import (
	"context"
	"errors"
	"fmt"

	"allmende/clientapi/store"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	rooms "allmende/roomserver/api"
)

// jobProfile shows a user's name and picture in the rooms they are joined to.
const jobProfile = "profile"

// showProfile runs a jobProfile. It may run any number of times, also at once: rooms that show the profile already stay as
// they are, and whoever finds at the end that the profile has changed meanwhile begins again, so that the last to finish
// leaves the newest behind. A room that refuses (the user may just have been banned) does not keep the others waiting; a
// service that is away ends the run, and the job is done again later.
func (s *Service) showProfile(ctx context.Context, job store.Job) error {
	user := s.userID(job.Localpart)
	profile, err := s.roomProfile(ctx, user)
	for err == nil {
		if err := s.showProfileOnce(ctx, user, profile); err != nil {
			return err
		}
		var now rooms.Profile
		if now, err = s.roomProfile(ctx, user); now == profile {
			break
		}
		profile = now
	}
	return err
}

func (s *Service) showProfileOnce(ctx context.Context, user matrix.UserID, profile rooms.Profile) error {
	joined, err := bus.Call(ctx, s.Bus, rooms.JoinedRooms, rooms.JoinedRoomsReq{UserID: user})
	if err != nil {
		return fmt.Errorf("list rooms to show a profile in: %w", err)
	}
	for _, room := range joined.RoomIDs {
		_, err := bus.Call(ctx, s.Bus, rooms.UpdateProfile, rooms.UpdateProfileReq{RoomID: room, UserID: user, Profile: profile})
		if err != nil && !refused(err) {
			return fmt.Errorf("show a profile in a room: %w", err)
		}
	}
	return nil
}

// refused reports whether the answer will be the same next time.
func refused(err error) bool {
	var e *matrix.Error
	return errors.As(err, &e) && e.Status < 500 && e.Status != 429
}
