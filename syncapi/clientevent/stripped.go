package clientevent

import (
	"allmende/internal/matrix"
	"allmende/roomserver/read"
)

// AppendStripped appends a state event as somebody sees it who is not in the
// room: type, state key, sender and content.
//
// spec: c-s §Stripped state
func AppendStripped(dst []byte, e *read.Event) []byte {
	return appendOnly(dst, e, false)
}

// AppendStrippedChild is AppendStripped with origin_server_ts, as the children
// of a space are shown.
//
// spec: c-s §GET /rooms/{roomId}/hierarchy "children_state"
func AppendStrippedChild(dst []byte, e *read.Event) []byte {
	return appendOnly(dst, e, true)
}

func appendOnly(dst []byte, e *read.Event, ts bool) []byte {
	dst = append(dst, '{')
	start := len(dst)
	for key, val := range matrix.Members(e.JSON) {
		switch string(key) {
		case "content", "sender", "state_key", "type":
		case "origin_server_ts":
			if !ts {
				continue
			}
		default:
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(append(append(append(dst, '"'), key...), '"', ':'), val...)
	}
	return append(dst, '}')
}
