package filter

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"allmende/internal/matrix"
	"allmende/syncapi/clientevent"
)

// Bounds on what is read. A client that means well stays far below them; one
// that does not could otherwise make every event cost it a long comparison.
const (
	maxBytes   = 64 << 10
	maxEntries = 1000 // of one list
	maxStars   = 16   // wildcards in one pattern
	// MaxLimit is the largest limit; greater ones are lowered to it.
	MaxLimit = 1000
)

// The filters as they are written. Pointers tell what was not said.
type (
	syncJSON struct {
		EventFields []string    `json:"event_fields"`
		EventFormat *string     `json:"event_format"`
		Presence    *eventsJSON `json:"presence"`
		AccountData *eventsJSON `json:"account_data"`
		Room        *roomJSON   `json:"room"`
	}
	roomJSON struct {
		Rooms        []string        `json:"rooms"`
		NotRooms     []string        `json:"not_rooms"`
		IncludeLeave bool            `json:"include_leave"`
		Ephemeral    *roomEventsJSON `json:"ephemeral"`
		State        *roomEventsJSON `json:"state"`
		Timeline     *roomEventsJSON `json:"timeline"`
		AccountData  *roomEventsJSON `json:"account_data"`
	}
	eventsJSON struct {
		Limit      *json.Number `json:"limit"`
		Types      []string     `json:"types"`
		NotTypes   []string     `json:"not_types"`
		Senders    []string     `json:"senders"`
		NotSenders []string     `json:"not_senders"`
	}
	roomEventsJSON struct {
		eventsJSON
		Rooms                     []string `json:"rooms"`
		NotRooms                  []string `json:"not_rooms"`
		ContainsURL               *bool    `json:"contains_url"`
		LazyLoadMembers           bool     `json:"lazy_load_members"`
		IncludeRedundantMembers   bool     `json:"include_redundant_members"`
		UnreadThreadNotifications bool     `json:"unread_thread_notifications"`
		RelatedByRelTypes         []string `json:"related_by_rel_types"`
		RelatedBySenders          []string `json:"related_by_senders"`
		// Until v1.3 of the specification these had the names of the proposal.
		OldRelTypes []string `json:"io.element.relation_types"`
		OldSenders  []string `json:"io.element.relation_senders"`
	}
)

// ParseSync reads the filter of a sync. Errors: M_NOT_JSON, M_BAD_JSON (wrong
// types), M_INVALID_PARAM (values that are not allowed), M_TOO_LARGE.
func ParseSync(raw []byte) (*Sync, error) {
	var in syncJSON
	if err := decode(raw, &in); err != nil {
		return nil, err
	}
	out := &Sync{Fields: clientevent.ParseFields(in.EventFields)}
	if err := checkList("event_fields", in.EventFields); err != nil {
		return nil, err
	}
	if in.EventFormat != nil {
		switch *in.EventFormat {
		case "client":
		case "federation":
			out.Federation = true
		default:
			return nil, matrix.InvalidParam("event_format must be client or federation.")
		}
	}
	var err error
	if out.Presence, err = in.Presence.read(); err != nil {
		return nil, err
	}
	if out.AccountData, err = in.AccountData.read(); err != nil {
		return nil, err
	}
	if in.Room != nil {
		err = in.Room.read(&out.Room)
	}
	return out, err
}

// ParseRoomEvents reads the filter of /messages, /context and /search. An empty
// text is the filter that says nothing. Errors: as ParseSync.
func ParseRoomEvents(raw []byte) (*RoomEvents, error) {
	if len(raw) == 0 {
		return &RoomEvents{}, nil
	}
	var in roomEventsJSON
	if err := decode(raw, &in); err != nil {
		return nil, err
	}
	out, err := in.read()
	return &out, err
}

