-- What analytics keeps. Times are microseconds since the epoch, UTC; widths and durations are microseconds too.

-- Events that were heard and wait to be folded into buckets.
CREATE TABLE heard_event (
    seq INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    user_id TEXT NOT NULL,
    time_us INTEGER NOT NULL,
    delay_us INTEGER NOT NULL,
    duration_us INTEGER
);
CREATE INDEX heard_event_by_time ON heard_event (time_us);

-- Values of metrics that wait to be folded into buckets.
CREATE TABLE metric_sample (
    seq INTEGER PRIMARY KEY,
    series_id INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    value REAL NOT NULL
);
CREATE INDEX metric_sample_by_series ON metric_sample (series_id, time_us);

-- One row for each metric and distinct set of labels (canonical JSON).
CREATE TABLE series (
    series_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    latency INTEGER NOT NULL,
    first_us INTEGER NOT NULL,
    last_us INTEGER NOT NULL,
    UNIQUE (name, labels)
);

CREATE TABLE metric_bucket (
    series_id INTEGER NOT NULL,
    width_us INTEGER NOT NULL,
    start_us INTEGER NOT NULL,
    value_count INTEGER NOT NULL,
    value_sum REAL NOT NULL,
    value_min REAL NOT NULL,
    value_max REAL NOT NULL,
    sketch BLOB NOT NULL,
    PRIMARY KEY (series_id, width_us, start_us)
);
CREATE INDEX metric_bucket_by_age ON metric_bucket (width_us, start_us);

CREATE TABLE event_bucket (
    width_us INTEGER NOT NULL,
    start_us INTEGER NOT NULL,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    event_count INTEGER NOT NULL,
    PRIMARY KEY (width_us, start_us, type, source)
);

-- Since the beginning, whatever the buckets forget.
CREATE TABLE event_total (
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    event_count INTEGER NOT NULL,
    first_us INTEGER NOT NULL,
    last_us INTEGER NOT NULL,
    PRIMARY KEY (type, source)
);

CREATE TABLE user_day (
    user_id TEXT NOT NULL,
    day_us INTEGER NOT NULL,
    event_count INTEGER NOT NULL,
    first_us INTEGER NOT NULL,
    last_us INTEGER NOT NULL,
    PRIMARY KEY (user_id, day_us)
);
CREATE INDEX user_day_by_day ON user_day (day_us);

-- What learning told last of each user's skills.
CREATE TABLE user_mastery (
    user_id TEXT NOT NULL,
    domain TEXT NOT NULL,
    skill TEXT NOT NULL,
    level REAL NOT NULL,
    level_low REAL NOT NULL,
    time_us INTEGER NOT NULL,
    PRIMARY KEY (user_id, domain, skill)
);

-- What service.* events said of processes. condition: 1 up, 2 down, 3 stopped.
CREATE TABLE service_transition (
    service TEXT NOT NULL,
    process TEXT NOT NULL,
    time_us INTEGER NOT NULL,
    condition INTEGER NOT NULL,
    PRIMARY KEY (service, process, time_us)
);

-- The band that was told last for each service.
CREATE TABLE service_band (
    service TEXT NOT NULL PRIMARY KEY,
    band INTEGER NOT NULL,
    since_us INTEGER NOT NULL
);

CREATE TABLE badge_progress (
    user_id TEXT NOT NULL,
    badge_id TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (user_id, badge_id)
);

-- Distinct values and days that a rule has counted, until its badge is earned.
CREATE TABLE badge_item (
    user_id TEXT NOT NULL,
    badge_id TEXT NOT NULL,
    item TEXT NOT NULL,
    PRIMARY KEY (user_id, badge_id, item)
);

-- Name and description are kept as they were, so that a badge outlives its rule.
CREATE TABLE badge_earned (
    user_id TEXT NOT NULL,
    badge_id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    earned_us INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (user_id, badge_id)
);
CREATE INDEX badge_earned_by_time ON badge_earned (user_id, earned_us, badge_id);
