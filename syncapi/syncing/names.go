package syncing

import (
	"strconv"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/api"
)

// names loads the ids of users who are named outside of events.
func (a *assembly) names() error {
	var nids []read.UserNID
	for _, r := range a.joined {
		if r.summary != nil {
			nids = append(nids, r.summary.heroes...)
		}
	}
	var err error
	a.strings, err = a.Model.Strings(a.ctx, nids)
	return err
}

// presences writes the m.presence events the client does not know, of users who
// share a room with this one.
//
// spec: c-s §m.presence
func (a *assembly) presences(dst []byte) ([]byte, error) {
	f := &a.request.filter.Presence
	if a.since.Memory == a.next.Memory || !f.PassType(typePresence) {
		return dst, nil
	}
	list := a.Memory.PresenceSince(a.since.Memory, func(u read.UserNID) bool {
		return !a.ignored[u] && (u == a.me || a.Tail.Share(a.user, u))
	})
	if len(list) == 0 {
		return dst, nil
	}
	nids := make([]read.UserNID, len(list))
	for i, p := range list {
		nids[i] = p.UserNID
	}
	users, err := a.Model.Strings(a.ctx, nids)
	if err != nil {
		return dst, err
	}
	for _, p := range list {
		id := users[p.UserNID]
		if id == "" || !f.Pass(typePresence, id) {
			continue
		}
		resp := api.PresenceResp{State: p.State, ActiveMS: p.ActiveMS}
		if p.HasStatus {
			if resp, err = a.Memory.Presence(a.ctx, api.PresenceReq{UserID: matrix.UserID(id), UserNID: p.UserNID}); err != nil {
				return dst, err
			}
		}
		if len(dst) > 0 {
			dst = append(dst, ',')
		}
		dst = appendPresence(dst, id, resp, a.format.Now)
	}
	return dst, nil
}

func appendPresence(dst []byte, user string, p api.PresenceResp, now int64) []byte {
	dst = matrix.AppendText(append(dst, `{"type":"m.presence","sender":`...), user)
	dst = append(dst, `,"content":`...)
	return append(AppendPresenceContent(dst, p, now), '}')
}

// AppendPresenceContent writes a presence as the content of an event and as the
// answer to a question.
func AppendPresenceContent(dst []byte, p api.PresenceResp, now int64) []byte {
	state := [...]string{api.Offline: "offline", api.Unavailable: "unavailable", api.Online: "online"}[p.State]
	dst = append(append(append(dst, `{"presence":"`...), state...), '"')
	if p.ActiveMS > 0 {
		dst = strconv.AppendInt(append(dst, `,"last_active_ago":`...), max(0, now-p.ActiveMS), 10)
		dst = strconv.AppendBool(append(dst, `,"currently_active":`...), p.State == api.Online)
	}
	if p.Status != "" {
		dst = matrix.AppendText(append(dst, `,"status_msg":`...), p.Status)
	}
	return append(dst, '}')
}
