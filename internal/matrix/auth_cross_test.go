package matrix

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/matrix-org/gomatrixserverlib"
)

// walker does random things in a room, allowed or not.
type walker struct {
	*testRoom
	rnd *rand.Rand
}

var cast = []UserID{alice, bob, carol, dave, "@eve:three.example"}

func pick[T any](w *walker, from ...T) T { return from[w.rnd.IntN(len(from))] }

// next makes the next event without taking it in.
func (w *walker) next() *Event {
	sender, target := pick(w, cast...), pick(w, cast...)
	switch w.rnd.IntN(10) {
	case 0:
		return w.build("m.room.message", sender, nil, `{}`, nil)
	case 1:
		return w.build(pick(w, "m.room.name", "m.x"), sender, pick(w, key(""), user(sender), user(target)), `{}`, nil)
	case 2:
		// Those the version knows: in others the other implementation takes them for something else.
		rules := []string{"public", "invite", "public", "invite", "knock", "restricted", "knock_restricted"}
		for i, known := range []bool{w.version.Knock(), w.version.Restricted(), w.version.KnockRestricted()} {
			if !known {
				rules = rules[:4+i]
				break
			}
		}
		return w.build(TypeJoinRules, sender, key(""), `{"join_rule":"`+pick(w, rules...)+`"}`, nil)
	case 3, 4:
		return w.build(TypePowerLevels, sender, key(""), w.levels(), nil)
	case 5:
		return w.build(TypeMember, sender, user(sender), fmt.Sprintf(`{"membership":"join","join_authorised_via_users_server":%q}`, target), nil)
	default:
		m := pick(w, Join, Join, Invite, Leave, Ban, Knock)
		if m == Join || m == Knock || w.rnd.IntN(3) == 0 {
			target = sender
		}
		return w.build(TypeMember, sender, user(target), membership(m), nil)
	}
}

// levels changes a few of the current levels. All plain ones are always given, as the other implementation takes the
// absence of a level for its default; and there are no notifications, which it does not let equals change and where it
// forgets the creators of version 12.
func (w *walker) levels() string {
	plain := map[string]int64{"users_default": 0, "events_default": 0, "state_default": 50, "ban": 50, "kick": 50, "redact": 50, "invite": 0}
	users, events := map[string]int64{}, map[string]int64{}
	if !w.version.CreatorsPrivileged() {
		users[string(alice)] = 100
	}
	if e := w.state[StateKey{TypePowerLevels, ""}]; e != nil {
		pl, err := ParsePowerLevels(w.version, e, w.create)
		if err != nil {
			w.t.Fatal(err)
		}
		for k, n := range pl.given {
			plain[k] = n
		}
		clear(users)
		for u, n := range pl.Users {
			users[string(u)] = n
		}
		for k, n := range pl.Events {
			events[k] = n
		}
	}
	for range 1 + w.rnd.IntN(2) {
		n := pick[int64](w, 1, 25, 49, 50, 51, 75, 100)
		switch w.rnd.IntN(4) {
		case 0:
			plain[pick(w, "events_default", "state_default", "ban", "kick", "redact", "invite")] = n
		case 1:
			events[pick(w, "m.room.name", "m.x", "m.room.power_levels")] = n
		case 2:
			delete(users, string(pick(w, cast...)))
		default:
			if u := pick(w, cast...); u != alice || !w.version.CreatorsPrivileged() || w.rnd.IntN(4) == 0 {
				users[string(u)] = n
			}
		}
	}
	parts := []string{}
	for k, n := range plain {
		parts = append(parts, fmt.Sprintf("%q:%d", k, n))
	}
	for k, m := range map[string]map[string]int64{"users": users, "events": events} {
		inner := []string{}
		for k, n := range m {
			inner = append(inner, fmt.Sprintf("%q:%d", k, n))
		}
		parts = append(parts, fmt.Sprintf("%q:{%s}", k, strings.Join(inner, ",")))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// theirs is the verdict of another implementation.
func theirs(t *testing.T, e *Event, state StateMap, parsed map[EventID]gomatrixserverlib.PDU) error {
	t.Helper()
	var auth []gomatrixserverlib.PDU
	for _, s := range state {
		if parsed[s.ID] == nil {
			parsed[s.ID] = theirPDU(t, s)
		}
		auth = append(auth, parsed[s.ID])
	}
	provider, err := gomatrixserverlib.NewAuthEvents(auth)
	if err != nil {
		t.Fatal(err)
	}
	return gomatrixserverlib.Allowed(theirPDU(t, e), provider, userIDForSender)
}

func theirPDU(t *testing.T, e *Event) gomatrixserverlib.PDU {
	t.Helper()
	pdu, err := gomatrixserverlib.MustGetRoomVersion(gomatrixserverlib.RoomVersion(e.Version)).NewEventFromTrustedJSONWithEventID(string(e.ID), e.JSON, false)
	if err != nil {
		t.Fatal(err)
	}
	return pdu
}

// knownToDiffer names where the other implementation leaves the specification: it allows leaving what one has left, and
// lifting a ban without the power to kick the user; and one who knocks cannot walk in when the room becomes public.
func knownToDiffer(e *Event, state StateMap) bool {
	if e.Type != TypeMember {
		return false
	}
	now, self := Leave, *e.StateKey == string(e.Sender)
	if m := state[e.Key()]; m != nil {
		now = m.Membership()
	}
	switch e.Membership() {
	case Leave:
		return self && now == Leave || !self && now == Ban
	case Join:
		return self && now == Knock
	}
	return false
}

// In random rooms both implementations allow the same.
func TestAllowedLikeOthers(t *testing.T) {
	for _, v := range []RoomVersion{"6", "7", "8", "9", "10", "11", "12"} {
		t.Run(string(v), func(t *testing.T) {
			var allowed, refused int
			for seed := range uint64(10) {
				content := `{}`
				if seed%5 == 4 {
					content = `{"m.federate":false}`
				}
				w := &walker{newTestRoom(t, v, content), rand.New(rand.NewPCG(seed, 1))}
				parsed := map[EventID]gomatrixserverlib.PDU{}
				w.join(alice)
				w.set(TypeJoinRules, alice, "", `{"join_rule":"public"}`)
				w.join(bob)
				for range 120 {
					e := w.next()
					ours := Allowed(e, w.state)
					if other := theirs(t, e, w.state, parsed); (ours == nil) != (other == nil) && !knownToDiffer(e, w.state) {
						t.Fatalf("seed %d: %s\nours: %v\ntheirs: %v", seed, e.JSON, ours, other)
					}
					if ours == nil {
						allowed++
						w.put(e)
					} else {
						refused++
					}
				}
			}
			if allowed < 150 || refused < 150 {
				t.Errorf("%d allowed, %d refused: the rooms are dull", allowed, refused)
			}
		})
	}
}

func BenchmarkAllowed(b *testing.B) {
	for _, v := range []RoomVersion{"11", "12"} {
		r := newOpenRoom(b, v)
		for name, e := range map[string]*Event{
			"message": r.build("m.room.message", bob, nil, `{}`, nil),
			"join":    r.build(TypeMember, dave, user(dave), membership(Join), nil),
		} {
			b.Run(string(v)+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := Allowed(e, r.state); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
