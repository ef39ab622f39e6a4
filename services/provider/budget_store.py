"""Every SQL statement about budgets, each a named function inside the caller's transaction."""

import json
from collections.abc import Iterable
from datetime import datetime

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.provider.budget import Budget, Labels, Mode, Period


async def put_budget(tx: Transaction, budget: Budget) -> None:
    """Makes a budget or replaces the one of that id."""
    await tx.execute(
        "INSERT INTO budget (budget_id, display_name, provider_id, model, user_id, period, time_zone, limit_nanos, thresholds,"
        " mode, created_us, updated_us) VALUES (:budget_id, :display_name, :provider_id, :model, :user_id, :period,"
        " :time_zone, :limit_nanos, :thresholds, :mode, :created_us, :updated_us) ON CONFLICT (budget_id) DO UPDATE SET"
        " display_name = excluded.display_name, provider_id = excluded.provider_id, model = excluded.model,"
        " user_id = excluded.user_id, period = excluded.period, time_zone = excluded.time_zone,"
        " limit_nanos = excluded.limit_nanos, thresholds = excluded.thresholds, mode = excluded.mode,"
        " created_us = excluded.created_us, updated_us = excluded.updated_us, deleted_us = NULL",
        {
            "budget_id": budget.budget_id,
            "display_name": budget.display_name,
            **vars(budget.scope),
            "period": int(budget.period),
            "time_zone": budget.time_zone,
            "limit_nanos": budget.limit,
            "thresholds": json.dumps(budget.thresholds),
            "mode": int(budget.mode),
            "created_us": to_us(budget.created),
            "updated_us": to_us(budget.updated),
        },
    )


async def get_budget(tx: Transaction, budget_id: str) -> Budget | None:
    """The budget of that id, unless it is deleted."""
    row = await tx.fetch_one(
        "SELECT * FROM budget WHERE budget_id = :budget_id AND deleted_us IS NULL",
        {"budget_id": budget_id},
    )
    return _budget(row) if row else None


async def budget_ever_was(tx: Transaction, budget_id: str) -> bool:
    """Whether there is or was a budget of that id."""
    return await tx.fetch_one("SELECT 1 AS found FROM budget WHERE budget_id = :budget_id", {"budget_id": budget_id}) is not None


async def count_budgets(tx: Transaction) -> int:
    """How many budgets there are."""
    row = await tx.fetch_one("SELECT COUNT(*) AS budgets FROM budget WHERE deleted_us IS NULL")
    return int(row["budgets"]) if row else 0


async def list_budgets(tx: Transaction, user_id: str, after: str, limit: int) -> list[Budget]:
    """At most `limit` budgets after that id, of one user's usage or of all ("")."""
    rows = await tx.fetch_all(
        "SELECT * FROM budget WHERE deleted_us IS NULL AND budget_id > :after"
        " AND (:user_id = '' OR user_id = :user_id) ORDER BY budget_id LIMIT :limit",
        {"user_id": user_id, "after": after, "limit": limit},
    )
    return [_budget(row) for row in rows]


async def budgets_for_user(tx: Transaction, user_id: str) -> list[Budget]:
    """Budgets that may cover usage on behalf of the user, whatever provider and model."""
    rows = await tx.fetch_all(
        "SELECT * FROM budget WHERE deleted_us IS NULL AND (user_id = '' OR user_id = :user_id) ORDER BY budget_id",
        {"user_id": user_id},
    )
    return [_budget(row) for row in rows]


def _budget(row: Row) -> Budget:
    return Budget(
        row["budget_id"],
        row["limit_nanos"],
        row["display_name"],
        Labels(row["provider_id"], row["model"], row["user_id"]),
        Period(row["period"]),
        row["time_zone"],
        tuple(json.loads(row["thresholds"])),
        Mode(row["mode"]),
        from_us(row["created_us"]),
        from_us(row["updated_us"]),
    )


async def delete_budget(tx: Transaction, budget_id: str, now: datetime) -> bool:
    """Marks a budget as deleted; False when there is none."""
    changed = await tx.execute(
        "UPDATE budget SET deleted_us = :now_us WHERE budget_id = :budget_id AND deleted_us IS NULL",
        {"budget_id": budget_id, "now_us": to_us(now)},
    )
    return changed == 1


