-- clientapi's schema, first part: people, their devices and sessions. Tokens appear as SHA-256 only; there is no column
-- for an address or a user agent. Every table says in its comment what it is kept for and for how long.

-- The position of everything a client must see in /sync and that belongs to an account. A writing transaction locks
-- this row until it commits, so positions are gapless and appear in order.
CREATE TABLE head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    pos      bigint  NOT NULL
);
INSERT INTO head (pos) VALUES (0);
COMMENT ON TABLE head IS 'position of the newest change; no personal data';

CREATE TABLE accounts (
    account_nid   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    localpart     text COLLATE "C" NOT NULL UNIQUE,
    password_hash text,                              -- argon2id, PHC string; NULL: no login by password
    created       date    NOT NULL,                  -- first day of the month
    admin         boolean NOT NULL DEFAULT false,
    locked        boolean NOT NULL DEFAULT false,
    deactivated   boolean NOT NULL DEFAULT false,    -- for good; the row keeps the name from being taken again
    erased        boolean NOT NULL DEFAULT false     -- asked for erasure when deactivating
);
COMMENT ON TABLE accounts IS 'who may log in; kept while the account exists, then only so that nobody else gets the name';

CREATE TABLE devices (
    device_nid   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_nid  bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    device_id    text COLLATE "C" NOT NULL,
    display_name text,
    last_seen    date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    UNIQUE (account_nid, device_id)
);
COMMENT ON TABLE devices IS 'a person''s list of devices; kept until logged out; last use by day';

-- One pair of access and refresh token as given out. A pair made by refreshing names the one it replaces until it is
-- used for the first time: until then the old refresh token works, because the answer may have been lost.
CREATE TABLE sessions (
    session_nid     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_nid      bigint NOT NULL REFERENCES devices ON DELETE CASCADE,
    access_hash     bytea  NOT NULL UNIQUE,
    access_expires  timestamptz,                     -- NULL: never
    refresh_hash    bytea  UNIQUE,                   -- NULL: cannot be refreshed (any more)
    refresh_expires timestamptz,
    replaces        bigint REFERENCES sessions ON DELETE SET NULL
);
CREATE INDEX sessions_device ON sessions (device_nid);
CREATE INDEX sessions_replaces ON sessions (replaces) WHERE replaces IS NOT NULL;
CREATE INDEX sessions_expiry ON sessions (access_expires) WHERE access_expires IS NOT NULL;
COMMENT ON TABLE sessions IS 'hashes of access and refresh tokens; kept until logged out or expired';

CREATE TABLE login_tokens (
    token_hash  bytea PRIMARY KEY,
    account_nid bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    expires     timestamptz NOT NULL
);
CREATE INDEX login_tokens_account ON login_tokens (account_nid);
CREATE INDEX login_tokens_expires ON login_tokens (expires);
COMMENT ON TABLE login_tokens IS 'single-use tokens for m.login.token; two minutes';

CREATE TABLE registration_tokens (
    token_nid    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash   bytea NOT NULL UNIQUE,
    uses_allowed integer,                            -- NULL: any number
    completed    integer NOT NULL DEFAULT 0,
    expires      timestamptz                         -- NULL: never
);
COMMENT ON TABLE registration_tokens IS 'who may register; kept until revoked, or 30 days after the end; no personal data';

CREATE TABLE uia_sessions (
    session_hash       bytea PRIMARY KEY,            -- of the id the client holds
    operation          bytea NOT NULL,               -- the request, keyed with that id: cannot be guessed at from here
    completed          text[] NOT NULL DEFAULT '{}', -- stages, in order
    registration_token bigint REFERENCES registration_tokens ON DELETE CASCADE,
    expires            timestamptz NOT NULL
);
CREATE INDEX uia_sessions_expires ON uia_sessions (expires);
CREATE INDEX uia_sessions_token ON uia_sessions (registration_token) WHERE registration_token IS NOT NULL;
COMMENT ON TABLE uia_sessions IS 'user-interactive authentication under way; 15 minutes';

-- What must happen after a transaction, outside of it. A worker takes a job by moving run_after ahead, and deletes it
-- when it is done; whoever dies over it leaves it to the next.
CREATE TABLE jobs (
    job_nid     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text   NOT NULL,
    account_nid bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    attempts    integer NOT NULL DEFAULT 0,
    run_after   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX jobs_run_after ON jobs (run_after);
CREATE INDEX jobs_account ON jobs (account_nid);
COMMENT ON TABLE jobs IS 'work that must still be done for an account; until done';
