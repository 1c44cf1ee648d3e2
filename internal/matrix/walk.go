package matrix

import (
	"bytes"
	"iter"
	"strconv"
)

// The functions here read canonical JSON, which has been checked when it was made; they check nothing again.

// members walks the members of an object; keys are raw, as between their quotes. Anything but an object has none.
func members(obj []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, val []byte) bool) {
		if len(obj) < 2 || obj[0] != '{' {
			return
		}
		for i := 1; i < len(obj) && obj[i] == '"'; i++ { // the loop steps over the comma
			end := skip(obj, i)
			key := obj[i+1 : end-1]
			i = skip(obj, end+1)
			if !yield(key, obj[end+1:i:i]) {
				return
			}
		}
	}
}

// elements walks the elements of an array.
func elements(arr []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if len(arr) < 2 || arr[0] != '[' {
			return
		}
		for i := 1; i < len(arr) && arr[i] != ']'; i++ {
			end := skip(arr, i)
			if !yield(arr[i:end:end]) {
				return
			}
			i = end
		}
	}
}

// memberOf finds a member by its raw key, nil when there is none.
func memberOf(obj []byte, key string) []byte {
	for k, v := range members(obj) {
		if string(k) == key {
			return v
		}
	}
	return nil
}

// skip returns where the value that begins at i ends.
func skip(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i++
			for i < len(b) && b[i] != '"' {
				if b[i] == '\\' {
					i++
				}
				i++
			}
			i++
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ',', ':':
			i++
			continue
		default:
			for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' {
				i++
			}
		}
		if depth <= 0 {
			break
		}
	}
	return min(i, len(b))
}

// jsonString decodes a JSON string; anything else is "".
func jsonString(val []byte) string {
	if len(val) < 2 || val[0] != '"' {
		return ""
	}
	if val = val[1 : len(val)-1]; bytes.IndexByte(val, '\\') >= 0 {
		return string(unescape(val))
	}
	return string(val)
}

// jsonInt decodes an integer.
func jsonInt(val []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(val), 10, 64)
	return n, err == nil
}
