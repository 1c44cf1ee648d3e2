package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// Load is people talking and reading without a pause while something happens to
// the server. Each talker has a room and says numbers, 0, 1, 2…: a number that was
// not acknowledged is said again under the same transaction id until it is. Each
// room has a reader who syncs from token to token.
//
// What must hold afterwards: every room's timeline is exactly the numbers said, in
// order, each once, and the reader saw just that.
type Load struct {
	t       testing.TB
	talkers []*talker
	stop    context.CancelFunc
	talking sync.WaitGroup
	reading sync.WaitGroup
	said    chan struct{} // closed when nobody talks any more

	mu      sync.Mutex
	answers map[string]int // what came instead of an acknowledgement → how often
	waited  time.Duration  // the longest a number took
}

type talker struct {
	load   *Load
	room   string
	who    *User
	reader *User

	mu    sync.Mutex
	acked []string // event ids, by number
	seen  []string // event ids the reader saw, in its order
}

const loadType = "org.example.number"

// StartLoad lets people talk in rooms of their own until Stop.
func StartLoad(t testing.TB, h *Home, rooms int) *Load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &Load{t: t, stop: cancel, said: make(chan struct{}), answers: map[string]int{}}
	for range rooms {
		k := &talker{load: l, who: h.Register(t, "talker"), reader: h.Register(t, "reader")}
		k.room = k.who.CreateRoom(M{"preset": "public_chat"})
		k.reader.Join(k.room)
		l.talkers = append(l.talkers, k)
	}
	for _, k := range l.talkers {
		_, since := k.reader.Until("", func(m M) bool { return At(m, "rooms", "join", k.room) != nil })
		l.talking.Go(func() { k.talk(ctx) })
		l.reading.Go(func() { k.read(since) })
	}
	return l
}

// patience bounds how long a talker repeats one number.
const patience = 2 * time.Minute

func (k *talker) path(n int) string {
	return Path("/rooms/%s/send/%s/%s", k.room, loadType, fmt.Sprint("n", n))
}

// say says one number once.
func (k *talker) say(n int) (id, problem string) {
	a, err := k.who.Try("PUT", k.path(n), M{"n": n})
	if err == nil && a.Status == http.StatusOK {
		id, _ = a.Body["event_id"].(string)
		return id, ""
	}
	return "", k.load.judge(a, err)
}

func (k *talker) talk(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		began := time.Now()
		id, problem := k.say(n)
		for id == "" {
			k.load.count(problem)
			if time.Since(began) > patience {
				k.load.t.Errorf("number %d was not taken for %v: %s", n, patience, problem)
				return
			}
			time.Sleep(50 * time.Millisecond)
			id, problem = k.say(n)
		}
		k.load.took(time.Since(began))
		k.mu.Lock()
		k.acked = append(k.acked, id)
		k.mu.Unlock()
	}
}

// judge names what came instead of success and fails the test for what must not come.
func (l *Load) judge(a Answer, err error) string {
	switch {
	case err != nil:
		return "no answer"
	case a.Status == http.StatusBadGateway:
		return "process away"
	case a.Status == http.StatusServiceUnavailable && a.Header.Get("Retry-After") == "":
		l.t.Errorf("503 without Retry-After: %s", a.Raw)
	case a.Status != http.StatusServiceUnavailable && a.Status != http.StatusGatewayTimeout:
		l.t.Errorf("answered %d %s", a.Status, a.Raw)
	}
	return fmt.Sprint(a.Status, " ", a.Errcode())
}

func (l *Load) count(problem string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[problem]++
}

func (l *Load) took(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waited = max(l.waited, d)
}

// read syncs until nobody talks any more and everything has been seen, or patience ends.
func (k *talker) read(since string) {
	filter := url.QueryEscape(`{"room":{"timeline":{"limit":100}}}`)
	var until time.Time
	for k.load.t.Context().Err() == nil {
		select {
		case <-k.load.said:
			if until.IsZero() {
				until = time.Now().Add(patience)
			}
			k.mu.Lock()
			all := len(k.seen) >= len(k.acked)
			k.mu.Unlock()
			if all || time.Now().After(until) {
				return
			}
		default:
		}
		a, err := k.reader.Try("GET", "/_matrix/client/v3/sync?timeout=2000&filter="+filter+"&since="+since, nil)
		if err != nil || a.Status != http.StatusOK {
			k.load.count("sync: " + k.load.judge(a, err))
			time.Sleep(50 * time.Millisecond)
			continue
		}
		ids, err := k.events(since, At(a.Body, "rooms", "join", k.room, "timeline"))
		if err != nil {
			k.load.count("messages: " + err.Error())
			time.Sleep(50 * time.Millisecond)
			continue // from the same token again
		}
		since, _ = a.Body["next_batch"].(string)
		k.mu.Lock()
		k.seen = append(k.seen, ids...)
		k.mu.Unlock()
	}
}

