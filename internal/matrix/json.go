package matrix

import (
	"bytes"
	"slices"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxJSONDepth is how deeply arrays and objects may nest in anything we accept.
const MaxJSONDepth = 100

// CheckJSON verifies in one pass that b is exactly one JSON value, in valid UTF-8, without duplicate keys in any object,
// without lone surrogates, and nested no deeper than maxDepth (0 or less: MaxJSONDepth). It allocates nothing for
// ordinary input.
//
// Errors: M_NOT_JSON for what no JSON parser should take, M_BAD_JSON for JSON that parsers read differently or choke on
// (duplicate keys, lone surrogates, depth).
func CheckJSON(b []byte, maxDepth int) error {
	if maxDepth <= 0 {
		maxDepth = MaxJSONDepth
	}
	if !utf8.Valid(b) {
		return NotJSON("Content is not valid UTF-8.")
	}
	c := checkers.Get().(*checker)
	c.scanner = scanner{src: b, depth: maxDepth}
	err := c.value()
	if err == nil {
		err = c.end()
	}
	c.release()
	return err
}

// checker walks a value without building anything.
type checker struct {
	scanner
	keys [][]byte // keys of all open objects; each object owns a tail of it
}

var checkers = sync.Pool{New: func() any { return &checker{keys: make([][]byte, 0, 64)} }}

// release hands c to the next caller, without the input and without the memory of a giant object.
func (c *checker) release() {
	c.src = nil
	clear(c.keys[:cap(c.keys)])
	if c.keys = c.keys[:0]; cap(c.keys) <= 1024 {
		checkers.Put(c)
	}
}

func (c *checker) value() error {
	switch c.peek() {
	case '{':
		return c.object()
	case '[':
		return c.array()
	default:
		_, err := c.scalar()
		return err
	}
}

func (c *checker) object() error {
	if err := c.open(); err != nil {
		return err
	}
	base := len(c.keys)
	if c.peek() == '}' {
		c.close()
		return nil
	}
	for {
		key, err := c.key()
		if err != nil {
			return err
		}
		c.keys = append(c.keys, key)
		if err := c.value(); err != nil {
			return err
		}
		more, err := c.next('}')
		if err != nil {
			return err
		}
		if more {
			continue
		}
		if duplicates(c.keys[base:]) {
			return errDuplicateKey()
		}
		c.keys = c.keys[:base]
		return nil
	}
}

func (c *checker) array() error {
	if err := c.open(); err != nil {
		return err
	}
	if c.peek() == ']' {
		c.close()
		return nil
	}
	for {
		if err := c.value(); err != nil {
			return err
		}
		more, err := c.next(']')
		if err != nil || !more {
			return err
		}
	}
}

// duplicates may reorder keys. Small objects, nearly all, are compared pair by pair; large ones are sorted, so that a
// hostile object costs n·log n.
func duplicates(keys [][]byte) bool {
	if len(keys) <= 12 {
		for i := 1; i < len(keys); i++ {
			for j := range i {
				if bytes.Equal(keys[i], keys[j]) {
					return true
				}
			}
		}
		return false
	}
	slices.SortFunc(keys, bytes.Compare)
	for i := 1; i < len(keys); i++ {
		if bytes.Equal(keys[i-1], keys[i]) {
			return true
		}
	}
	return false
}

func errDuplicateKey() error { return BadJSON("An object has the same key twice.") }

// scanner holds what the checker and the canonical writer share: tokens of JSON over bytes known to be UTF-8.
type scanner struct {
	src   []byte
	pos   int
	depth int // levels still allowed
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) syntax() error { return NotJSON("Content is not valid JSON.") }

// open consumes the bracket in front of it.
func (s *scanner) open() error {
	if s.depth == 0 {
		return BadJSON("JSON is nested too deeply.")
	}
	s.depth--
	s.pos++
	return nil
}

func (s *scanner) close() {
	s.depth++
	s.pos++
}

// next consumes a comma (true) or the closing bracket (false).
func (s *scanner) next(closing byte) (bool, error) {
	switch s.peek() {
	case ',':
		s.pos++
		return true, nil
	case closing:
		s.close()
		return false, nil
	default:
		return false, s.syntax()
	}
}

// end refuses anything but white space after the value.
func (s *scanner) end() error {
	if s.peek(); s.pos != len(s.src) {
		return s.syntax()
	}
	return nil
}

// key consumes a member's name and its colon and returns the name decoded.
func (s *scanner) key() ([]byte, error) {
	if s.peek() != '"' {
		return nil, s.syntax()
	}
	raw, escaped, err := s.str()
	if err != nil {
		return nil, err
	}
	if escaped {
		raw = unescape(raw)
	}
	if s.peek() != ':' {
		return nil, s.syntax()
	}
	s.pos++
	return raw, nil
}

// plain marks the bytes that may stand in a string as they are and mean themselves.
var plain = func() (t [256]bool) {
	for i := range t {
		t[i] = i >= 0x20 && i != '"' && i != '\\'
	}
	return t
}()

// str consumes a string and returns what stands between its quotes, unchanged, and whether that has escapes.
func (s *scanner) str() (raw []byte, escaped bool, err error) {
	s.pos++
	start := s.pos
	for {
		for s.pos < len(s.src) && plain[s.src[s.pos]] {
			s.pos++
		}
		if s.pos >= len(s.src) {
			return nil, false, s.syntax()
		}
		switch s.src[s.pos] {
		case '"':
			s.pos++
			return s.src[start : s.pos-1], escaped, nil
		case '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return nil, false, err
			}
		default:
			return nil, false, s.syntax()
		}
	}
}

