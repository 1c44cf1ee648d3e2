package matrix

import "bytes"

// AuthTypes says which state an event's auth_events are to name. Version 12 leaves the create event out, but Allowed
// wants to know it still.
// spec: s-s §Auth events selection
func AuthTypes(v RoomVersion, p *Proto) []StateKey {
	r, err := v.rules()
	if err != nil {
		return nil
	}
	return r.authTypes(p.Type, p.Sender, p.StateKey, p.Content)
}

// AuthTypes is AuthTypes of an event that exists.
func (e *Event) AuthTypes() []StateKey {
	r, err := e.Version.rules()
	if err != nil {
		return nil
	}
	return r.authTypes(e.Type, e.Sender, e.StateKey, e.Content)
}

func (r *rules) authTypes(typ string, sender UserID, stateKey *string, content []byte) []StateKey {
	if typ == TypeCreate {
		return nil
	}
	keys := make([]StateKey, 0, 6)
	if !r.roomIDHash {
		keys = append(keys, StateKey{TypeCreate, ""})
	}
	keys = append(keys, StateKey{TypePowerLevels, ""}, StateKey{TypeMember, string(sender)})
	if typ != TypeMember || stateKey == nil {
		return keys
	}
	member := func(user string) {
		for _, k := range keys {
			if k == (StateKey{TypeMember, user}) {
				return
			}
		}
		keys = append(keys, StateKey{TypeMember, user})
	}
	member(*stateKey)
	m := parseMembership(content)
	if m.membership == Join || m.membership == Invite || m.membership == Knock {
		keys = append(keys, StateKey{TypeJoinRules, ""})
	}
	if m.membership == Invite && m.thirdParty != nil {
		if token := memberOf(memberOf(m.thirdParty, "signed"), "token"); token != nil {
			keys = append(keys, StateKey{TypeThirdPartyInvite, jsonString(token)})
		}
	}
	if r.restricted && m.authorisedVia != nil {
		member(jsonString(m.authorisedVia))
	}
	return keys
}

// membershipContent is what the rules look at in m.room.member; nil where the member is absent.
type membershipContent struct {
	membership    string
	thirdParty    []byte
	authorisedVia []byte
}

func parseMembership(content []byte) (m membershipContent) {
	if c := bytes.TrimLeft(content, " \t\r\n"); len(c) == 0 || c[0] != '{' {
		return m
	}
	// A proto's content has not been made canonical yet.
	canonical, err := appendCanonical(nil, content, tolerate)
	if err != nil {
		return m
	}
	return canonicalMembership(canonical)
}

func canonicalMembership(content []byte) (m membershipContent) {
	for key, val := range members(content) {
		switch string(key) {
		case "membership":
			m.membership = jsonString(val)
		case "third_party_invite":
			m.thirdParty = val
		case "join_authorised_via_users_server":
			m.authorisedVia = val
		}
	}
	return m
}

// CheckAuthEvents applies the rules about the events that auth_events names, all of which the caller has found: no place
// twice, no place that the selection does not name, none rejected, create among them before version 12, and all from
// the same room.
// spec: rooms/v12 §Authorization rules 3, rooms/v11 §Authorization rules 2
func CheckAuthEvents(e *Event, authEvents []*Event) error {
	r, err := e.Version.rules()
	if err != nil {
		return err
	}
	if e.Type == TypeCreate {
		if len(authEvents) > 0 {
			return Forbidden("The create event has auth events.")
		}
		return nil
	}
	wanted := map[StateKey]bool{}
	for _, k := range e.AuthTypes() {
		wanted[k] = true
	}
	create := r.roomIDHash
	for _, a := range authEvents {
		switch {
		case a.RoomID != e.RoomID:
			return Forbidden("An auth event is from another room.")
		case a.Rejected:
			return Forbidden("An auth event was rejected.")
		case !a.IsState() || !wanted[a.Key()]:
			return Forbidden("An auth event is of a kind that does not count for this event, or there are two of a kind.")
		}
		delete(wanted, a.Key())
		create = create || a.Is(TypeCreate, "")
	}
	if !create {
		return Forbidden("The create event is not among the auth events.")
	}
	return nil
}

