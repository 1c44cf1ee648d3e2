package pushrules

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		all, words    bool
	}{
		{"lunc?*", "Lunch plans", true, true},
		{"lunc?*", "LUNCH", true, true},
		{"lunc?*", " lunch", false, true},
		{"lunc?*", "lunc", false, false},
		{"ex*ple", "An example event.", false, true},
		{"ex*ple", "exple", true, true},
		{"ex*ple", "An exciting triple-whammy", false, true},
		{"ex*ple", "complex people", false, false},
		{"", "", true, false},
		{"*", "", true, true},
		{"*", "x", true, true},
		{"?", "é", true, true},
		{"?", "éé", false, true}, // é bounds words like any other character outside the sets,
		{"a*b*c", "a-b-b-c", true, true},
		{"a*b*c", "abcd", false, false},
		{"foo", "xfoo foo", false, true},
		{"foo", "xfoo foo1", false, false},
		{"foo", "_foo", false, false},
		{"foo", "äfoo", false, true},
		{"a.b", "axb", false, false},
		{"[a]", "a", false, false},
	} {
		g := compileGlob(c.pattern)
		if got := g.matchAll(fold(c.text)); got != c.all {
			t.Errorf("%q matches all of %q: %t", c.pattern, c.text, got)
		}
		if got := g.matchWords(fold(c.text)); got != c.words {
			t.Errorf("%q matches words of %q: %t", c.pattern, c.text, got)
		}
	}
}

// Long texts of nearly matching characters must not make a hostile pattern expensive; a backtracking matcher would not
// end within the test's time limit.
func TestGlobHostile(t *testing.T) {
	g := compileGlob(strings.Repeat("a*", 500) + "b")
	text := strings.Repeat("a ", 30_000)
	if g.matchAll(text) || g.matchWords(text) {
		t.Error("matches without a b")
	}
}

// FuzzGlob compares with a regular expression that says the same.
func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{{"a*b?", "aXXbc"}, {"cake*lie", "the cake is a lie."}, {"?", "ß"}, {"**", "x"}, {"@room", "hi @room"}, {"*a", "b a_ a"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(text) || len(pattern) > 200 || len(text) > 500 {
			return
		}
		expr := strings.NewReplacer(`\*`, `(?s:.)*`, `\?`, `(?s:.)`).Replace(regexp.QuoteMeta(fold(pattern)))
		text = fold(text)
		g := compileGlob(pattern)
		if want := regexp.MustCompile(`\A(?:` + expr + `)\z`).MatchString(text); g.matchAll(text) != want {
			t.Errorf("%q matches all of %q: want %t", pattern, text, want)
		}
		if pattern == "" {
			return
		}
		if want := regexp.MustCompile(`(?:\A|[^A-Za-z0-9_])(?:` + expr + `)(?:\z|[^A-Za-z0-9_])`).MatchString(text); g.matchWords(text) != want {
			t.Errorf("%q matches words of %q: want %t", pattern, text, want)
		}
	})
}
