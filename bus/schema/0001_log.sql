-- The bus's one file. Rows of `batches` are never changed; type ids stand before the events, so that a filtered scan
-- does not touch the pages of the payload.
CREATE TABLE batches (
    position INTEGER PRIMARY KEY,
    last     INTEGER NOT NULL,
    time_us  INTEGER NOT NULL,
    types    BLOB    NOT NULL,
    checksum INTEGER NOT NULL,
    events   BLOB    NOT NULL
);

CREATE TABLE event_types (
    id   INTEGER PRIMARY KEY,
    type TEXT NOT NULL UNIQUE
);

-- The uniqueness window: 16 bytes of the event's uuid, then the source.
CREATE TABLE event_ids (
    position INTEGER PRIMARY KEY,
    key      BLOB NOT NULL UNIQUE
);

-- Position of the newest event of each subject, for expected versions.
CREATE TABLE subjects (
    subject  TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;

-- Single values: the epoch that fencing tokens begin with, the head (it outlives what retention deletes).
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE subscriptions (
    name           TEXT PRIMARY KEY,
    definition     BLOB    NOT NULL,
    paused         INTEGER NOT NULL,
    ack_floor      INTEGER NOT NULL,
    ack_ranges     BLOB    NOT NULL,
    create_time_us INTEGER NOT NULL
);

-- Events that were given out and not acknowledged; `event` only where the log may no longer hold it (a redriven dead letter).
CREATE TABLE retries (
    subscription TEXT    NOT NULL REFERENCES subscriptions (name) ON DELETE CASCADE,
    position     INTEGER NOT NULL,
    subject      TEXT    NOT NULL,
    attempts     INTEGER NOT NULL,
    due_us       INTEGER NOT NULL,
    error        TEXT    NOT NULL,
    event        BLOB,
    PRIMARY KEY (subscription, position)
);

CREATE TABLE dead_letters (
    subscription   TEXT    NOT NULL REFERENCES subscriptions (name) ON DELETE CASCADE,
    position       INTEGER NOT NULL,
    subject        TEXT    NOT NULL,
    event          BLOB    NOT NULL,
    reason         TEXT    NOT NULL,
    attempts       INTEGER NOT NULL,
    error          TEXT    NOT NULL,
    create_time_us INTEGER NOT NULL,
    PRIMARY KEY (subscription, position)
);
