package matrix

import (
	"crypto/ed25519"
	"strings"
)

// memberAllowed is rule 5: m.room.member.
func (a *authorisation) memberAllowed() error {
	e := a.e
	if e.StateKey == nil || e.membership == "" {
		return Forbidden("A membership needs a state key and a membership.")
	}
	if _, err := ParseUserID(*e.StateKey); err != nil {
		return Forbidden("A membership needs a user ID as its state key.")
	}
	m := canonicalMembership(e.Content)
	switch m.membership {
	case Join:
		return a.joinAllowed(m)
	case Invite:
		return a.inviteAllowed(m)
	case Leave:
		return a.leaveAllowed()
	case Ban:
		return a.banAllowed()
	case Knock:
		if a.knock {
			return a.knockAllowed()
		}
	}
	return Forbidden("The membership is not one this room knows.")
}

func (a *authorisation) joinRule() string {
	if e := a.state.State(TypeJoinRules, ""); e != nil {
		return jsonString(memberOf(e.Content, "join_rule"))
	}
	return Invite
}

// joinAllowed is rule 5.3.
func (a *authorisation) joinAllowed(m membershipContent) error {
	e := a.e
	if *e.StateKey != string(e.Sender) {
		return Forbidden("You cannot join for somebody else.")
	}
	if len(e.PrevEvents) == 1 && e.PrevEvents[0] == a.create.ID && *e.StateKey == a.founder() {
		return nil
	}
	current := a.membershipOf(*e.StateKey)
	if current == Ban {
		return Forbidden("You are banned from this room.")
	}
	member := current == Join || current == Invite
	switch rule := a.joinRule(); {
	case rule == "public":
		return nil
	case rule == "invite", rule == "knock" && a.knock:
		if member {
			return nil
		}
		return Forbidden("You are not invited to this room.")
	case rule == "restricted" && a.restricted, rule == "knock_restricted" && a.knockOrRestr:
		if member {
			return nil
		}
		via := jsonString(m.authorisedVia)
		if via == "" || a.membershipOf(via) != Join || a.levels.User(UserID(via)) < a.levels.Invite {
			return Forbidden("You are not invited to this room, and nobody who may invite has let you in.")
		}
		return nil
	}
	return Forbidden("The join rule of this room lets nobody in.")
}

// founder is who may join right after the create event.
func (a *authorisation) founder() string {
	if a.creatorField {
		return jsonString(memberOf(a.create.Content, "creator"))
	}
	return string(a.create.Sender)
}

// inviteAllowed is rule 5.4.
func (a *authorisation) inviteAllowed(m membershipContent) error {
	if m.thirdParty != nil {
		return a.thirdPartyAllowed(m.thirdParty)
	}
	if a.membershipOf(string(a.e.Sender)) != Join {
		return Forbidden("You are not in this room.")
	}
	switch a.membershipOf(*a.e.StateKey) {
	case Join:
		return Forbidden("The user is in this room already.")
	case Ban:
		return Forbidden("The user is banned from this room.")
	}
	if a.power < a.levels.Invite {
		return forbidLevel("You may not invite to this room", a.power, a.levels.Invite)
	}
	return nil
}

// thirdPartyAllowed is rule 5.4.1: the invite carries out a promise made to an e-mail address or the like.
func (a *authorisation) thirdPartyAllowed(invite []byte) error {
	if a.membershipOf(*a.e.StateKey) == Ban {
		return Forbidden("The user is banned from this room.")
	}
	signed := memberOf(invite, "signed")
	mxid, token := memberOf(signed, "mxid"), memberOf(signed, "token")
	if mxid == nil || token == nil || jsonString(mxid) != *a.e.StateKey {
		return Forbidden("The third-party invite is not for this user.")
	}
	promise := a.state.State(TypeThirdPartyInvite, jsonString(token))
	if promise == nil || promise.Sender != a.e.Sender {
		return Forbidden("You have made no such third-party invite.")
	}
	var keys [][]byte
	add := func(v []byte) {
		if k, err := decodeBase64(jsonString(v)); err == nil && len(k) == ed25519.PublicKeySize {
			keys = append(keys, k)
		}
	}
	add(memberOf(promise.Content, "public_key"))
	for k := range elements(memberOf(promise.Content, "public_keys")) {
		add(memberOf(k, "public_key"))
	}
	message := without(signed, "signatures", "unsigned")
	for _, sigs := range members(memberOf(signed, "signatures")) {
		for keyID, sig := range members(sigs) {
			raw, err := decodeBase64(jsonString(sig))
			if err != nil || !strings.HasPrefix(string(keyID), "ed25519:") {
				continue
			}
			for _, k := range keys {
				if ed25519.Verify(k, message, raw) {
					return nil
				}
			}
		}
	}
	return Forbidden("The third-party invite is not signed by a key of its identity server.")
}

// leaveAllowed is rule 5.5: leaving, declining, kicking and unbanning.
func (a *authorisation) leaveAllowed() error {
	target := a.membershipOf(*a.e.StateKey)
	if *a.e.StateKey == string(a.e.Sender) {
		if target == Invite || target == Join || target == Knock && a.knock {
			return nil
		}
		return Forbidden("You are not in this room.")
	}
	if a.membershipOf(string(a.e.Sender)) != Join {
		return Forbidden("You are not in this room.")
	}
	if target == Ban && a.power < a.levels.Ban {
		return forbidLevel("You may not lift bans here", a.power, a.levels.Ban)
	}
	if a.power < a.levels.Kick {
		return forbidLevel("You may not remove users here", a.power, a.levels.Kick)
	}
	if a.levels.User(UserID(*a.e.StateKey)) >= a.power {
		return Forbidden("You cannot remove somebody who is not below you.")
	}
	return nil
}

// banAllowed is rule 5.6.
func (a *authorisation) banAllowed() error {
	if a.membershipOf(string(a.e.Sender)) != Join {
		return Forbidden("You are not in this room.")
	}
	if a.power < a.levels.Ban {
		return forbidLevel("You may not ban users here", a.power, a.levels.Ban)
	}
	if a.levels.User(UserID(*a.e.StateKey)) >= a.power {
		return Forbidden("You cannot ban somebody who is not below you.")
	}
	return nil
}

// knockAllowed is rule 5.7.
func (a *authorisation) knockAllowed() error {
	if rule := a.joinRule(); rule != "knock" && (rule != "knock_restricted" || !a.knockOrRestr) {
		return Forbidden("Nobody can knock at this room.")
	}
	if *a.e.StateKey != string(a.e.Sender) {
		return Forbidden("You cannot knock for somebody else.")
	}
	switch a.membershipOf(*a.e.StateKey) {
	case Ban:
		return Forbidden("You are banned from this room.")
	case Invite, Join:
		return Forbidden("You are invited to this room or in it already.")
	}
	return nil
}
