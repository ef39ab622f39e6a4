"""Every SQL statement about budgets, each a named function inside the caller's transaction."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta

from mesh.clock import from_us, to_us
from mesh.db import Row, Transaction
from services.provider.budget import Account, Budget, Mode
from services.provider.labels import Labels, from_text
from services.provider.money import LARGEST
from services.provider.windows import Kind, Period, Rule, Window

_MICROSECOND = timedelta(microseconds=1)


async def put_budget(tx: Transaction, budget: Budget) -> None:
    """Makes a budget or replaces the one of that id."""
    await tx.execute(
        "INSERT INTO budget (budget_id, display_name, provider_id, model, user_id, labels, each_label, kind, period, time_zone,"
        " length_us, anchor_us, limit_nanos, thresholds, mode, created_us, updated_us) VALUES (:budget_id, :display_name,"
        " :provider_id, :model, :user_id, :labels, :each_label, :kind, :period, :time_zone, :length_us, :anchor_us, :limit_nanos,"
        " :thresholds, :mode, :created_us, :updated_us) ON CONFLICT (budget_id) DO UPDATE SET"
        " display_name = excluded.display_name, provider_id = excluded.provider_id, model = excluded.model,"
        " user_id = excluded.user_id, labels = excluded.labels, each_label = excluded.each_label, kind = excluded.kind,"
        " period = excluded.period, time_zone = excluded.time_zone, length_us = excluded.length_us,"
        " anchor_us = excluded.anchor_us,"
        " limit_nanos = excluded.limit_nanos, thresholds = excluded.thresholds, mode = excluded.mode,"
        " created_us = excluded.created_us, updated_us = excluded.updated_us, deleted_us = NULL",
        {
            "budget_id": budget.budget_id,
            "display_name": budget.display_name,
            "provider_id": budget.scope.provider_id,
            "model": budget.scope.model,
            "user_id": budget.scope.user_id,
            "labels": Labels.of(budget.scope.further).text,
            "each_label": budget.each,
            "kind": int(budget.rule.kind),
            "period": int(budget.rule.period),
            "time_zone": budget.rule.time_zone,
            "length_us": budget.rule.length // _MICROSECOND,
            "anchor_us": to_us(budget.rule.anchor),
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


async def all_budgets(tx: Transaction) -> list[Budget]:
    """Every budget, by id."""
    rows = await tx.fetch_all("SELECT * FROM budget WHERE deleted_us IS NULL ORDER BY budget_id")
    return [_budget(row) for row in rows]


def _budget(row: Row) -> Budget:
    return Budget(
        row["budget_id"],
        row["limit_nanos"],
        row["display_name"],
        from_text(row["labels"]).plus(provider=row["provider_id"], model=row["model"], user=row["user_id"]),
        Rule(
            Kind(row["kind"]),
            Period(row["period"]),
            row["time_zone"],
            timedelta(microseconds=row["length_us"]),
            from_us(row["anchor_us"]),
        ),
        tuple(json.loads(row["thresholds"])),
        Mode(row["mode"]),
        row["each_label"],
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


async def drop_accounts(tx: Transaction, budget_id: str) -> None:
    """Drops what was kept of a budget's spending, because what it counts has changed; ledger and reservations still have it."""
    await tx.execute("DELETE FROM budget_account WHERE budget_id = :budget_id", {"budget_id": budget_id})


async def drop_old_accounts(tx: Transaction, budget_id: str, before: datetime) -> None:
    """Drops slots that can count no more, and what was told and heard of them."""
    params = {"budget_id": budget_id, "before_us": to_us(before)}
    await tx.execute(
        "DELETE FROM budget_account WHERE budget_id = :budget_id AND slot_us < :before_us AND reserved_nanos = 0", params
    )
    await tx.execute("DELETE FROM budget_notice WHERE budget_id = :budget_id AND slot_us < :before_us", params)
    await tx.execute("DELETE FROM budget_tightening WHERE budget_id = :budget_id AND slot_us < :before_us", params)


async def accounts(tx: Transaction, budget_id: str, holder: str, window: Window) -> dict[datetime, Account]:
    """What a holder's slots of a window hold, by their beginning."""
    rows = await tx.fetch_all(
        "SELECT slot_us, spent_nanos, reserved_nanos FROM budget_account WHERE budget_id = :budget_id AND holder = :holder"
        " AND slot_us >= :start_us AND slot_us < :end_us",
        {"budget_id": budget_id, "holder": holder, "start_us": to_us(window.start), "end_us": to_us(window.end)},
    )
    return {from_us(row["slot_us"]): Account(row["spent_nanos"], row["reserved_nanos"]) for row in rows}


