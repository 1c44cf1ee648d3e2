package bus

import (
	"fmt"
	"testing"
)

// The hash is part of the protocol between versions: these values must not change.
func TestShardIsStable(t *testing.T) {
	for key, want := range map[string]int{
		"":                  37,
		"!room:example.org": 31,
		"a":                 12,
	} {
		if got := Shard(key); got != want {
			t.Errorf("Shard(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestOwnerSpreadsAndMovesLittle(t *testing.T) {
	ids := []string{"A1", "B2", "C3", "D4"}
	count := map[string]int{}
	for shard := range Shards {
		count[owner(shard, ids)]++
	}
	for _, id := range ids {
		if count[id] < Shards/len(ids)/3 {
			t.Errorf("%s owns %d of %d shards", id, count[id], Shards)
		}
	}
	for shard := range Shards {
		before, after := owner(shard, ids), owner(shard, ids[:3])
		if before != "D4" && before != after {
			t.Errorf("shard %d moved from %s to %s though %s lives", shard, before, after, before)
		}
		if fmt.Sprint(owner(shard, []string{"C3", "A1", "B2"})) != after {
			t.Errorf("shard %d: the owner depends on the order of hearing", shard)
		}
	}
}
