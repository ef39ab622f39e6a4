"""What went as usual is noted with others, `outcome_delay` after the first of them, and not with each settlement.

A success while nothing speaks against its provider and nothing failed before it moves averages only, and so does the length of an
answer: a kill -9 may lose the last of them. Whatever changes what can be used is noted at once, in the transaction that settles.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from mesh.db import Transaction
from mesh.errors import Refusal
from mesh.host import Host
from services.provider import availability_store
from services.provider.availability import Outcome
from services.provider.fallback import Target
from services.provider.flows import learning, seeing
from services.provider.flows.changes import Ledger
from services.provider.flows.known import Known
from services.provider.flows.unnoted import Answer, Sight

log = logging.getLogger(__name__)


async def soon(tx: Transaction, ledger: Ledger, outcome: Outcome) -> bool:
    """Lets a success wait, if it may; False: it has to be noted now."""
    known, target = ledger.known, outcome.target
    if outcome.failure is not None or ledger.conditions or ledger.health.failures_in_row or known.unnoted.full:
        return False
    _, seen = await availability_store.model_seen(tx, target, known.grain)
    if outcome.key_id and not seen.failures_in_row:
        seen = await availability_store.key_seen(tx, target.provider_id, outcome.key_id, known.grain)
    if seen.failures_in_row:
        return False
    tx.after_commit(partial(known.unnoted.see, Sight(outcome, ledger.now, waited=True)))
    return True


async def heard(tx: Transaction, known: Known, answer: Answer) -> None:
    """Learns from the length of an answer: with others, or now when too many wait."""
    if known.unnoted.full:
        await learning.observe(tx, known, [answer])
    else:
        tx.after_commit(partial(known.unnoted.hear, answer))


async def flush(host: Host, known: Known) -> None:
    """Notes all that waits, and that did when this was called."""
    sights: list[Sight] = []
    answers: list[Answer] = []

    async def work(tx: Transaction) -> None:
        known.unnoted.take(sights, answers)
        # models and keys that were deleted meanwhile are noted no more
        await known.look(tx)
        await _see(tx, known, sights)
        await learning.observe(tx, known, answers)

    async with known.unnoted.turn:
        if known.unnoted.some.is_set():
            known.unnoted.some.clear()
            try:
                await host.db.submit(work, brief=True)
            except Refusal:
                known.unnoted.put_back(sights, answers)
                raise


async def current(host: Host, known: Known) -> None:
    """The same for whoever looks at it; a store that cannot write now is no reason to show nothing."""
    try:
        await flush(host, known)
    except Refusal as refusal:
        log.warning("what went well lately is not noted yet: %s", refusal)


async def _see(tx: Transaction, known: Known, sights: Sequence[Sight]) -> None:
    models: defaultdict[Target, list[Sight]] = defaultdict(list)
    keys: defaultdict[tuple[str, str], list[Sight]] = defaultdict(list)
    for sight in sights:
        target, key_id = sight.outcome.target, sight.outcome.key_id
        if known.registry.model(*target) is not None:
            models[target].append(sight)
        if key_id in known.keys_of(target.provider_id):
            keys[target.provider_id, key_id].append(sight)
    for target, of_model in models.items():
        await seeing.model(tx, known, target, of_model)
    for (provider_id, key_id), of_key in keys.items():
        await seeing.key(tx, known, provider_id, key_id, of_key)


async def watch(host: Host, known: Known) -> None:
    """Notes again and again, for ever."""
    while True:
        await known.unnoted.some.wait()
        await asyncio.sleep(known.settings.outcome_delay.total_seconds())
        await flush(host, known)
