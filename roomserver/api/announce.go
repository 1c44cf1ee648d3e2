package api

import "allmende/internal/bus"

// Committed announces that all events up to a position are in the database.
// It carries positions only; whoever wants the events reads them from there.
// Announcements may be lost: readers also look on their own from time to time.
var Committed = bus.NewTopic[CommittedAnn]("roomserver.committed")

// CommittedAnn spans the positions of one committed transaction.
type CommittedAnn struct {
	From int64 // first position of the transaction
	To   int64 // last
}
