package bus

import (
	"fmt"
	"regexp"
	"time"
)

// MaxPayload is the largest encoded request or reply, in bytes. Bulk travels as references or in
// pages.
const MaxPayload = 256 << 10

const (
	rpcPrefix = "allmende.rpc."
	annPrefix = "allmende.ann."
	ctlPrefix = "allmende.ctl."
)

// Endpoint is one method of one service: the contract both sides compile against. Make it with
// New or PerRoom, once, as a package variable beside its types.
type Endpoint[Req, Resp any] struct {
	Service    string        // the service that serves it, as given to Bus.Service
	Method     string        // name of the method, unique in the service
	Timeout    time.Duration // longest a call may take; a caller's shorter deadline wins
	Idempotent bool          // set by Retry: calling it twice has the effect of calling it once

	subjects []string         // one, or one for each shard
	key      func(Req) string // shard key; nil when any instance may answer
}

// Sharded is a request about one room (or one of whatever the service shards by).
type Sharded interface {
	// ShardKey is the text that picks the shard, such as the room id. It does not leave the
	// process: only its hash modulo Shards does.
	ShardKey() string
}

// New declares an endpoint that any instance of the service may answer.
func New[Req, Resp any](service, method string, timeout time.Duration) Endpoint[Req, Resp] {
	checkName(service, method)
	return Endpoint[Req, Resp]{
		Service: service, Method: method, Timeout: timeout,
		subjects: []string{rpcPrefix + service + "." + method},
	}
}

// PerRoom declares an endpoint answered by the instance that holds the shard of the request's
// key. That is a hint for locality of caches: during a hand-over any instance may be asked.
func PerRoom[Req Sharded, Resp any](service, method string, timeout time.Duration) Endpoint[Req, Resp] {
	checkName(service, method)
	e := Endpoint[Req, Resp]{
		Service: service, Method: method, Timeout: timeout,
		subjects: make([]string, Shards),
		key:      func(r Req) string { return r.ShardKey() },
	}
	for i := range e.subjects {
		e.subjects[i] = shardPrefix(service, i) + method
	}
	return e
}

// Retry returns a copy marked idempotent: when the connection is lost during a call, the call is
// made a second time.
func (e Endpoint[Req, Resp]) Retry() Endpoint[Req, Resp] {
	e.Idempotent = true
	return e
}

func (e Endpoint[Req, Resp]) subject(req Req) string {
	if e.key == nil {
		return e.subjects[0]
	}
	return e.subjects[Shard(e.key(req))]
}

func (e Endpoint[Req, Resp]) name() string { return e.Service + "." + e.Method }

var nameRegexp = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)

// checkName panics: names are literals in the program, not input.
func checkName(names ...string) {
	for _, n := range names {
		if !nameRegexp.MatchString(n) {
			panic(fmt.Sprintf("bus: %q cannot be part of a subject", n))
		}
	}
}
