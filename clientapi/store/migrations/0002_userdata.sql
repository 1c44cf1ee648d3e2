-- clientapi's schema, second part: what people keep on the server about themselves and their rooms.

-- Position 0 means "from the beginning" to readers, so that nothing may ever be written at it or read up to it.
UPDATE head SET pos = 1 WHERE pos = 0;

CREATE TABLE profiles (
    account_nid bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    field       text COLLATE "C" NOT NULL,
    value       bytea NOT NULL,                      -- JSON
    PRIMARY KEY (account_nid, field)
);
COMMENT ON TABLE profiles IS 'what a person shows of themselves to others: name, picture, further fields; kept until deleted or the account is deactivated';

-- Push rules are the item m.push_rules without a room: its content is what the person changed about the defaults.
CREATE TABLE account_data (
    account_nid bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    room_id     text COLLATE "C" NOT NULL,           -- empty: not about a room
    type        text COLLATE "C" NOT NULL,
    content     bytea,                               -- JSON object; NULL: deleted, kept so that other devices learn of it
    pos         bigint NOT NULL,
    PRIMARY KEY (account_nid, room_id, type)
);
CREATE UNIQUE INDEX account_data_pos ON account_data (account_nid, pos);
COMMENT ON TABLE account_data IS 'settings and notes of a person''s clients, tags, push rules, read markers; kept until deleted or the account is deactivated';

CREATE TABLE filters (
    account_nid bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    filter_id   text COLLATE "C" NOT NULL,           -- from the definition's hash: the same filter is stored once
    definition  bytea NOT NULL,                      -- JSON object
    PRIMARY KEY (account_nid, filter_id)
);
COMMENT ON TABLE filters IS 'what clients want to be told of in /sync; kept while the account exists';
