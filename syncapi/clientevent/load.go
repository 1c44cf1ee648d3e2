package clientevent

import (
	"context"
	"slices"

	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

// Loader loads what events show of other events, for many events at a time.
type Loader struct {
	Model *read.Model
}

// Events makes stored events ready: encodes them and loads what they replaced
// and what redacted them. Relations are loaded per viewer, see Relations. The
// order stays. If no event is state or redacted, nothing is read.
func (l Loader) Events(ctx context.Context, list []read.Event) ([]*Event, error) {
	out := make([]*Event, len(list))
	for i := range list {
		out[i] = New(list[i])
	}
	return out, l.Complete(ctx, out)
}

// Complete loads what events replaced and what redacted them.
func (l Loader) Complete(ctx context.Context, list []*Event) error {
	var state, more []read.EventNID
	for _, e := range list {
		if e.IsState() {
			state = append(state, e.NID)
		}
		if e.RedactedBy != nil {
			more = append(more, *e.RedactedBy)
		}
	}
	if len(state)+len(more) == 0 {
		return nil
	}
	replaced := map[read.EventNID]read.EventNID{}
	if len(state) > 0 {
		var err error
		if replaced, err = l.Model.Replaced(ctx, state); err != nil {
			return err
		}
	}
	for _, prev := range replaced {
		more = append(more, prev)
	}
	found, err := l.byNID(ctx, more)
	if err != nil {
		return err
	}
	for _, e := range list {
		if prev, ok := replaced[e.NID]; ok {
			e.Prev = found[prev]
		}
		if e.RedactedBy != nil {
			e.Redaction = found[*e.RedactedBy]
		}
	}
	return nil
}

func (l Loader) byNID(ctx context.Context, nids []read.EventNID) (map[read.EventNID]*read.Event, error) {
	slices.Sort(nids)
	list, err := l.Model.Events(ctx, slices.Compact(nids))
	if err != nil {
		return nil, err
	}
	out := make(map[read.EventNID]*read.Event, len(list))
	for i := range list {
		out[list[i].NID] = &list[i]
	}
	return out, nil
}

// Type and Sender are the texts behind an event's numbers; HasURL tells whether
// its content has a url: what filters look at.
func Type(e *read.Event) string { return matrix.Text(matrix.Member(e.JSON, "type")) }

// Sender is the text of an event's sender.
func Sender(e *read.Event) string { return matrix.Text(matrix.Member(e.JSON, "sender")) }

// HasURL tells whether the event's content has a url.
func HasURL(e *read.Event) bool { return matrix.Member(e.JSON, "content", "url") != nil }
