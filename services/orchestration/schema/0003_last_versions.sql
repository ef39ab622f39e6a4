-- What tells the next version of a workflow that was deleted, and which tasks and fires are forgotten.
CREATE INDEX runs_by_workflow ON runs (workflow_id, workflow_version);
CREATE INDEX tasks_done ON tasks (last_fire_us) WHERE status = 'done';
CREATE INDEX task_fires_vain ON task_fires (fire_us) WHERE run_id = '';
