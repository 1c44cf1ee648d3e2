package clientevent

import (
	"strings"

	"allmende/internal/matrix"
)

// Fields is a tree of the fields a filter asks for: a leaf (nil) means the whole
// value, a branch some members of an object.
type Fields map[string]Fields

// always are members that are sent in any case: without them a client cannot
// make sense of an event at all. A server may send more than it was asked for.
var always = map[string]bool{"event_id": true, "type": true, "state_key": true, "room_id": true}

// ParseFields reads a filter's event_fields. Dots separate the steps of a path;
// a backslash takes the meaning from a dot or a backslash. No paths: nil, which
// means everything.
//
// spec: appendices §Dot-separated property paths
func ParseFields(paths []string) Fields {
	if len(paths) == 0 {
		return nil
	}
	root := Fields{}
	for _, p := range paths {
		root.add(steps(p))
	}
	return root
}

func (f Fields) add(path []string) {
	for i, step := range path {
		sub, known := f[step]
		switch {
		case known && sub == nil:
			return // the whole value is asked for already
		case i == len(path)-1:
			f[step] = nil
			return
		case !known:
			sub = Fields{}
			f[step] = sub
		}
		f = sub
	}
}

func steps(path string) []string {
	var out []string
	var step strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\' && i+1 < len(path) && (path[i+1] == '.' || path[i+1] == '\\'):
			i++
			step.WriteByte(path[i])
		case c == '.':
			out = append(out, step.String())
			step.Reset()
		default:
			step.WriteByte(c)
		}
	}
	return append(out, step.String())
}

// project replaces the object that begins at start and ends dst by what of it
// was asked for.
func (f Fields) project(dst []byte, start int) []byte {
	whole := append([]byte(nil), dst[start:]...)
	return f.append(dst[:start], whole, true)
}

func (f Fields) append(dst, obj []byte, top bool) []byte {
	dst = append(dst, '{')
	start := len(dst)
	for key, val := range matrix.Members(obj) {
		sub, asked := f[decodeKey(key)]
		if !asked && !(top && always[string(key)]) {
			continue
		}
		if asked && sub != nil && val[0] != '{' {
			continue // a path into something that is no object
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), key...), '"', ':')
		if asked && sub != nil {
			dst = sub.append(dst, val, false)
		} else {
			dst = append(dst, val...)
		}
	}
	return append(dst, '}')
}

// decodeKey undoes the escapes of a raw key.
func decodeKey(raw []byte) string {
	for _, c := range raw {
		if c == '\\' {
			return matrix.Text(append(append([]byte{'"'}, raw...), '"'))
		}
	}
	return string(raw)
}
