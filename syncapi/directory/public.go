package directory

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"allmende/internal/auth"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

const (
	defaultPublic = 50
	maxPublic     = 500
)

type publicIn struct {
	Server string `query:"server"`
	Since  string `query:"since"`
	Limit  *int   `query:"limit"`
}

type searchIn struct {
	Server string     `query:"server"`
	Body   searchBody `body:"optional"`
}

type searchBody struct {
	Since  string `json:"since"`
	Limit  *int   `json:"limit"`
	Filter struct {
		Term string `json:"generic_search_term"`
		// RoomTypes may hold null, for rooms without a type.
		RoomTypes []*string `json:"room_types"`
	} `json:"filter"`
	IncludeAllNetworks bool   `json:"include_all_networks"`
	Network            string `json:"third_party_instance_id"`
}

// publicOut is a page of the directory.
type publicOut struct {
	Chunk []summary `json:"chunk"`
	Next  string    `json:"next_batch,omitempty"`
	Prev  string    `json:"prev_batch,omitempty"`
	Total int       `json:"total_room_count_estimate"`
}

// publicRooms answers a page of the public directory.
//
// spec: c-s §GET /publicRooms
func (s *Service) publicRooms(ctx context.Context, who auth.Session, in publicIn) (publicOut, error) {
	return s.searchPublicRooms(ctx, who, searchIn{Server: in.Server, Body: searchBody{Since: in.Since, Limit: in.Limit}})
}

// searchPublicRooms answers a page of what the filter finds in the directory.
//
// spec: c-s §POST /publicRooms
func (s *Service) searchPublicRooms(ctx context.Context, _ auth.Session, in searchIn) (publicOut, error) {
	if in.Server != "" && matrix.ServerName(in.Server) != s.server {
		if _, err := matrix.ParseServerName(in.Server); err != nil {
			return publicOut{}, err
		}
		return publicOut{}, matrix.Forbidden("This server does not ask other servers for their public rooms.")
	}
	page, err := newPublicPage(in.Body)
	if err != nil {
		return publicOut{}, err
	}
	list, err := s.model.PublicRooms(ctx)
	if err != nil {
		return publicOut{}, err
	}
	if in.Body.Network != "" { // we have no other networks
		list = nil
	}
	searched := in.Body.Filter.Term != "" || in.Body.Filter.RoomTypes != nil
	if !searched {
		shown, out := page.cut(list)
		out.Chunk, err = s.summaries(ctx, shown)
		return out, err
	}
	all, err := s.summaries(ctx, list)
	if err != nil {
		return publicOut{}, err
	}
	term := strings.ToLower(strings.TrimSpace(in.Body.Filter.Term))
	found := slices.DeleteFunc(all, func(r summary) bool { return !r.matches(term, in.Body.Filter.RoomTypes) })
	shown, out := cut(page, found)
	out.Chunk = shown
	return out, nil
}

// summaries are the summaries of public rooms, in the same order. The fields
// that only summaries of single rooms have are left out.
func (s *Service) summaries(ctx context.Context, list []read.PublicRoom) ([]summary, error) {
	nids := make([]read.RoomNID, len(list))
	for i, r := range list {
		nids[i] = r.NID
	}
	found, err := s.outlines(ctx, asker{}, nids, false)
	if err != nil {
		return nil, err
	}
	out := make([]summary, 0, len(list))
	for _, nid := range nids {
		if o := found[nid]; o != nil {
			r := o.summary
			r.AllowedRoomIDs, r.Encryption, r.RoomVersion = nil, "", ""
			out = append(out, r)
		}
	}
	return out, nil
}

// matches tells whether the room is of one of the types and shows the term, in
// lower case, somewhere.
func (r *summary) matches(term string, types []*string) bool {
	if types != nil && !slices.ContainsFunc(types, func(t *string) bool {
		return t == nil && r.RoomType == "" || t != nil && r.RoomType != "" && *t == r.RoomType
	}) {
		return false
	}
	for _, text := range []string{r.Name, r.Topic, r.CanonicalAlias} {
		if strings.Contains(strings.ToLower(text), term) {
			return true
		}
	}
	return term == ""
}

// publicPage is a part of a list.
type publicPage struct{ from, limit int }

// newPublicPage reads the parameters. Errors: M_INVALID_PARAM.
func newPublicPage(in searchBody) (publicPage, error) {
	p := publicPage{limit: defaultPublic}
	if in.Limit != nil {
		if *in.Limit < 0 {
			return p, matrix.InvalidParam("limit must not be negative.")
		}
		if p.limit = min(*in.Limit, maxPublic); p.limit == 0 {
			p.limit = defaultPublic
		}
	}
	if in.Since == "" {
		return p, nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(in.Since, "p"), 10, 31)
	if p.from = int(n); err != nil || pageToken(p.from) != in.Since {
		return p, matrix.InvalidParam("Unknown pagination token.")
	}
	return p, nil
}

func pageToken(from int) string { return "p" + strconv.Itoa(from) }

func (p publicPage) cut(list []read.PublicRoom) ([]read.PublicRoom, publicOut) { return cut(p, list) }

// cut takes the page out of the list and names the pages beside it.
func cut[T any](p publicPage, list []T) ([]T, publicOut) {
	out := publicOut{Total: len(list)}
	from := min(p.from, len(list))
	until := min(from+p.limit, len(list))
	if until < len(list) {
		out.Next = pageToken(until)
	}
	if from > 0 {
		out.Prev = pageToken(max(0, from-p.limit))
	}
	return list[from:until], out
}
