-- Labels beside provider, model and user, as JSON text in the order of names; and the other kinds of windows (kind 1: calendar).
ALTER TABLE budget ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
ALTER TABLE budget ADD COLUMN each_label TEXT NOT NULL DEFAULT '';
ALTER TABLE budget ADD COLUMN kind INTEGER NOT NULL DEFAULT 1;
ALTER TABLE budget ADD COLUMN length_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE budget ADD COLUMN anchor_us INTEGER NOT NULL DEFAULT 0;

-- Labels of usage beside provider, model and user.
CREATE TABLE usage_label (
    usage_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (usage_id, name)
);
CREATE INDEX usage_label_by_value ON usage_label (name, value, usage_id);
-- What the best model would have cost, where that is known; units and nanos apart like the cost.
ALTER TABLE usage ADD COLUMN best_units INTEGER;
ALTER TABLE usage ADD COLUMN best_nanos INTEGER;

-- What a slot of a budget's window holds for one holder: spent for good, and reserved by calls that run.
CREATE TABLE budget_account (
    budget_id TEXT NOT NULL,
    holder TEXT NOT NULL,
    slot_us INTEGER NOT NULL,
    spent_nanos INTEGER NOT NULL,
    reserved_nanos INTEGER NOT NULL,
    PRIMARY KEY (budget_id, holder, slot_us)
);
INSERT INTO budget_account (budget_id, holder, slot_us, spent_nanos, reserved_nanos)
SELECT budget_id, '', period_us, spent_nanos, 0 FROM budget_spend;
DROP TABLE budget_spend;

-- A threshold that was told; the key is what makes it once.
CREATE TABLE budget_notice (
    budget_id TEXT NOT NULL,
    holder TEXT NOT NULL,
    slot_us INTEGER NOT NULL,
    threshold INTEGER NOT NULL,
    told_us INTEGER NOT NULL,
    PRIMARY KEY (budget_id, holder, slot_us, threshold)
);
INSERT INTO budget_notice (budget_id, holder, slot_us, threshold, told_us)
SELECT budget_id, '', period_us, threshold, told_us FROM budget_alert;
DROP TABLE budget_alert;

-- Thresholds that were heard of: they make selection thriftier until the window ends.
CREATE TABLE budget_tightening (
    budget_id TEXT NOT NULL,
    holder TEXT NOT NULL,
    slot_us INTEGER NOT NULL,
    threshold INTEGER NOT NULL,
    PRIMARY KEY (budget_id, holder, slot_us)
);
INSERT INTO budget_tightening (budget_id, holder, slot_us, threshold)
SELECT budget_id, '', period_us, threshold FROM tightening;
DROP TABLE tightening;

-- Another revision with each change of budgets or burst policies, so that processes may keep them in memory between transactions.
CREATE TABLE limits_revision (
    name TEXT NOT NULL PRIMARY KEY,
    revision TEXT NOT NULL
);

-- state: 1 open, 2 settled, 3 released, 4 expired.
CREATE TABLE reservation (
    reservation_id TEXT NOT NULL PRIMARY KEY,
    state INTEGER NOT NULL,
    labels TEXT NOT NULL,
    amount_nanos INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    ended_us INTEGER,
    usage_id TEXT NOT NULL,
    cost_nanos INTEGER,
    late INTEGER NOT NULL,
    wait_us INTEGER NOT NULL,
    taken TEXT NOT NULL,
    max_output_tokens INTEGER NOT NULL
);
CREATE INDEX reservation_open ON reservation (expires_us, reservation_id) WHERE state = 1;

CREATE TABLE burst_policy (
    policy_id TEXT NOT NULL PRIMARY KEY,
    display_name TEXT NOT NULL,
    labels TEXT NOT NULL,
    by_labels TEXT NOT NULL,
    measure INTEGER NOT NULL,
    rate INTEGER NOT NULL,
    period_us INTEGER NOT NULL,
    burst INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    max_wait_us INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL
);

-- The theoretical arrival time (nanoseconds since 1970) of each bucket of a policy; a missing one, or one in the past, is full.
CREATE TABLE burst_state (
    policy_id TEXT NOT NULL,
    bucket TEXT NOT NULL,
    tat_ns INTEGER NOT NULL,
    PRIMARY KEY (policy_id, bucket)
);
CREATE INDEX burst_state_by_tat ON burst_state (tat_ns);

-- What was learned of models' answers; user_id is empty for those of everybody.
CREATE TABLE estimate (
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    user_id TEXT NOT NULL,
    calls INTEGER NOT NULL,
    mean REAL NOT NULL,
    variance REAL NOT NULL,
    z REAL NOT NULL,
    ratio REAL NOT NULL,
    covered REAL NOT NULL,
    seen_us INTEGER NOT NULL,
    PRIMARY KEY (provider_id, model, user_id)
);
CREATE INDEX estimate_by_time ON estimate (seen_us);
