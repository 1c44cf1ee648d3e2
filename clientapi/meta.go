package clientapi

import (
	"context"

	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
)

func (s *Service) metaRoutes() []httpx.Route {
	return []httpx.Route{
		{Method: "GET", Path: "/_matrix/client/versions", Handler: httpx.Handle(s.versions)},
		{Method: "GET", Path: "/_matrix/client/v3/capabilities", Auth: httpx.Required, Rate: httpx.RateRead,
			Handler: httpx.Handle(s.capabilities)},
	}
}

type versionsOut struct {
	Versions         []string        `json:"versions"`
	UnstableFeatures map[string]bool `json:"unstable_features"`
}

// specVersions are claimed because clients switch code paths on by them: v1.4 threads, v1.11 media that need a token. A
// version is added here when everything it switches on works.
var specVersions = []string{
	"v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12",
}

// unstableFeatures name what is in a later version and works already.
var unstableFeatures = map[string]bool{
	"uk.tcpip.msc4133":        true, // profile fields, v1.16
	"uk.tcpip.msc4133.stable": true,
}

// versions says what the server speaks; the same to everybody, so a token is not looked at. spec: c-s §GET /versions
func (s *Service) versions(context.Context, auth.Session, struct{}) (versionsOut, error) {
	return versionsOut{specVersions, unstableFeatures}, nil
}

type capability struct {
	Enabled bool `json:"enabled"`
}

type capabilitiesOut struct {
	Capabilities struct {
		RoomVersions struct {
			Default   matrix.RoomVersion            `json:"default"`
			Available map[matrix.RoomVersion]string `json:"available"`
		} `json:"m.room_versions"`
		ChangePassword capability `json:"m.change_password"`
		SetDisplayName capability `json:"m.set_displayname"`
		SetAvatarURL   capability `json:"m.set_avatar_url"`
		ProfileFields  capability `json:"m.profile_fields"`
		ContactChanges capability `json:"m.3pid_changes"`
		LoginToken     capability `json:"m.get_login_token"`
	} `json:"capabilities"`
}

// capabilities says what the user may do. spec: c-s §Capabilities negotiation
func (s *Service) capabilities(context.Context, auth.Session, struct{}) (capabilitiesOut, error) {
	var out capabilitiesOut
	c := &out.Capabilities
	c.RoomVersions.Default = matrix.RoomVersion(s.Config.Rooms.DefaultVersion)
	c.RoomVersions.Available = map[matrix.RoomVersion]string{}
	for _, v := range matrix.Versions() {
		c.RoomVersions.Available[v] = "stable"
	}
	yes := capability{true}
	c.ChangePassword, c.SetDisplayName, c.SetAvatarURL, c.ProfileFields, c.LoginToken = yes, yes, yes, yes, yes
	return out, nil
}
