"""What providers were seen to do, on its store: outcomes of calls, looks at local addresses, and telling when a state changes."""

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

from mesh.db import Transaction
from mesh.errors import Refusal
from mesh.host import Host
from services.provider import events, store
from services.provider.flows.known import Known
from services.provider.health import ProviderHealth, after_call, after_outcome
from services.provider.registry import Provider

log = logging.getLogger(__name__)


async def note_outcome(
    host: Host, tx: Transaction, known: Known, model: tuple[str, str], *, success: bool, output_tokens: int, latency: timedelta
) -> None:
    """Notes how a call to a model of the registry ended; what the registry does not know has no health."""
    provider = known.registry.providers.get(model[0])
    if provider is None:
        return
    before, _ = (await store.provider_healths(tx)).get(provider.provider_id, (ProviderHealth(), None))
    await _change(host, tx, known, provider, after_call(before, success=success))
    if any(offered.key == model for offered in provider.models):
        weight = known.settings.outcome_weight
        seen = await store.model_health(tx, model)
        after = after_outcome(seen, success=success, output_tokens=output_tokens, latency=latency, weight=weight)
        await store.put_model_health(tx, model, after)


async def _change(host: Host, tx: Transaction, known: Known, provider: Provider, after: ProviderHealth) -> None:
    before, changed = (await store.provider_healths(tx)).get(provider.provider_id, (ProviderHealth(), None))
    previous, _ = known.state(provider, before)
    state, why = known.state(provider, after)
    if state is not previous:
        changed = host.clock.now()
        await host.tell(tx, events.health_changed(provider.provider_id, previous, state, why))
    await store.put_provider_health(tx, provider.provider_id, after, changed)


async def look(host: Host, known: Known) -> None:
    """Looks once at the address of every local provider and notes whether something answers there."""
    for provider in known.registry.providers.values():
        if provider.local:
            await _note_reachable(host, known, provider, await answers(provider.address, known.settings.look_timeout))


async def _note_reachable(host: Host, known: Known, provider: Provider, reachable: bool) -> None:
    async def work(tx: Transaction) -> None:
        before, _ = (await store.provider_healths(tx)).get(provider.provider_id, (ProviderHealth(), None))
        if before.reachable != reachable:
            await _change(host, tx, known, provider, replace(before, reachable=reachable))

    await host.db.write(work)


async def answers(address: str, timeout: timedelta) -> bool:
    """Whether something accepts a connection at "host:port"."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            _, writer = await asyncio.open_connection(host, int(port))
    except (OSError, ValueError, TimeoutError):
        return False
    writer.close()
    return True


async def watch(host: Host, known: Known) -> None:
    """Looks again and again, for ever; a store that is away for a while ends nothing."""
    while True:
        await asyncio.sleep(known.settings.look_interval.total_seconds())
        try:
            await look(host, known)
        except Refusal as refusal:
            log.warning("what was seen of local providers is not noted: %s", refusal)
