package read_test

import (
	"testing"

	"allmende/roomserver/read"
)

// TestRecent holds that what it answers is everything behind a position, or nothing.
func TestRecent(t *testing.T) {
	var r read.Recent
	add := func(from, to int64) {
		var list []read.Event
		for nid := from; nid <= to; nid++ {
			list = append(list, read.Event{NID: nid, Ord: nid, JSON: make([]byte, 100)})
		}
		r.Add(list)
	}
	// want is the first event behind pos; 0: it has to be read from the database.
	check := func(what string, pos, upTo, want, last int64) {
		t.Helper()
		list, ok := r.After(pos, upTo)
		if ok != (want > 0) {
			t.Fatalf("%s: answered %t", what, ok)
		}
		if !ok {
			return
		}
		for i, e := range list {
			if e.NID != want+int64(i) {
				t.Fatalf("%s: event %d at place %d", what, e.NID, i)
			}
		}
		if list[len(list)-1].NID != last {
			t.Errorf("%s: ends with %d", what, list[len(list)-1].NID)
		}
	}
	check("empty", 0, 0, 0, 0)
	add(10, 12)
	add(13, 20)
	check("all", 9, 20, 10, 20)
	check("some", 15, 18, 16, 20)
	check("something is missing before", 8, 20, 0, 0)
	check("something is missing after", 15, 21, 0, 0)
	check("nothing is known behind it", 20, 20, 0, 0)
	add(22, 23)
	check("another process committed in between", 15, 20, 0, 0)
	check("behind that", 21, 23, 22, 23)
	for nid := int64(24); nid < 5000; nid += 7 {
		add(nid, nid+6)
	}
	check("long gone", 30, 5000, 0, 0)
	check("still there", 4900, 4990, 4901, 5000)
	r.Clear()
	check("cleared", 4900, 4990, 0, 0)
	if _, ok := (*read.Recent)(nil).After(0, 1); ok {
		t.Error("no memory answers")
	}
}
