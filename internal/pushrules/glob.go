package pushrules

import (
	"strings"
	"unicode/utf8"
)

// glob is a compiled pattern: '*' stands for any run of characters, '?' for exactly one, case does not matter. Matching
// takes at most the product of both lengths, whatever the pattern.
//
// spec: appendices §Glob-style matching
type glob struct {
	literal  string // the whole pattern when it has no wildcard
	wild     bool
	elements []rune // with wildcards: anyRun, anyOne or a character
}

const (
	anyRun rune = -1
	anyOne rune = -2
)

func compileGlob(pattern string) glob {
	pattern = fold(pattern)
	if !strings.ContainsAny(pattern, "*?") {
		return literal(pattern)
	}
	g := glob{wild: true}
	for _, c := range pattern {
		switch {
		case c == '*' && len(g.elements) > 0 && g.elements[len(g.elements)-1] == anyRun:
		case c == '*':
			g.elements = append(g.elements, anyRun)
		case c == '?':
			g.elements = append(g.elements, anyOne)
		default:
			g.elements = append(g.elements, c)
		}
	}
	return g
}

// literal is a glob that takes a folded text as it is.
func literal(folded string) glob { return glob{literal: folded} }

// fold is what "case-insensitive" means here: both sides in lower case.
func fold(s string) string { return strings.ToLower(s) }

// matchAll reports whether the pattern covers the whole of a folded text.
func (g *glob) matchAll(text string) bool {
	if !g.wild {
		return text == g.literal
	}
	// Greedy with one level of backtracking: a later '*' makes an earlier one irrelevant.
	i, mark, from := 0, -1, 0
	for at := 0; at < len(text); {
		c, size := utf8.DecodeRuneInString(text[at:])
		switch {
		case i < len(g.elements) && g.elements[i] == anyRun:
			mark, from = i, at
			i++
			continue
		case i < len(g.elements) && (g.elements[i] == anyOne || g.elements[i] == c):
			i++
			at += size
			continue
		case mark < 0:
			return false
		}
		_, size = utf8.DecodeRuneInString(text[from:])
		from += size
		i, at = mark+1, from
	}
	for i < len(g.elements) && g.elements[i] == anyRun {
		i++
	}
	return i == len(g.elements)
}

// matchWords reports whether the pattern covers some part of a folded text that starts and ends at word boundaries. An
// empty pattern covers nothing.
//
// spec: c-s §Push Rules "event_match", content.body
func (g *glob) matchWords(text string) bool {
	if !g.wild {
		return matchLiteralWords(g.literal, text)
	}
	// All positions in the pattern that some start could have reached so far.
	now, next := make([]bool, len(g.elements)+1), make([]bool, len(g.elements)+1)
	for at := 0; ; {
		if boundaryBefore(text, at) {
			now[0] = true
		}
		g.skipRuns(now)
		if now[len(g.elements)] && boundaryAfter(text, at) {
			return true
		}
		if at == len(text) {
			return false
		}
		c, size := utf8.DecodeRuneInString(text[at:])
		clear(next)
		for i, e := range g.elements {
			switch {
			case !now[i]:
			case e == anyRun:
				next[i] = true
			case e == anyOne || e == c:
				next[i+1] = true
			}
		}
		now, next = next, now
		at += size
	}
}

// skipRuns lets each '*' stand for nothing.
func (g *glob) skipRuns(states []bool) {
	for i, e := range g.elements {
		if states[i] && e == anyRun {
			states[i+1] = true
		}
	}
}

func matchLiteralWords(word, text string) bool {
	if word == "" {
		return false
	}
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		i += from
		if boundaryBefore(text, i) && boundaryAfter(text, i+len(word)) {
			return true
		}
		from = i + 1
	}
}

func boundaryBefore(text string, at int) bool { return at == 0 || !isWord(text[at-1]) }

func boundaryAfter(text string, at int) bool { return at == len(text) || !isWord(text[at]) }

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || 'A' <= c && c <= 'Z'
}