async def forget_spent(tx: Transaction, budget_id: str) -> None:
    """Drops what was kept of a budget's spending, because what it counts has changed; the ledger still has it."""
    await tx.execute("DELETE FROM budget_spend WHERE budget_id = :budget_id", {"budget_id": budget_id})


async def spent(tx: Transaction, budget_id: str, start: datetime) -> int:
    """What was spent of a budget in the period that begins at `start`."""
    row = await tx.fetch_one(
        "SELECT spent_nanos FROM budget_spend WHERE budget_id = :budget_id AND period_us = :period_us",
        {"budget_id": budget_id, "period_us": to_us(start)},
    )
    return int(row["spent_nanos"]) if row else 0


async def put_spent(tx: Transaction, budget_id: str, start: datetime, amount: int) -> None:
    """Sets what was spent of a budget in the period that begins at `start`."""
    await tx.execute(
        "INSERT INTO budget_spend (budget_id, period_us, spent_nanos) VALUES (:budget_id, :period_us, :spent_nanos)"
        " ON CONFLICT (budget_id, period_us) DO UPDATE SET spent_nanos = excluded.spent_nanos",
        {"budget_id": budget_id, "period_us": to_us(start), "spent_nanos": amount},
    )


async def told(tx: Transaction, budget_id: str, start: datetime) -> tuple[int, ...]:
    """Thresholds of a budget that were told in the period that begins at `start`, ascending."""
    rows = await tx.fetch_all(
        "SELECT threshold FROM budget_alert WHERE budget_id = :budget_id AND period_us = :period_us ORDER BY threshold",
        {"budget_id": budget_id, "period_us": to_us(start)},
    )
    return tuple(row["threshold"] for row in rows)


async def note_told(tx: Transaction, budget_id: str, start: datetime, threshold: int, now: datetime) -> bool:
    """Notes that a threshold is told; False when it was already."""
    added = await tx.execute(
        "INSERT INTO budget_alert (budget_id, period_us, threshold, told_us) VALUES (:budget_id, :period_us, :threshold, :told_us)"
        " ON CONFLICT (budget_id, period_us, threshold) DO NOTHING",
        {"budget_id": budget_id, "period_us": to_us(start), "threshold": threshold, "told_us": to_us(now)},
    )
    return added == 1


async def forget_told(tx: Transaction, budget_id: str, start: datetime, thresholds: Iterable[int]) -> None:
    """Lets thresholds be told again in the period that begins at `start`, and forgets that selection heard of them."""
    rows = [{"budget_id": budget_id, "period_us": to_us(start), "threshold": threshold} for threshold in thresholds]
    await tx.execute_many(
        "DELETE FROM budget_alert WHERE budget_id = :budget_id AND period_us = :period_us AND threshold = :threshold", rows
    )
    await tx.execute_many(
        "DELETE FROM tightening WHERE budget_id = :budget_id AND period_us = :period_us AND threshold = :threshold", rows
    )


async def tighten(tx: Transaction, budget_id: str, start: datetime, threshold: int) -> None:
    """Notes the highest threshold that was heard of in the period that begins at `start`."""
    await tx.execute(
        "INSERT INTO tightening (budget_id, period_us, threshold) VALUES (:budget_id, :period_us, :threshold)"
        " ON CONFLICT (budget_id, period_us) DO UPDATE SET threshold ="
        " CASE WHEN excluded.threshold > tightening.threshold THEN excluded.threshold ELSE tightening.threshold END",
        {"budget_id": budget_id, "period_us": to_us(start), "threshold": threshold},
    )


async def tightened(tx: Transaction, budget_id: str, start: datetime) -> int:
    """The highest threshold heard of in the period that begins at `start`; 0 when none."""
    row = await tx.fetch_one(
        "SELECT threshold FROM tightening WHERE budget_id = :budget_id AND period_us = :period_us",
        {"budget_id": budget_id, "period_us": to_us(start)},
    )
    return int(row["threshold"]) if row else 0