async def account(tx: Transaction, budget_id: str, holder: str, slot: datetime) -> Account | None:
    """What one slot of a holder holds; None when nothing ever was in it."""
    slot_us = to_us(slot)

    async def load() -> Account | None:
        row = await tx.fetch_one(
            "SELECT spent_nanos, reserved_nanos FROM budget_account WHERE budget_id = :budget_id AND holder = :holder"
            " AND slot_us = :slot_us",
            {"budget_id": budget_id, "holder": holder, "slot_us": slot_us},
        )
        return Account(row["spent_nanos"], row["reserved_nanos"]) if row else None

    return await tx.remembered("budget_account", (budget_id, holder, slot_us), load)


async def reserve(tx: Transaction, budget_id: str, holder: str, slot: datetime, amount: int, room: int) -> bool:
    """Sets an amount aside if the slot then holds at most `room`; False when it does not fit, and nothing is changed."""
    slot_us = to_us(slot)
    row = await tx.fetch_one(
        "INSERT INTO budget_account (budget_id, holder, slot_us, spent_nanos, reserved_nanos)"
        " VALUES (:budget_id, :holder, :slot_us, 0, :amount) ON CONFLICT (budget_id, holder, slot_us) DO UPDATE"
        " SET reserved_nanos = budget_account.reserved_nanos + :amount"
        " WHERE budget_account.spent_nanos + budget_account.reserved_nanos <= :room - :amount"
        " RETURNING spent_nanos, reserved_nanos",
        {"budget_id": budget_id, "holder": holder, "slot_us": slot_us, "amount": amount, "room": room},
        now={},
    )
    if row is not None:
        tx.remember("budget_account", (budget_id, holder, slot_us), Account(row["spent_nanos"], row["reserved_nanos"]))
    return row is not None


async def book(tx: Transaction, budget_id: str, holder: str, slot: datetime, spent: int, reserved: int) -> None:
    """Sets what a slot holds."""
    await tx.execute(
        "INSERT INTO budget_account (budget_id, holder, slot_us, spent_nanos, reserved_nanos)"
        " VALUES (:budget_id, :holder, :slot_us, :spent, :reserved) ON CONFLICT (budget_id, holder, slot_us) DO UPDATE"
        " SET spent_nanos = excluded.spent_nanos, reserved_nanos = excluded.reserved_nanos",
        {"budget_id": budget_id, "holder": holder, "slot_us": to_us(slot), "spent": spent, "reserved": reserved},
    )


async def move(tx: Transaction, budget_id: str, holder: str, slot: datetime, released: int, spent: int) -> Account:
    """Takes from what is reserved in a slot and adds to what is spent, each held where 64 bits end; gives what it holds then."""
    slot_us = to_us(slot)
    row = await tx.fetch_one(
        "INSERT INTO budget_account (budget_id, holder, slot_us, spent_nanos, reserved_nanos)"
        " VALUES (:budget_id, :holder, :slot_us, :spent, 0) ON CONFLICT (budget_id, holder, slot_us) DO UPDATE"
        " SET spent_nanos = CASE WHEN budget_account.spent_nanos > :largest - :spent THEN :largest"
        " ELSE budget_account.spent_nanos + :spent END,"
        " reserved_nanos = CASE WHEN budget_account.reserved_nanos < :released THEN 0"
        " ELSE budget_account.reserved_nanos - :released END RETURNING spent_nanos, reserved_nanos",
        {
            "budget_id": budget_id,
            "holder": holder,
            "slot_us": slot_us,
            "released": released,
            "spent": spent,
            "largest": LARGEST,
        },
        now={},
    )
    account = Account(row["spent_nanos"], row["reserved_nanos"]) if row else Account()
    tx.remember("budget_account", (budget_id, holder, slot_us), account)
    return account


async def told(tx: Transaction, budget_id: str, holder: str, window: Window) -> tuple[int, ...]:
    """Thresholds that were told of a holder's share in a window, ascending."""
    rows = await tx.fetch_all(
        "SELECT DISTINCT threshold FROM budget_notice WHERE budget_id = :budget_id AND holder = :holder"
        " AND slot_us >= :start_us AND slot_us < :end_us ORDER BY threshold",
        {"budget_id": budget_id, "holder": holder, "start_us": to_us(window.start), "end_us": to_us(window.end)},
    )
    return tuple(row["threshold"] for row in rows)


