package matrix

import (
	"fmt"
	"strconv"
)

// forbidLevel says what was lacking. Unlimited power lacks nothing and is never named.
func forbidLevel(what string, have, needed int64) error {
	if needed == Unlimited {
		return Forbidden(what + ".")
	}
	return Forbidden(fmt.Sprintf("%s: your power is %d, needed is %d.", what, have, needed))
}

// plainLevels are the levels that stand at the top of the content.
var plainLevels = []string{"users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"}

// levelsAllowed is rule 10: the content has the right shape, and nobody lifts anything above their own power or takes
// away from those who are not below them.
func (a *authorisation) levelsAllowed() error {
	next, err := a.e.parsedLevels(a.rules)
	if err != nil {
		return err
	}
	for _, c := range a.levels.creators {
		if _, named := next.Users[c]; named {
			return Forbidden("Power levels: a creator of the room cannot be given a level.")
		}
	}
	if a.state.State(TypePowerLevels, "") == nil {
		return nil
	}
	now := a.levels.Levels
	for _, k := range plainLevels {
		before, had := now.given[k]
		after, has := next.given[k]
		if had == has && before == after {
			continue
		}
		// A level that is absent has no value that could be too high.
		if had && before > a.power || has && after > a.power {
			return Forbidden("Power levels: " + k + " is or would be above your own power.")
		}
	}
	if err := changes(now.Events, next.Events, a.power, "events"); err != nil {
		return err
	}
	if a.notifications {
		if err := changes(now.Notifications, next.Notifications, a.power, "notifications"); err != nil {
			return err
		}
	}
	return a.userChanges(now.Users, next.Users)
}

// changes is rules 10.7 and 10.8.
func changes(now, next map[string]int64, power int64, what string) error {
	for k, before := range now {
		if after, has := next[k]; (!has || after != before) && before > power {
			return Forbidden("Power levels: " + what + " " + strconv.Quote(k) + " is above your own power.")
		}
	}
	for k, after := range next {
		if before, had := now[k]; (!had || after != before) && after > power {
			return Forbidden("Power levels: " + what + " " + strconv.Quote(k) + " would be above your own power.")
		}
	}
	return nil
}

// userChanges is rules 10.9 and 10.10.
func (a *authorisation) userChanges(now, next map[UserID]int64) error {
	for u, before := range now {
		after, has := next[u]
		if (!has || after != before) && u != a.e.Sender && before >= a.power {
			return Forbidden("Power levels: you cannot change the level of somebody who is not below you.")
		}
	}
	for u, after := range next {
		if before, had := now[u]; (!had || after != before) && after > a.power {
			return Forbidden("Power levels: you cannot give anybody more power than your own.")
		}
	}
	return nil
}
