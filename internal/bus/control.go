package bus

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"allmende/internal/matrix"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// methodStats counts what `nats micro stats` shows.
type methodStats struct {
	mu     sync.Mutex
	calls  int
	errors int
	last   string
	took   time.Duration
}

func (m *methodStats) add(took time.Duration, err *matrix.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	m.took += took
	if err != nil {
		m.errors++
		m.last = err.Code // codes only: texts may be about somebody
	}
}

// subscribeControl answers the discovery questions of the NATS micro protocol. Its own framework
// is not used because it can neither give up a single subscription (shards move) nor say when it
// has drained.
func (s *Service) subscribeControl() (subs []*nats.Subscription, err error) {
	for verb, answer := range map[micro.Verb]func() any{
		micro.PingVerb:  func() any { return micro.Ping{ServiceIdentity: s.identity(), Type: micro.PingResponseType} },
		micro.InfoVerb:  func() any { return s.info() },
		micro.StatsVerb: func() any { return s.stats() },
	} {
		for _, who := range [][2]string{{"", ""}, {s.name, ""}, {s.name, s.id}} {
			subject, err := micro.ControlSubject(verb, who[0], who[1])
			if err != nil {
				return subs, fmt.Errorf("name control subject: %w", err)
			}
			sub, err := s.bus.nc.Subscribe(subject, func(m *nats.Msg) {
				if body, err := json.Marshal(answer()); err == nil {
					_ = m.Respond(body) // who asks again is answered again
				}
			})
			if err != nil {
				return subs, fmt.Errorf("subscribe to %s: %w", subject, err)
			}
			subs = append(subs, sub)
		}
	}
	return subs, nil
}

func (s *Service) identity() micro.ServiceIdentity {
	return micro.ServiceIdentity{Name: s.name, ID: s.id, Version: s.opts.Version, Metadata: map[string]string{}}
}

func (s *Service) info() micro.Info {
	i := micro.Info{ServiceIdentity: s.identity(), Type: micro.InfoResponseType, Description: "Allmende " + s.name, Endpoints: []micro.EndpointInfo{}}
	for _, m := range s.sortedMethods() {
		i.Endpoints = append(i.Endpoints, micro.EndpointInfo{Name: m.name, Subject: s.subjectOf(m), QueueGroup: s.name})
	}
	return i
}

func (s *Service) stats() micro.Stats {
	st := micro.Stats{ServiceIdentity: s.identity(), Type: micro.StatsResponseType, Started: s.started.UTC(), Endpoints: []*micro.EndpointStats{}}
	for _, m := range s.sortedMethods() {
		m.stats.mu.Lock()
		e := &micro.EndpointStats{
			Name: m.name, Subject: s.subjectOf(m), QueueGroup: s.name,
			NumRequests: m.stats.calls, NumErrors: m.stats.errors, LastError: m.stats.last, ProcessingTime: m.stats.took,
		}
		m.stats.mu.Unlock()
		if e.NumRequests > 0 {
			e.AverageProcessingTime = e.ProcessingTime / time.Duration(e.NumRequests)
		}
		st.Endpoints = append(st.Endpoints, e)
	}
	return st
}

func (s *Service) sortedMethods() []*method {
	ms := make([]*method, 0, len(s.methods))
	for _, m := range s.methods {
		ms = append(ms, m)
	}
	slices.SortFunc(ms, func(a, b *method) int { return strings.Compare(a.name, b.name) })
	return ms
}

func (s *Service) subjectOf(m *method) string {
	if m.sharded {
		return rpcPrefix + s.name + ".*." + m.name
	}
	return rpcPrefix + s.name + "." + m.name
}
