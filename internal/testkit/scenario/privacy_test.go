package scenario_test

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"

	"allmende/config"
	"allmende/internal/obs"
	"allmende/internal/testkit"
	"allmende/internal/testkit/scenario"
)

// sink keeps what is logged.
type sink struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// secrets are the shapes of what must not be logged, whoever it belongs to.
var secrets = map[string]*regexp.Regexp{
	"user id":   regexp.MustCompile(`@[a-z0-9._=/+-]+:[a-z]`),
	"room id":   regexp.MustCompile(`![A-Za-z0-9_-]{16,}`),
	"event id":  regexp.MustCompile(`\$[A-Za-z0-9_-]{40,}`),
	"alias":     regexp.MustCompile(`#[a-z0-9._-]+:[a-z]`),
	"token":     regexp.MustCompile(`alm[a-z]_[A-Za-z0-9_-]{20,}`),
	"mxc":       regexp.MustCompile(`mxc://`),
	"parameter": regexp.MustCompile(`\$1 = '`),
}

// TestLogsTellNothing has people live through a day on a server that logs as it
// does by default, and reads what it wrote.
func TestLogsTellNothing(t *testing.T) {
	log := &sink{}
	c := scenario.Config(t)
	c.Database.URL = config.Secret(testkit.DatabaseURL(t))
	h := scenario.SingleLogged(t, c, obs.NewLogger(log, obs.LogOptions{Level: slog.LevelInfo}))
	const address = "203.0.113.77"
	words := []string{
		address, scenario.Password, "Annegret Almrausch", "a secret meeting at noon", "the wine cellar", "Annegret's telephone", "TELEPHONE",
		"org.example.illness", "diagnosis", "almrausch", "the-hidden-alias", "transaction-of-anna", "badly needed reason",
	}
	anna, bert := h.Register(t, "almrausch"), h.Register(t, "almrausch")
	words = append(words, anna.ID, bert.ID, anna.Token, bert.Token, anna.DeviceID)
	from := func(u *scenario.User, method, path string, body any) scenario.Answer {
		return u.Client.Do(method, path, body, "Authorization", "Bearer "+u.Token, "X-Forwarded-For", address)
	}
	anna.Must("PUT", scenario.Path("/profile/%s/displayname", anna.ID), M{"displayname": "Annegret Almrausch"})
	anna.Must("PUT", scenario.Path("/profile/%s/avatar_url", anna.ID), M{"avatar_url": "mxc://example.org/almrausch"})
	room := anna.CreateRoom(M{"name": "the wine cellar", "room_alias_name": "the-hidden-alias", "preset": "private_chat"})
	anna.Invite(room, bert.ID)
	bert.Join(room)
	event := anna.Say(room, "a secret meeting at noon")
	words = append(words, room, event)
	_, since := bert.Until("", func(m M) bool {
		return scenario.Find(scenario.Events(m, "rooms", "join", room, "timeline", "events"), event) != nil
	})
	words = append(words, since)
	anna.Must("PUT", scenario.Path("/user/%s/account_data/org.example.illness", anna.ID), M{"diagnosis": "x"})
	bert.Must("POST", scenario.Path("/rooms/%s/receipt/m.read/%s", room, event), M{})
	bert.Must("PUT", scenario.Path("/rooms/%s/typing/%s", room, bert.ID), M{"typing": true, "timeout": 1000})
	anna.Must("POST", scenario.Path("/rooms/%s/kick", room), M{"user_id": bert.ID, "reason": "badly needed reason"})
	// What goes wrong is where logs tend to talk.
	stranger := h.Register(t, "almrausch")
	for _, r := range []struct {
		who          *scenario.User
		method, path string
		body         any
	}{
		{bert, "PUT", scenario.Path("/rooms/%s/send/m.room.message/transaction-of-anna", room), M{"body": "a secret meeting at noon"}},
		{stranger, "GET", scenario.Path("/rooms/%s/messages", room), nil},
		{stranger, "GET", scenario.Path("/rooms/%s/event/%s", room, event), nil},
		{stranger, "POST", scenario.Path("/join/%s", "#the-hidden-alias:"+h.ServerName), M{}},
		{anna, "PUT", scenario.Path("/rooms/%s/state/m.room.power_levels/", room), M{"users": M{anna.ID: "a secret meeting at noon"}}},
		{anna, "PUT", scenario.Path("/rooms/%s/send/m.room.message/transaction-of-anna", room), []byte(`{"body":"a secret meeting at noon`)},
		{anna, "GET", "/_matrix/client/v3/sync?since=" + since + "x", nil},
		{anna, "GET", "/_matrix/client/v3/profile/" + anna.ID + "/a%00b", nil},
		{anna, "POST", "/_matrix/client/v3/login", M{"type": "m.login.password", "user": anna.ID, "password": "the wine cellar"}},
		{anna, "PUT", scenario.Path("/devices/%s", anna.DeviceID), M{"display_name": "Annegret's telephone"}},
		{anna, "POST", "/_matrix/client/v3/register", M{"username": "almrausch:", "password": scenario.Password}},
	} {
		from(r.who, r.method, r.path, r.body)
	}
	h.Restart(t)
	anna.Until("", func(m M) bool { return scenario.At(m, "rooms", "join", room) != nil })
	anna.Confirmed("POST", "/_matrix/client/v3/account/deactivate", M{"erase": true})
	anna.LoggedOut()

	text := log.String()
	if !strings.Contains(text, "server is up") {
		t.Errorf("nothing was logged, so nothing is shown:\n%s", text)
	}
	for _, w := range words {
		if strings.Contains(text, w) {
			t.Errorf("the log holds %q:\n%s", w, linesWith(text, w))
		}
	}
	for what, shape := range secrets {
		if found := shape.FindString(text); found != "" {
			t.Errorf("the log holds a %s, %q:\n%s", what, found, linesWith(text, found))
		}
	}
	if n := strings.Count(text, "\n"); n > 100 {
		t.Errorf("%d lines for a quiet day", n)
	}
}

func linesWith(text, part string) string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
