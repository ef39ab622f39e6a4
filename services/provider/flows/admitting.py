"""Admission of a reservation: every budget that covers it and every burst policy lets it through, or none of them is changed."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from mesh import errors
from mesh.db import Transaction
from services.provider import budget_store
from services.provider import reservation as rules
from services.provider.budget import Budget
from services.provider.burst import Load
from services.provider.flows import accounts, bursting
from services.provider.flows.known import Known
from services.provider.reservation import Denial, Denied, Reservation


async def admit(
    tx: Transaction,
    known: Known,
    wanted: Reservation,
    amount: int,
    load: Load,
    now: datetime,
    max_wait: timedelta | None,
    *,
    dry_run: bool = False,
) -> bursting.Turn | Denied:
    """Asks every budget and every burst policy, and takes from all of them only when none stands against it."""
    budgets = (await known.limits.read(tx)).budgets.covering(wanted.labels)
    held = bool(amount) and not dry_run and await accounts.hold(tx, budgets, wanted.labels, amount, wanted.created, now)
    against: tuple[Denial, ...] = ()
    if not held:
        standings = await accounts.covering(tx, known, wanted.labels, now, wanted.created)
        against = rules.denials(standings, amount, now)
        if amount and not dry_run and not against:
            raise errors.aborted("another call took what was left of a budget at this moment; try again")
    # a call that budgets deny must not use up a turn
    turn = await bursting.admit(tx, known, wanted.labels, load, now, max_wait=max_wait, dry_run=dry_run or bool(against))
    if isinstance(turn, bursting.Turn) and not against:
        return turn
    if held:
        await _unhold(tx, budgets, wanted, amount, now)
    standings = await accounts.covering(tx, known, wanted.labels, now, wanted.created)
    return Denied(against + (turn if isinstance(turn, tuple) else ()), rules.affordable(standings))


async def _unhold(tx: Transaction, budgets: Sequence[Budget], wanted: Reservation, amount: int, now: datetime) -> None:
    for budget in budgets:
        slot = budget.rule.counting(wanted.created, now).booked
        await budget_store.move(tx, budget.budget_id, budget.holder(wanted.labels), slot, amount, 0)
