package memory

import (
	"context"
	"time"

	"allmende/internal/bus"
	"allmende/internal/obs"
	"allmende/roomserver/read"
	"allmende/syncapi/api"
	"allmende/syncapi/token"
)

const (
	// activeStep is how exactly the time of the last activity is known.
	activeStep = 5 * time.Minute
	// awayAfter and offlineAfter let presence end by itself.
	awayAfter    = 5 * time.Minute
	offlineAfter = 30 * time.Minute
)

// seen is what everybody was told of a user.
type seen struct {
	api.PresenceAnn
	serial int64
}

// owned is a user whose presence this instance keeps.
type owned struct {
	user   read.UserNID
	state  api.PresenceState
	status string
	active time.Time
}

// SetPresence says that a user is there, or not. Without presence on this
// server, nothing is done.
func (s *Stream) SetPresence(ctx context.Context, req api.SetPresenceReq) error {
	if !s.presenceOn || req.UserNID == 0 || s.known(req) {
		return nil
	}
	_, err := bus.Call(ctx, s.bus, api.SetPresence, req)
	return err
}

// known tells that saying it again would change nothing for anybody.
func (s *Stream) known(req api.SetPresenceReq) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.seen[req.UserNID]
	return req.Status == nil && p != nil && p.State == req.State && s.now().Sub(time.UnixMilli(p.ActiveMS)) < activeStep/2
}

func (s *Stream) setPresence(_ context.Context, req api.SetPresenceReq) (struct{}, error) {
	s.mu.Lock()
	o := s.owned[req.UserNID]
	if o == nil {
		o = &owned{user: req.UserNID}
		s.owned[req.UserNID] = o
	}
	o.state = req.State
	if req.State != api.Offline {
		o.active = s.now()
	}
	if req.Status != nil {
		o.status = *req.Status
	}
	ann := o.announcement()
	s.mu.Unlock()
	return struct{}{}, bus.Publish(s.bus, api.PresenceChanged, ann)
}

func (o *owned) announcement() api.PresenceAnn {
	a := api.PresenceAnn{UserNID: o.user, State: o.state, HasStatus: o.status != ""}
	if !o.active.IsZero() {
		a.ActiveMS = o.active.UnixMilli()
	}
	return a
}

func (s *Stream) hearPresence(a api.PresenceAnn) {
	if !s.presenceOn {
		return
	}
	s.mu.Lock()
	s.serial++
	s.seen[a.UserNID] = &seen{PresenceAnn: a, serial: s.serial}
	s.mu.Unlock()
	s.wakePresence(a.UserNID)
}

// sweepPresence lets users go who have not been heard of.
func (s *Stream) sweepPresence(ctx context.Context) {
	now := s.now()
	var anns []api.PresenceAnn
	s.mu.Lock()
	for nid, o := range s.owned {
		idle, before := now.Sub(o.active), o.state
		if o.state == api.Online && idle > awayAfter {
			o.state = api.Unavailable
		}
		if idle > offlineAfter {
			o.state = api.Offline
		}
		if o.state != before {
			anns = append(anns, o.announcement())
		}
		if o.state == api.Offline && idle > 2*offlineAfter {
			delete(s.owned, nid)
		}
	}
	s.mu.Unlock()
	for _, a := range anns {
		if err := bus.Publish(s.bus, api.PresenceChanged, a); err != nil {
			obs.Logger(ctx).Debug("presence not announced", "error", err)
		}
	}
}

// PresenceSince are the presences that changed since the token, of users the
// function lets pass.
func (s *Stream) PresenceSince(since token.Memory, pass func(read.UserNID) bool) []api.PresenceAnn {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.presenceOn || (!s.foreign(since) && since.Serial >= s.serial) {
		return nil
	}
	var out []api.PresenceAnn
	for nid, p := range s.seen {
		if (s.foreign(since) || p.serial > since.Serial) && pass(nid) {
			out = append(out, p.PresenceAnn)
		}
	}
	return out
}

// presence answers what this instance keeps of a user; what it was only told
// when it does not.
func (s *Stream) presence(_ context.Context, req api.PresenceReq) (api.PresenceResp, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if o := s.owned[req.UserNID]; o != nil {
		a := o.announcement()
		return api.PresenceResp{State: a.State, ActiveMS: a.ActiveMS, Status: o.status}, nil
	}
	if p := s.seen[req.UserNID]; p != nil {
		return api.PresenceResp{State: p.State, ActiveMS: p.ActiveMS}, nil
	}
	return api.PresenceResp{}, nil
}

// Presence asks for a user's presence.
func (s *Stream) Presence(ctx context.Context, req api.PresenceReq) (api.PresenceResp, error) {
	if !s.presenceOn {
		return api.PresenceResp{}, nil
	}
	return bus.Call(ctx, s.bus, api.Presence, req)
}
