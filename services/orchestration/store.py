"""Every SQL statement of the orchestration service, each a named function."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from mesh.db import Row, Transaction
from services.orchestration import run as runs
from services.orchestration.records import Binding, RunRecord, TaskRecord, WorkflowRecord, fact_from_text, fact_to_text

_RUN_COLUMNS = ", ".join(field.name for field in fields(RunRecord))
_RUN_VALUES = ", ".join(f":{field.name}" for field in fields(RunRecord))
_TASK_COLUMNS = ", ".join(field.name for field in fields(TaskRecord))
_TASK_VALUES = ", ".join(f":{field.name}" for field in fields(TaskRecord))
_WORKFLOW_COLUMNS = ", ".join(field.name for field in fields(WorkflowRecord))
_WORKFLOW_VALUES = ", ".join(f":{field.name}" for field in fields(WorkflowRecord))
# every statement below is put together from these constants only, never from values
_LATEST = 1 << 62


@dataclass(frozen=True)
class Page:
    """Where a list newest first goes on: before this (time, id); at most `limit` rows."""

    limit: int
    before_us: int = _LATEST
    before_id: str = ""


def _run(row: Row) -> RunRecord:
    return RunRecord(**{field.name: row[field.name] for field in fields(RunRecord)})


def _task(row: Row) -> TaskRecord:
    return TaskRecord(**{field.name: row[field.name] for field in fields(TaskRecord)})


def _workflow(row: Row) -> WorkflowRecord:
    return WorkflowRecord(**{field.name: row[field.name] for field in fields(WorkflowRecord)})


# --- runs ---


async def insert_run(tx: Transaction, run: RunRecord) -> None:
    """Adds a run that nobody drives yet."""
    await tx.execute(
        f"INSERT INTO runs ({_RUN_COLUMNS}, lease_owner, lease_until_us) VALUES ({_RUN_VALUES}, '', 0)",  # noqa: S608 # constants only
        asdict(run),
    )


async def find_run(tx: Transaction, run_id: str) -> RunRecord | None:
    """One run, or None."""
    row = await tx.fetch_one(f"SELECT {_RUN_COLUMNS} FROM runs WHERE run_id = :run_id", {"run_id": run_id})  # noqa: S608 # constants only
    return _run(row) if row else None


async def list_runs(
    tx: Transaction,
    page: Page,
    *,
    status: str = "",
    user_id: str = "",
    workflow_id: str = "",
    task_id: str = "",
    intent_id: str = "",
) -> list[RunRecord]:
    """Runs, newest first; an empty filter does not restrict."""
    rows = await tx.fetch_all(
        f"SELECT {_RUN_COLUMNS} FROM runs"  # noqa: S608 # constants only
        " WHERE (created_us < :before_us OR (created_us = :before_us AND run_id < :before_id))"
        " AND (:status = '' OR status = :status) AND (:user_id = '' OR user_id = :user_id)"
        " AND (:workflow_id = '' OR workflow_id = :workflow_id) AND (:task_id = '' OR task_id = :task_id)"
        " AND (:intent_id = '' OR intent_id = :intent_id)"
        " ORDER BY created_us DESC, run_id DESC LIMIT :limit",
        {
            **asdict(page),
            "status": status,
            "user_id": user_id,
            "workflow_id": workflow_id,
            "task_id": task_id,
            "intent_id": intent_id,
        },
    )
    return [_run(row) for row in rows]


async def count_unfinished_runs(tx: Transaction) -> int:
    """How many runs have not ended."""
    row = await tx.fetch_one("SELECT COUNT(*) AS number FROM runs WHERE status = 'running'")
    return int(row["number"]) if row else 0


async def claim_runs(tx: Transaction, owner: str, now_us: int, until_us: int, limit: int) -> list[str]:
    """Leases unfinished runs whose lease has ended to this owner, the oldest first; gives their ids."""
    rows = await tx.fetch_all(
        "UPDATE runs SET lease_owner = :owner, lease_until_us = :until_us WHERE status = 'running' AND run_id IN"
        " (SELECT run_id FROM runs WHERE status = 'running' AND lease_until_us <= :now_us ORDER BY created_us LIMIT :limit)"
        " RETURNING run_id",
        {"owner": owner, "now_us": now_us, "until_us": until_us, "limit": limit},
    )
    return [row["run_id"] for row in rows]


async def renew_leases(tx: Transaction, owner: str, until_us: int) -> set[str]:
    """Extends every lease of this owner; gives the runs it still holds."""
    rows = await tx.fetch_all(
        "UPDATE runs SET lease_until_us = :until_us WHERE status = 'running' AND lease_owner = :owner RETURNING run_id",
        {"owner": owner, "until_us": until_us},
    )
    return {row["run_id"] for row in rows}


async def release_leases(tx: Transaction, owner: str, run_id: str = "") -> None:
    """Gives back the leases of this owner, or that of one run, so that others can go on at once."""
    await tx.execute(
        "UPDATE runs SET lease_owner = '', lease_until_us = 0"
        " WHERE status = 'running' AND lease_owner = :owner AND (:run_id = '' OR run_id = :run_id)",
        {"owner": owner, "run_id": run_id},
    )


async def holds_lease(tx: Transaction, run_id: str, owner: str) -> bool:
    """True while this owner drives the run: nobody took it over, nobody ended it."""
    row = await tx.fetch_one(
        "SELECT 1 FROM runs WHERE run_id = :run_id AND lease_owner = :owner AND status = 'running'",
        {"run_id": run_id, "owner": owner},
    )
    return row is not None


async def end_run(tx: Transaction, run_id: str, status: str, reason: str, ended_us: int) -> None:
    """Notes the end of a run and gives its lease back."""
    await tx.execute(
        "UPDATE runs SET status = :status, reason = :reason, ended_us = :ended_us, lease_owner = '', lease_until_us = 0"
        " WHERE run_id = :run_id",
        {"run_id": run_id, "status": status, "reason": reason, "ended_us": ended_us},
    )


async def append_facts(tx: Transaction, run_id: str, first_sequence: int, facts: Sequence[runs.Fact]) -> None:
    """Adds facts; the primary key refuses two writers of one sequence."""
    await tx.execute_many(
        "INSERT INTO run_facts (run_id, sequence, fact) VALUES (:run_id, :sequence, :fact)",
        [
            {"run_id": run_id, "sequence": sequence, "fact": fact_to_text(fact)}
            for sequence, fact in enumerate(facts, start=first_sequence)
        ],
    )


async def facts_of(tx: Transaction, run_id: str) -> list[runs.Fact]:
    """What happened in a run, in order."""
    rows = await tx.fetch_all("SELECT fact FROM run_facts WHERE run_id = :run_id ORDER BY sequence", {"run_id": run_id})
    return [fact_from_text(row["fact"]) for row in rows]


async def forget_runs(tx: Transaction, before_us: int, limit: int) -> int:
    """Drops runs that ended before this, with their facts and fires; gives the number of runs."""
    chosen = "SELECT run_id FROM runs WHERE ended_us < :before_us AND status <> 'running' ORDER BY created_us LIMIT :limit"
    old = [row["run_id"] for row in await tx.fetch_all(chosen, {"before_us": before_us, "limit": limit})]
    for statement in (
        "DELETE FROM run_facts WHERE run_id = :run_id",
        "DELETE FROM task_fires WHERE run_id = :run_id",
        "DELETE FROM runs WHERE run_id = :run_id",
    ):
        await tx.execute_many(statement, [{"run_id": run_id} for run_id in old])
    return len(old)


# --- workflows and bindings ---


async def insert_workflow(tx: Transaction, workflow: WorkflowRecord) -> None:
    """Adds a version."""
    await tx.execute(f"INSERT INTO workflows ({_WORKFLOW_COLUMNS}) VALUES ({_WORKFLOW_VALUES})", asdict(workflow))  # noqa: S608 # constants only


async def find_workflow(tx: Transaction, workflow_id: str, version: int = 0) -> WorkflowRecord | None:
    """A version of a workflow, the newest for 0; None when there is none."""
    row = await tx.fetch_one(
        f"SELECT {_WORKFLOW_COLUMNS} FROM workflows"  # noqa: S608 # constants only
        " WHERE workflow_id = :workflow_id AND (:version = 0 OR version = :version) ORDER BY version DESC LIMIT 1",
        {"workflow_id": workflow_id, "version": version},
    )
    return _workflow(row) if row else None


async def list_workflows(tx: Transaction, after_id: str, limit: int) -> list[WorkflowRecord]:
    """Workflows by id, each in its newest version."""
    rows = await tx.fetch_all(
        f"SELECT {_WORKFLOW_COLUMNS} FROM workflows AS one"  # noqa: S608 # constants only
        " WHERE workflow_id > :after_id"
        " AND version = (SELECT MAX(version) FROM workflows AS other WHERE other.workflow_id = one.workflow_id)"
        " ORDER BY workflow_id LIMIT :limit",
        {"after_id": after_id, "limit": limit},
    )
    return [_workflow(row) for row in rows]


async def count_workflows(tx: Transaction) -> int:
    """How many versions of workflows are kept."""
    row = await tx.fetch_one("SELECT COUNT(*) AS number FROM workflows")
    return int(row["number"]) if row else 0


async def delete_workflow(tx: Transaction, workflow_id: str) -> int:
    """Deletes every version; gives their number."""
    return await tx.execute("DELETE FROM workflows WHERE workflow_id = :workflow_id", {"workflow_id": workflow_id})


async def users_of_workflow(tx: Transaction, workflow_id: str) -> list[str]:
    """What still uses a workflow: "intents/<name>" and "tasks/<id>" of tasks that are not done."""
    rows = await tx.fetch_all(
        "SELECT 'intents/' || intent AS resource FROM bindings WHERE workflow_id = :workflow_id"
        " UNION ALL SELECT 'tasks/' || task_id FROM tasks WHERE workflow_id = :workflow_id AND status <> 'done' LIMIT 10",
        {"workflow_id": workflow_id},
    )
    return [row["resource"] for row in rows]


async def bind(tx: Transaction, binding: Binding) -> None:
    """Binds an intent, in place of what it was bound to."""
    await tx.execute(
        "INSERT INTO bindings (intent, workflow_id, min_confidence) VALUES (:intent, :workflow_id, :min_confidence)"
        " ON CONFLICT (intent) DO UPDATE SET workflow_id = excluded.workflow_id, min_confidence = excluded.min_confidence",
        asdict(binding),
    )


async def unbind(tx: Transaction, intent: str) -> None:
    """Frees an intent."""
    await tx.execute("DELETE FROM bindings WHERE intent = :intent", {"intent": intent})


async def bindings(tx: Transaction) -> dict[str, Binding]:
    """Every binding by its intent."""
    rows = await tx.fetch_all("SELECT intent, workflow_id, min_confidence FROM bindings")
    return {row["intent"]: Binding(row["intent"], row["workflow_id"], row["min_confidence"]) for row in rows}


async def find_binding(tx: Transaction, intent: str) -> Binding | None:
    """What an intent is bound to, or None."""
    row = await tx.fetch_one("SELECT intent, workflow_id, min_confidence FROM bindings WHERE intent = :intent", {"intent": intent})
    return Binding(row["intent"], row["workflow_id"], row["min_confidence"]) if row else None


# --- tasks ---


async def save_task(tx: Transaction, task: TaskRecord) -> None:
    """Adds a task or puts it in the place of the one with its id."""
    changed = ", ".join(f"{field.name} = excluded.{field.name}" for field in fields(TaskRecord) if field.name != "task_id")
    await tx.execute(
        f"INSERT INTO tasks ({_TASK_COLUMNS}) VALUES ({_TASK_VALUES}) ON CONFLICT (task_id) DO UPDATE SET {changed}",  # noqa: S608 # constants only
        asdict(task),
    )


async def find_task(tx: Transaction, task_id: str) -> TaskRecord | None:
    """One task, or None."""
    row = await tx.fetch_one(f"SELECT {_TASK_COLUMNS} FROM tasks WHERE task_id = :task_id", {"task_id": task_id})  # noqa: S608 # constants only
    return _task(row) if row else None


async def list_tasks(tx: Transaction, page: Page, *, status: str = "", user_id: str = "") -> list[TaskRecord]:
    """Tasks, newest first; an empty filter does not restrict."""
    rows = await tx.fetch_all(
        f"SELECT {_TASK_COLUMNS} FROM tasks"  # noqa: S608 # constants only
        " WHERE (created_us < :before_us OR (created_us = :before_us AND task_id < :before_id))"
        " AND (:status = '' OR status = :status) AND (:user_id = '' OR user_id = :user_id)"
        " ORDER BY created_us DESC, task_id DESC LIMIT :limit",
        {**asdict(page), "status": status, "user_id": user_id},
    )
    return [_task(row) for row in rows]


async def count_tasks(tx: Transaction) -> int:
    """How many tasks are kept."""
    row = await tx.fetch_one("SELECT COUNT(*) AS number FROM tasks")
    return int(row["number"]) if row else 0


async def delete_task(tx: Transaction, task_id: str) -> int:
    """Deletes a task and its fires; gives 0 when there was none."""
    await tx.execute("DELETE FROM task_fires WHERE task_id = :task_id", {"task_id": task_id})
    return await tx.execute("DELETE FROM tasks WHERE task_id = :task_id", {"task_id": task_id})


async def due_tasks(tx: Transaction, now_us: int, limit: int) -> list[str]:
    """Ids of active tasks whose next fire has come, the longest due first."""
    rows = await tx.fetch_all(
        "SELECT task_id FROM tasks WHERE status = 'active' AND next_fire_us <= :now_us ORDER BY next_fire_us LIMIT :limit",
        {"now_us": now_us, "limit": limit},
    )
    return [row["task_id"] for row in rows]


async def next_due_us(tx: Transaction) -> int | None:
    """When the next active task fires, or None."""
    row = await tx.fetch_one("SELECT MIN(next_fire_us) AS next_us FROM tasks WHERE status = 'active'")
    return row["next_us"] if row else None


async def note_fire(tx: Transaction, task_id: str, fire_us: int, run_id: str) -> bool:
    """Notes a fire; False when it was noted before."""
    added = await tx.execute(
        "INSERT INTO task_fires (task_id, fire_us, run_id) VALUES (:task_id, :fire_us, :run_id) ON CONFLICT DO NOTHING",
        {"task_id": task_id, "fire_us": fire_us, "run_id": run_id},
    )
    return added > 0
