package obs

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// checkTimeout bounds each health check.
const checkTimeout = 2 * time.Second

// Health asks the parts of a process how they are. The zero value has no checks and is ready.
type Health struct {
	mu     sync.Mutex
	checks map[string]func(context.Context) error
}

// Add registers a check; nil means well. A name given again replaces the check.
func (h *Health) Add(name string, check func(context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checks == nil {
		h.checks = map[string]func(context.Context) error{}
	}
	h.checks[name] = check
}

// Ready runs all checks at once and returns what is wrong, by name; empty means ready.
func (h *Health) Ready(ctx context.Context) map[string]error {
	h.mu.Lock()
	checks := make(map[string]func(context.Context) error, len(h.checks))
	for name, check := range h.checks {
		checks[name] = check
	}
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var g errgroup.Group
	var mu sync.Mutex
	wrong := map[string]error{}
	for name, check := range checks {
		g.Go(func() error {
			if err := guard(ctx, check); err != nil {
				mu.Lock()
				defer mu.Unlock()
				wrong[name] = err
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	return wrong
}

func guard(ctx context.Context, check func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = PanicError(p)
		}
	}()
	return check(ctx)
}

// Handler serves /health/live (200 while the process answers), /health/ready (200, or 503 and the
// names of what is wrong; causes go to the log) and /metrics.
func (h *Health) Handler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health/live", func(w http.ResponseWriter, _ *http.Request) {
		writeHealth(w, http.StatusOK, nil)
	})
	mux.HandleFunc("GET /health/ready", func(w http.ResponseWriter, r *http.Request) {
		status, failing := http.StatusOK, []string{}
		for name, err := range h.Ready(r.Context()) {
			status = http.StatusServiceUnavailable
			failing = append(failing, name)
			Logger(r.Context()).Warn("health check", "check", name, "error", err)
		}
		writeHealth(w, status, failing)
	})
	mux.Handle("GET /metrics", metrics)
	return mux
}

func writeHealth(w http.ResponseWriter, status int, failing []string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// Who asked and is gone needs no answer.
	_ = json.NewEncoder(w).Encode(struct {
		OK      bool     `json:"ok"`
		Failing []string `json:"failing,omitempty"`
	}{len(failing) == 0, failing})
}
