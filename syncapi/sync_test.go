package syncapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"allmende/config"
	"allmende/internal/auth"
	"allmende/internal/bus"
	"allmende/internal/matrix"
	"allmende/internal/testkit"
	"allmende/internal/testkit/roomtest"
	"allmende/syncapi"

	capi "allmende/clientapi/api"
	rsapi "allmende/roomserver/api"

	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	alice = matrix.UserID("@alice:example.org")
	bob   = matrix.UserID("@bob:example.org")
	carol = matrix.UserID("@carol:example.org")
	dave  = matrix.UserID("@dave:example.org")
)

var everybody = []matrix.UserID{alice, bob, carol, dave}

// world is an instance of syncapi with a room writer and a stand-in for clientapi.
type world struct {
	*roomtest.Rooms
	*roomtest.Edge
	accounts *accounts
	t        testing.TB
}

func open(t testing.TB) *world { return openWith(t, func(*config.Config) {}) }

func openWith(t testing.TB, configure func(*config.Config)) *world {
	t.Helper()
	w := &world{Rooms: roomtest.Open(t, syncapi.Migrate), t: t}
	b := testkit.Bus(t)
	w.accounts = serveAccounts(t, b)
	cfg := config.Default("example.org")
	configure(cfg)
	w.Edge = roomtest.Serve(t, b, everybody, start(t, w.Rooms, b, cfg).Routes())
	return w
}

// again starts another instance over the same database and bus.
func (w *world) again() *world {
	w.t.Helper()
	n := *w
	n.Edge = roomtest.Serve(w.t, w.Bus, everybody, start(w.t, w.Rooms, w.Bus, config.Default("example.org")).Routes())
	return &n
}

