"""Budgets on their store: how they stand, what a call adds, and telling thresholds once."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from mesh.db import Transaction
from mesh.host import Host
from services.provider import budget_store, events, money, store
from services.provider.budget import Budget, Labels, Standing, newly_reached, reached, window_at

DEFAULT_ID = "default"


async def standing_of(tx: Transaction, budget: Budget, now: datetime) -> Standing:
    """How a budget stands in the period that runs."""
    window = window_at(now, budget.period, budget.time_zone)
    spent = await budget_store.spent(tx, budget.budget_id, window.start)
    return Standing(budget, window, spent, await budget_store.told(tx, budget.budget_id, window.start))


async def standings_of(tx: Transaction, budgets: Iterable[Budget], now: datetime) -> list[Standing]:
    """How several budgets stand, in their order."""
    return [await standing_of(tx, budget, now) for budget in budgets]


async def covering(tx: Transaction, labels: Labels, now: datetime) -> list[Standing]:
    """Every budget that covers usage with these labels, by id."""
    budgets = await budget_store.budgets_for_user(tx, labels.user_id)
    return await standings_of(tx, (budget for budget in budgets if budget.scope.covers(labels)), now)


async def charge(host: Host, tx: Transaction, labels: Labels, cost: int, now: datetime) -> list[Standing]:
    """Adds a cost to every budget that covers it, tells what is newly reached, and gives how they stand then."""
    charged = []
    for standing in await covering(tx, labels, now):
        spent = money.saturating_sum(standing.spent, cost)
        await budget_store.put_spent(tx, standing.budget.budget_id, standing.window.start, spent)
        charged.append(await tell_reached(host, tx, replace(standing, spent=spent), labels.user_id, now))
    return charged


async def tell_reached(host: Host, tx: Transaction, standing: Standing, user_id: str, now: datetime) -> Standing:
    """Tells each threshold that is reached and was not told in this period; the key of its note is what makes it once."""
    budget, window = standing.budget, standing.window
    new = newly_reached(budget, standing.spent, standing.told)
    for threshold in new:
        if await budget_store.note_told(tx, budget.budget_id, window.start, threshold, now):
            await host.tell(tx, events.threshold_exceeded(standing, threshold, user_id))
    return replace(standing, told=tuple(sorted({*standing.told, *new})))


async def put(host: Host, tx: Transaction, budget: Budget, before: Budget | None, now: datetime) -> Standing:
    """Sets a budget: counts its period's spending from the ledger when needed, re-arms and tells thresholds."""
    await budget_store.put_budget(tx, budget)
    window = window_at(now, budget.period, budget.time_zone)
    if before is None or not budget.same_ledger(before):
        await budget_store.forget_spent(tx, budget.budget_id)
        await budget_store.put_spent(tx, budget.budget_id, window.start, await store.spent_of_ledger(tx, budget.scope, window))
    standing = await standing_of(tx, budget, now)
    no_longer = [percent for percent in standing.told if not reached(budget.limit, standing.spent, percent)]
    await budget_store.forget_told(tx, budget.budget_id, window.start, no_longer)
    return await tell_reached(host, tx, await standing_of(tx, budget, now), "", now)


async def put_default(host: Host, limit: str) -> None:
    """Sets the budget a new installation begins with; not again after someone changed or deleted it."""

    async def work(tx: Transaction) -> None:
        if not await budget_store.budget_ever_was(tx, DEFAULT_ID):
            now = host.clock.now()
            budget = Budget(DEFAULT_ID, money.parse(limit), "Everything, a month", created=now, updated=now)
            await put(host, tx, budget, None, now)

    if limit:
        await host.db.write(work)
