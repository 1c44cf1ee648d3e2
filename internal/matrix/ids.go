package matrix

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Identifiers are strings with a type; a value that came through the parser of its type is well formed.
// spec: appendices §Common identifier format
type (
	UserID      string // @localpart:server
	RoomID      string // !opaque:server, or !hash since room version 12
	RoomAlias   string // #localpart:server
	EventID     string // $opaque:server in room versions 1 and 2, then $hash
	ServerName  string // host or host:port
	RoomVersion string // "1" to "12"
)

// MaxIDBytes bounds user ids, room ids, aliases, event ids and server names, sigil and server included.
const MaxIDBytes = 255

// ValidLocalpart reports whether s may be the localpart of a new user id: a-z 0-9 . _ = - / +, not empty.
// spec: appendices §User identifiers
func ValidLocalpart(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '=', c == '-', c == '/', c == '+':
		default:
			return false
		}
	}
	return s != ""
}

// NewUserID makes the id of a new local user. Errors: M_INVALID_USERNAME.
func NewUserID(localpart string, server ServerName) (UserID, error) {
	if !ValidLocalpart(localpart) {
		return "", InvalidUsername("User names consist of a-z, 0-9 and . _ = - / + only.")
	}
	id := "@" + localpart + ":" + string(server)
	if len(id) > MaxIDBytes {
		return "", InvalidUsername("The user name is too long.")
	}
	return UserID(id), nil
}

// ParseUserID accepts every user id that may stand in the history of a room: the localpart may be empty and hold any
// character but ':' and NUL. Use NewUserID for ids that are to be created. Errors: M_INVALID_PARAM.
// spec: appendices §Historical User IDs
func ParseUserID(s string) (UserID, error) {
	if !validScoped(s, '@') {
		return "", InvalidParam("Not a valid user ID.")
	}
	return UserID(s), nil
}

// Localpart is what stands between the sigil and the first colon.
func (u UserID) Localpart() string { return localpart(string(u)) }

// Server is what stands behind the first colon.
func (u UserID) Server() ServerName { return domain(string(u)) }

// ParseRoomAlias checks an alias. Errors: M_INVALID_PARAM.
func ParseRoomAlias(s string) (RoomAlias, error) {
	if !validScoped(s, '#') {
		return "", InvalidParam("Not a valid room alias.")
	}
	return RoomAlias(s), nil
}

// Localpart is what stands between the sigil and the first colon.
func (a RoomAlias) Localpart() string { return localpart(string(a)) }

// Server is what stands behind the first colon.
func (a RoomAlias) Server() ServerName { return domain(string(a)) }

// ParseRoomID checks a room id of either form. Errors: M_INVALID_PARAM.
// spec: appendices §Room IDs
func ParseRoomID(s string) (RoomID, error) {
	id := RoomID(s)
	if id.isHash() || len(s) > 1 && s[1] != ':' && validScoped(s, '!') {
		return id, nil
	}
	return "", InvalidParam("Not a valid room ID.")
}

// Domain is the server that made a room id before version 12, for nothing but the rule that checks it against the
// creator. It is empty for later rooms and never says who is in the room.
func (r RoomID) Domain() ServerName { return domain(string(r)) }

// CreateEventID is the id of the create event when the room id is made from it (room version 12), otherwise empty.
func (r RoomID) CreateEventID() EventID {
	if !r.isHash() {
		return ""
	}
	return EventID("$" + r[1:])
}

func (r RoomID) isHash() bool { return len(r) == 44 && r[0] == '!' && isURLBase64(string(r[1:])) }

// ParseEventID checks an event id of any form. Errors: M_INVALID_PARAM.
// spec: appendices §Event IDs
func ParseEventID(s string) (EventID, error) {
	if len(s) < 2 || len(s) > MaxIDBytes || s[0] != '$' || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return "", InvalidParam("Not a valid event ID.")
	}
	return EventID(s), nil
}

// ParseServerName checks a server name: a DNS name, an IPv4 address or an IPv6 address in brackets, with or without
// port. Errors: M_INVALID_PARAM.
// spec: appendices §Server name
func ParseServerName(s string) (ServerName, error) {
	if !validServerName(s) {
		return "", InvalidParam("Not a valid server name.")
	}
	return ServerName(s), nil
}

// Split separates host and port; port is 0 when the name has none. An IPv6 host keeps its brackets.
func (n ServerName) Split() (host string, port uint16) {
	host = string(n)
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		p, err := strconv.ParseUint(host[i+1:], 10, 16)
		if err == nil {
			return host[:i], uint16(p)
		}
	}
	return host, 0
}

func validServerName(s string) bool {
	if len(s) > MaxIDBytes {
		return false
	}
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		host, port = s[:i], s[i+1:]
		if len(port) == 0 || len(port) > 5 || strings.Trim(port, "0123456789") != "" {
			return false
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
	}
	if strings.HasPrefix(host, "[") {
		addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
		return err == nil && addr.Is6() && addr.Zone() == "" && strings.HasSuffix(host, "]")
	}
	for _, c := range []byte(host) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-':
		default:
			return false
		}
	}
	return host != ""
}

// validScoped checks sigil, localpart and server of the ids that have all three.
func validScoped(s string, sigil byte) bool {
	if len(s) == 0 || len(s) > MaxIDBytes || s[0] != sigil {
		return false
	}
	local, server, ok := strings.Cut(s[1:], ":")
	return ok && utf8.ValidString(local) && strings.IndexByte(local, 0) < 0 && validServerName(server)
}

func localpart(id string) string {
	if id == "" {
		return ""
	}
	local, _, _ := strings.Cut(id[1:], ":")
	return local
}

func domain(id string) ServerName {
	_, server, _ := strings.Cut(id, ":")
	return ServerName(server)
}

func isURLBase64(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return s != ""
}
