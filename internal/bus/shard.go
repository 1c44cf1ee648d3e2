package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Shards is the number of shards of every sharded service. It is part of the subjects: all
// instances of an installation must agree.
const Shards = 64

const (
	helloEvery = 250 * time.Millisecond
	deadAfter  = 1500 * time.Millisecond
	// joinPause is how long a new instance listens before it takes shards, so that it does not
	// take all of them for a moment when others live.
	joinPause = 50 * time.Millisecond
)

// Shard is the shard of a key: FNV-1a modulo Shards.
func Shard(key string) int { return int(fnv1a(fnvOffset, key) % Shards) }

const fnvOffset uint64 = 14695981039346656037

func fnv1a(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// owner is the rendezvous choice: each shard goes to the living instance with the highest score,
// so that a change of the living moves only the shards it must.
func owner(shard int, living []string) string {
	var best string
	var bestScore uint64
	for _, id := range living {
		h := fnv1a(fnv1a(fnvOffset, id), strconv.Itoa(shard))
		h ^= h >> 33 // FNV mixes its last bytes poorly
		h *= 0xff51afd7ed558ccd
		h ^= h >> 33
		if best == "" || h > bestScore || (h == bestScore && id < best) {
			best, bestScore = id, h
		}
	}
	return best
}

func shardPrefix(service string, shard int) string {
	return rpcPrefix + service + "." + strconv.Itoa(shard) + "."
}

// hello is what instances tell each other: who lives. It names no room and nobody.
type hello struct {
	ID  string `json:"id"`
	New bool   `json:"new,omitempty"` // answer at once, please
	Bye bool   `json:"bye,omitempty"`
}

// ownedShards is the set of shards this instance serves now.
type ownedShards struct {
	mu   sync.Mutex
	subs map[int]*nats.Subscription
}

// Owned lists the shards this instance serves now, ascending. For diagnosis: it may be outdated
// when it returns.
func (s *Service) Owned() []int {
	s.owned.mu.Lock()
	defer s.owned.mu.Unlock()
	list := make([]int, 0, len(s.owned.subs))
	for shard := range s.owned.subs {
		list = append(list, shard)
	}
	slices.Sort(list)
	return list
}

// runShards says hello, listens to the others and serves the shards that fall to this instance,
// until ctx ends; then it says goodbye and has begun to drain when it returns.
func (s *Service) runShards(ctx context.Context) error {
	heard := make(chan hello, 1024)
	sub, err := s.bus.nc.Subscribe(ctlPrefix+"shards."+s.name, func(m *nats.Msg) {
		var h hello
		if json.Unmarshal(m.Data, &h) != nil || h.ID == "" || h.ID == s.id {
			return
		}
		select {
		case heard <- h:
		default: // the next one comes in helloEvery
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to shard control: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	defer s.serveShards(nil)
	defer s.sayHello(hello{ID: s.id, Bye: true})

	ticker := time.NewTicker(helloEvery)
	defer ticker.Stop()
	s.sayHello(hello{ID: s.id, New: true})
	joined := time.After(s.joinPause())
	peers := map[string]time.Time{}
	serving := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-joined:
			serving = true
		case h := <-heard:
			if h.Bye {
				delete(peers, h.ID)
			} else {
				peers[h.ID] = time.Now()
			}
			if h.New {
				s.sayHello(hello{ID: s.id})
			}
		case <-ticker.C:
			s.sayHello(hello{ID: s.id})
			for id, seen := range peers {
				if time.Since(seen) > deadAfter {
					delete(peers, id)
				}
			}
		}
		if !serving {
			continue
		}
		if err := s.serveShards(s.share(peers)); err != nil {
			return err
		}
		s.becomeReady()
	}
}

func (s *Service) joinPause() time.Duration {
	if s.bus.embedded {
		return 0 // there is one process, and one instance in it
	}
	return joinPause
}

// becomeReady closes ready once NATS knows the subscriptions; until then it is tried each round.
func (s *Service) becomeReady() {
	select {
	case <-s.ready:
		return
	default:
	}
	if s.bus.flush() == nil {
		close(s.ready)
	}
}

// sayHello is not retried: the next hello comes soon, and a goodbye not heard is noticed.
func (s *Service) sayHello(h hello) {
	if body, err := json.Marshal(h); err == nil {
		_ = s.bus.nc.Publish(ctlPrefix+"shards."+s.name, body)
	}
}

// share is the set of shards that fall to this instance.
func (s *Service) share(peers map[string]time.Time) map[int]bool {
	living := []string{s.id}
	for id := range peers {
		living = append(living, id)
	}
	mine := make(map[int]bool, Shards)
	for shard := range Shards {
		if owner(shard, living) == s.id {
			mine[shard] = true
		}
	}
	return mine
}

// serveShards subscribes to what is new in mine and gives up the rest. It takes before it gives:
// calls in between are answered by either instance.
func (s *Service) serveShards(mine map[int]bool) error {
	s.owned.mu.Lock()
	defer s.owned.mu.Unlock()
	if s.owned.subs == nil {
		s.owned.subs = map[int]*nats.Subscription{}
	}
	for shard := range mine {
		if s.owned.subs[shard] != nil {
			continue
		}
		sub, err := s.subscribe(shardPrefix(s.name, shard)+"*", s.acceptSharded)
		if err != nil {
			return err
		}
		s.owned.subs[shard] = sub
	}
	for shard, sub := range s.owned.subs {
		if !mine[shard] {
			_ = sub.Drain() // an error means that the connection is closed
			delete(s.owned.subs, shard)
		}
	}
	return nil
}
