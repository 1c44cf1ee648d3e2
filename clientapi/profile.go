package clientapi

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"allmende/clientapi/api"
	"allmende/clientapi/store"
	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	rooms "allmende/roomserver/api"
)

// Fields of profiles that rooms show too.
const (
	fieldName   = "displayname"
	fieldAvatar = "avatar_url"
	fieldZone   = "m.tz"
)

const (
	// maxProfile is the size a profile must stay under, in bytes of canonical JSON.
	maxProfile = 64 << 10
	// maxField bounds the name of a field, in bytes.
	maxField = 255
	// maxName bounds display names, in characters; they stand in every member event.
	maxName = 256
	// maxAvatar bounds avatar URLs, in bytes.
	maxAvatar = 1000
)

func (s *Service) profileRoutes() []httpx.Route {
	// The second is the name of before 1.16, used by clients that see MSC4133 among the unstable features.
	var routes []httpx.Route
	for _, prefix := range []string{"/_matrix/client/v3", "/_matrix/client/unstable/uk.tcpip.msc4133"} {
		profile := prefix + "/profile/{userId}"
		field := profile + "/{keyName}"
		routes = append(routes,
			httpx.Route{Method: "GET", Path: profile, Auth: httpx.None, Rate: httpx.RateRead, Handler: httpx.Handle(s.profile)},
			httpx.Route{Method: "GET", Path: field, Auth: httpx.None, Rate: httpx.RateRead, Handler: httpx.Handle(s.profileField)},
			httpx.Route{Method: "PUT", Path: field, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.putProfileField), MaxBody: 2 * maxProfile},
			httpx.Route{Method: "DELETE", Path: field, Auth: httpx.Required, Rate: httpx.RateWrite, Handler: httpx.Handle(s.deleteProfileField)},
		)
	}
	return routes
}

type profileIn struct {
	UserID string `path:"userId"`
}

// profile answers everything a local user shows of themselves.
//
// spec: c-s §GET /profile/{userId}
func (s *Service) profile(ctx context.Context, _ auth.Session, in profileIn) (map[string]json.RawMessage, error) {
	user, err := matrix.ParseUserID(in.UserID)
	if err != nil {
		return nil, err
	}
	return s.findProfile(ctx, user)
}

func (s *Service) findProfile(ctx context.Context, user matrix.UserID) (map[string]json.RawMessage, error) {
	if !s.isLocal(user) {
		return nil, errNoProfile()
	}
	fields, err := s.store.Profile(ctx, user.Localpart())
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoProfile()
	}
	return fields, err
}

func errNoProfile() error { return matrix.NotFound("Profile not found.") }

func (s *Service) busProfile(ctx context.Context, req api.ProfileReq) (api.ProfileResp, error) {
	fields, err := s.findProfile(ctx, req.UserID)
	return api.ProfileResp{Fields: fields}, err
}

type profileFieldIn struct {
	UserID string `path:"userId"`
	Field  string `path:"keyName"`
}

// spec: c-s §GET /profile/{userId}/{keyName}
func (s *Service) profileField(ctx context.Context, sess auth.Session, in profileFieldIn) (map[string]json.RawMessage, error) {
	if err := checkFieldName(in.Field); err != nil {
		return nil, err
	}
	fields, err := s.profile(ctx, sess, profileIn{in.UserID})
	if err != nil {
		return nil, err
	}
	value, ok := fields[in.Field]
	if !ok {
		return nil, matrix.NotFound("Profile field not found.")
	}
	return map[string]json.RawMessage{in.Field: value}, nil
}

type putProfileFieldIn struct {
	UserID matrix.UserID              `path:"userId"`
	Field  string                     `path:"keyName"`
	Body   map[string]json.RawMessage `body:""`
}

// putProfileField sets a field. An empty name or picture is none.
//
// spec: c-s §PUT /profile/{userId}/{keyName}
func (s *Service) putProfileField(ctx context.Context, sess auth.Session, in putProfileFieldIn) (empty, error) {
	if err := ownProfile(sess, in.UserID, in.Field); err != nil {
		return empty{}, err
	}
	value, ok := in.Body[in.Field]
	if !ok {
		return empty{}, matrix.MissingParam("Missing " + in.Field + ".")
	}
	if err := checkFieldValue(in.Field, value); err != nil {
		return empty{}, err
	}
	if inRooms(in.Field) && string(value) == `""` {
		return empty{}, s.changeProfile(ctx, sess, in.Field, nil)
	}
	return empty{}, s.changeProfile(ctx, sess, in.Field, value)
}

type deleteProfileFieldIn struct {
	UserID matrix.UserID `path:"userId"`
	Field  string        `path:"keyName"`
}

