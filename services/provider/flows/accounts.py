"""Budgets on their store: how they stand, what a call adds, and telling thresholds once."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from mesh.clock import to_us
from mesh.db import Transaction
from mesh.host import Host
from services.provider import budget_store, events, money, reservation_store, usage_store
from services.provider.budget import Account, Budget, Mode, Standing, newly_reached, reached
from services.provider.flows.known import Known
from services.provider.labels import Labels
from services.provider.windows import Window

DEFAULT_ID = "default"
_PAGE = 1000
_MICROSECOND = timedelta(microseconds=1)


async def standing_of(tx: Transaction, budget: Budget, now: datetime, holder: str = "", booked: datetime | None = None) -> Standing:
    """How a holder's share of a budget stands in the window that runs, or in that where the moment `booked` counts."""
    window = budget.rule.counting(booked or now, now)
    slots = await _slots(tx, budget, holder, window)
    spent = sum(account.spent for account in slots.values())
    reserved = sum(account.reserved for account in slots.values())
    least = min(budget.thresholds, default=0)
    told = await budget_store.told(tx, budget.budget_id, holder, window) if reached(budget.limit, spent, least) else ()
    return Standing(budget, window, min(spent, money.LARGEST), told, min(reserved, money.LARGEST), holder, slots)


async def _slots(tx: Transaction, budget: Budget, holder: str, window: Window) -> dict[datetime, Account]:
    """What a holder's slots of a window hold; a window that does not roll is one slot."""
    if budget.rule.rolling:
        return await budget_store.accounts(tx, budget.budget_id, holder, window)
    account = await budget_store.account(tx, budget.budget_id, holder, window.booked)
    return {} if account is None else {window.booked: account}


async def covering(tx: Transaction, known: Known, labels: Labels, now: datetime, booked: datetime | None = None) -> list[Standing]:
    """Every budget that covers usage with these labels, by id: the order in which all transactions touch them."""
    budgets = (await known.limits.read(tx)).budgets.covering(labels)
    return [await standing_of(tx, budget, now, budget.holder(labels), booked) for budget in budgets]


async def hold(tx: Transaction, budgets: Sequence[Budget], labels: Labels, amount: int, booked: datetime, now: datetime) -> bool:
    """Sets an amount aside in all of these budgets or, when it does not fit into one, in none.

    One conditional update a budget, in the order of their ids: nobody who does the same can be between a check and its write, and
    two who do it cannot wait for each other.
    """
    for place, budget in enumerate(budgets):
        if not await _hold_one(tx, budget, labels, amount, booked, now):
            for held in budgets[:place]:
                slot = held.rule.counting(booked, now).booked
                await budget_store.move(tx, held.budget_id, held.holder(labels), slot, amount, 0)
            return False
    return True


async def _hold_one(tx: Transaction, budget: Budget, labels: Labels, amount: int, booked: datetime, now: datetime) -> bool:
    window, holder = budget.rule.counting(booked, now), budget.holder(labels)
    room = money.LARGEST if budget.mode is Mode.NOTIFY else budget.limit
    if budget.rule.rolling and budget.mode is not Mode.NOTIFY:
        slots = await budget_store.accounts(tx, budget.budget_id, holder, window)
        room -= sum(account.taken for slot, account in slots.items() if slot != window.booked)
        if amount <= room and not window.holds(window.booked):
            # a call that is older than the window: what it holds counts no more, but there must be room for what it asks
            room = money.LARGEST
    return amount <= room and await budget_store.reserve(tx, budget.budget_id, holder, window.booked, amount, room)


async def charge(
    host: Host, tx: Transaction, known: Known, labels: Labels, cost: int, now: datetime, booked: datetime | None = None
) -> list[Standing]:
    """Adds a cost to every budget that covers it, tells what is newly reached, and gives how they stand then."""
    budgets = (await known.limits.read(tx)).budgets.covering(labels)
    return [await spend(host, tx, budget, labels, 0, cost, booked or now, now) for budget in budgets]


