package matrix

import "iter"

// The functions here look into canonical JSON that this server made or checked before storing it. They check nothing
// again and allocate nothing that is not asked for, because every event on its way to a client goes through them.

// Members walks the members of a canonical object. Keys are raw, as between their quotes; values are parts of obj.
// Anything but an object has none.
func Members(obj []byte) iter.Seq2[[]byte, []byte] { return members(obj) }

// Elements walks the elements of a canonical array. Anything but an array has none.
func Elements(arr []byte) iter.Seq[[]byte] { return elements(arr) }

// Member follows a path of keys into a canonical object, nil when it ends early.
func Member(obj []byte, path ...string) []byte {
	for _, key := range path {
		if obj = memberOf(obj, key); obj == nil {
			return nil
		}
	}
	return obj
}

// Text decodes a JSON string; anything else is "".
func Text(val []byte) string { return jsonString(val) }

// AppendText appends s, which must be valid UTF-8, as a JSON string.
func AppendText(dst []byte, s string) []byte { return appendString(dst, s) }