var errAway = errors.New("away")

// events are the numbers of a timeline and, when it is limited, of the gap before it.
func (k *talker) events(since string, timeline any) ([]string, error) {
	ids := numbers(Events(timeline, "events"))
	if At(timeline, "limited") != true {
		return ids, nil
	}
	from, _ := At(timeline, "prev_batch").(string)
	for {
		q := url.Values{"dir": {"b"}, "from": {from}, "to": {since}, "limit": {"100"}}
		a, err := k.reader.Try("GET", Path("/rooms/%s/messages", k.room)+"?"+q.Encode(), nil)
		if err != nil || a.Status != http.StatusOK {
			k.load.judge(a, err)
			return nil, errAway
		}
		page := numbers(Events(a.Body, "chunk"))
		slices.Reverse(page)
		ids = append(page, ids...)
		next, more := a.Body["end"].(string)
		if !more || next == from {
			return ids, nil
		}
		from = next
	}
}

func numbers(events []M) []string {
	var ids []string
	for _, e := range events {
		if e["type"] == loadType {
			id, _ := e["event_id"].(string)
			ids = append(ids, id)
		}
	}
	return ids
}

// Acknowledged is how many events were acknowledged so far.
func (l *Load) Acknowledged() int {
	n := 0
	for _, k := range l.talkers {
		k.mu.Lock()
		n += len(k.acked)
		k.mu.Unlock()
	}
	return n
}

// Progress waits until every talker has been acknowledged several times more.
func (l *Load) Progress() {
	l.t.Helper()
	before := make([]int, len(l.talkers))
	for i, k := range l.talkers {
		k.mu.Lock()
		before[i] = len(k.acked)
		k.mu.Unlock()
	}
	for i, k := range l.talkers {
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			k.mu.Lock()
			n := len(k.acked)
			k.mu.Unlock()
			if n >= before[i]+10 {
				break
			}
			if time.Now().After(deadline) {
				l.t.Fatalf("a talker is not heard any more, others said %v", l.Summary())
			}
		}
	}
}

// Stop ends the talking and checks what was promised.
func (l *Load) Stop() {
	l.t.Helper()
	l.stop()
	l.talking.Wait()
	close(l.said)
	l.reading.Wait()
	for i, k := range l.talkers {
		k.check(i)
	}
}

func (k *talker) check(i int) {
	t := k.load.t
	t.Helper()
	if distinct := len(slices.Compact(slices.Sorted(slices.Values(k.acked)))); distinct != len(k.acked) {
		t.Errorf("room %d: %d numbers were acknowledged with %d event ids", i, len(k.acked), distinct)
	}
	if len(k.acked) == 0 {
		t.Errorf("room %d: nothing was said", i)
	}
	if where := differ(k.acked, k.seen); where >= 0 {
		t.Errorf("room %d: %d acknowledged, the reader saw %d, other than said from number %d on", i, len(k.acked), len(k.seen), where)
	}
	if where := differ(k.acked, k.history()); where >= 0 {
		t.Errorf("room %d: the history differs from what was acknowledged from number %d on", i, where)
	}
	for n := max(0, len(k.acked)-5); n < len(k.acked); n++ {
		if id, problem := k.say(n); id != k.acked[n] {
			t.Errorf("room %d: number %d said again became %q %s, was %q", i, n, id, problem, k.acked[n])
		}
	}
}

// history reads the whole room from its beginning.
func (k *talker) history() []string {
	var ids []string
	for from := ""; ; {
		q := url.Values{"dir": {"f"}, "limit": {"1000"}}
		if from != "" {
			q.Set("from", from)
		}
		m := k.reader.Must("GET", Path("/rooms/%s/messages", k.room)+"?"+q.Encode(), nil)
		ids = append(ids, numbers(Events(m, "chunk"))...)
		next, more := m["end"].(string)
		if !more {
			return ids
		}
		from = next
	}
}

// differ is where two lists begin to differ, -1 when they do not.
func differ(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) == len(b) {
		return -1
	}
	return min(len(a), len(b))
}

// Summary says what happened, for the log of a soak.
func (l *Load) Summary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d acknowledged; longest wait %v; instead of success: %v", l.Acknowledged(), l.waited.Round(time.Millisecond), l.answers)
}
