package roomserver

import (
	"context"
	"encoding/json"
	"errors"

	"allmende/internal/matrix"
	"allmende/roomserver/api"
	"allmende/roomserver/read"
	"allmende/roomserver/timeline"
)

// checkAnnotation refuses an annotation that its sender has made already.
//
// spec: c-s §Avoiding duplicate annotations
func (s *Service) checkAnnotation(ctx context.Context, tx *timeline.Tx, req api.SendEventReq) error {
	rel := matrix.Member(req.Content, "m.relates_to")
	if matrix.Text(matrix.Member(rel, "rel_type")) != "m.annotation" {
		return nil
	}
	key := annotationKey(rel)
	parent := matrix.EventID(matrix.Text(matrix.Member(rel, "event_id")))
	if key == "" || parent == "" {
		return nil
	}
	nids := make([]int64, 2)
	for i, text := range []string{req.Type, string(req.Sender)} {
		nid, err := s.read.StringNID(ctx, text)
		if errors.Is(err, read.ErrNotFound) {
			return nil // never sent one
		}
		if err != nil {
			return err
		}
		nids[i] = nid
	}
	made, err := s.read.AnnotationsBy(ctx, tx.RoomNID(), parent, nids[0], nids[1])
	if err != nil {
		return err
	}
	for i := range made {
		if annotationKey(matrix.Member(made[i].JSON, "content", "m.relates_to")) == key {
			return matrix.DuplicateAnnotation("You have said that of this event already.")
		}
	}
	return nil
}

func annotationKey(rel json.RawMessage) string { return matrix.Text(matrix.Member(rel, "key")) }
