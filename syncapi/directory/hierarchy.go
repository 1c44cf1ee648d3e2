package directory

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"allmende/internal/auth"
	"allmende/internal/matrix"
	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"
)

const (
	defaultHierarchy = 50
	maxHierarchy     = 200
	// maxDepth is how deep spaces within spaces are followed, maxRooms how many
	// rooms one tree shows at most.
	maxDepth = 50
	maxRooms = 5000
	// maxChildren is how many children of one room are looked at.
	maxChildren = 1000
)

type hierarchyIn struct {
	RoomID        matrix.RoomID `path:"roomId"`
	SuggestedOnly bool          `query:"suggested_only"`
	Limit         *int          `query:"limit"`
	MaxDepth      *int          `query:"max_depth"`
	From          string        `query:"from"`
}

type hierarchyOut struct {
	Rooms []spaceRoom `json:"rooms"`
	Next  string      `json:"next_batch,omitempty"`
}

type spaceRoom struct {
	summary
	Children []json.RawMessage `json:"children_state"`
}

// errClosedRoom answers for rooms the user may not look into, and for those that
// do not exist.
var errClosedRoom = matrix.Forbidden("You are not allowed to view this room.")

// hierarchy answers a page of the rooms below a space, depth first.
//
// spec: c-s §GET /rooms/{roomId}/hierarchy
func (s *Service) hierarchy(ctx context.Context, session auth.Session, in hierarchyIn) (hierarchyOut, error) {
	limit, depth, err := in.bounds()
	if err != nil {
		return hierarchyOut{}, err
	}
	root, err := s.model.Room(ctx, in.RoomID)
	if errors.Is(err, read.ErrNotFound) {
		return hierarchyOut{}, errClosedRoom
	}
	if err != nil {
		return hierarchyOut{}, err
	}
	from, err := in.parseToken(root.NID)
	if err != nil {
		return hierarchyOut{}, err
	}
	t := &tree{Service: s, suggestedOnly: in.SuggestedOnly, depth: depth, need: from + limit + 1}
	if t.who, err = s.asker(ctx, session); err != nil {
		return hierarchyOut{}, err
	}
	if err := t.walk(ctx, root.NID); err != nil {
		return hierarchyOut{}, err
	}
	if len(t.shown) == 0 {
		return hierarchyOut{}, errClosedRoom
	}
	out := hierarchyOut{Rooms: []spaceRoom{}}
	until := min(from+limit, len(t.shown))
	for _, o := range t.shown[min(from, until):until] {
		out.Rooms = append(out.Rooms, t.room(o))
	}
	if until < len(t.shown) {
		out.Next = in.token(root.NID, until)
	}
	return out, nil
}

// bounds reads limit and depth. Errors: M_INVALID_PARAM.
func (in hierarchyIn) bounds() (limit, depth int, err error) {
	limit, depth = defaultHierarchy, maxDepth
	if in.Limit != nil {
		if *in.Limit <= 0 {
			return 0, 0, matrix.InvalidParam("limit must be greater than zero.")
		}
		limit = min(*in.Limit, maxHierarchy)
	}
	if in.MaxDepth != nil {
		if *in.MaxDepth < 0 {
			return 0, 0, matrix.InvalidParam("max_depth must not be negative.")
		}
		depth = min(*in.MaxDepth, maxDepth)
	}
	return limit, depth, nil
}

// A token says how many rooms of the walk have been shown, and of which walk:
// h<room>_<depth>_<suggested>_<shown>. The walk is done anew for each page; it
// is cheap, and nothing has to be kept for clients that do not come back.
func (in hierarchyIn) token(root read.RoomNID, shown int) string {
	return in.tokenPrefix(root) + strconv.Itoa(shown)
}

func (in hierarchyIn) tokenPrefix(root read.RoomNID) string {
	depth := "all"
	if in.MaxDepth != nil {
		depth = strconv.Itoa(*in.MaxDepth)
	}
	return "h" + strconv.FormatInt(root, 36) + "_" + depth + "_" + strconv.FormatBool(in.SuggestedOnly)[:1] + "_"
}

