"""Every SQL statement about tasks and their fires, each a named function inside the caller's transaction."""

from dataclasses import asdict, fields

from mesh.db import Row, Transaction
from services.orchestration.records import TaskRecord
from services.orchestration.store import Page

# the statements below are put together from these constants only, never from values
_COLUMNS = ", ".join(field.name for field in fields(TaskRecord))
_VALUES = ", ".join(f":{field.name}" for field in fields(TaskRecord))
_CHANGES = ", ".join(f"{field.name} = excluded.{field.name}" for field in fields(TaskRecord) if field.name != "task_id")
# a task that has fired for the last time, and of whose runs none is kept
_OLD = "status = 'done' AND last_fire_us < :before_us AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.task_id = tasks.task_id)"


def _task(row: Row) -> TaskRecord:
    return TaskRecord(**{field.name: row[field.name] for field in fields(TaskRecord)})


async def save_task(tx: Transaction, task: TaskRecord) -> None:
    """Adds a task or puts it in the place of the one with its id."""
    await tx.execute(
        f"INSERT INTO tasks ({_COLUMNS}) VALUES ({_VALUES}) ON CONFLICT (task_id) DO UPDATE SET {_CHANGES}",  # noqa: S608 # constants only
        asdict(task),
    )


async def find_task(tx: Transaction, task_id: str) -> TaskRecord | None:
    """One task, or None."""
    row = await tx.fetch_one(f"SELECT {_COLUMNS} FROM tasks WHERE task_id = :task_id", {"task_id": task_id})  # noqa: S608 # constants only
    return _task(row) if row else None


async def list_tasks(tx: Transaction, page: Page, *, status: str = "", user_id: str = "") -> list[TaskRecord]:
    """Tasks, newest first; an empty filter does not restrict."""
    rows = await tx.fetch_all(
        f"SELECT {_COLUMNS} FROM tasks"  # noqa: S608 # constants only
        " WHERE (created_us < :before_us OR (created_us = :before_us AND task_id < :before_id))"
        " AND (:status = '' OR status = :status) AND (:user_id = '' OR user_id = :user_id)"
        " ORDER BY created_us DESC, task_id DESC LIMIT :limit",
        {**asdict(page), "status": status, "user_id": user_id},
    )
    return [_task(row) for row in rows]


async def count_tasks(tx: Transaction) -> int:
    """How many tasks may still fire."""
    row = await tx.fetch_one("SELECT COUNT(*) AS number FROM tasks WHERE status <> 'done'")
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


async def tasks_ahead(tx: Transaction, now_us: int) -> list[str]:
    """Ids of active tasks that fired last, or were made, after now: the clock was set back."""
    rows = await tx.fetch_all(
        "SELECT task_id FROM tasks WHERE status = 'active' AND COALESCE(last_fire_us, created_us) > :now_us", {"now_us": now_us}
    )
    return [row["task_id"] for row in rows]


async def forget_fires(tx: Transaction, task_id: str, after_us: int) -> None:
    """Forgets a task's fires after a time, so that they can be made again."""
    await tx.execute(
        "DELETE FROM task_fires WHERE task_id = :task_id AND fire_us > :after_us", {"task_id": task_id, "after_us": after_us}
    )


async def next_due_us(tx: Transaction) -> int | None:
    """When the next active task fires, or None."""
    row = await tx.fetch_one("SELECT MIN(next_fire_us) AS next_us FROM tasks WHERE status = 'active'")
    return row["next_us"] if row else None


async def has_fired(tx: Transaction, task_id: str, fire_us: int) -> bool:
    """True when a fire was noted."""
    row = await tx.fetch_one(
        "SELECT 1 FROM task_fires WHERE task_id = :task_id AND fire_us = :fire_us", {"task_id": task_id, "fire_us": fire_us}
    )
    return row is not None


async def note_fire(tx: Transaction, task_id: str, fire_us: int, run_id: str) -> bool:
    """Notes a fire; False when it was noted before."""
    added = await tx.execute(
        "INSERT INTO task_fires (task_id, fire_us, run_id) VALUES (:task_id, :fire_us, :run_id) ON CONFLICT DO NOTHING",
        {"task_id": task_id, "fire_us": fire_us, "run_id": run_id},
    )
    return added > 0


async def anything_old(tx: Transaction, before_us: int) -> bool:
    """True when `forget_old` has something to do."""
    row = await tx.fetch_one(
        f"SELECT 1 FROM tasks WHERE {_OLD} UNION ALL SELECT 1 FROM task_fires WHERE run_id = '' AND fire_us < :before_us LIMIT 1",  # noqa: S608 # constants only
        {"before_us": before_us},
    )
    return row is not None


async def forget_old(tx: Transaction, before_us: int, limit: int) -> None:
    """Drops tasks that fired last before this and have no run left, and fires that started none: the others go with their runs."""
    old = await tx.fetch_all(
        f"SELECT task_id FROM tasks WHERE {_OLD} LIMIT :limit",  # noqa: S608 # constants only
        {"before_us": before_us, "limit": limit},
    )
    for row in old:
        await delete_task(tx, row["task_id"])
    await tx.execute("DELETE FROM task_fires WHERE run_id = '' AND fire_us < :before_us", {"before_us": before_us})
