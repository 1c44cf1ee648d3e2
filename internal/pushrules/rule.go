package pushrules

import (
	"encoding/json"
	"slices"
	"strings"

	"allmende/internal/matrix"
)

// Kind is one of the five kinds of rules.
type Kind string

// The kinds, in the order in which they are checked.
const (
	Override  Kind = "override"
	Content   Kind = "content"
	Room      Kind = "room"
	Sender    Kind = "sender"
	Underride Kind = "underride"
)

var kinds = [...]Kind{Override, Content, Room, Sender, Underride}

// ParseKind checks the name of a kind. Errors: M_INVALID_PARAM.
func ParseKind(s string) (Kind, error) {
	if k := Kind(s); slices.Contains(kinds[:], k) {
		return k, nil
	}
	return "", matrix.InvalidParam("Unknown kind of push rule.")
}

// Rule is a push rule as clients see it. Conditions and actions stay as the client wrote them, so that what this server
// does not know survives.
//
// spec: c-s §Push Rules
type Rule struct {
	ID      string `json:"rule_id"`
	Default bool   `json:"default"`
	Enabled bool   `json:"enabled"`
	// Pattern belongs to content rules, Conditions to override and underride rules.
	Pattern    *string           `json:"pattern,omitempty"`
	Conditions []json.RawMessage `json:"conditions,omitzero"`
	Actions    []json.RawMessage `json:"actions"`
}

// Ruleset holds all rules of a user, the most important of each kind first.
type Ruleset struct {
	Override  []Rule `json:"override"`
	Content   []Rule `json:"content"`
	Room      []Rule `json:"room"`
	Sender    []Rule `json:"sender"`
	Underride []Rule `json:"underride"`
}

// Of returns the rules of a kind.
func (r *Ruleset) Of(k Kind) []Rule { return *r.of(k) }

func (r *Ruleset) of(k Kind) *[]Rule {
	switch k {
	case Override:
		return &r.Override
	case Content:
		return &r.Content
	case Room:
		return &r.Room
	case Sender:
		return &r.Sender
	default:
		return &r.Underride
	}
}

// Find returns a rule. Errors: M_NOT_FOUND.
func (r *Ruleset) Find(k Kind, id string) (Rule, error) {
	rules := r.Of(k)
	if i := indexRule(rules, id); i >= 0 {
		return rules[i], nil
	}
	return Rule{}, errNoRule()
}

func indexRule(rules []Rule, id string) int {
	return slices.IndexFunc(rules, func(r Rule) bool { return r.ID == id })
}

func errNoRule() error { return matrix.NotFound("The push rule was not found.") }

// maxPattern bounds glob patterns, in bytes: matching costs text times pattern.
const maxPattern = 1024

// maxRuleID bounds the ids of rules, in bytes: room and user ids fit.
const maxRuleID = 255

// check verifies a rule a client wants to add, and completes it.
func (r *Rule) check(k Kind) error {
	switch {
	case strings.HasPrefix(r.ID, "."):
		return matrix.InvalidParam("Rule IDs starting with a dot are reserved for the server's default rules.")
	case strings.ContainsAny(r.ID, `/\`):
		return matrix.InvalidParam("Rule IDs cannot contain slashes.")
	case r.ID == "" || len(r.ID) > maxRuleID:
		return matrix.InvalidParam("Rule IDs have 1 to 255 bytes.")
	}
	switch k {
	case Content:
		if r.Pattern == nil {
			return matrix.MissingParam("Content rules need a pattern.")
		}
		if len(*r.Pattern) > maxPattern {
			return matrix.InvalidParam("The pattern is too long.")
		}
		r.Conditions = nil
	case Override, Underride:
		r.Pattern = nil
		if r.Conditions == nil {
			r.Conditions = []json.RawMessage{}
		}
		if err := checkConditions(r.Conditions); err != nil {
			return err
		}
	default:
		r.Pattern, r.Conditions = nil, nil
	}
	actions, err := CheckActions(r.Actions)
	r.Actions = actions
	return err
}

func checkConditions(conditions []json.RawMessage) error {
	for _, raw := range conditions {
		var c struct {
			Kind    *string `json:"kind"`
			Pattern *string `json:"pattern"`
		}
		if err := json.Unmarshal(raw, &c); err != nil {
			return matrix.BadJSON("A condition is not an object with a kind.")
		}
		if c.Kind == nil {
			return matrix.MissingParam("A condition has no kind.")
		}
		if c.Pattern != nil && len(*c.Pattern) > maxPattern {
			return matrix.InvalidParam("The pattern of a condition is too long.")
		}
	}
	return nil
}

// CheckActions verifies a rule's actions and strips the historical ones, which mean nothing. The result is never nil.
// Errors: M_MISSING_PARAM (nil), M_BAD_JSON.
//
// spec: c-s §Push Rules "Historical Actions"
func CheckActions(actions []json.RawMessage) ([]json.RawMessage, error) {
	if actions == nil {
		return nil, matrix.MissingParam("The rule has no actions.")
	}
	kept := make([]json.RawMessage, 0, len(actions))
	for _, raw := range actions {
		a, ok := parseAction(raw)
		if !ok {
			return nil, matrix.BadJSON("An action is neither a string nor an object with set_tweak.")
		}
		if a.name != "dont_notify" && a.name != "coalesce" {
			kept = append(kept, raw)
		}
	}
	return kept, nil
}

// action is one parsed action: either a name or a tweak with its value.
type action struct {
	name, tweak string
	value       json.RawMessage
}

func parseAction(raw json.RawMessage) (a action, ok bool) {
	if json.Unmarshal(raw, &a.name) == nil {
		return a, a.name != ""
	}
	var o struct {
		Tweak *string         `json:"set_tweak"`
		Value json.RawMessage `json:"value"`
	}
	if json.Unmarshal(raw, &o) != nil || o.Tweak == nil {
		return a, false
	}
	return action{tweak: *o.Tweak, value: o.Value}, true
}