// parseToken reads how many rooms have been shown. Errors: M_INVALID_PARAM, also
// when the token is of another walk.
func (in hierarchyIn) parseToken(root read.RoomNID) (int, error) {
	if in.From == "" {
		return 0, nil
	}
	prefix := in.tokenPrefix(root)
	rest, same := strings.CutPrefix(in.From, prefix)
	n, err := strconv.ParseUint(rest, 10, 31)
	switch {
	case !same && strings.HasPrefix(in.From, prefix[:strings.Index(prefix, "_")+1]):
		return 0, matrix.InvalidParam("suggested_only and max_depth cannot change on paginated requests.")
	case !same || err != nil || n == 0 || n > maxRooms || in.token(root, int(n)) != in.From:
		return 0, matrix.InvalidParam("Unknown pagination token.")
	}
	return int(n), nil
}

// tree is one walk through a space.
type tree struct {
	*Service
	who           asker
	suggestedOnly bool
	depth         int // how far below the root
	need          int // how many rooms are wanted

	seen  map[read.RoomNID]bool
	shown []*outline // those the user may see, depth first
}

// child is a room named by a space.
type child struct {
	id    matrix.RoomID
	order string // empty: none that counts
	ts    int64
	event *read.Event
}

func (t *tree) walk(ctx context.Context, root read.RoomNID) error {
	t.seen = map[read.RoomNID]bool{}
	t.need = min(t.need, maxRooms)
	found, err := t.outlines(ctx, t.who, []read.RoomNID{root}, true)
	if err != nil {
		return err
	}
	return t.visit(ctx, found[root], 0)
}

// visit shows a room and what is below it. A room the user may not see hides
// what is below it as well. Rooms are shown once, so circles end.
func (t *tree) visit(ctx context.Context, o *outline, depth int) error {
	if o == nil || t.seen[o.room.NID] || len(t.shown) >= t.need {
		return nil
	}
	ok, err := t.open(ctx, t.who, o)
	if err != nil || !ok {
		return err
	}
	t.seen[o.room.NID] = true
	t.shown = append(t.shown, o)
	if depth >= t.depth || o.RoomType != "m.space" {
		return nil
	}
	var nids []read.RoomNID
	for _, c := range t.children(o) {
		room, err := t.model.Room(ctx, c.id)
		if errors.Is(err, read.ErrNotFound) {
			continue // not known to this server
		}
		if err != nil {
			return err
		}
		if !t.seen[room.NID] {
			nids = append(nids, room.NID)
		}
	}
	found, err := t.outlines(ctx, t.who, nids, true)
	if err != nil {
		return err
	}
	for _, nid := range nids {
		if err := t.visit(ctx, found[nid], depth+1); err != nil {
			return err
		}
	}
	return nil
}

// children are the valid children of a space in their order.
//
// spec: c-s §m.space.child, §Ordering of children within a space
func (t *tree) children(o *outline) []child {
	var out []child
	for i := range o.children {
		if c, ok := newChild(&o.children[i]); ok && (!t.suggestedOnly || c.suggested()) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b child) int {
		switch {
		case a.order != b.order && (a.order == "" || b.order == ""):
			return -strings.Compare(a.order, b.order) // those with an order come first
		case a.order != b.order:
			return strings.Compare(a.order, b.order)
		case a.ts != b.ts:
			return int(min(1, max(-1, a.ts-b.ts)))
		}
		return strings.Compare(string(a.id), string(b.id))
	})
	return out[:min(len(out), maxChildren)]
}

// newChild reads a child event; without a server to join through it names no
// child.
func newChild(e *read.Event) (child, bool) {
	content := matrix.Member(e.JSON, "content")
	c := child{id: matrix.RoomID(matrix.Text(matrix.Member(e.JSON, "state_key"))), ts: e.OriginTS, event: e}
	via := false
	for server := range matrix.Elements(matrix.Member(content, "via")) {
		via = via || matrix.Text(server) != ""
	}
	if order := matrix.Text(matrix.Member(content, "order")); validOrder(order) {
		c.order = order
	}
	return c, via && strings.HasPrefix(string(c.id), "!")
}

func (c child) suggested() bool {
	return string(matrix.Member(c.event.JSON, "content", "suggested")) == "true"
}

// validOrder: at most 50 characters from space to tilde.
func validOrder(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(s) <= 50
}

// room writes a room as the hierarchy shows it.
func (t *tree) room(o *outline) spaceRoom {
	out := spaceRoom{summary: o.summary, Children: []json.RawMessage{}}
	if o.RoomType != "m.space" {
		return out
	}
	for _, c := range t.children(o) {
		out.Children = append(out.Children, clientevent.AppendStrippedChild(nil, c.event))
	}
	return out
}