async def note_told(tx: Transaction, budget_id: str, holder: str, slot: datetime, threshold: int, now: datetime) -> bool:
    """Notes that a threshold is told; False when it was already."""
    added = await tx.execute(
        "INSERT INTO budget_notice (budget_id, holder, slot_us, threshold, told_us)"
        " VALUES (:budget_id, :holder, :slot_us, :threshold, :told_us)"
        " ON CONFLICT (budget_id, holder, slot_us, threshold) DO NOTHING",
        {"budget_id": budget_id, "holder": holder, "slot_us": to_us(slot), "threshold": threshold, "told_us": to_us(now)},
    )
    return added == 1


async def forget_told(tx: Transaction, budget_id: str, holder: str, window: Window, thresholds: Iterable[int]) -> None:
    """Lets thresholds be told again in a window, and forgets that selection heard of them."""
    rows = [
        {
            "budget_id": budget_id,
            "holder": holder,
            "start_us": to_us(window.start),
            "end_us": to_us(window.end),
            "threshold": threshold,
        }
        for threshold in thresholds
    ]
    await tx.execute_many(
        "DELETE FROM budget_notice WHERE budget_id = :budget_id AND holder = :holder"
        " AND slot_us >= :start_us AND slot_us < :end_us AND threshold = :threshold",
        rows,
    )
    await tx.execute_many(
        "DELETE FROM budget_tightening WHERE budget_id = :budget_id AND holder = :holder"
        " AND slot_us >= :start_us AND slot_us < :end_us AND threshold = :threshold",
        rows,
    )


async def holders(tx: Transaction, budget_id: str) -> list[str]:
    """Whose shares of a budget were touched, or had a threshold told, also while the budget counted something else."""
    rows = await tx.fetch_all(
        "SELECT holder FROM budget_account WHERE budget_id = :budget_id"
        " UNION SELECT holder FROM budget_notice WHERE budget_id = :budget_id ORDER BY holder",
        {"budget_id": budget_id},
    )
    return [row["holder"] for row in rows]


async def tighten(tx: Transaction, budget_id: str, holder: str, slot: datetime, threshold: int) -> None:
    """Notes the highest threshold that was heard of in a slot."""
    await tx.execute(
        "INSERT INTO budget_tightening (budget_id, holder, slot_us, threshold) VALUES (:budget_id, :holder, :slot_us, :threshold)"
        " ON CONFLICT (budget_id, holder, slot_us) DO UPDATE SET threshold ="
        " CASE WHEN excluded.threshold > budget_tightening.threshold THEN excluded.threshold ELSE budget_tightening.threshold END",
        {"budget_id": budget_id, "holder": holder, "slot_us": to_us(slot), "threshold": threshold},
    )


async def tightened(tx: Transaction, budget_id: str, holder: str, window: Window) -> int:
    """The highest threshold heard of in a window; 0 when none."""
    start_us, end_us = to_us(window.start), to_us(window.end)
    row = await tx.remembered(
        "budget_tightening",
        (budget_id, holder, start_us, end_us),
        lambda: tx.fetch_one(
            "SELECT MAX(threshold) AS threshold FROM budget_tightening WHERE budget_id = :budget_id AND holder = :holder"
            " AND slot_us >= :start_us AND slot_us < :end_us",
            {"budget_id": budget_id, "holder": holder, "start_us": start_us, "end_us": end_us},
        ),
    )
    return int(row["threshold"]) if row and row["threshold"] is not None else 0


async def revision(tx: Transaction) -> str:
    """Another text after each change of budgets or burst policies, by whatever process."""
    row = await tx.remembered(
        "limits_revision", "", lambda: tx.fetch_one("SELECT revision FROM limits_revision WHERE name = 'limits'")
    )
    return str(row["revision"]) if row else ""


async def put_revision(tx: Transaction, revision: str) -> None:
    """Says that budgets or burst policies are changed; needs a text that never was, also not in a transaction that was undone."""
    await tx.execute(
        "INSERT INTO limits_revision (name, revision) VALUES ('limits', :revision)"
        " ON CONFLICT (name) DO UPDATE SET revision = excluded.revision",
        {"revision": revision},
    )
