-- A conversation that was given to providers: what was tried, used and spent. Neither it nor its answer is kept, but for the answer
-- to a caller who gave a request id.
CREATE TABLE query (
    query_id TEXT NOT NULL PRIMARY KEY,
    created_us INTEGER NOT NULL,
    state INTEGER NOT NULL,
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    reservation_id TEXT NOT NULL,
    labels TEXT NOT NULL,
    focus_area TEXT NOT NULL,
    ended_us INTEGER,
    usage TEXT NOT NULL,
    usage_estimated INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    tried TEXT NOT NULL,
    request_id TEXT,
    request_hash BLOB,
    answer BLOB
);
CREATE INDEX query_by_time ON query (created_us);
-- those that run: few, and looked for again and again
CREATE INDEX query_running ON query (query_id) WHERE state = 1;
-- NULL is no request id, of which there may be many
CREATE UNIQUE INDEX query_by_request ON query (request_id);
