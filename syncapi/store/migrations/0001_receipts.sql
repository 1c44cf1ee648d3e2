-- syncapi's schema. Everything a client reads is the room server's or
-- clientapi's; here is only what reading itself leaves behind.

-- The position of the newest receipt. A committing transaction locks this row
-- first and holds it to the end, so positions appear in commit order: whoever
-- reads "pos > last" never skips a late row.
CREATE TABLE head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    pos      bigint  NOT NULL
);
INSERT INTO head (pos) VALUES (0);
COMMENT ON TABLE head IS 'position of the newest receipt; no personal data';

-- Up to where a user has read: the newest receipt of each kind and thread only.
CREATE TABLE receipts (
    room_nid  bigint   NOT NULL,
    user_nid  bigint   NOT NULL,
    kind      smallint NOT NULL, -- 1 m.read, 2 m.read.private
    thread_id text COLLATE "C" NOT NULL, -- '': unthreaded; 'main'; or the thread's root
    event_ord bigint   NOT NULL, -- place of the event in the room's timeline
    event_id  text COLLATE "C" NOT NULL,
    ts        bigint   NOT NULL, -- ms; the day alone after a day; 0 of private receipts
    pos       bigint   NOT NULL,
    PRIMARY KEY (room_nid, user_nid, kind, thread_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE receipts IS 'newest read receipt of each user, room, kind and thread; kept while the event is, the time of day for 24 hours';
CREATE UNIQUE INDEX receipts_pos ON receipts (pos);
