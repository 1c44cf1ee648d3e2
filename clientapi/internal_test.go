package clientapi

import (
	"encoding/json"
	"errors"
	"testing"

	"allmende/internal/auth"
	"allmende/internal/matrix"
	rooms "allmende/roomserver/api"
)

// Whatever clients upload as a filter is either accepted or refused with an error of theirs.
func FuzzCheckFilter(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"room":{"timeline":{"limit":10,"types":["m.*"]},"rooms":["!a:b"]},"event_fields":["a"]}`,
		`{"room":null,"presence":{"senders":[null]}}`, `{"account_data":{"limit":1e400}}`, `[]`, `{"room":{"state":[]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if matrix.CheckJSON(raw, 0) != nil {
			return // refused before
		}
		var e *matrix.Error
		if err := checkFilter(raw); err != nil && (!errors.As(err, &e) || e.Status != 400) {
			t.Errorf("%q: %v", raw, err)
		}
	})
}

// Suspended people are refused before anybody else is asked: the service here has nobody to ask.
//
// spec: c-s §Account suspension
func TestSuspendedMayNotAct(t *testing.T) {
	s := &Service{}
	ctx, me := t.Context(), auth.Session{UserID: "@a:b", Suspended: true}
	const room = "!r:b"
	for name, act := range map[string]func() error{
		"createRoom": func() error { _, err := s.createRoom(ctx, me, createRoomIn{}); return err },
		"upgrade":    func() error { _, err := s.upgradeRoom(ctx, me, upgradeRoomIn{RoomID: room}); return err },
		"join":       func() error { _, err := s.join(ctx, me, joinIn{Room: room}); return err },
		"join by id": func() error { _, err := s.joinByID(ctx, me, joinByIDIn{RoomID: room}); return err },
		"knock":      func() error { _, err := s.knock(ctx, me, joinIn{Room: room}); return err },
		"invite":     func() error { return s.actOn(ctx, me, actIn{RoomID: room}, rooms.Invite) },
		"send":       func() error { _, err := s.sendMessage(ctx, me, sendIn{RoomID: room}); return err },
		"state":      func() error { _, err := s.putState(ctx, me, putStateIn{RoomID: room}); return err },
		"alias":      func() error { _, err := s.setAlias(ctx, me, setAliasIn{Alias: "#a:b"}); return err },
		"publish":    func() error { _, err := s.publish(ctx, me, publishIn{RoomID: room}); return err },
		"profile": func() error {
			_, err := s.putProfileField(ctx, me, putProfileFieldIn{UserID: "@a:b", Field: fieldName, Body: map[string]json.RawMessage{fieldName: json.RawMessage(`"x"`)}})
			return err
		},
		"profile deletion": func() error {
			_, err := s.deleteProfileField(ctx, me, deleteProfileFieldIn{UserID: "@a:b", Field: fieldName})
			return err
		},
	} {
		if err := act(); !errors.Is(err, matrix.UserSuspended("")) {
			t.Errorf("%s: %v, want M_USER_SUSPENDED", name, err)
		}
	}
}
