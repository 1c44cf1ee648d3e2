package history

import (
	"context"
	"encoding/json"
	"errors"
	"math"

	"allmende/internal/auth"
	"allmende/internal/httpx"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/token"
)

type membersIn struct {
	RoomID        matrix.RoomID `path:"roomId"`
	At            string        `query:"at"`
	Membership    *string       `query:"membership"`
	NotMembership *string       `query:"not_membership"`
}

// members answers the member events of a room, of today or of some place in its
// history.
//
// spec: c-s §GET /rooms/{roomId}/members
func (s *Service) members(ctx context.Context, who auth.Session, in membersIn) (httpx.Raw, error) {
	wanted, err := in.wanted()
	if err != nil {
		return httpx.Raw{}, err
	}
	at := int64(math.MaxInt64)
	if in.At != "" {
		ord, err := token.ParseOrd(in.At)
		if err != nil {
			return httpx.Raw{}, err
		}
		at = int64(ord)
	}
	v, err := s.open(ctx, who, in.RoomID)
	if err != nil {
		return httpx.Raw{}, err
	}
	list, err := s.membersAt(ctx, v, min(at, v.upTo), wanted)
	if err != nil {
		return httpx.Raw{}, err
	}
	events := encode(list)
	dst := append(bufferFor(events), `{"chunk":`...)
	dst = v.list(dst, s.format(v.room.ID), events, nil)
	return httpx.Raw{Body: append(dst, '}')}, nil
}

var everyMembership = []read.Membership{read.Join, read.Invite, read.Knock, read.Leave, read.Ban}

// wanted are the memberships asked for; both parameters together mean "either".
// Errors: M_INVALID_PARAM.
func (in membersIn) wanted() ([]read.Membership, error) {
	is, not := read.None, read.None
	for _, p := range []struct {
		text *string
		to   *read.Membership
	}{{in.Membership, &is}, {in.NotMembership, &not}} {
		if p.text == nil {
			continue
		}
		if *p.to = read.ParseMembership(*p.text); *p.to == read.None {
			return nil, matrix.InvalidParam("There is no such membership.")
		}
	}
	var out []read.Membership
	for _, m := range everyMembership {
		switch {
		case is == read.None && not == read.None, m == is, not != read.None && m != not:
			out = append(out, m)
		}
	}
	return out, nil
}

// membersAt are the member events at a place of the timeline.
func (s *Service) membersAt(ctx context.Context, v *view, ord int64, wanted []read.Membership) ([]read.Event, error) {
	if ord == math.MaxInt64 {
		return s.model.CurrentMembersIn(ctx, v.room.NID, wanted)
	}
	snapshot, err := s.model.SnapshotAt(ctx, v.room.NID, ord)
	if errors.Is(err, read.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// Nearly always nothing has changed since, and the current state is at hand.
	head, err := s.model.HeadSnapshot(ctx, v.room.NID)
	if err == nil && head == snapshot {
		return s.model.CurrentMembersIn(ctx, v.room.NID, wanted)
	}
	if err != nil && !errors.Is(err, read.ErrNotFound) {
		return nil, err
	}
	list, err := s.stateAt(ctx, v, ord, []int64{read.TypeMember})
	if err != nil {
		return nil, err
	}
	ok := map[read.Membership]bool{}
	for _, m := range wanted {
		ok[m] = true
	}
	kept := list[:0]
	for _, e := range list {
		if ok[read.MembershipOf(e.JSON)] {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

type joinedMembersOut struct {
	Joined map[string]roomMember `json:"joined"`
}

// roomMember holds what a member event says, as it says it.
type roomMember struct {
	DisplayName json.RawMessage `json:"display_name,omitempty"`
	AvatarURL   json.RawMessage `json:"avatar_url,omitempty"`
}

// joinedMembers answers who is joined, to those who are.
//
// spec: c-s §GET /rooms/{roomId}/joined_members
func (s *Service) joinedMembers(ctx context.Context, who auth.Session, in roomIn) (joinedMembersOut, error) {
	v, err := s.open(ctx, who, in.RoomID)
	if err != nil {
		return joinedMembersOut{}, err
	}
	if v.who.Membership() != read.Join {
		return joinedMembersOut{}, errNotMember
	}
	list, err := s.model.CurrentMembersIn(ctx, v.room.NID, []read.Membership{read.Join})
	if err != nil {
		return joinedMembersOut{}, err
	}
	out := joinedMembersOut{make(map[string]roomMember, len(list))}
	for i := range list {
		content := matrix.Member(list[i].JSON, "content")
		out.Joined[matrix.Text(matrix.Member(list[i].JSON, "state_key"))] = roomMember{
			DisplayName: text(matrix.Member(content, "displayname")),
			AvatarURL:   text(matrix.Member(content, "avatar_url")),
		}
	}
	return out, nil
}

// text lets strings pass and nothing else: members may have put anything there.
func text(val []byte) json.RawMessage {
	if len(val) == 0 || val[0] != '"' {
		return nil
	}
	return val
}