async def spend(
    host: Host, tx: Transaction, budget: Budget, labels: Labels, released: int, cost: int, booked: datetime, now: datetime
) -> Standing:
    """Takes what was reserved of one budget and adds what was spent; tells what is newly reached, and gives how it stands then."""
    window, holder = budget.rule.counting(booked, now), budget.holder(labels)
    account = await budget_store.move(tx, budget.budget_id, holder, window.booked, released, cost)
    if budget.rule.rolling:
        standing = await standing_of(tx, budget, now, holder, booked)
    else:
        standing = Standing(budget, window, account.spent, reserved=account.reserved, holder=holder)
    return await tell_reached(host, tx, standing, labels.user_id, now)


async def tell_reached(host: Host, tx: Transaction, standing: Standing, user_id: str, now: datetime) -> Standing:
    """Tells each threshold that is reached and was not told in this window; the key of its note is what makes it once."""
    budget = standing.budget
    if not newly_reached(budget, standing.spent, standing.told):
        return standing
    # what was told is read only here: most calls reach nothing
    told = await budget_store.told(tx, budget.budget_id, standing.holder, standing.window)
    new = newly_reached(budget, standing.spent, told)
    for threshold in new:
        if await budget_store.note_told(tx, budget.budget_id, standing.holder, standing.window.booked, threshold, now):
            await host.tell(tx, events.threshold_exceeded(standing, threshold, user_id))
    return replace(standing, told=tuple(sorted({*told, *new})))


async def put(host: Host, tx: Transaction, budget: Budget, before: Budget | None, now: datetime) -> Standing:
    """Sets a budget: counts anew from ledger and reservations what is taken of it, when needed; re-arms and tells thresholds."""
    await budget_store.put_budget(tx, budget)
    await budget_store.put_revision(tx, host.ids())
    if before is None or not budget.same_ledger(before):
        await _recount(tx, budget, now)
    for holder in await budget_store.holders(tx, budget.budget_id):
        window = budget.rule.window_at(now)
        told = await budget_store.told(tx, budget.budget_id, holder, window)
        standing = await standing_of(tx, budget, now, holder)
        no_longer = [percent for percent in told if not reached(budget.limit, standing.spent, percent)]
        heard = await budget_store.tightened(tx, budget.budget_id, holder, window)
        await budget_store.forget_told(tx, budget.budget_id, holder, window, no_longer)
        still = [percent for percent in told if percent not in no_longer and percent < heard]
        if heard in no_longer and still:
            # only the highest that was heard is kept, and the one below it holds on
            await budget_store.tighten(tx, budget.budget_id, holder, window.booked, still[-1])
        await tell_reached(host, tx, replace(standing, told=tuple(sorted({*told} - {*no_longer}))), "", now)
    return await standing_of(tx, budget, now)


async def _recount(tx: Transaction, budget: Budget, now: datetime) -> None:
    """Sets every slot anew: spent is what the ledger says, reserved what open reservations hold."""
    await budget_store.drop_accounts(tx, budget.budget_id)
    window = budget.rule.window_at(now)
    slot_us = budget.rule.slot_length // _MICROSECOND if budget.rule.rolling else None
    accounts: dict[tuple[str, datetime], Account] = {}
    span = usage_store.Span(window.start, window.end, budget.scope)
    for (holder, slot), spent in (await usage_store.spent_of_ledger(tx, span, budget.each, slot_us)).items():
        accounts[holder, slot] = Account(min(spent, money.LARGEST))
    after = (0, "")
    while page := await reservation_store.open_ones(tx, after, _PAGE):
        for reservation in page:
            if budget.scope.covers(reservation.labels):
                key = budget.holder(reservation.labels), budget.rule.window_at(reservation.created).booked
                held = accounts.get(key, Account())
                accounts[key] = replace(held, reserved=held.reserved + reservation.amount)
        after = to_us(page[-1].expires), page[-1].reservation_id
    for (holder, slot), account in accounts.items():
        await budget_store.book(tx, budget.budget_id, holder, slot, account.spent, account.reserved)


async def put_default(host: Host, limit: str) -> None:
    """Sets the budget a new installation begins with; not again after someone changed or deleted it."""

    async def work(tx: Transaction) -> None:
        if not await budget_store.budget_ever_was(tx, DEFAULT_ID):
            now = host.clock.now()
            budget = Budget(DEFAULT_ID, money.parse(limit), "Everything, a month", created=now, updated=now)
            await put(host, tx, budget, None, now)

    if limit:
        await host.db.write(work)
