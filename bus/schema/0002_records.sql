-- Uniqueness by record: the ids of a batch in one row (16 bytes each, then a uint16 type number each), remembered longer than the batch.
CREATE TABLE event_keys (
    position INTEGER PRIMARY KEY,
    time_us  INTEGER NOT NULL,
    keys     BLOB    NOT NULL,
    checksum INTEGER NOT NULL
);

-- A type number stands for a type and the source that tells it.
CREATE TABLE sourced_types (
    id     INTEGER PRIMARY KEY,
    type   TEXT NOT NULL,
    source TEXT NOT NULL,
    UNIQUE (type, source)
);

-- The copies of events that subscriptions keep for themselves are guarded as the log's own records are.
ALTER TABLE dead_letters ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE retries ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
