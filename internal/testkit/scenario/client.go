package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// M is a JSON object.
type M = map[string]any

// Client speaks to a home without being logged in.
type Client struct {
	t    testing.TB
	home *Home
	http *http.Client
}

// User is a logged-in device.
type User struct {
	Client
	ID, Token, DeviceID string
}

// Answer is what the server said.
type Answer struct {
	Status int
	Header http.Header
	Raw    []byte
	Body   M // nil when the answer is no object
}

// Errcode is the Matrix error code of the answer, empty when there is none.
func (a Answer) Errcode() string {
	s, _ := a.Body["errcode"].(string)
	return s
}

const requestTimeout = 90 * time.Second

// Client makes a client that is not logged in.
func (h *Home) Client(t testing.TB) Client {
	return Client{t: t, home: h, http: &http.Client{Timeout: requestTimeout, Transport: h.transport}}
}

// Do sends a request. body may be nil, raw bytes or anything that encodes to JSON.
func (c Client) Do(method, path string, body any, header ...string) Answer {
	c.t.Helper()
	a, err := c.Try(method, path, body, header...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// Try sends a request that may meet a server that is away.
func (c Client) Try(method, path string, body any, header ...string) (Answer, error) {
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		r = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return Answer{}, err
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.home.URL()+path, r)
	if err != nil {
		return Answer{}, err
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	a := Answer{Status: resp.StatusCode, Header: resp.Header}
	if a.Raw, err = io.ReadAll(resp.Body); err != nil {
		return Answer{}, err
	}
	_ = json.Unmarshal(a.Raw, &a.Body) // not every answer is an object
	return a, nil
}

// Must sends a request that has to succeed and answers its body.
func (c Client) Must(method, path string, body any, header ...string) M {
	c.t.Helper()
	a := c.Do(method, path, body, header...)
	if a.Status != http.StatusOK {
		c.t.Fatalf("%s %s: %d %s", method, path, a.Status, a.Raw)
	}
	return a.Body
}

// Refused sends a request that has to fail with a status and an error code.
func (c Client) Refused(method, path string, body any, status int, errcode string, header ...string) Answer {
	c.t.Helper()
	a := c.Do(method, path, body, header...)
	if a.Status != status || a.Errcode() != errcode {
		c.t.Fatalf("%s %s: want %d %s, got %d %s", method, path, status, errcode, a.Status, a.Raw)
	}
	return a
}

// Do sends a request with the user's access token.
func (u *User) Do(method, path string, body any, header ...string) Answer {
	u.t.Helper()
	return u.Client.Do(method, path, body, append(header, "Authorization", "Bearer "+u.Token)...)
}

// Try sends a request with the user's access token that may meet a server that is away.
func (u *User) Try(method, path string, body any) (Answer, error) {
	return u.Client.Try(method, path, body, "Authorization", "Bearer "+u.Token)
}

// Must sends a request with the user's access token that has to succeed.
func (u *User) Must(method, path string, body any) M {
	u.t.Helper()
	return u.Client.Must(method, path, body, "Authorization", "Bearer "+u.Token)
}

// Refused sends a request with the user's access token that has to fail.
func (u *User) Refused(method, path string, body any, status int, errcode string) Answer {
	u.t.Helper()
	return u.Client.Refused(method, path, body, status, errcode, "Authorization", "Bearer "+u.Token)
}

var counter atomic.Int64

// Unique makes a word that no other scenario uses.
func Unique(prefix string) string {
	return fmt.Sprintf("%s%d", prefix, counter.Add(1))
}

// Password is the password of every user of the scenarios.
const Password = "correct horse battery staple"

// Register makes an account with a name nobody else has.
func (h *Home) Register(t testing.TB, name string) *User {
	t.Helper()
	c := h.Client(t)
	body := M{"username": Unique(name), "password": Password}
	challenge := c.Do("POST", "/_matrix/client/v3/register", body)
	if challenge.Status != http.StatusUnauthorized {
		t.Fatalf("register: want a challenge, got %d %s", challenge.Status, challenge.Raw)
	}
	body["auth"] = M{"type": "m.login.dummy", "session": challenge.Body["session"]}
	return c.as(c.Must("POST", "/_matrix/client/v3/register", body))
}

// Login makes a further device of a user.
func (h *Home) Login(t testing.TB, id string) *User {
	t.Helper()
	c := h.Client(t)
	return c.as(c.Must("POST", "/_matrix/client/v3/login", M{
		"type": "m.login.password", "identifier": M{"type": "m.id.user", "user": id}, "password": Password,
	}))
}

func (c Client) as(m M) *User {
	c.t.Helper()
	u := &User{Client: c}
	u.ID, _ = m["user_id"].(string)
	u.Token, _ = m["access_token"].(string)
	u.DeviceID, _ = m["device_id"].(string)
	if u.ID == "" || u.Token == "" || u.DeviceID == "" {
		c.t.Fatalf("login answered %v", m)
	}
	return u
}

// In tells the same device that it belongs to another test, such as a subtest.
func (u *User) In(t testing.TB) *User {
	c := *u
	c.t = t
	return &c
}

// Seg escapes one segment of a path.
func Seg(s string) string { return url.PathEscape(s) }

// Path puts escaped segments together: Path("/rooms/%s/send/%s", room, typ).
func Path(format string, segments ...string) string {
	args := make([]any, len(segments))
	for i, s := range segments {
		args[i] = Seg(s)
	}
	return "/_matrix/client/v3" + fmt.Sprintf(format, args...)
}

// CreateRoom makes a room and answers its id.
func (u *User) CreateRoom(body M) string {
	u.t.Helper()
	id, _ := u.Must("POST", "/_matrix/client/v3/createRoom", body)["room_id"].(string)
	if !strings.HasPrefix(id, "!") {
		u.t.Fatalf("createRoom answered room id %q", id)
	}
	return id
}

// Join enters a room.
func (u *User) Join(room string) {
	u.t.Helper()
	u.Must("POST", Path("/rooms/%s/join", room), M{})
}

// Invite invites another user.
func (u *User) Invite(room, id string) {
	u.t.Helper()
	u.Must("POST", Path("/rooms/%s/invite", room), M{"user_id": id})
}

// Send sends an event and answers its id.
func (u *User) Send(room, typ string, content M) string {
	u.t.Helper()
	id, _ := u.Must("PUT", Path("/rooms/%s/send/%s/%s", room, typ, Unique("txn")), content)["event_id"].(string)
	return id
}

// Say sends a text message and answers its id.
func (u *User) Say(room, text string) string {
	u.t.Helper()
	return u.Send(room, "m.room.message", M{"msgtype": "m.text", "body": text})
}

// Set sends a state event and answers its id.
func (u *User) Set(room, typ, key string, content M) string {
	u.t.Helper()
	id, _ := u.Must("PUT", Path("/rooms/%s/state/%s/%s", room, typ, key), content)["event_id"].(string)
	return id
}

// Sync asks for what happened since a token, empty for everything, and waits up
// to timeout for something to happen.
func (u *User) Sync(since string, timeout time.Duration, query ...string) M {
	u.t.Helper()
	q := url.Values{"timeout": {fmt.Sprint(timeout.Milliseconds())}}
	if since != "" {
		q.Set("since", since)
	}
	for i := 0; i+1 < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	return u.Must("GET", "/_matrix/client/v3/sync?"+q.Encode(), nil)
}

// waitLimit bounds waiting for something that has to come, on a busy machine.
const waitLimit = 2 * time.Minute

// Until syncs until the answer satisfies ok, and answers it and the next token.
func (u *User) Until(since string, ok func(M) bool, query ...string) (M, string) {
	u.t.Helper()
	for deadline := time.Now().Add(waitLimit); time.Now().Before(deadline); {
		m := u.Sync(since, 10*time.Second, query...)
		since, _ = m["next_batch"].(string)
		if ok(m) {
			return m, since
		}
	}
	u.t.Fatal("what was waited for never came")
	return nil, ""
}

// At walks into nested objects and lists: At(m, "rooms", "join", id, "timeline",
// "events", 0). It answers nil when there is nothing there.
func At(v any, path ...any) any {
	for _, p := range path {
		switch k := p.(type) {
		case string:
			m, _ := v.(M)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k < 0 {
				k += len(l)
			}
			if k < 0 || k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

// Events are the objects of a list found by At.
func Events(v any, path ...any) []M {
	l, _ := At(v, path...).([]any)
	out := make([]M, 0, len(l))
	for _, e := range l {
		if m, ok := e.(M); ok {
			out = append(out, m)
		}
	}
	return out
}

// Find is the first event with an id, or nil.
func Find(events []M, id string) M {
	for _, e := range events {
		if e["event_id"] == id {
			return e
		}
	}
	return nil
}
