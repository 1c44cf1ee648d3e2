package pushrules

import (
	"encoding/json"
	"fmt"

	"allmende/internal/matrix"
)

// CompileContent makes the ruleset ready that a user's m.push_rules account
// data shows: the content of that event.
//
// spec: c-s §m.push_rules
func CompileContent(user matrix.UserID, content json.RawMessage) (*Compiled, error) {
	var in struct {
		Global Ruleset `json:"global"`
	}
	if err := json.Unmarshal(content, &in); err != nil {
		return nil, fmt.Errorf("decode push rules: %w", err)
	}
	return compile(user, &in.Global), nil
}
