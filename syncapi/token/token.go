// Package token reads and writes the two kinds of token syncapi hands to
// clients: where a /sync stream stands, and a place in a room's timeline. It
// owns no table and serves no subject.
//
// A token is text a client may store for years, so it says which version it is
// of, and every version ever issued stays readable. Tokens carry positions of
// the database, which mean the same to every instance and survive restarts;
// what only lives in one process's memory (typing, presence) is named together
// with that process, so that another one notices and sends its own view.
package token

import (
	"strconv"
	"strings"

	"allmende/internal/matrix"
)

// Sync is a place in all streams a /sync response is made of.
//
// spec: c-s §Syncing "next_batch"
type Sync struct {
	Events      int64  // roomserver.head
	Receipts    int64  // syncapi.head
	AccountData int64  // clientapi.head, as far as this user is concerned
	Memory      Memory // typing and presence
}

// Memory is a place in what one process holds in memory only. A token of
// another process, or of this one before it restarted, has another Epoch.
type Memory struct {
	Epoch  int64 // when the process started, ms
	Serial int64 // changes counted since then
}

// syncV1 opens a token of the first version:
// s1_<events>_<receipts>_<account data>_<epoch>.<serial>, numbers in decimal.
const syncV1 = "s1_"

// String is the token as clients get it.
func (s Sync) String() string {
	b := make([]byte, 0, 64)
	b = append(b, syncV1...)
	b = strconv.AppendInt(b, s.Events, 10)
	b = append(b, '_')
	b = strconv.AppendInt(b, s.Receipts, 10)
	b = append(b, '_')
	b = strconv.AppendInt(b, s.AccountData, 10)
	b = append(b, '_')
	b = strconv.AppendInt(b, s.Memory.Epoch, 36)
	b = append(b, '.')
	b = strconv.AppendInt(b, s.Memory.Serial, 10)
	return string(b)
}

// ParseSync reads a token of any version ever issued. Errors: M_INVALID_PARAM.
func ParseSync(s string) (Sync, error) {
	rest, ok := strings.CutPrefix(s, syncV1)
	if !ok {
		return Sync{}, errNotSync
	}
	f := strings.Split(rest, "_")
	if len(f) != 4 {
		return Sync{}, errNotSync
	}
	epoch, serial, ok := strings.Cut(f[3], ".")
	if !ok {
		return Sync{}, errNotSync
	}
	var t Sync
	for _, n := range []struct {
		to   *int64
		text string
		base int
	}{
		{&t.Events, f[0], 10}, {&t.Receipts, f[1], 10}, {&t.AccountData, f[2], 10},
		{&t.Memory.Epoch, epoch, 36}, {&t.Memory.Serial, serial, 10},
	} {
		v, err := number(n.text, n.base)
		if err != nil || v < 0 {
			return Sync{}, errNotSync
		}
		*n.to = v
	}
	return t, nil
}

// Ord is a place between two events of a room's timeline: backwards from it lie
// the events whose ord is at most it, forwards those whose ord is greater.
type Ord int64

// String is the token as clients get it.
func (o Ord) String() string { return "t" + strconv.FormatInt(int64(o), 10) }

// ParseOrd reads a pagination token. The token of a sync stands for its place
// among the events. Errors: M_INVALID_PARAM.
//
// spec: c-s §GET /rooms/{roomId}/messages "from"
func ParseOrd(s string) (Ord, error) {
	if strings.HasPrefix(s, "s") {
		t, err := ParseSync(s)
		return Ord(t.Events), err
	}
	rest, ok := strings.CutPrefix(s, "t")
	if !ok {
		return 0, errNotOrd
	}
	n, err := number(rest, 10)
	if err != nil {
		return 0, errNotOrd
	}
	return Ord(n), nil
}

// number reads a number written in its one way: no plus sign, no leading
// zeros, no capitals. So equal places have equal tokens.
func number(s string, base int) (int64, error) {
	n, err := strconv.ParseInt(s, base, 64)
	if err != nil {
		return 0, err
	}
	if strconv.FormatInt(n, base) != s {
		return 0, strconv.ErrSyntax
	}
	return n, nil
}

var (
	errNotSync = matrix.InvalidParam("Not a sync token of this server")
	errNotOrd  = matrix.InvalidParam("Not a pagination token of this server")
)