func decode(raw []byte, into any) error {
	if len(raw) > maxBytes {
		return matrix.TooLarge("The filter is too large.")
	}
	if err := matrix.CheckJSON(raw, 0); err != nil {
		return err
	}
	if first := strings.TrimLeft(string(raw[:min(len(raw), 64)]), " \t\r\n"); !strings.HasPrefix(first, "{") {
		return matrix.BadJSON("A filter must be a JSON object.")
	}
	err := json.Unmarshal(raw, into)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return matrix.BadJSON(fmt.Sprintf("The filter's %s has the wrong type.", wrong.Field))
	}
	if err != nil {
		return matrix.BadJSON("The filter cannot be read.").Wrap(err)
	}
	return nil
}

func (in *roomJSON) read(out *Room) (err error) {
	out.IncludeLeave = in.IncludeLeave
	if out.Rooms, err = readRooms(in.Rooms, in.NotRooms); err != nil {
		return err
	}
	for _, part := range []struct {
		in  *roomEventsJSON
		out *RoomEvents
	}{{in.Ephemeral, &out.Ephemeral}, {in.State, &out.State}, {in.Timeline, &out.Timeline}, {in.AccountData, &out.AccountData}} {
		if *part.out, err = part.in.read(); err != nil {
			return err
		}
	}
	return nil
}

func (in *roomEventsJSON) read() (out RoomEvents, err error) {
	if in == nil {
		return out, nil
	}
	if out.Events, err = in.eventsJSON.read(); err != nil {
		return out, err
	}
	if out.Rooms, err = readRooms(in.Rooms, in.NotRooms); err != nil {
		return out, err
	}
	out.ContainsURL = in.ContainsURL
	out.LazyLoadMembers = in.LazyLoadMembers
	out.IncludeRedundantMembers = in.IncludeRedundantMembers
	out.UnreadThreadNotifications = in.UnreadThreadNotifications
	out.RelatedBy = RelatedBy{RelTypes: in.RelatedByRelTypes, Senders: in.RelatedBySenders}
	if out.RelatedBy.RelTypes == nil {
		out.RelatedBy.RelTypes = in.OldRelTypes
	}
	if out.RelatedBy.Senders == nil {
		out.RelatedBy.Senders = in.OldSenders
	}
	if err := checkList("related_by_rel_types", out.RelatedBy.RelTypes); err != nil {
		return out, err
	}
	return out, checkIDs("related_by_senders", '@', out.RelatedBy.Senders)
}

func (in *eventsJSON) read() (out Events, err error) {
	if in == nil {
		return out, nil
	}
	if in.Limit != nil {
		n, err := in.Limit.Int64()
		if err != nil || n < 0 {
			return out, matrix.InvalidParam("A filter's limit must be a positive integer.")
		}
		out.Limit = int(min(n, MaxLimit))
	}
	for _, list := range [][]string{in.Types, in.NotTypes} {
		if err := checkPatterns(list); err != nil {
			return out, err
		}
	}
	if err := checkIDs("senders", '@', in.Senders); err != nil {
		return out, err
	}
	if err := checkIDs("not_senders", '@', in.NotSenders); err != nil {
		return out, err
	}
	out.types = patterns{in.Types, in.NotTypes}
	out.senders = names{in.Senders, in.NotSenders}
	return out, nil
}

func readRooms(in, out []string) (Rooms, error) {
	if err := checkIDs("rooms", '!', in); err != nil {
		return Rooms{}, err
	}
	return Rooms{names{in, out}}, checkIDs("not_rooms", '!', out)
}

func checkList(name string, list []string) error {
	if len(list) > maxEntries {
		return matrix.InvalidParam(fmt.Sprintf("A filter's %s has too many entries.", name))
	}
	return nil
}

// checkIDs refuses what cannot be an id. Ids that are merely unusual are left
// alone: they match nothing, and clients do send them.
func checkIDs(name string, sigil byte, list []string) error {
	for _, id := range list {
		if id == "" || id[0] != sigil {
			return matrix.InvalidParam(fmt.Sprintf("An entry of a filter's %s is not an id.", name))
		}
	}
	return checkList(name, list)
}

func checkPatterns(list []string) error {
	for _, p := range list {
		if strings.Count(p, "*") > maxStars {
			return matrix.InvalidParam("A filter's type has too many wildcards.")
		}
	}
	return checkList("types", list)
}
