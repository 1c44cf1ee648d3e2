package pushrules

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"allmende/internal/matrix"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultsGolden(t *testing.T) {
	set := Defaults(anna)
	got, err := json.MarshalIndent(set, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const file = "testdata/defaults.json"
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestPutOrder(t *testing.T) {
	c := &Custom{}
	put := func(id, before, after string) {
		t.Helper()
		if err := c.Put(Override, Rule{ID: id, Actions: raws(`"notify"`)}, before, after); err != nil {
			t.Fatal(err)
		}
	}
	order := func(want ...string) {
		t.Helper()
		set := c.Ruleset(anna)
		var got []string
		for _, r := range set.Override {
			if !r.Default {
				got = append(got, r.ID)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if set.Override[0].ID != ruleMaster {
			t.Error("the master rule is not first")
		}
	}
	put("a", "", "")
	put("b", "", "")
	order("b", "a")
	put("c", "a", "")
	order("b", "c", "a")
	put("d", "", "b")
	order("b", "d", "c", "a")
	put("e", "a", "b") // before wins
	order("b", "d", "c", "e", "a")
	put("d", "", "") // unchanged place
	order("b", "d", "c", "e", "a")
	put("b", "", "a")
	order("d", "c", "e", "a", "b")
	for _, other := range []string{"zzz", ".m.rule.master", "a"} {
		err := c.Put(Override, Rule{ID: "a", Actions: raws()}, "", other)
		var e *matrix.Error
		if !errors.As(err, &e) || e.Code != "M_UNKNOWN" || e.Status != 400 {
			t.Errorf("relative to %q: %v", other, err)
		}
	}
	order("d", "c", "e", "a", "b")
	if err := c.Delete(Override, "e"); err != nil {
		t.Fatal(err)
	}
	order("d", "c", "a", "b")
}

func TestPutChecks(t *testing.T) {
	pattern, long := "x", strings.Repeat("x", maxPattern+1)
	for name, c := range map[string]struct {
		kind Kind
		rule Rule
		code string
	}{
		"default id":     {Override, Rule{ID: ".m.mine", Actions: raws()}, "M_INVALID_PARAM"},
		"slash":          {Override, Rule{ID: "a/b", Actions: raws()}, "M_INVALID_PARAM"},
		"backslash":      {Override, Rule{ID: `a\b`, Actions: raws()}, "M_INVALID_PARAM"},
		"no id":          {Override, Rule{Actions: raws()}, "M_INVALID_PARAM"},
		"long id":        {Override, Rule{ID: strings.Repeat("x", 256), Actions: raws()}, "M_INVALID_PARAM"},
		"no actions":     {Override, Rule{ID: "a"}, "M_MISSING_PARAM"},
		"number action":  {Override, Rule{ID: "a", Actions: raws(`1`)}, "M_BAD_JSON"},
		"object action":  {Override, Rule{ID: "a", Actions: raws(`{"tweak":"x"}`)}, "M_BAD_JSON"},
		"no pattern":     {Content, Rule{ID: "a", Actions: raws()}, "M_MISSING_PARAM"},
		"long pattern":   {Content, Rule{ID: "a", Pattern: &long, Actions: raws()}, "M_INVALID_PARAM"},
		"condition kind": {Underride, Rule{ID: "a", Conditions: raws(`{"key":"x"}`), Actions: raws()}, "M_MISSING_PARAM"},
		"condition type": {Underride, Rule{ID: "a", Conditions: raws(`"x"`), Actions: raws()}, "M_BAD_JSON"},
		"good content":   {Content, Rule{ID: "a", Pattern: &pattern, Actions: raws()}, ""},
		"good room":      {Room, Rule{ID: "!a:b", Pattern: &pattern, Conditions: raws(`1`), Actions: raws()}, ""},
	} {
		err := new(Custom).Put(c.kind, c.rule, "", "")
		if c.code == "" && err != nil || c.code != "" && !errors.Is(err, &matrix.Error{Code: c.code}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChangesSurviveStorage(t *testing.T) {
	c := &Custom{}
	pattern := "cake"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.Put(Content, Rule{ID: "cake", Pattern: &pattern, Actions: raws(`"notify"`, `"dont_notify"`)}, "", ""))
	must(c.Put(Room, Rule{ID: "!a:b", Pattern: &pattern, Actions: raws(`"coalesce"`)}, "", ""))
	must(c.SetEnabled(Content, "cake", false))
	must(c.Put(Content, Rule{ID: "cake", Pattern: &pattern, Actions: raws(`"notify"`)}, "", "")) // stays off
	must(c.SetEnabled(Override, ruleMaster, true))
	must(c.SetActions(Underride, ".m.rule.message", raws()))
	must(c.SetEnabled(Underride, ".m.rule.message", false)) // keeps the actions
	stored, err := c.Encode()
	must(err)
	back, err := ParseCustom(stored)
	must(err)
	set := back.Ruleset(anna)
	type view struct {
		Kind           Kind
		ID             string
		Enabled        bool
		Actions, Terms string
	}
	var got []view
	for _, k := range kinds {
		for _, r := range set.Of(k) {
			if !r.Default || r.ID == ruleMaster || r.ID == ".m.rule.message" {
				a, _ := json.Marshal(r.Actions)
				terms, _ := json.Marshal(r.Conditions)
				if r.Pattern != nil {
					terms = []byte(*r.Pattern)
				}
				got = append(got, view{k, r.ID, r.Enabled, string(a), string(terms)})
			}
		}
	}
	want := []view{
		{Override, ruleMaster, true, "[]", "[]"},
		{Content, "cake", false, `["notify"]`, "cake"},
		{Room, "!a:b", true, "[]", "null"},
		{Underride, ".m.rule.message", false, "[]", `[{"key":"type","kind":"event_match","pattern":"m.room.message"}]`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := set.Find(Content, "cake"); err != nil {
		t.Error(err)
	}
	for _, err := range []error{
		back.Delete(Override, ruleMaster), back.Delete(Content, "nope"), back.SetEnabled(Room, ruleMaster, true),
		back.SetActions(Sender, "nope", raws()),
	} {
		if !errors.Is(err, matrix.NotFound("")) {
			t.Errorf("got %v, want M_NOT_FOUND", err)
		}
	}
}

func TestEncodeIsBounded(t *testing.T) {
	c := &Custom{}
	pattern := strings.Repeat("x", maxPattern)
	for i := range 80 {
		if err := c.Put(Content, Rule{ID: strings.Repeat("i", i+1), Pattern: &pattern, Actions: raws()}, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Encode(); !errors.Is(err, matrix.TooLarge("")) {
		t.Errorf("got %v", err)
	}
}

func raws(s ...string) []json.RawMessage {
	out := []json.RawMessage{}
	for _, x := range s {
		out = append(out, json.RawMessage(x))
	}
	return out
}