func start(t testing.TB, rooms *roomtest.Rooms, b *bus.Bus, cfg *config.Config) *syncapi.Service {
	t.Helper()
	sessions, err := auth.NewCache(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sessions.Close)
	s := syncapi.New(syncapi.Deps{Config: cfg, DB: rooms.DB, Bus: b, Sessions: sessions})
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// accounts stands in for clientapi: account data and filters in memory.
type accounts struct {
	bus     *bus.Bus
	mu      sync.Mutex
	pos     int64
	items   map[int64][]capi.AccountDataItem
	filters map[string]string
	asked   int
}

func serveAccounts(t testing.TB, b *bus.Bus) *accounts {
	t.Helper()
	a := &accounts{bus: b, items: map[int64][]capi.AccountDataItem{}, filters: map[string]string{}}
	svc := b.Service(capi.Service, bus.ServiceOptions{})
	bus.Handle(svc, capi.AccountData, func(_ context.Context, r capi.AccountDataReq) (capi.AccountDataResp, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked++
		resp := capi.AccountDataResp{Position: max(a.pos, r.After)}
		for _, it := range a.items[r.AccountNID] {
			if it.Position > r.After {
				resp.Items = append(resp.Items, it)
			}
		}
		return resp, nil
	})
	bus.Handle(svc, capi.SetRoomAccountData, func(_ context.Context, r capi.SetRoomAccountDataReq) (capi.PositionResp, error) {
		return capi.PositionResp{Position: a.put(r.AccountNID, r.RoomID, r.Type, string(r.Content))}, nil
	})
	bus.Handle(svc, capi.Filter, func(_ context.Context, r capi.FilterReq) (capi.FilterResp, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		f, ok := a.filters[r.FilterID]
		if !ok {
			return capi.FilterResp{}, matrix.NotFound("No filter")
		}
		return capi.FilterResp{Filter: json.RawMessage(f)}, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error { return svc.Run(ctx) })
	<-svc.Ready()
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// put sets an item and announces it.
func (a *accounts) put(account int64, room matrix.RoomID, typ, content string) int64 {
	a.mu.Lock()
	a.pos++
	pos := a.pos
	list := slices.DeleteFunc(a.items[account], func(it capi.AccountDataItem) bool { return it.RoomID == room && it.Type == typ })
	a.items[account] = append(list, capi.AccountDataItem{Position: pos, RoomID: room, Type: typ, Content: json.RawMessage(content)})
	a.mu.Unlock()
	if err := bus.Publish(a.bus, capi.UserChanged, capi.UserChangedAnn{AccountNID: account, Position: pos}); err != nil {
		panic(err)
	}
	return pos
}

// account is the number of a user's account, as roomtest numbers them.
func account(u matrix.UserID) int64 { return int64(slices.Index(everybody, u)) + 1 }

// Answers of /sync, as far as tests look at them.
type (
	answer struct {
		Next  string `json:"next_batch"`
		Rooms struct {
			Join, Leave map[matrix.RoomID]*joinedRoom
			Invite      map[matrix.RoomID]struct {
				State events `json:"invite_state"`
			}
			Knock map[matrix.RoomID]struct {
				State events `json:"knock_state"`
			}
		}
		AccountData events `json:"account_data"`
		Presence    events
		OTKs        map[string]int  `json:"device_one_time_keys_count"`
		Fallback    []string        `json:"device_unused_fallback_key_types"`
		Lists       json.RawMessage `json:"device_lists"`
		raw         string
	}
	joinedRoom struct {
		Summary *struct {
			Heroes  []matrix.UserID `json:"m.heroes"`
			Joined  int             `json:"m.joined_member_count"`
			Invited int             `json:"m.invited_member_count"`
		}
		State              *events
		StateAfter         *events `json:"state_after"`
		UnstableStateAfter *events `json:"org.matrix.msc4222.state_after"`
		Timeline           struct {
			events
			Limited bool
			Prev    string `json:"prev_batch"`
		}
		Ephemeral   events
		AccountData events           `json:"account_data"`
		Unread      *tally           `json:"unread_notifications"`
		Threads     map[string]tally `json:"unread_thread_notifications"`
	}
	tally struct {
		Notify    int `json:"notification_count"`
		Highlight int `json:"highlight_count"`
	}
	events struct {
		Events []event
	}
	event struct {
		ID       matrix.EventID `json:"event_id"`
		RoomID   matrix.RoomID  `json:"room_id"`
		Type     string
		Sender   matrix.UserID
		StateKey *string `json:"state_key"`
		Content  map[string]any
		Unsigned map[string]any
	}
)

// show is what a list of events says, in short.
func (l events) show() (out []string) {
	for _, e := range l.Events {
		s := strings.TrimPrefix(e.Type, "m.room.")
		if e.StateKey != nil {
			s += "/" + localpart(*e.StateKey)
		}
		for _, k := range []string{"body", "membership", "name"} {
			if v, ok := e.Content[k]; ok {
				s += fmt.Sprint(" ", v)
			}
		}
		out = append(out, s)
	}
	return out
}

func (l events) sorted() []string {
	out := l.show()
	sort.Strings(out)
	return out
}

func localpart(s string) string {
	if strings.HasPrefix(s, "@") {
		return matrix.UserID(s).Localpart()
	}
	return s
}

// sync asks with pairs of query parameters. What rooms were written before is
// announced; roomtest does not do that.
func (w *world) sync(u matrix.UserID, pairs ...string) *answer {
	w.t.Helper()
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	pos, err := w.Model.Position(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := bus.Publish(w.Bus, rsapi.Committed, rsapi.CommittedAnn{From: pos, To: pos}); err != nil {
		w.t.Fatal(err)
	}
	a := w.Do("GET", u, "/_matrix/client/v3/sync?"+q.Encode(), "")
	if a.Status != http.StatusOK {
		w.t.Fatalf("sync: %d %s", a.Status, a.Body)
	}
	out := &answer{raw: string(a.Body)}
	if err := json.Unmarshal(a.Body, out); err != nil {
		w.t.Fatalf("sync: %v in %s", err, a.Body)
	}
	return out
}

// wait is a sync that waits for news; it fails if none come.
func (w *world) wait(u matrix.UserID, since string, pairs ...string) *answer {
	w.t.Helper()
	a := w.sync(u, append([]string{"since", since, "timeout", "30000"}, pairs...)...)
	if !a.news() {
		w.t.Fatalf("nothing new: %s", a.raw)
	}
	return a
}

// until syncs on until an answer satisfies the condition. Announcements of one
// thing may come while another is still on its way.
func (w *world) until(u matrix.UserID, since string, ok func(*answer) bool, pairs ...string) *answer {
	w.t.Helper()
	for range 50 {
		a := w.sync(u, append([]string{"since", since, "timeout", "10000"}, pairs...)...)
		if ok(a) {
			return a
		}
		since = a.Next
	}
	w.t.Fatal("it never came")
	return nil
}

func (a *answer) news() bool {
	return len(a.Rooms.Join)+len(a.Rooms.Leave)+len(a.Rooms.Invite)+len(a.Rooms.Knock)+len(a.AccountData.Events)+len(a.Presence.Events) > 0
}

// room is a joined room of the answer, which must be there.
func (w *world) room(a *answer, r *roomtest.Room) *joinedRoom {
	w.t.Helper()
	j := a.Rooms.Join[r.ID]
	if j == nil {
		w.t.Fatalf("room is not in the answer: %s", a.raw)
	}
	return j
}

func (w *world) do(method string, u matrix.UserID, path, body string) {
	w.t.Helper()
	if a := w.Do(method, u, "/_matrix/client/v3"+path, body); a.Status != http.StatusOK {
		w.t.Fatalf("%s %s: %d %s", method, path, a.Status, a.Body)
	}
}

func (w *world) fails(method string, u matrix.UserID, path, body string, status int, code string) {
	w.t.Helper()
	a := w.Do(method, u, "/_matrix/client/v3"+path, body)
	var got struct {
		Code string `json:"errcode"`
	}
	if err := json.Unmarshal(a.Body, &got); err != nil || a.Status != status || got.Code != code {
		w.t.Errorf("%s %s: %d %s, want %d %s", method, path, a.Status, a.Body, status, code)
	}
}

func esc(s string) string { return url.PathEscape(s) }
