"""What comes round again and again: reservations that expire, and rows that can matter no more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from mesh.db import Transaction
from mesh.errors import Refusal
from mesh.host import Host
from services.provider import budget_store, burst_store, estimate_store, query_store, reservation_store
from services.provider.flows import bursting, closing, reserving
from services.provider.flows.known import Known
from services.provider.windows import Kind

log = logging.getLogger(__name__)
# rows of one transaction: others wait for it
_BATCH = 200


async def expire_due(host: Host, known: Known) -> int:
    """Ends every reservation whose time has run out; gives their number."""
    ended = 0
    while batch := await host.db.write(lambda tx: reserving.expire(host, tx, known, _BATCH)):
        ended += batch
    return ended


async def abandon_lost(host: Host, known: Known) -> int:
    """Notes which queries have nobody any more who runs them; gives their number."""

    async def work(tx: Transaction) -> int:
        settings, now = known.settings, host.clock.now()
        lost = await query_store.abandoned(tx, now - settings.query_timeout - settings.settle_grace, _BATCH)
        for query in lost:
            await closing.abandon(host, tx, query)
        return len(lost)

    noted = 0
    while batch := await host.db.write(work):
        noted += batch
    return noted


async def clean(host: Host, known: Known) -> None:
    """Drops what matters no more: ended reservations and queries, full buckets, slots that rolled by, users not heard of lately."""

    async def work(tx: Transaction) -> int:
        now = host.clock.now()
        kept = now - known.settings.reservation_keep
        dropped = [
            await reservation_store.forget(tx, kept, _BATCH),
            await burst_store.forget_full(tx, bursting.now_ns(now), _BATCH),
            await estimate_store.forget(tx, now - known.settings.estimate_keep, _BATCH),
            await query_store.forget(tx, now - known.settings.query_keep, _BATCH),
        ]
        await _drop_slots(tx, known, now)
        return max(dropped)

    while await host.db.write(work) == _BATCH:
        pass


async def _drop_slots(tx: Transaction, known: Known, now: datetime) -> None:
    for budget in (await known.limits.read(tx)).budgets.budgets.values():
        # as long as a late settlement may still come, and a slot of a rolling window may still count
        kept = max(budget.rule.length, known.settings.reservation_keep)
        if budget.rule.kind is not Kind.LIFETIME:
            await budget_store.drop_old_accounts(tx, budget.budget_id, budget.rule.window_at(now).start - kept)


async def sweep(host: Host, known: Known, look: Callable[[], Awaitable[None]]) -> None:
    """Looks for processes that are gone and expires every `reservation_sweep`, cleans every hundredth time.

    A store that is away for a while ends nothing.
    """
    turn = 0
    while True:
        await asyncio.sleep(known.settings.reservation_sweep.total_seconds())
        try:
            await look()
            if await expire_due(host, known) or turn % 100 == 0:
                await abandon_lost(host, known)
            if turn % 100 == 0:
                await clean(host, known)
        except Refusal as refusal:
            log.warning("reservations wait for their end: %s", refusal)
        turn += 1
