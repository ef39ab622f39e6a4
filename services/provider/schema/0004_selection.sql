-- Selection: named policies, aliases, whom a session or a prompt's beginning went to, and what was learned from outcomes.
CREATE TABLE selection_policy (
    policy_id TEXT NOT NULL PRIMARY KEY,
    definition TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL
);

CREATE TABLE model_alias (
    alias TEXT NOT NULL PRIMARY KEY,
    targets TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL
);

-- The model that a session was given last.
CREATE TABLE session_affinity (
    session_id TEXT NOT NULL PRIMARY KEY,
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    time_us INTEGER NOT NULL
);
CREATE INDEX session_affinity_by_time ON session_affinity (time_us);

-- Models whose provider has probably cached a prompt's beginning.
CREATE TABLE prefix_affinity (
    prefix_key TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    time_us INTEGER NOT NULL,
    PRIMARY KEY (prefix_key, provider_id, model)
);
CREATE INDEX prefix_affinity_by_time ON prefix_affinity (time_us);

-- What a prompt looked like, kept until it can be rated no more. No text: numbers that the learner needs.
CREATE TABLE selection_prompt (
    selection_id TEXT NOT NULL PRIMARY KEY,
    time_us INTEGER NOT NULL,
    embedding TEXT NOT NULL,
    features BLOB NOT NULL
);
CREATE INDEX selection_prompt_by_time ON selection_prompt (time_us);

-- The bounded memory that learned selection is fitted to: one row for a rating or an outcome of a selection.
CREATE TABLE outcome (
    outcome_id TEXT NOT NULL PRIMARY KEY,
    time_us INTEGER NOT NULL,
    provider_id TEXT NOT NULL,
    model TEXT NOT NULL,
    score REAL NOT NULL,
    weight REAL NOT NULL,
    embedding TEXT NOT NULL,
    features BLOB NOT NULL
);
CREATE INDEX outcome_by_time ON outcome (time_us);

-- Grows with every new outcome: how another process sees that there is something to learn.
CREATE TABLE outcome_count (
    name TEXT NOT NULL PRIMARY KEY,
    changes INTEGER NOT NULL
);
INSERT INTO outcome_count (name, changes) VALUES ('outcome', 0);
