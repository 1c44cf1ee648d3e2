// Package matrix holds the words of the protocol: identifiers, error values, JSON checks and canonical JSON, room
// versions, events (build, parse, redact, sign, verify), the authorisation rules, power levels and state resolution.
//
// It is pure: no database, no bus, no clock, no network; nothing here is logged. It owns no table and serves no
// subject. Everything is safe for concurrent use, and no input, however malformed, makes it panic.
//
// Rules, redaction and resolution are our own code for room versions 2 to 12; gomatrixserverlib, wrapped in recover,
// resolves the state of version 1 rooms, and judges ours in the tests. Experimental versions do not exist here.
package matrix
