-- Workflows, bindings, runs with what happened in them, tasks with their fires. Times are microseconds since the epoch, UTC.

CREATE TABLE workflows (
    workflow_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    description TEXT NOT NULL,
    dag BLOB NOT NULL,
    node_count INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    PRIMARY KEY (workflow_id, version)
);

CREATE TABLE bindings (
    intent TEXT NOT NULL PRIMARY KEY,
    workflow_id TEXT NOT NULL,
    min_confidence REAL NOT NULL
);

-- the dag is the run's own copy: a workflow may get new versions while it runs
CREATE TABLE runs (
    run_id TEXT NOT NULL PRIMARY KEY,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    dag BLOB NOT NULL,
    input TEXT NOT NULL,
    user_id TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    workflow_version INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    intent_id TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    traceparent TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    ended_us INTEGER,
    lease_owner TEXT NOT NULL,
    lease_until_us INTEGER NOT NULL
);

CREATE INDEX runs_by_time ON runs (created_us, run_id);
CREATE INDEX runs_by_intent ON runs (intent_id);
CREATE INDEX runs_by_task ON runs (task_id);
CREATE INDEX runs_ended ON runs (ended_us);
CREATE INDEX runs_unfinished ON runs (lease_until_us) WHERE status = 'running';

-- append-only: the state of a run is the fold over its facts
CREATE TABLE run_facts (
    run_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    fact TEXT NOT NULL,
    PRIMARY KEY (run_id, sequence)
);

CREATE TABLE tasks (
    task_id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    schedule BLOB NOT NULL,
    dag BLOB,
    workflow_id TEXT NOT NULL,
    input TEXT NOT NULL,
    user_id TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    next_fire_us INTEGER,
    last_fire_us INTEGER,
    last_run_id TEXT NOT NULL,
    last_problem TEXT NOT NULL,
    fire_count INTEGER NOT NULL,
    missed_count INTEGER NOT NULL
);

CREATE INDEX tasks_by_time ON tasks (created_us, task_id);
CREATE INDEX tasks_due ON tasks (next_fire_us) WHERE status = 'active';

-- one row a fire: that is what makes each start its run exactly once
CREATE TABLE task_fires (
    task_id TEXT NOT NULL,
    fire_us INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (task_id, fire_us)
);

CREATE INDEX task_fires_by_run ON task_fires (run_id);
