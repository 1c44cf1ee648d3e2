// Package account is the stream of account data: a [Stream] asks clientapi for
// what of an account has changed, as soon as that is announced, and remembers of
// each account in use what syncapi itself needs to know: whom the user ignores
// and what the push rules say. It owns no table; it listens to
// clientapi/api.UserChanged and calls clientapi.AccountData.
//
// Invariants: a request that comes after an announcement sees what was
// announced; if nothing was announced since, nobody is asked; whatever may have
// been missed while the bus was away is asked for again.
package account

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"allmende/clientapi/api"
	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/obs"
	"allmende/internal/pushrules"
	"allmende/roomserver/read"

	"github.com/maypok86/otter/v2"
)

const (
	// trust is how long an account is believed to be unchanged when no
	// announcement comes.
	trust = 5 * time.Minute
	// maxAccounts is how many accounts are remembered.
	maxAccounts = 20_000
	// keepRecent is how many of the newest items are kept, so that the devices
	// of a user do not each ask for them.
	keepRecent = 16
	// keepBytes is up to which size an item is kept.
	keepBytes = 16 << 10
)

// Item is one item of account data; Content null means that it was deleted.
type Item = api.AccountDataItem

// Stream remembers accounts. Safe for concurrent use while Run runs.
type Stream struct {
	model    *read.Model
	bus      *bus.Bus
	wake     func(matrix.UserID)
	accounts *otter.Cache[int64, *Account]
}

// Account is what is known of one account.
type Account struct {
	nid  int64
	user matrix.UserID

	// asking makes that one request asks at a time.
	asking sync.Mutex

	mu        sync.Mutex
	pos       int64     // everything up to here is taken into account
	announced int64     // newest position heard of
	asked     time.Time // when clientapi was asked last; zero: never, or not to be trusted
	recent    []Item    // what lies behind recentFrom, oldest first
	from      int64
	ignored   []string
	resolved  map[read.UserNID]bool
	allFound  bool // every ignored user has a number
	rules     *pushrules.Compiled
	version   int // counts changes of rules
}

// New makes a stream. wake is told whose account data changed.
func New(m *read.Model, b *bus.Bus, wake func(matrix.UserID)) *Stream {
	return &Stream{
		model: m, bus: b, wake: wake,
		accounts: otter.Must(&otter.Options[int64, *Account]{MaximumSize: maxAccounts}),
	}
}

// Run listens until ctx ends.
func (s *Stream) Run(ctx context.Context) error {
	unsubscribe, err := bus.Subscribe(s.bus, api.UserChanged, func(_ context.Context, a api.UserChangedAnn) { s.hear(a) })
	if err != nil {
		return err
	}
	defer unsubscribe()
	defer s.bus.OnReconnect(s.distrust)()
	<-ctx.Done()
	return nil
}

func (s *Stream) hear(a api.UserChangedAnn) {
	acc, ok := s.accounts.GetIfPresent(a.AccountNID)
	if !ok {
		return
	}
	acc.mu.Lock()
	acc.announced = max(acc.announced, a.Position)
	acc.mu.Unlock()
	s.wake(acc.user)
}

// distrust has every account asked for again.
func (s *Stream) distrust() {
	for _, acc := range s.accounts.All() {
		acc.mu.Lock()
		acc.asked = time.Time{}
		acc.mu.Unlock()
		s.wake(acc.user)
	}
}

// Account brings what is known of the session's account up to date.
func (s *Stream) Account(ctx context.Context, session auth.Session) (*Account, error) {
	acc, _ := s.accounts.ComputeIfAbsent(session.Account, func() (*Account, bool) {
		return &Account{nid: session.Account, user: session.UserID, rules: pushrules.Compile(session.UserID, nil)}, false
	})
	if acc.fresh() {
		return acc, nil
	}
	acc.asking.Lock()
	defer acc.asking.Unlock()
	if acc.fresh() {
		return acc, nil
	}
	acc.mu.Lock()
	after, asked := acc.pos, time.Now()
	acc.mu.Unlock()
	items, pos, err := s.fetch(ctx, acc.nid, after)
	if err != nil {
		return nil, err
	}
	acc.learn(ctx, after, items, pos, asked)
	return acc, nil
}

