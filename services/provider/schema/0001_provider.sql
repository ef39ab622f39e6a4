-- Every call to a model that was told: the ledger that all sums come from.
CREATE TABLE usage (
    usage_id TEXT NOT NULL PRIMARY KEY,
    time_us INTEGER NOT NULL,
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    user_id TEXT NOT NULL,
    selection_id TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    cost_units INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    cost_given INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    latency_us INTEGER NOT NULL
);
CREATE INDEX usage_by_time ON usage (time_us);
CREATE INDEX usage_by_user ON usage (user_id, time_us);

-- deleted_us is set instead of deleting, so that the default budget does not come back after someone deleted it.
CREATE TABLE budget (
    budget_id TEXT NOT NULL PRIMARY KEY,
    display_name TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    user_id TEXT NOT NULL,
    period INTEGER NOT NULL,
    time_zone TEXT NOT NULL,
    limit_nanos INTEGER NOT NULL,
    thresholds TEXT NOT NULL,
    mode INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    deleted_us INTEGER
);

-- Spent of a budget in the period that begins at period_us: kept with each call, so that no call adds up the ledger.
CREATE TABLE budget_spend (
    budget_id TEXT NOT NULL,
    period_us INTEGER NOT NULL,
    spent_nanos INTEGER NOT NULL,
    PRIMARY KEY (budget_id, period_us)
);

-- A threshold that was told; the key is what makes it once.
CREATE TABLE budget_alert (
    budget_id TEXT NOT NULL,
    period_us INTEGER NOT NULL,
    threshold INTEGER NOT NULL,
    told_us INTEGER NOT NULL,
    PRIMARY KEY (budget_id, period_us, threshold)
);

-- Thresholds that were heard of: they make selection thriftier until the period ends.
CREATE TABLE tightening (
    budget_id TEXT NOT NULL,
    period_us INTEGER NOT NULL,
    threshold INTEGER NOT NULL,
    PRIMARY KEY (budget_id, period_us)
);

CREATE TABLE selection (
    selection_id TEXT NOT NULL PRIMARY KEY,
    time_us INTEGER NOT NULL,
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    focus_area TEXT NOT NULL,
    user_id TEXT NOT NULL,
    strategy INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    tokens INTEGER NOT NULL
);

CREATE TABLE feedback (
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    domain TEXT NOT NULL,
    scores INTEGER NOT NULL,
    total REAL NOT NULL,
    PRIMARY KEY (provider_id, model, domain)
);

CREATE TABLE model_health (
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    uptime REAL NOT NULL,
    tokens_per_second REAL,
    outcomes INTEGER NOT NULL,
    PRIMARY KEY (provider_id, model)
);

CREATE TABLE provider_health (
    provider_id TEXT NOT NULL PRIMARY KEY,
    failures_in_row INTEGER NOT NULL,
    reachable INTEGER NOT NULL,
    changed_us INTEGER
);
