"""Every SQL statement about workflows and what is bound to them, each a named function inside the caller's transaction."""

from dataclasses import asdict, fields

from mesh.db import Row, Transaction
from services.orchestration.records import Binding, WorkflowRecord

# the statements below are put together from these constants only, never from values
_COLUMNS = ", ".join(field.name for field in fields(WorkflowRecord))
_VALUES = ", ".join(f":{field.name}" for field in fields(WorkflowRecord))


def _workflow(row: Row) -> WorkflowRecord:
    return WorkflowRecord(**{field.name: row[field.name] for field in fields(WorkflowRecord)})


async def insert_workflow(tx: Transaction, workflow: WorkflowRecord) -> None:
    """Adds a version."""
    await tx.execute(f"INSERT INTO workflows ({_COLUMNS}) VALUES ({_VALUES})", asdict(workflow))  # noqa: S608 # constants only


async def find_workflow(tx: Transaction, workflow_id: str, version: int = 0) -> WorkflowRecord | None:
    """A version of a workflow, the newest for 0; None when there is none."""
    row = await tx.fetch_one(
        f"SELECT {_COLUMNS} FROM workflows"  # noqa: S608 # constants only
        " WHERE workflow_id = :workflow_id AND (:version = 0 OR version = :version) ORDER BY version DESC LIMIT 1",
        {"workflow_id": workflow_id, "version": version},
    )
    return _workflow(row) if row else None


async def last_version(tx: Transaction, workflow_id: str) -> int:
    """The highest version that a workflow of this id has or had, as far as a run that is kept still names it; 0 for none."""
    row = await tx.fetch_one(
        "SELECT COALESCE(MAX(version), 0) AS version FROM (SELECT version FROM workflows WHERE workflow_id = :workflow_id"
        " UNION ALL SELECT MAX(workflow_version) FROM runs WHERE workflow_id = :workflow_id) AS known",
        {"workflow_id": workflow_id},
    )
    return int(row["version"]) if row else 0


async def list_workflows(tx: Transaction, after_id: str, limit: int) -> list[WorkflowRecord]:
    """Workflows by id, each in its newest version."""
    rows = await tx.fetch_all(
        f"SELECT {_COLUMNS} FROM workflows AS one"  # noqa: S608 # constants only
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