func (a *Account) fresh() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.announced <= a.pos && time.Since(a.asked) < trust
}

// fetch asks page by page.
func (s *Stream) fetch(ctx context.Context, account, after int64) (items []Item, pos int64, err error) {
	for {
		resp, err := bus.Call(ctx, s.bus, api.AccountData, api.AccountDataReq{AccountNID: account, After: after})
		if err != nil {
			return nil, 0, err
		}
		items = append(items, resp.Items...)
		if !resp.More {
			return items, max(after, resp.Position), nil
		}
		after = resp.Position
	}
}

func (a *Account) learn(ctx context.Context, after int64, items []Item, pos int64, asked time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pos, a.asked = max(a.pos, pos), asked
	for _, it := range items {
		if it.RoomID != "" {
			continue
		}
		switch it.Type {
		case "m.ignored_user_list":
			a.ignored, a.resolved, a.allFound = ignoredUsers(it.Content), nil, false
		case "m.push_rules":
			rules, err := pushrules.CompileContent(a.user, it.Content)
			if err != nil {
				obs.Logger(ctx).Error("push rules cannot be read, the old ones stay", "error", err)
				continue
			}
			a.rules = rules
			a.version++
		}
	}
	a.remember(after, items)
}

// remember keeps the newest items for the user's other devices.
func (a *Account) remember(after int64, items []Item) {
	if after == 0 {
		a.recent, a.from = nil, a.pos // the first time everything comes; who asks for it asks again
		return
	}
	for _, it := range items {
		if len(it.Content) > keepBytes {
			a.recent, a.from = nil, a.pos
			return
		}
	}
	a.recent = append(a.recent[:len(a.recent):len(a.recent)], items...)
	if cut := len(a.recent) - keepRecent; cut > 0 {
		a.from = a.recent[cut-1].Position
		a.recent = a.recent[cut:]
	}
}

// Position is up to where the account's data is known.
func (a *Account) Position() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pos
}

// Since are the items behind a position and up to until, in order of position;
// position 0 asks for everything that exists.
func (s *Stream) Since(ctx context.Context, a *Account, since, until int64) ([]Item, error) {
	if since >= until {
		return nil, nil
	}
	a.mu.Lock()
	recent, from := a.recent, a.from
	a.mu.Unlock()
	if since < from || since == 0 {
		items, _, err := s.fetch(ctx, a.nid, since)
		return items, err
	}
	for i, it := range recent {
		if it.Position > since {
			return recent[i:], nil
		}
	}
	return nil, nil
}

// Ignored are the users whom the account's owner does not want to see.
func (s *Stream) Ignored(ctx context.Context, a *Account) (map[read.UserNID]bool, error) {
	a.mu.Lock()
	list, found, all := a.ignored, a.resolved, a.allFound
	a.mu.Unlock()
	if len(list) == 0 || all {
		return found, nil
	}
	// Who has no number yet may get one at any moment: look again each time.
	nids, err := s.model.StringNIDs(ctx, list)
	if err != nil {
		return nil, err
	}
	found = make(map[read.UserNID]bool, len(nids))
	for _, nid := range nids {
		found[nid] = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ignored) > 0 && &a.ignored[0] == &list[0] {
		a.resolved, a.allFound = found, len(found) == len(list)
	}
	return found, nil
}

// Rules are the account's push rules and a number that changes with them.
func (a *Account) Rules() (*pushrules.Compiled, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rules, a.version
}

// maxIgnored bounds what one user can make the server compare.
const maxIgnored = 1000

// ignoredUsers reads the list; what is malformed ignores nobody.
//
// spec: c-s §m.ignored_user_list
func ignoredUsers(content json.RawMessage) []string {
	var in struct {
		Users map[string]json.RawMessage `json:"ignored_users"`
	}
	if json.Unmarshal(content, &in) != nil {
		return nil
	}
	out := make([]string, 0, len(in.Users))
	for u := range in.Users {
		if len(out) == maxIgnored {
			break
		}
		out = append(out, u)
	}
	return out
}
