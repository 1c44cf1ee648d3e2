package matrix

import (
	"bytes"
	"math/big"
	"slices"
	"strconv"
	"unicode/utf8"
)

// numbers is how strictly canonical JSON treats numbers.
type numbers int

const (
	normalise numbers = iota // 1e3 becomes 1000 and -0 becomes 0; what is no integer in range is refused
	enforce                  // only integers in range, written as such (events since version 6)
	tolerate                 // numbers stay as they are (events up to version 5)
)

const maxInt = 1<<53 - 1

// CanonicalJSON writes a JSON value in its canonical form: keys sorted by code point, no white space, shortest escapes,
// integers within ±(2^53−1). Numbers like 1e3 are rewritten as integers.
//
// Errors: as CheckJSON; M_BAD_JSON for numbers that are no integers or out of range.
// spec: appendices §Canonical JSON
func CanonicalJSON(b []byte) ([]byte, error) {
	return appendCanonical(make([]byte, 0, len(b)), b, normalise)
}

// CanonicalEventJSON is CanonicalJSON as a room version demands it of events: numbers that are not written as
// integers in range are refused since version 6, and kept before.
// spec: rooms/v6 §Canonical JSON
func CanonicalEventJSON(v RoomVersion, b []byte) ([]byte, error) {
	r, err := v.rules()
	if err != nil {
		return nil, err
	}
	return appendCanonical(make([]byte, 0, len(b)), b, r.numbers())
}

func (r *rules) numbers() numbers {
	if r.strictJSON {
		return enforce
	}
	return tolerate
}

// appendCanonical appends the canonical form of src, all that CheckJSON checks being checked on the way.
func appendCanonical(dst, src []byte, n numbers) ([]byte, error) {
	if !utf8.Valid(src) {
		return nil, NotJSON("Content is not valid UTF-8.")
	}
	w := canonicalWriter{scanner: scanner{src: src, depth: MaxJSONDepth}, dst: dst, numbers: n}
	if err := w.value(); err != nil {
		return nil, err
	}
	if err := w.end(); err != nil {
		return nil, err
	}
	return w.dst, nil
}

// canonicalWriter copies tokens from src to dst. An object whose members come in another order is put in order after its
// last member has been written, so that values already in order are copied once.
type canonicalWriter struct {
	scanner
	dst     []byte
	numbers numbers
	members []member // of all open objects; each owns a tail
}

type member struct {
	key        []byte // decoded
	start, end int    // in dst
}

func (w *canonicalWriter) value() error {
	switch w.peek() {
	case '{':
		return w.object()
	case '[':
		return w.array()
	case '"':
		raw, escaped, err := w.str()
		if err != nil {
			return err
		}
		if escaped {
			raw = unescape(raw)
			w.dst = appendString(w.dst, string(raw))
			return nil
		}
		w.dst = append(append(append(w.dst, '"'), raw...), '"')
		return nil
	default:
		tok, err := w.scalar()
		if err != nil {
			return err
		}
		if c := tok[0]; c == '-' || '0' <= c && c <= '9' {
			return w.number(tok)
		}
		w.dst = append(w.dst, tok...)
		return nil
	}
}

func (w *canonicalWriter) array() error {
	if err := w.open(); err != nil {
		return err
	}
	w.dst = append(w.dst, '[')
	if w.peek() == ']' {
		w.close()
		w.dst = append(w.dst, ']')
		return nil
	}
	for {
		if err := w.value(); err != nil {
			return err
		}
		more, err := w.next(']')
		if err != nil {
			return err
		}
		if !more {
			w.dst = append(w.dst, ']')
			return nil
		}
		w.dst = append(w.dst, ',')
	}
}

func (w *canonicalWriter) object() error {
	if err := w.open(); err != nil {
		return err
	}
	w.dst = append(w.dst, '{')
	if w.peek() == '}' {
		w.close()
		w.dst = append(w.dst, '}')
		return nil
	}
	base, sorted := len(w.members), true
	for {
		m, err := w.member()
		if err != nil {
			return err
		}
		if n := len(w.members); n > base {
			switch c := bytes.Compare(w.members[n-1].key, m.key); {
			case c == 0:
				return errDuplicateKey()
			case c > 0:
				sorted = false
			}
		}
		w.members = append(w.members, m)
		more, err := w.next('}')
		if err != nil {
			return err
		}
		if !more {
			break
		}
		w.dst = append(w.dst, ',')
	}
	if !sorted {
		if err := w.sort(w.members[base:]); err != nil {
			return err
		}
	}
	w.members = w.members[:base]
	w.dst = append(w.dst, '}')
	return nil
}

func (w *canonicalWriter) member() (member, error) {
	m := member{start: len(w.dst)}
	key, err := w.key()
	if err != nil {
		return m, err
	}
	m.key = key
	w.dst = append(appendString(w.dst, string(key)), ':')
	err = w.value()
	m.end = len(w.dst)
	return m, err
}

// sort puts the members, which are the end of dst with commas between them, in order.
func (w *canonicalWriter) sort(ms []member) error {
	start := ms[0].start
	old := slices.Clone(w.dst[start:])
	slices.SortFunc(ms, func(a, b member) int { return bytes.Compare(a.key, b.key) })
	w.dst = w.dst[:start]
	for i, m := range ms {
		if i > 0 {
			if bytes.Equal(ms[i-1].key, m.key) {
				return errDuplicateKey()
			}
			w.dst = append(w.dst, ',')
		}
		w.dst = append(w.dst, old[m.start-start:m.end-start]...)
	}
	return nil
}

func (w *canonicalWriter) number(tok []byte) error {
	if n, err := strconv.ParseInt(string(tok), 10, 64); err == nil && (n != 0 || tok[0] != '-') {
		if (n > maxInt || n < -maxInt) && w.numbers != tolerate {
			return BadJSON("A number is out of range.")
		}
		w.dst = append(w.dst, tok...)
		return nil
	}
	switch w.numbers {
	case tolerate:
		w.dst = append(w.dst, tok...)
		return nil
	case enforce:
		return BadJSON("A number is not an integer in range.")
	}
	// The exponent is bounded before anything computes with it.
	if f, err := strconv.ParseFloat(string(tok), 64); err != nil || f > maxInt || f < -maxInt || len(tok) > 64 {
		return BadJSON("A number is not an integer in range.")
	} else if f == 0 {
		w.dst = append(w.dst, '0')
		return nil
	}
	exact, ok := new(big.Rat).SetString(string(tok))
	if !ok || !exact.IsInt() || !exact.Num().IsInt64() {
		return BadJSON("A number is not an integer in range.")
	}
	w.dst = strconv.AppendInt(w.dst, exact.Num().Int64(), 10)
	return nil
}

const hexDigits = "0123456789abcdef"

// appendString appends s, which is valid UTF-8, as a JSON string in its shortest form.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if plain[c] {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(dst, s[start:]...), '"')
}
