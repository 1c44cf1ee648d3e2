package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"

	"allmende/internal/matrix"

	"github.com/nats-io/nats.go"
)

// Topic is a kind of announcement. T carries references only: numbers and positions, which the
// subscriber uses to read what it needs from the database.
type Topic[T any] struct {
	name string
}

// NewTopic declares a topic, once, as a package variable. Names are words joined by dots.
func NewTopic[T any](name string) Topic[T] {
	if !topicRegexp.MatchString(name) {
		panic(fmt.Sprintf("bus: %q cannot be a topic", name))
	}
	return Topic[T]{name}
}

// Publish announces v to all subscribers in all processes, this one included, at most once.
// An error means that nobody was told; subscribers find out by themselves (OnReconnect).
func Publish[T any](b *Bus, t Topic[T], v T) error {
	buf := newBuffer()
	defer buf.free()
	if err := buf.encode(v); err != nil {
		return fmt.Errorf("encode announcement %s: %w", t.name, err)
	}
	if buf.Len() > MaxPayload {
		return matrix.TooLarge("Announcement too large").Wrap(fmt.Errorf("announcement %s has %d bytes", t.name, buf.Len()))
	}
	if err := b.nc.Publish(annPrefix+t.name, buf.Bytes()); err != nil {
		return fmt.Errorf("publish %s: %w", t.name, err)
	}
	return nil
}

// Subscribe calls h for every announcement from now on (it is known to NATS when Subscribe
// returns), one at a time and in each publisher's order. h must be quick: hand longer work to the
// service's own goroutines. The returned function ends the subscription; h may run once more.
func Subscribe[T any](b *Bus, t Topic[T], h func(context.Context, T)) (unsubscribe func(), err error) {
	ctx := b.background()
	sub, err := b.nc.Subscribe(annPrefix+t.name, func(m *nats.Msg) {
		defer func() {
			if p := recover(); p != nil {
				b.log.Error("announcement handler panicked", "topic", t.name, "panic_type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			}
		}()
		var v T
		if err := json.Unmarshal(m.Data, &v); err != nil {
			b.log.Error("announcement cannot be decoded", "topic", t.name, "bytes", len(m.Data))
			return
		}
		h(ctx, v)
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", t.name, err)
	}
	if err := b.flush(); err != nil {
		_ = sub.Unsubscribe()
		return nil, fmt.Errorf("subscribe to %s: %w", t.name, err)
	}
	return func() { _ = sub.Unsubscribe() }, nil // fails only when the connection is gone, and the subscription with it
}
