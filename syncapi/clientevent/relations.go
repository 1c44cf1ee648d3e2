package clientevent

import (
	"context"
	"math"
	"strconv"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

const (
	// editsLookedAt is among how many of an event's newest edits a valid one is
	// sought. Edits without new content are made by broken clients only.
	editsLookedAt = 5
	// maxReferences bounds the chunk of m.reference in one event.
	maxReferences = 500
)

// The kinds of relations that are bundled.
// spec: c-s §Aggregations of child events
const (
	relReplace   = "m.replace"
	relThread    = "m.thread"
	relReference = "m.reference"
)

// Relations is who asks for bundles and up to where they count.
type Relations struct {
	Room    read.RoomNID
	Viewer  *Viewer
	Ignored map[read.UserNID]bool
	// UpTo is the newest position that counts; 0: all.
	UpTo int64
}

// Relations makes the bundles of relations of the events, as the viewer sees
// them: one entry an event, nil without any. If nothing relates to any of the
// events, that costs one query.
func (l Loader) Relations(ctx context.Context, q Relations, f *Format, events []*Event) ([][]byte, error) {
	b := &bundler{Loader: l, q: q, f: f, events: events, out: make([][]byte, len(events))}
	return b.out, b.run(ctx, true)
}

// bundler makes the bundles of one page of events.
type bundler struct {
	Loader
	q      Relations
	f      *Format
	events []*Event
	out    [][]byte

	byID   map[matrix.EventID]int
	edits  map[int]*Event
	refs   map[int][]matrix.EventID
	thread map[int]threadSummary
}

type threadSummary struct {
	read.RelationSummary
	latest *Event
}

// run finds what there is by one query, loads what is shown of it, and writes.
// threads is false for the newest events of threads, which end the recursion.
func (b *bundler) run(ctx context.Context, threads bool) error {
	query := b.query()
	if len(query.Parents) == 0 {
		return nil
	}
	found, err := b.Model.RelationSummaries(ctx, query)
	if err != nil || len(found) == 0 {
		return err
	}
	var edited, referred []matrix.EventID
	var roots []read.RelationSummary
	for _, s := range found {
		e := b.events[b.byID[s.ParentID]]
		switch {
		case s.RelType == relReplace && e.RedactedBy == nil && !isEdit(&e.Event):
			edited = append(edited, s.ParentID)
		case s.RelType == relReference:
			referred = append(referred, s.ParentID)
		case s.RelType == relThread && threads:
			roots = append(roots, s)
		}
	}
	if err := b.loadEdits(ctx, query, edited); err != nil {
		return err
	}
	if err := b.loadReferences(ctx, query, referred); err != nil {
		return err
	}
	if err := b.loadThreads(ctx, roots); err != nil {
		return err
	}
	return b.write(ctx)
}

// query asks about all events that can have bundles; state events have none.
func (b *bundler) query() read.BundleQuery {
	q := read.BundleQuery{Room: b.q.Room, UpTo: b.q.UpTo, User: b.q.Viewer.UserNID}
	if q.UpTo == 0 {
		q.UpTo = math.MaxInt64
	}
	b.byID = make(map[matrix.EventID]int, len(b.events))
	for i, e := range b.events {
		if !e.IsState() && e.TypeNID != read.TypeRedaction {
			b.byID[e.ID] = i
			q.Parents = append(q.Parents, e.ID)
		}
	}
	for u := range b.q.Ignored {
		q.Ignored = append(q.Ignored, u)
	}
	return q
}

func (b *bundler) loadEdits(ctx context.Context, q read.BundleQuery, parents []matrix.EventID) error {
	if len(parents) == 0 {
		return nil
	}
	q.Parents = parents
	list, err := b.Model.Edits(ctx, q, editsLookedAt)
	if err != nil {
		return err
	}
	b.edits = map[int]*Event{}
	for i := range list {
		e := &list[i]
		at, known := b.byID[relatesTo(e)]
		if !known || b.edits[at] != nil || !hasNewContent(e) || !b.maySee(e) {
			continue
		}
		b.edits[at] = Once(*e)
	}
	return nil
}

func (b *bundler) loadReferences(ctx context.Context, q read.BundleQuery, parents []matrix.EventID) error {
	if len(parents) == 0 {
		return nil
	}
	q.Parents = parents
	list, err := b.Model.References(ctx, q, maxReferences)
	if err != nil {
		return err
	}
	b.refs = map[int][]matrix.EventID{}
	for _, r := range list {
		at := b.byID[r.ParentID]
		b.refs[at] = append(b.refs[at], r.ChildID)
	}
	return nil
}

// loadThreads loads the newest event of each thread, with its own edits.
func (b *bundler) loadThreads(ctx context.Context, roots []read.RelationSummary) error {
	if len(roots) == 0 {
		return nil
	}
	nids := make([]read.EventNID, len(roots))
	for i, r := range roots {
		nids[i] = r.LatestNID
	}
	latest, err := b.byNID(ctx, nids)
	if err != nil {
		return err
	}
	b.thread = map[int]threadSummary{}
	for _, r := range roots {
		if e := latest[r.LatestNID]; e != nil && b.maySee(e) {
			b.thread[b.byID[r.ParentID]] = threadSummary{r, Once(*e)}
		}
	}
	return nil
}

func (b *bundler) maySee(e *read.Event) bool {
	return b.q.Viewer.Viewer != nil && b.q.Viewer.MaySee(e)
}

func (b *bundler) write(ctx context.Context) error {
	inner, err := b.latestBundles(ctx)
	if err != nil {
		return err
	}
	for i, e := range b.events {
		var dst []byte
		if edit := b.edits[i]; edit != nil {
			dst = b.member(dst, relReplace)
			dst = edit.Append(dst, b.f, b.q.Viewer, nil)
		}
		if refs := b.refs[i]; refs != nil {
			dst = b.member(dst, relReference)
			dst = appendReferences(dst, refs)
		}
		if t, ok := b.thread[i]; ok {
			dst = b.member(dst, relThread)
			dst = append(dst, `{"latest_event":`...)
			dst = t.latest.Append(dst, b.f, b.q.Viewer, inner[t.latest.ID])
			dst = strconv.AppendInt(append(dst, `,"count":`...), t.Count, 10)
			took := t.Participated || (b.q.Viewer.UserNID != 0 && e.SenderNID == b.q.Viewer.UserNID)
			dst = strconv.AppendBool(append(dst, `,"current_user_participated":`...), took)
			dst = append(dst, '}')
		}
		if dst != nil {
			b.out[i] = append(dst, '}')
		}
	}
	return nil
}

// latestBundles makes the bundles of the newest events of threads.
func (b *bundler) latestBundles(ctx context.Context) (map[matrix.EventID][]byte, error) {
	if len(b.thread) == 0 {
		return nil, nil
	}
	in := &bundler{Loader: b.Loader, q: b.q, f: b.f}
	for _, t := range b.thread {
		in.events = append(in.events, t.latest)
	}
	in.out = make([][]byte, len(in.events))
	if err := in.run(ctx, false); err != nil {
		return nil, err
	}
	out := make(map[matrix.EventID][]byte, len(in.events))
	for i, e := range in.events {
		out[e.ID] = in.out[i]
	}
	return out, nil
}

// member opens the bundle's object or continues it.
func (b *bundler) member(dst []byte, key string) []byte {
	if dst == nil {
		dst = append(dst, '{')
	} else {
		dst = append(dst, ',')
	}
	return append(append(append(dst, '"'), key...), '"', ':')
}

func appendReferences(dst []byte, refs []matrix.EventID) []byte {
	dst = append(dst, `{"chunk":[`...)
	for i, id := range refs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = matrix.AppendText(append(dst, `{"event_id":`...), string(id))
		dst = append(dst, '}')
	}
	return append(dst, ']', '}')
}

func relatesTo(e *read.Event) matrix.EventID {
	return matrix.EventID(matrix.Text(matrix.Member(e.JSON, "content", "m.relates_to", "event_id")))
}

// isEdit: an edit cannot itself be edited.
func isEdit(e *read.Event) bool {
	return matrix.Text(matrix.Member(e.JSON, "content", "m.relates_to", "rel_type")) == relReplace
}

// hasNewContent: an edit says the new content; an encrypted one says it where
// the server cannot look.
func hasNewContent(e *read.Event) bool {
	if e.TypeNID == read.TypeEncrypted {
		return true
	}
	c := matrix.Member(e.JSON, "content", "m.new_content")
	return len(c) > 0 && c[0] == '{'
}