// escape consumes one escape sequence; a surrogate must have its other half.
func (s *scanner) escape() error {
	if s.pos+1 >= len(s.src) {
		return s.syntax()
	}
	switch s.src[s.pos+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return nil
	case 'u':
	default:
		return s.syntax()
	}
	r, ok := hex4(s.src[s.pos:])
	if !ok {
		return s.syntax()
	}
	s.pos += 6
	if !utf16.IsSurrogate(r) {
		return nil
	}
	low, ok := hex4(s.src[s.pos:])
	if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
		return BadJSON("A string has a lone surrogate.")
	}
	s.pos += 6
	return nil
}

// hex4 reads the number of a \uXXXX at the start of b.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// unescape decodes the inside of a string that str has accepted.
func unescape(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			i++
			continue
		}
		switch raw[i+1] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(raw[i:])
			if utf16.IsSurrogate(r) {
				low, _ := hex4(raw[i+6:])
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			out = utf8.AppendRune(out, r)
			i += 4
		default:
			out = append(out, raw[i+1])
		}
		i += 2
	}
	return out
}

// scalar consumes a string, number, true, false or null and returns its bytes.
func (s *scanner) scalar() ([]byte, error) {
	switch c := s.peek(); {
	case c == '"':
		start := s.pos
		_, _, err := s.str()
		return s.src[start:s.pos], err
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	default:
		return nil, s.syntax()
	}
}

func (s *scanner) literal(word string) ([]byte, error) {
	end := s.pos + len(word)
	if end > len(s.src) || string(s.src[s.pos:end]) != word {
		return nil, s.syntax()
	}
	start := s.pos
	s.pos = end
	return s.src[start:end], nil
}

func (s *scanner) number() ([]byte, error) {
	start := s.pos
	if s.src[s.pos] == '-' {
		s.pos++
	}
	zero := s.pos < len(s.src) && s.src[s.pos] == '0'
	if n := s.digits(); n == 0 || zero && n > 1 {
		return nil, s.syntax()
	}
	if s.pos < len(s.src) && s.src[s.pos] == '.' {
		s.pos++
		if s.digits() == 0 {
			return nil, s.syntax()
		}
	}
	if s.pos < len(s.src) && (s.src[s.pos] == 'e' || s.src[s.pos] == 'E') {
		s.pos++
		if s.pos < len(s.src) && (s.src[s.pos] == '+' || s.src[s.pos] == '-') {
			s.pos++
		}
		if s.digits() == 0 {
			return nil, s.syntax()
		}
	}
	return s.src[start:s.pos], nil
}

func (s *scanner) digits() int {
	start := s.pos
	for s.pos < len(s.src) && '0' <= s.src[s.pos] && s.src[s.pos] <= '9' {
		s.pos++
	}
	return s.pos - start
}