// spec: c-s §DELETE /profile/{userId}/{keyName}
func (s *Service) deleteProfileField(ctx context.Context, sess auth.Session, in deleteProfileFieldIn) (empty, error) {
	if err := ownProfile(sess, in.UserID, in.Field); err != nil {
		return empty{}, err
	}
	return empty{}, s.changeProfile(ctx, sess, in.Field, nil)
}

// changeProfile sets a field, or removes it when value is nil. If rooms show the field, the job that tells them is part
// of the same transaction.
func (s *Service) changeProfile(ctx context.Context, sess auth.Session, field string, value json.RawMessage) error {
	changed := false
	err := s.store.Tx(ctx, func(q *store.Queries) error {
		changed = false
		if err := q.LockAccount(ctx, sess.Account); err != nil {
			return err
		}
		fields, err := q.Profile(ctx, sess.UserID.Localpart())
		if err != nil {
			return err
		}
		if old := fields[field]; string(old) == string(value) && (old == nil) == (value == nil) {
			return nil
		}
		changed = true
		if err := writeField(ctx, q, sess.Account, fields, field, value); err != nil || !inRooms(field) {
			return err
		}
		return q.AddJob(ctx, jobProfile, sess.Account)
	})
	if err == nil && changed && inRooms(field) {
		s.wakeJobs()
	}
	return err
}

func writeField(ctx context.Context, q *store.Queries, account int64, fields map[string]json.RawMessage, field string, value json.RawMessage) error {
	if value == nil {
		return q.DeleteProfileField(ctx, account, field)
	}
	fields[field] = value
	if err := checkProfileSize(fields); err != nil {
		return err
	}
	return q.SetProfileField(ctx, account, field, value)
}

// checkProfileSize measures the profile as canonical JSON. Values that have no canonical form, such as fractions, count
// as they were sent.
func checkProfileSize(fields map[string]json.RawMessage) error {
	size := len("{}")
	for name, value := range fields {
		if canonical, err := matrix.CanonicalJSON(value); err == nil {
			value = canonical
		}
		size += len(name) + len(`"":,`) + len(value)
	}
	if size > maxProfile {
		return matrix.ProfileTooLarge("The profile would be larger than 64 KiB.")
	}
	return nil
}

// inRooms reports whether member events show the field.
func inRooms(field string) bool { return field == fieldName || field == fieldAvatar }

func ownProfile(sess auth.Session, user matrix.UserID, field string) error {
	if user != sess.UserID {
		return matrix.Forbidden("This is another user's profile.")
	}
	if err := mayAct(sess); err != nil {
		return err
	}
	return checkFieldName(field)
}

// checkFieldName admits the specified fields and namespaced ones.
//
// spec: appendices §Common Namespaced Identifier Grammar
func checkFieldName(name string) error {
	if len(name) > maxField {
		return matrix.KeyTooLarge("The name of a profile field has at most 255 bytes.")
	}
	if inRooms(name) {
		return nil
	}
	valid := name != "" && 'a' <= name[0] && name[0] <= 'z' && strings.Contains(name, ".") && !strings.HasSuffix(name, ".")
	for _, c := range []byte(name) {
		valid = valid && ('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	if !valid {
		return matrix.InvalidParam("Invalid profile key.")
	}
	return nil
}

func checkFieldValue(field string, value json.RawMessage) error {
	if !inRooms(field) && field != fieldZone {
		return nil
	}
	var s *string
	if err := json.Unmarshal(value, &s); err != nil || s == nil {
		return matrix.BadJSON(field + " must be a string.")
	}
	switch {
	case field == fieldName && utf8.RuneCountInString(*s) > maxName:
		return matrix.InvalidParam("The display name has more than 256 characters.")
	case field == fieldAvatar && *s != "" && (!strings.HasPrefix(*s, "mxc://") || len(*s) > maxAvatar):
		return matrix.InvalidParam("avatar_url must be an mxc:// URI.")
	case field == fieldZone && len(*s) > maxField:
		return matrix.InvalidParam("The time zone's name is too long.")
	}
	return nil
}

// roomProfile is what member events show of a user; empty for users of other servers.
func (s *Service) roomProfile(ctx context.Context, user matrix.UserID) (rooms.Profile, error) {
	profiles, err := s.roomProfiles(ctx, []matrix.UserID{user})
	return profiles[user], err
}

func (s *Service) roomProfiles(ctx context.Context, users []matrix.UserID) (map[matrix.UserID]rooms.Profile, error) {
	found, err := s.store.ProfileFields(ctx, s.localparts(users), []string{fieldName, fieldAvatar})
	if err != nil {
		return nil, err
	}
	out := map[matrix.UserID]rooms.Profile{}
	for localpart, fields := range found {
		var p rooms.Profile
		// Both were strings when they were stored; what is not set stays empty.
		_ = json.Unmarshal(fields[fieldName], &p.DisplayName)
		_ = json.Unmarshal(fields[fieldAvatar], &p.AvatarURL)
		out[s.userID(localpart)] = p
	}
	return out, nil
}
