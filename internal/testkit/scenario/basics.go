package scenario

import (
	"slices"
	"testing"
)

// Scenario is something members do, on any topology.
type Scenario struct {
	Name string
	Run  func(t *testing.T, h *Home)
}

// All are the scenarios that leave the installation as it is: they share it and
// run at the same time.
var All = slices.Concat(
	accountScenarios, inputScenarios,
	basicScenarios, createScenarios, memberScenarios, stateScenarios, sendScenarios, pageScenarios,
	visibleScenarios, relatedScenarios, directoryScenarios, syncScenarios, echoScenarios,
)

// Alone are the scenarios that stop the installation or change what all see:
// they run one after the other when those of All have ended.
var Alone = slices.Concat(
	basicRestarts, syncRestarts,
)

var basicScenarios = []Scenario{
	{"two members meet in a room and talk", meetAndTalk},
}

var basicRestarts = []Scenario{
	{"a restart loses nothing", restartLosesNothing},
}

// meetAndTalk is the shortest walk through the whole house.
func meetAndTalk(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := anna.CreateRoom(M{"name": "Group", "preset": "private_chat"})
	anna.Invite(room, bert.ID)
	_, since := bert.Until("", func(m M) bool { return At(m, "rooms", "invite", room) != nil })
	bert.Join(room)
	hello := anna.Say(room, "hello Bert")
	m, since := bert.Until(since, func(m M) bool {
		return Find(Events(m, "rooms", "join", room, "timeline", "events"), hello) != nil
	})
	ev := Find(Events(m, "rooms", "join", room, "timeline", "events"), hello)
	if got := At(ev, "content", "body"); got != "hello Bert" {
		t.Errorf("the message says %v", got)
	}
	if ev["sender"] != anna.ID {
		t.Errorf("the message is from %v", ev["sender"])
	}
	back := bert.Say(room, "hello Anna")
	own, _ := bert.Until(since, func(m M) bool {
		return Find(Events(m, "rooms", "join", room, "timeline", "events"), back) != nil
	})
	echo := Find(Events(own, "rooms", "join", room, "timeline", "events"), back)
	if At(echo, "unsigned", "transaction_id") == nil {
		t.Errorf("the sender's device does not find its transaction id on the echo %v", echo)
	}
	anna.Until("", func(m M) bool {
		return Find(Events(m, "rooms", "join", room, "timeline", "events"), back) != nil
	})
}

// restartLosesNothing stops everything between a message and its reading.
func restartLosesNothing(t *testing.T, h *Home) {
	anna, bert := h.Register(t, "anna"), h.Register(t, "bert")
	room := anna.CreateRoom(M{"preset": "public_chat"})
	bert.Join(room)
	_, since := bert.Until("", func(m M) bool { return At(m, "rooms", "join", room) != nil })
	before := anna.Say(room, "before")
	h.Restart(t)
	after := anna.Say(room, "after")
	seen := map[string]int{}
	bert.Until(since, func(m M) bool {
		for _, e := range Events(m, "rooms", "join", room, "timeline", "events") {
			id, _ := e["event_id"].(string)
			seen[id]++
		}
		return seen[after] > 0
	})
	if seen[before] != 1 || seen[after] != 1 {
		t.Errorf("after the restart the messages were seen %d and %d times", seen[before], seen[after])
	}
}
