"""Opens the bus's log and its store of subscriptions on NATS: connection, checks, ownership, in this order."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

from bus.jetstream.ballast import Ballast
from bus.jetstream.bucket import Bucket
from bus.jetstream.connection import Connection, Unreachable
from bus.jetstream.log import JetStreamLog
from bus.jetstream.notes import Notes
from bus.jetstream.ownership import Ownership
from bus.jetstream.settings import NatsSettings
from bus.jetstream.stream import Stream, log_config
from bus.jetstream.subscriptions import JetStreamSubscriptionStore
from bus.jetstream.sync import check_sync
from bus.jetstream.types import Types
from bus.settings import BusSettings
from mesh.clock import Clock
from mesh.reconnect import Backoff
from mesh.settings import SettingError

log = logging.getLogger(__name__)
EXIT_LOST = 75


def end_process(error: BaseException) -> None:
    """Fail-stop: another bus writes the log, or what NATS acknowledges is no promise any more. The supervisor starts anew."""
    log.critical("the log on JetStream cannot be kept on; the process ends", exc_info=error)
    os._exit(EXIT_LOST)


async def open_jetstream(
    settings: BusSettings,
    nats: NatsSettings,
    clock: Clock,
    stack: AsyncExitStack,
    on_lost: Callable[[BaseException], None] = end_process,
) -> tuple[JetStreamLog, JetStreamSubscriptionStore]:
    """The log and the store; closed with the stack. `on_lost` must end the process: another bus writes now."""
    await check_sync(nats)
    connection = await Connection.open(nats)
    stack.push_async_callback(connection.close)
    _check_payload(connection, settings)
    backoff, patience, until = Backoff(), nats.boot_timeout.total_seconds(), 0.0
    while True:
        began = clock.monotonic()
        try:
            async with AsyncExitStack() as attempt:
                opened = await _opened(connection, settings, nats, clock, attempt, on_lost)
                stack.push_async_callback(attempt.pop_all().aclose)
                return opened
        except Unreachable as error:
            now = clock.monotonic()
            # one that has waited for another bus to go has had answers for longer than that
            if not until or now - began > patience:
                until = now + patience
            if now > until:
                raise
            log.warning("JetStream is not ready: %s", error)
            await asyncio.sleep(backoff.wait())


async def _opened(
    connection: Connection,
    settings: BusSettings,
    nats: NatsSettings,
    clock: Clock,
    stack: AsyncExitStack,
    on_lost: Callable[[BaseException], None],
) -> tuple[JetStreamLog, JetStreamSubscriptionStore]:
    """Makes what is missing, becomes the owner, and reads what stands there; Unreachable when NATS does not answer in between."""
    stream = Stream(connection, nats.stream)
    bucket, notes = Bucket(connection, f"{nats.stream}-state"), Bucket(connection, f"{nats.stream}-notes")
    await stream.ensure(log_config(nats))
    for each in (bucket, notes):
        await each.ensure(nats.replicas)
    ownership = Ownership(bucket, nats.owner or socket.gethostname(), nats.lease.total_seconds(), on_lost)
    await ownership.take()
    stack.push_async_callback(ownership.release)
    ballast = Ballast(bucket, nats.ballast_bytes)
    event_log = JetStreamLog(connection, stream, Notes(notes, ballast), await Types.load(bucket), settings, nats, clock)
    store = JetStreamSubscriptionStore(bucket, ballast, ownership.epoch, event_log.events, on_lost)
    await event_log.start(ownership.check, store.erase_subject, ballast.take, on_lost)
    stack.push_async_callback(event_log.close)
    await store.load()
    if not await ballast.take():
        log.warning("NATS has no room for the ballast of %d bytes: when it is full, acknowledgements wait too", nats.ballast_bytes)
    return event_log, store


def _check_payload(connection: Connection, settings: BusSettings) -> None:
    """SettingError when the largest event, as a dead letter with all that belongs to it, is no message that NATS takes."""
    needed = 2 * settings.max_event_bytes
    if connection.max_payload < needed:
        raise SettingError(
            f"NATS takes messages of {connection.max_payload} bytes; an event of {settings.max_event_bytes} needs {needed}: raise "
            f"max_payload in nats.conf, or lower {BusSettings.env_name('max_event_bytes')}"
        )
