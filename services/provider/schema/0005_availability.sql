-- What was told last of a provider's state (0: nothing yet), so that a change by time alone is told once.
ALTER TABLE provider_health ADD COLUMN told INTEGER NOT NULL DEFAULT 0;

-- Failures since the last success, moving averages, when it last changed, and the newest bucket of the rolling window (JSON, made by
-- the store); older buckets are put away, so that a call reads and writes one bucket and not the window.
ALTER TABLE model_health ADD COLUMN failures_in_row INTEGER NOT NULL DEFAULT 0;
ALTER TABLE model_health ADD COLUMN latency_us INTEGER;
ALTER TABLE model_health ADD COLUMN first_token_us INTEGER;
ALTER TABLE model_health ADD COLUMN last_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE model_health ADD COLUMN seen TEXT NOT NULL DEFAULT '';

CREATE TABLE key_health (
    provider_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    failures_in_row INTEGER NOT NULL,
    latency_us INTEGER,
    first_token_us INTEGER,
    last_us INTEGER NOT NULL,
    seen TEXT NOT NULL,
    PRIMARY KEY (provider_id, key_id)
);

-- Earlier buckets of the rolling windows of models (key_id '') and keys (model ''), numbered by their width since the Unix epoch.
CREATE TABLE health_bucket (
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    key_id TEXT NOT NULL,
    width_us INTEGER NOT NULL,
    number INTEGER NOT NULL,
    tested INTEGER NOT NULL,
    own INTEGER NOT NULL,
    seen TEXT NOT NULL,
    PRIMARY KEY (provider_id, model, key_id, width_us, number)
);

-- What speaks against a provider, a model, a key, or a key with a model ('': none); without a row nothing does.
CREATE TABLE availability (
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    key_id TEXT NOT NULL,
    opened_us INTEGER,
    open_until_us INTEGER NOT NULL,
    opens INTEGER NOT NULL,
    closed_us INTEGER NOT NULL,
    trials TEXT NOT NULL,
    why TEXT NOT NULL,
    cool_kind INTEGER NOT NULL,
    cool_detail TEXT NOT NULL,
    cool_since_us INTEGER NOT NULL,
    cool_until_us INTEGER NOT NULL,
    cool_times INTEGER NOT NULL,
    drained_us INTEGER,
    drain_until_us INTEGER,
    drain_reason TEXT NOT NULL,
    told_state INTEGER NOT NULL,
    told_priority INTEGER NOT NULL,
    PRIMARY KEY (provider_id, model, key_id)
);

-- Calls on their way, each on a lease: one whose process died is not counted for ever.
CREATE TABLE in_flight (
    call_id TEXT NOT NULL PRIMARY KEY,
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    key_id TEXT NOT NULL,
    until_us INTEGER NOT NULL
);
CREATE INDEX in_flight_by_end ON in_flight (until_us);

CREATE TABLE fallback_chain (
    chain_id TEXT NOT NULL PRIMARY KEY,
    description TEXT NOT NULL,
    links TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL
);
