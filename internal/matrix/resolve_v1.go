package matrix

import (
	"fmt"
	"maps"
	"slices"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
)

// resolve1 is state resolution 1, for the few rooms of version 1, by gomatrixserverlib.
// spec: rooms/v1 §State resolution
func resolve1(v RoomVersion, sets []map[StateKey]EventID, g *graph) (state map[StateKey]EventID, err error) {
	defer func() {
		if p := recover(); p != nil {
			state, err = nil, fmt.Errorf("resolve state of a version %s room: %v", v, p)
		}
	}()
	choices := map[StateKey][]EventID{}
	for _, s := range sets {
		for k, id := range s {
			if !slices.Contains(choices[k], id) {
				choices[k] = append(choices[k], id)
			}
		}
	}
	state = map[StateKey]EventID{}
	var conflicted, agreed []EventID
	for k, ids := range choices {
		if len(ids) > 1 {
			conflicted = append(conflicted, ids...)
			continue
		}
		state[k] = ids[0]
		switch k.Type {
		case TypeCreate, TypePowerLevels, TypeJoinRules, TypeMember, TypeThirdPartyInvite:
			agreed = append(agreed, ids[0])
		}
	}
	if len(conflicted) == 0 {
		return state, nil
	}
	conflictedPDUs, err := g.pdus(v, conflicted)
	if err != nil {
		return nil, err
	}
	agreedPDUs, err := g.pdus(v, agreed)
	if err != nil {
		return nil, err
	}
	resolved := gomatrixserverlib.ResolveStateConflicts(conflictedPDUs, agreedPDUs, userIDForSender)
	out := maps.Clone(state)
	for _, e := range resolved {
		if key := e.StateKey(); key != nil {
			out[StateKey{e.Type(), *key}] = EventID(e.EventID())
		}
	}
	return out, nil
}

// userIDForSender is the identity: senders are user ids in every version we know.
func userIDForSender(_ spec.RoomID, sender spec.SenderID) (*spec.UserID, error) {
	return spec.NewUserID(string(sender), true)
}

// pdus converts events, in the order of their ids.
func (g *graph) pdus(v RoomVersion, ids []EventID) ([]gomatrixserverlib.PDU, error) {
	if err := g.fetch(ids); err != nil {
		return nil, err
	}
	impl, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(v))
	if err != nil {
		return nil, fmt.Errorf("resolve state of a version %s room: %w", v, err)
	}
	slices.Sort(ids)
	out := make([]gomatrixserverlib.PDU, 0, len(ids))
	for _, id := range ids {
		pdu, err := impl.NewEventFromTrustedJSON(g.events[id].JSON, false)
		if err != nil {
			return nil, fmt.Errorf("resolve state of a version %s room: %w", v, err)
		}
		out = append(out, pdu)
	}
	return out, nil
}
