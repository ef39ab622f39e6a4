"""Every SQL statement about runs, each a named function inside the caller's transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from mesh.db import Row, Transaction
from services.orchestration import run as runs
from services.orchestration.records import RunRecord, fact_from_text, fact_to_text

# the statements below are put together from these constants only, never from values
_COLUMNS = ", ".join(field.name for field in fields(RunRecord))
_VALUES = ", ".join(f":{field.name}" for field in fields(RunRecord))
_LATEST = 1 << 62
# nobody drives it: its lease has ended, or is one that only a clock that has been set back since can have given
_FREE = "status = 'running' AND (lease_until_us <= :now_us OR lease_until_us > :latest_us)"


@dataclass(frozen=True)
class Page:
    """Where a list newest first goes on: before this (time, id); at most `limit` rows."""

    limit: int
    before_us: int = _LATEST
    before_id: str = ""


def _run(row: Row) -> RunRecord:
    return RunRecord(**{field.name: row[field.name] for field in fields(RunRecord)})


async def insert_run(tx: Transaction, run: RunRecord) -> None:
    """Adds a run that nobody drives yet."""
    await tx.execute(
        f"INSERT INTO runs ({_COLUMNS}, lease_owner, lease_until_us) VALUES ({_VALUES}, '', 0)",  # noqa: S608 # constants only
        asdict(run),
    )


async def find_run(tx: Transaction, run_id: str) -> RunRecord | None:
    """One run, or None."""
    row = await tx.fetch_one(f"SELECT {_COLUMNS} FROM runs WHERE run_id = :run_id", {"run_id": run_id})  # noqa: S608 # constants only
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
        f"SELECT {_COLUMNS} FROM runs"  # noqa: S608 # constants only
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


def _latest(now_us: int, until_us: int) -> int:
    """When a lease ends at the latest, twice as long as one that begins now: those who renew may have looked at the clock later."""
    return now_us + 2 * (until_us - now_us)


async def claim_runs(tx: Transaction, owner: str, now_us: int, until_us: int, limit: int) -> list[str]:
    """Leases unfinished runs whose lease has ended to this owner until then, the oldest first; gives their ids."""
    rows = await tx.fetch_all(
        "UPDATE runs SET lease_owner = :owner, lease_until_us = :until_us WHERE status = 'running' AND run_id IN"  # noqa: S608 # constants only
        f" (SELECT run_id FROM runs WHERE {_FREE} ORDER BY created_us LIMIT :limit)"
        " RETURNING run_id",
        {"owner": owner, "now_us": now_us, "until_us": until_us, "latest_us": _latest(now_us, until_us), "limit": limit},
    )
    return [row["run_id"] for row in rows]


async def renew_leases(tx: Transaction, owner: str, run_ids: Iterable[str], until_us: int) -> set[str]:
    """Extends leases of this owner; gives the runs it still holds."""
    held = set()
    for run_id in run_ids:
        changed = await tx.execute(
            "UPDATE runs SET lease_until_us = :until_us WHERE run_id = :run_id AND status = 'running' AND lease_owner = :owner",
            {"run_id": run_id, "owner": owner, "until_us": until_us},
        )
        if changed:
            held.add(run_id)
    return held


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


async def count_facts(tx: Transaction, run_id: str) -> int:
    """How many facts a run has; also the sequence of its next one."""
    row = await tx.fetch_one("SELECT COUNT(*) AS number FROM run_facts WHERE run_id = :run_id", {"run_id": run_id})
    return int(row["number"]) if row else 0


async def claimable(tx: Transaction, now_us: int, until_us: int) -> bool:
    """True when there is an unfinished run that nobody holds a lease of, where one that began now would end then."""
    row = await tx.fetch_one(
        f"SELECT 1 FROM runs WHERE {_FREE} LIMIT 1",  # noqa: S608 # constants only
        {"now_us": now_us, "latest_us": _latest(now_us, until_us)},
    )
    return row is not None


async def old_runs(tx: Transaction, before_us: int, limit: int) -> list[str]:
    """Ids of runs that ended before this, the oldest first."""
    rows = await tx.fetch_all(
        "SELECT run_id FROM runs WHERE ended_us < :before_us ORDER BY ended_us LIMIT :limit",
        {"before_us": before_us, "limit": limit},
    )
    return [row["run_id"] for row in rows]


async def forget_runs(tx: Transaction, before_us: int, limit: int) -> int:
    """Drops runs that ended before this, with their facts and fires; gives the number of runs."""
    old = [{"run_id": run_id} for run_id in await old_runs(tx, before_us, limit)]
    await tx.execute_many("DELETE FROM run_facts WHERE run_id = :run_id", old)
    await tx.execute_many("DELETE FROM task_fires WHERE run_id = :run_id", old)
    await tx.execute_many("DELETE FROM runs WHERE run_id = :run_id", old)
    return len(old)
