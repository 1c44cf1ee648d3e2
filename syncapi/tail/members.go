package tail

import (
	"context"

	"allmende/roomserver/read"
	"allmende/syncapi/clientevent"

	"github.com/maypok86/otter/v2"
)

// memberBytes is what member events may take in memory: rooms know their
// members by number only, and most of the events are never shown.
const memberBytes = 8 << 20

func newMemberCache() *otter.Cache[read.EventNID, *clientevent.Event] {
	return otter.Must(&otter.Options[read.EventNID, *clientevent.Event]{
		MaximumWeight: memberBytes,
		Weigher:       func(_ read.EventNID, e *clientevent.Event) uint32 { return uint32(2*len(e.JSON) + overhead) },
	})
}

// MemberEvents are events by number, meant for member events: those that were
// shown lately need no query, the others one together.
func (t *Tail) MemberEvents(ctx context.Context, nids []read.EventNID) (map[read.EventNID]*clientevent.Event, error) {
	out := make(map[read.EventNID]*clientevent.Event, len(nids))
	var missing []read.EventNID
	for _, nid := range nids {
		if e, ok := t.memberEvents.GetIfPresent(nid); ok {
			out[nid] = e
		} else {
			missing = append(missing, nid)
		}
	}
	list, err := t.model.Events(ctx, missing)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		made := encoded(e)
		out[e.NID] = made
		t.memberEvents.Set(e.NID, made)
	}
	return out, nil
}
