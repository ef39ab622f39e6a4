"""Statements about runs: which one may write an index, whether it is alive, what is left of one that is not."""

from mesh.db import Transaction
from services.context.store import FOREVER, Repository, find_repository, next_ids

# its sign of life has not run out, nor is it one that only a clock that has been set back since can have given
_ALIVE = "run_until_us > :now_us AND run_until_us <= :now_us + 2 * :lease_us"


async def begin_run(tx: Transaction, repo_id: str, root: str, run_id: str, owner: str, until_us: int) -> Repository:
    """Makes `run_id` the one that may write, alive until then at most; what an earlier run left unpublished is undone."""
    params = {"repo_id": repo_id, "root": root, "run_id": run_id, "owner": owner, "until_us": until_us}
    params["index_id"] = await next_ids(tx, "index", 1)
    await tx.execute(
        "INSERT INTO repositories (repo_id, index_id, root, generation, building, run_id, files, bytes, lines, symbols, imports,"
        " resolved_imports, skipped, commit_id, index_us, check_us, duration_us, stale_told) VALUES (:repo_id, :index_id, :root, 0,"
        " 0, :run_id, 0, 0, 0, 0, 0, 0, '[]', '', 0, 0, 0, '') ON CONFLICT (repo_id) DO NOTHING",
        params,
    )
    await tx.execute(
        "UPDATE repositories SET run_id = :run_id, run_owner = :owner, run_until_us = :until_us, building = building + 1,"
        " root = CASE WHEN generation = 0 THEN :root ELSE root END WHERE repo_id = :repo_id",
        params,
    )
    begun = await find_repository(tx, repo_id)
    if begun is None:
        raise LookupError(repo_id)
    await _undo_unpublished(tx, begun)
    return begun


async def _undo_unpublished(tx: Transaction, at: Repository) -> None:
    shown = {"index_id": at.index_id, "generation": at.generation, "forever": FOREVER}
    await tx.execute("UPDATE files SET died = 0 WHERE index_id = :index_id AND born > :generation", shown)
    await tx.execute(
        "UPDATE files SET died = :forever WHERE index_id = :index_id AND died > :generation AND died < :forever", shown
    )
    await tx.execute("DELETE FROM targets WHERE index_id = :index_id AND born > :generation", shown)
    await tx.execute(
        "UPDATE targets SET died = :forever WHERE index_id = :index_id AND died > :generation AND died < :forever", shown
    )


async def may_write(tx: Transaction, repo_id: str, run_id: str) -> bool:
    """False when another run has begun since."""
    row = await tx.fetch_one("SELECT run_id FROM repositories WHERE repo_id = :repo_id", {"repo_id": repo_id})
    return row is not None and row["run_id"] == run_id


async def renew_run(tx: Transaction, repo_id: str, run_id: str, until_us: int) -> None:
    """A sign of life: the run is alive until then, if it still is the one that may write."""
    await tx.execute(
        "UPDATE repositories SET run_until_us = :until_us WHERE repo_id = :repo_id AND run_id = :run_id",
        {"repo_id": repo_id, "run_id": run_id, "until_us": until_us},
    )


async def end_run(tx: Transaction, repo_id: str, run_id: str) -> None:
    """Notes that the run is over; one that was the first and found nothing to show frees the id."""
    params = {"repo_id": repo_id, "run_id": run_id}
    await tx.execute("DELETE FROM repositories WHERE repo_id = :repo_id AND run_id = :run_id AND generation = 0", params)
    await tx.execute("UPDATE repositories SET run_until_us = 0 WHERE repo_id = :repo_id AND run_id = :run_id", params)


async def end_runs_of(tx: Transaction, owner: str) -> None:
    """Notes that the runs of a process that is gone are over."""
    await tx.execute("UPDATE repositories SET run_until_us = 0 WHERE run_owner = :owner AND run_until_us <> 0", {"owner": owner})


async def is_indexed_now(tx: Transaction, repo_id: str, now_us: int, lease_us: int) -> bool:
    """True while a run of the repository is alive, in whichever process."""
    row = await tx.fetch_one(
        f"SELECT 1 FROM repositories WHERE repo_id = :repo_id AND {_ALIVE}",  # noqa: S608 # constants only
        {"repo_id": repo_id, "now_us": now_us, "lease_us": lease_us},
    )
    return row is not None


async def any_killed_first(tx: Transaction, now_us: int, lease_us: int) -> bool:
    """True when a repository is there whose first run was killed."""
    row = await tx.fetch_one(
        f"SELECT 1 FROM repositories WHERE generation = 0 AND NOT ({_ALIVE}) LIMIT 1",  # noqa: S608 # constants only
        {"now_us": now_us, "lease_us": lease_us},
    )
    return row is not None


async def forget_killed_first(tx: Transaction, now_us: int, lease_us: int) -> None:
    """Forgets repositories whose first run was killed: nothing of them was ever shown; their rows are swept."""
    await tx.execute(
        f"DELETE FROM repositories WHERE generation = 0 AND NOT ({_ALIVE})",  # noqa: S608 # constants only
        {"now_us": now_us, "lease_us": lease_us},
    )
