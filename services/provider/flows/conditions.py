"""Looks at the addresses of local providers, again and again."""

import asyncio
import logging
from datetime import timedelta

from mesh.db import Transaction
from mesh.errors import Refusal
from mesh.host import Host
from services.provider import store
from services.provider.flows import availability
from services.provider.flows.known import Known
from services.provider.registry import Provider

log = logging.getLogger(__name__)


async def look(host: Host, known: Known) -> None:
    """Looks once at the address of every local provider and notes whether something answers there."""
    await host.db.read(known.look)
    for provider in known.registry.providers.values():
        await _look_at(host, known, provider)


async def look_at(host: Host, known: Known, provider_id: str) -> None:
    """Looks at once at a provider that was registered or changed, if it is a local one."""
    try:
        await host.db.read(known.look)
        if (provider := known.registry.providers.get(provider_id)) is not None:
            await _look_at(host, known, provider)
    except Refusal as refusal:
        # the change stands; the next look comes round
        log.warning("what was seen of %s is not noted: %s", provider_id, refusal)


async def _look_at(host: Host, known: Known, provider: Provider) -> None:
    if provider.local and provider.address:
        await _note_reachable(host, known, provider, await answers(provider.address, known.settings.look_timeout))


async def _note_reachable(host: Host, known: Known, provider: Provider, reachable: bool) -> None:
    async def work(tx: Transaction) -> None:
        await known.look(tx)
        if provider.provider_id not in known.registry.providers:
            # it was deleted while it was looked at
            return
        before, _ = await store.provider_health(tx, provider.provider_id)
        if before.reachable != reachable:
            await availability.note_reachable(host, tx, known, provider.provider_id, reachable=reachable)

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
