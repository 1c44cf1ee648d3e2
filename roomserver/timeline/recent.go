package timeline

import "allmende/roomserver/read"

// remember gives committed events to readers in the same process.
func (rs *Rooms) remember(jobs []*job) {
	if rs.fresh == nil {
		return
	}
	var list []read.Event
	for _, j := range jobs {
		u := j.unit
		if u.Err != nil {
			continue
		}
		if len(u.Redactions) > 0 {
			// What is remembered may be what was just taken away.
			rs.fresh.Clear()
			return
		}
		for _, r := range u.Rows {
			nid := r.Ref().NID()
			e := read.Event{
				NID: nid, RoomNID: u.RoomNID, Ord: nid, Snapshot: r.Snapshot.NID(),
				OriginTS: r.Event.OriginServerTS, ReceivedTS: r.ReceivedTS,
				TypeNID: r.TypeNID, KeyNID: r.KeyNID, SenderNID: r.SenderNID, ID: r.Event.ID, JSON: r.Event.JSON,
			}
			for _, t := range u.Txns {
				if t.Row == r {
					e.DeviceID, e.TxnID = t.DeviceID, t.TxnID
				}
			}
			list = append(list, e)
		}
	}
	rs.fresh.Add(list)
}