// Allowed decides whether an event may be sent in the given state, by the authorisation rules of its room version.
// What the rules say about auth_events is CheckAuthEvents, about signatures RequiredSigners.
//
// Errors: M_FORBIDDEN, whose text says which rule; M_UNSUPPORTED_ROOM_VERSION.
// spec: rooms/v12 §Authorization rules
func Allowed(e *Event, auth AuthState) error {
	r, err := e.Version.rules()
	if err != nil {
		return err
	}
	if e.Type == TypeCreate {
		return r.createAllowed(e)
	}
	a := authorisation{rules: r, e: e, state: auth, create: auth.State(TypeCreate, "")}
	if a.create == nil || a.create.RoomID != e.RoomID || a.create.Rejected {
		return Forbidden("The room has no create event.")
	}
	if e.Sender.Server() != a.create.Sender.Server() && string(memberOf(a.create.Content, "m.federate")) == "false" {
		return Forbidden("This room is closed to other servers.")
	}
	if r.aliasRule && e.Type == TypeAliases {
		if e.StateKey == nil || ServerName(*e.StateKey) != e.Sender.Server() {
			return Forbidden("Aliases may be listed only by their own server.")
		}
		return nil
	}
	if a.levels, err = r.powerLevels(auth.State(TypePowerLevels, ""), a.create); err != nil {
		return err
	}
	a.power = a.levels.User(e.Sender)
	if e.Type == TypeMember {
		return a.memberAllowed()
	}
	return a.otherAllowed()
}

// authorisation is one event being checked.
type authorisation struct {
	*rules
	e      *Event
	state  AuthState
	create *Event
	levels PowerLevels
	power  int64 // of the sender
}

func (a *authorisation) membershipOf(user string) string {
	m := a.state.State(TypeMember, user)
	if m == nil {
		return Leave
	}
	return m.membership
}

// createAllowed is rule 1.
func (r *rules) createAllowed(e *Event) error {
	if len(e.PrevEvents) > 0 {
		return Forbidden("The create event has previous events.")
	}
	if r.roomIDHash {
		if memberOf(e.JSON, "room_id") != nil {
			return Forbidden("The create event has a room ID.")
		}
	} else if e.RoomID.Domain() != e.Sender.Server() {
		return Forbidden("The room ID belongs to another server than the creator.")
	}
	if v := memberOf(e.Content, "room_version"); v != nil && !RoomVersion(jsonString(v)).Known() {
		return Forbidden("The create event names a room version that is not known.")
	}
	if r.creatorField && memberOf(e.Content, "creator") == nil {
		return Forbidden("The create event names no creator.")
	}
	if more := memberOf(e.Content, "additional_creators"); r.creatorsRule && more != nil {
		if more[0] != '[' {
			return Forbidden("additional_creators is not a list.")
		}
		for u := range elements(more) {
			if _, err := ParseUserID(jsonString(u)); err != nil {
				return Forbidden("additional_creators has something that is not a user ID.")
			}
		}
	}
	return nil
}

// otherAllowed is rules 6 to 11: everything but create and member.
func (a *authorisation) otherAllowed() error {
	e := a.e
	if a.membershipOf(string(e.Sender)) != Join {
		return Forbidden("You are not in this room.")
	}
	if e.Type == TypeThirdPartyInvite {
		if a.power < a.levels.Invite {
			return Forbidden("You may not invite to this room.")
		}
		return nil
	}
	needed := a.levels.Event(e.Type)
	if e.IsState() {
		needed = a.levels.State(e.Type)
	}
	if needed > a.power {
		return forbidLevel("You may not send "+e.Type+" here", a.power, needed)
	}
	if e.IsState() && len(*e.StateKey) > 0 && (*e.StateKey)[0] == '@' && *e.StateKey != string(e.Sender) {
		return Forbidden("State named after a user may be sent by that user only.")
	}
	if e.Type == TypePowerLevels {
		return a.levelsAllowed()
	}
	if a.redactRule && e.Type == TypeRedaction && a.power < a.levels.Redact && domain(string(e.ID)) != domain(string(e.Redacts)) {
		return forbidLevel("You may not redact the events of others here", a.power, a.levels.Redact)
	}
	return nil
}
