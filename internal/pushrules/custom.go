package pushrules

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"allmende/internal/matrix"
)

// MaxCustom bounds a user's changes, in bytes of JSON: every client of theirs receives all rules after each change.
const MaxCustom = 64 << 10

// Custom is what a user has changed: rules of their own, and switches and actions of default rules. The zero value
// changes nothing. Its JSON is what is stored.
type Custom struct {
	Rules    map[Kind][]Rule            `json:"rules,omitempty"` // most important first
	Defaults map[Kind]map[string]Change `json:"defaults,omitempty"`
}

// Change is what differs from a default rule; nil members are unchanged.
type Change struct {
	Enabled *bool             `json:"enabled,omitempty"`
	Actions []json.RawMessage `json:"actions,omitzero"`
}

// ParseCustom reads a stored Custom; empty input changes nothing.
func ParseCustom(stored []byte) (*Custom, error) {
	c := &Custom{}
	if len(stored) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(stored, c); err != nil {
		return nil, fmt.Errorf("decode push rule changes: %w", err)
	}
	return c, nil
}

// Encode returns what is to be stored. Errors: M_TOO_LARGE.
func (c *Custom) Encode() ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode push rule changes: %w", err)
	}
	if len(b) > MaxCustom {
		return nil, matrix.TooLarge("There are too many push rules.")
	}
	return b, nil
}

// Ruleset is the complete ruleset of a user with these changes: user-defined rules before default ones, but for the
// master rule, which is always first.
//
// spec: c-s §Push Notifications "Predefined Rules"
func (c *Custom) Ruleset(user matrix.UserID) Ruleset {
	set := Defaults(user)
	for _, k := range kinds {
		rules := set.of(k)
		for i := range *rules {
			(*rules)[i].apply(c.Defaults[k][(*rules)[i].ID])
		}
		at := 0
		if k == Override {
			at = 1
		}
		*rules = slices.Insert(*rules, at, c.Rules[k]...)
	}
	return set
}

func (r *Rule) apply(ch Change) {
	if ch.Enabled != nil {
		r.Enabled = *ch.Enabled
	}
	if ch.Actions != nil {
		r.Actions = ch.Actions
	}
}

// Put adds a rule of the user's own, or changes the one with its id, which keeps its place and its switch. With before
// (or else after) it is placed just before (after) that other rule of the user's own; a new rule is otherwise the most
// important.
//
// Errors: M_INVALID_PARAM, M_MISSING_PARAM, M_BAD_JSON, M_UNKNOWN 400 (no such rule to place it by).
//
// spec: c-s §PUT /pushrules/global/{kind}/{ruleId}
func (c *Custom) Put(k Kind, r Rule, before, after string) error {
	if err := r.check(k); err != nil {
		return err
	}
	r.Default, r.Enabled = false, true
	rules := slices.Clone(c.Rules[k])
	at := 0
	if i := indexRule(rules, r.ID); i >= 0 {
		r.Enabled, at = rules[i].Enabled, i
		rules = slices.Delete(rules, i, i+1)
	}
	if other := cmp.Or(before, after); other != "" {
		at = indexRule(rules, other)
		if at < 0 {
			return matrix.Unknown("before/after rule not found").WithStatus(400)
		}
		if before == "" {
			at++
		}
	}
	if c.Rules == nil {
		c.Rules = map[Kind][]Rule{}
	}
	c.Rules[k] = slices.Insert(rules, at, r)
	return nil
}

// Delete removes a rule of the user's own; default rules cannot be removed. Errors: M_NOT_FOUND.
func (c *Custom) Delete(k Kind, id string) error {
	i := indexRule(c.Rules[k], id)
	if i < 0 {
		return errNoRule()
	}
	c.Rules[k] = slices.Delete(c.Rules[k], i, i+1)
	return nil
}

// SetEnabled switches a rule on or off. Errors: M_NOT_FOUND.
func (c *Custom) SetEnabled(k Kind, id string, enabled bool) error {
	return c.change(k, id, Change{Enabled: &enabled})
}

// SetActions replaces the actions of a rule. Errors: M_NOT_FOUND, M_MISSING_PARAM, M_BAD_JSON.
func (c *Custom) SetActions(k Kind, id string, actions []json.RawMessage) error {
	actions, err := CheckActions(actions)
	if err != nil {
		return err
	}
	return c.change(k, id, Change{Actions: actions})
}

func (c *Custom) change(k Kind, id string, ch Change) error {
	if i := indexRule(c.Rules[k], id); i >= 0 {
		c.Rules[k][i].apply(ch)
		return nil
	}
	defaults := Defaults("")
	if indexRule(defaults.Of(k), id) < 0 {
		return errNoRule()
	}
	old := c.Defaults[k][id]
	if ch.Enabled == nil {
		ch.Enabled = old.Enabled
	}
	if ch.Actions == nil {
		ch.Actions = old.Actions
	}
	if c.Defaults == nil {
		c.Defaults = map[Kind]map[string]Change{}
	}
	if c.Defaults[k] == nil {
		c.Defaults[k] = map[string]Change{}
	}
	c.Defaults[k][id] = ch
	return nil
}
