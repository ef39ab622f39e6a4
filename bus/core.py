"""The bus put together: the log and the subscriptions of the chosen way, and the service over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tooloo.bus.v1 import bus_service_pb2 as pb

from bus.jetstream.settings import NatsSettings
from bus.log import Log
from bus.service import EventBusService
from bus.settings import BusSettings
from bus.sqlite_subscriptions import SqliteSubscriptionStore
from bus.storage import EventLog, SubscriptionStore
from bus.subscriptions import Subscriptions
from mesh.clock import Clock


@dataclass
class Core:
    """A bus at work, reachable through its servicer."""

    log: EventLog
    subscriptions: Subscriptions
    service: EventBusService


@asynccontextmanager
async def open_core(
    settings: BusSettings,
    clock: Clock,
    file: Path,
    *,
    nats: NatsSettings | None = None,
    durability: pb.PublishResponse.Durability.ValueType | None = None,
) -> AsyncIterator[Core]:
    """A bus on a log file, or on what the setting `way` names instead; `durability` is what its acknowledgements say."""
    async with AsyncExitStack() as stack:
        log, store = await _open_way(settings, nats or NatsSettings(), clock, file, stack)
        if durability is not None:
            log.durability = durability
        subscriptions = Subscriptions(log, store, settings, clock)
        await subscriptions.start()
        stack.push_async_callback(subscriptions.stop)
        yield Core(log, subscriptions, EventBusService(log, subscriptions, settings))


async def _open_way(
    settings: BusSettings, nats: NatsSettings, clock: Clock, file: Path, stack: AsyncExitStack
) -> tuple[EventLog, SubscriptionStore]:
    if settings.way == "jetstream":
        # a third of a second and 15 MB, which a bus on SQLite need not spend
        from bus.jetstream.opening import open_jetstream  # noqa: PLC0415

        return await open_jetstream(settings, nats, clock, stack)
    log = await Log.open(file, settings, clock)
    stack.push_async_callback(log.close)
    return log, SqliteSubscriptionStore(log)
