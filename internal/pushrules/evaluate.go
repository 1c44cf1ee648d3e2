package pushrules

import (
	"encoding/json"
	"sync"

	"allmende/internal/matrix"
)

// Member is what evaluation needs to know of the user in the room.
type Member struct {
	DisplayName string // in this room; empty: none
}

// Result is what happens to one user's devices.
type Result struct {
	Notify    bool
	Highlight bool
	Sound     string            // value of the sound tweak; empty: silent
	Actions   []json.RawMessage // of the rule that matched, for the push gateway; do not change
	RuleID    string            // of the rule that matched; empty: none did
}

// Compiled is a user's ruleset made ready for evaluation. It is immutable.
type Compiled struct {
	user  matrix.UserID
	rules []compiled // enabled ones, in the order in which they are checked
}

// compiled is one rule.
type compiled struct {
	conditions []condition
	legacy     bool // guesses mentions; off for events that name them
	share      int  // place of its verdict in Event.shared; -1: depends on the user
	result     Result
}

// verdict is a remembered outcome.
type verdict byte

const (
	unknown verdict = iota
	no
	yes
)

// Compile makes a user's ruleset ready: the defaults with the user's changes (nil: none).
func Compile(user matrix.UserID, custom *Custom) *Compiled {
	if custom == nil {
		custom = &Custom{}
	}
	set := custom.Ruleset(user)
	return compile(user, &set)
}

func compile(user matrix.UserID, set *Ruleset) *Compiled {
	c := &Compiled{user: user}
	for _, k := range kinds {
		for _, r := range set.Of(k) {
			if r.Enabled {
				c.rules = append(c.rules, compileRule(k, r))
			}
		}
	}
	return c
}

// sharedRules are the default rules whose outcome is the same for every user, compiled once: rule id to place and
// conditions.
var sharedRules = sync.OnceValue(func() map[string]compiled {
	shared := map[string]compiled{}
	set := Defaults("")
	for _, k := range kinds {
		for _, r := range set.Of(k) {
			c := compileConditions(k, r)
			if c.share = len(shared); !c.perUser(r.ID) {
				shared[r.ID] = c
			}
		}
	}
	return shared
})

// perUser reports whether a default rule's outcome depends on the user: by its conditions, or because the user's id is
// part of the rule.
func (c *compiled) perUser(id string) bool {
	for _, cond := range c.conditions {
		if cond.perUser {
			return true
		}
	}
	return id == ".m.rule.invite_for_me" || id == ".m.rule.is_user_mention" || id == ruleContainsUserName
}

func compileRule(k Kind, r Rule) compiled {
	c, ok := compiled{}, false
	if r.Default {
		c, ok = sharedRules()[r.ID]
	}
	if !ok {
		c = compileConditions(k, r)
		c.share = -1
	}
	c.result = compileActions(r.Actions)
	c.result.RuleID = r.ID
	return c
}

func compileConditions(k Kind, r Rule) compiled {
	c := compiled{legacy: r.Default && (r.ID == ruleContainsName || r.ID == ruleRoomNotif || r.ID == ruleContainsUserName)}
	switch k {
	case Content:
		c.conditions = []condition{never}
		if r.Pattern != nil {
			c.conditions[0] = eventMatch("content.body", *r.Pattern)
		}
	case Room:
		c.conditions = []condition{{test: func(e *Event, _ Member) bool { return string(e.RoomID) == r.ID }}}
	case Sender:
		c.conditions = []condition{{test: func(e *Event, _ Member) bool { return string(e.Sender) == r.ID }}}
	default:
		for _, raw := range r.Conditions {
			c.conditions = append(c.conditions, compileCondition(raw))
		}
	}
	return c
}

// compileActions says what a rule does. Unknown actions and tweaks pass through untouched.
//
// spec: c-s §Push Rules "Actions"
func compileActions(actions []json.RawMessage) Result {
	res := Result{Actions: actions}
	for _, raw := range actions {
		a, _ := parseAction(raw)
		switch {
		case a.name == "notify":
			res.Notify = true
		case a.tweak == "highlight":
			res.Highlight = a.value == nil || string(a.value) == "true"
		case a.tweak == "sound":
			_ = json.Unmarshal(a.value, &res.Sound) // anything but a string makes no sound
		}
	}
	return res
}

// Evaluate finds the first rule that matches. Nobody is notified of their own events.
//
// spec: c-s §Push Rules
func (c *Compiled) Evaluate(e *Event, m Member) Result {
	if e.Sender == c.user {
		return Result{}
	}
	for i := range c.rules {
		if r := &c.rules[i]; r.matches(e, m) {
			return r.result
		}
	}
	return Result{}
}

func (c *compiled) matches(e *Event, m Member) bool {
	if c.share < 0 {
		return c.holds(e, m)
	}
	if e.shared == nil {
		e.shared = make([]verdict, len(sharedRules()))
	}
	v := &e.shared[c.share]
	if *v == unknown {
		*v = no
		if c.holds(e, m) {
			*v = yes
		}
	}
	return *v == yes
}

func (c *compiled) holds(e *Event, m Member) bool {
	if c.legacy && e.mentions() {
		return false
	}
	for i := range c.conditions {
		if !c.conditions[i].test(e, m) {
			return false
		}
	}
	return true
}
