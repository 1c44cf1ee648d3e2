package pushrules

import (
	"encoding/json"
	"fmt"

	"allmende/internal/matrix"
)

// Ids of default rules that the evaluation treats specially.
const (
	ruleMaster             = ".m.rule.master"
	ruleContainsName       = ".m.rule.contains_display_name"
	ruleRoomNotif          = ".m.rule.roomnotif"
	ruleContainsUserName   = ".m.rule.contains_user_name"
	unstablePollRulePrefix = ".org.matrix.msc3930.rule.poll_"
	unstablePollTypePrefix = "org.matrix.msc3381.poll."
)

// Defaults returns the rules of a user who has changed nothing. The caller may change the result.
//
// spec: c-s §Push Notifications "Predefined Rules"; the poll rules are MSC3930 under the names in use
func Defaults(user matrix.UserID) Ruleset {
	return Ruleset{
		Override:  defaultOverrides(user),
		Content:   []Rule{defaultContent(user)},
		Room:      []Rule{},
		Sender:    []Rule{},
		Underride: defaultUnderrides(),
	}
}

func defaultOverrides(user matrix.UserID) []Rule {
	master := standard(ruleMaster, nil)
	master.Enabled = false
	return []Rule{
		master,
		standard(".m.rule.suppress_notices", nil, matches("content.msgtype", "m.notice")),
		standard(".m.rule.invite_for_me", notifies(sound("default")),
			matches("type", "m.room.member"), matches("content.membership", "invite"), matches("state_key", string(user))),
		standard(".m.rule.member_event", nil, matches("type", "m.room.member")),
		standard(".m.rule.is_user_mention", notifies(sound("default"), highlight),
			with("event_property_contains", "key", `content.m\.mentions.user_ids`, "value", string(user))),
		standard(ruleContainsName, notifies(sound("default"), highlight), with("contains_display_name")),
		standard(".m.rule.is_room_mention", notifies(highlight),
			with("event_property_is", "key", `content.m\.mentions.room`, "value", true), mayNotifyRoom()),
		standard(ruleRoomNotif, notifies(highlight), matches("content.body", "@room"), mayNotifyRoom()),
		standard(".m.rule.tombstone", notifies(highlight), matches("type", "m.room.tombstone"), matches("state_key", "")),
		standard(".m.rule.reaction", nil, matches("type", "m.reaction")),
		standard(".m.rule.room.server_acl", nil, matches("type", "m.room.server_acl"), matches("state_key", "")),
		standard(".m.rule.suppress_edits", nil,
			with("event_property_is", "key", `content.m\.relates_to.rel_type`, "value", "m.replace")),
		standard(unstablePollRulePrefix+"response", nil, matches("type", unstablePollTypePrefix+"response")),
	}
}

func defaultContent(user matrix.UserID) Rule {
	localpart := user.Localpart()
	r := standard(ruleContainsUserName, notifies(sound("default"), highlight))
	r.Pattern, r.Conditions = &localpart, nil
	return r
}

func defaultUnderrides() []Rule {
	return []Rule{
		standard(".m.rule.call", notifies(sound("ring")), matches("type", "m.call.invite")),
		standard(".m.rule.encrypted_room_one_to_one", notifies(sound("default")), twoMembers(), matches("type", "m.room.encrypted")),
		standard(".m.rule.room_one_to_one", notifies(sound("default")), twoMembers(), matches("type", "m.room.message")),
		standard(".m.rule.message", notifies(), matches("type", "m.room.message")),
		standard(".m.rule.encrypted", notifies(), matches("type", "m.room.encrypted")),
		standard(unstablePollRulePrefix+"start_one_to_one", notifies(sound("default")), twoMembers(), matches("type", unstablePollTypePrefix+"start")),
		standard(unstablePollRulePrefix+"start", notifies(), matches("type", unstablePollTypePrefix+"start")),
		standard(unstablePollRulePrefix+"end_one_to_one", notifies(sound("default")), twoMembers(), matches("type", unstablePollTypePrefix+"end")),
		standard(unstablePollRulePrefix+"end", notifies(), matches("type", unstablePollTypePrefix+"end")),
	}
}

func standard(id string, actions []json.RawMessage, conditions ...json.RawMessage) Rule {
	if actions == nil {
		actions = []json.RawMessage{}
	}
	if conditions == nil {
		conditions = []json.RawMessage{}
	}
	return Rule{ID: id, Default: true, Enabled: true, Actions: actions, Conditions: conditions}
}

func notifies(tweaks ...json.RawMessage) []json.RawMessage {
	return append([]json.RawMessage{json.RawMessage(`"notify"`)}, tweaks...)
}

var highlight = json.RawMessage(`{"set_tweak":"highlight"}`)

func sound(name string) json.RawMessage {
	return json.RawMessage(`{"set_tweak":"sound","value":"` + name + `"}`)
}

func matches(key, pattern string) json.RawMessage {
	return with("event_match", "key", key, "pattern", pattern)
}

func twoMembers() json.RawMessage { return with("room_member_count", "is", "2") }

func mayNotifyRoom() json.RawMessage { return with("sender_notification_permission", "key", "room") }

// with writes a condition of a kind with further members given as name, value pairs.
func with(kind string, members ...any) json.RawMessage {
	o := map[string]any{"kind": kind}
	for i := 0; i+1 < len(members); i += 2 {
		o[fmt.Sprint(members[i])] = members[i+1]
	}
	raw, err := json.Marshal(o)
	if err != nil { // strings and booleans always encode
		panic(err)
	}
	return raw
}
