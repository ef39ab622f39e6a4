"""Boot of a service process: settings, database, server, outbox relay, inbox; then serve until told to stop, and drain."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health, health_pb2

from mesh import address, answers, catalogue, extra_contracts, inbox, large, logs, serving
from mesh.boundary import Boundary
from mesh.client import MeshClient
from mesh.clock import Clock, SystemClock, to_us
from mesh.db import Database, Transaction
from mesh.db_errors import UnusableError
from mesh.errors import Refusal
from mesh.follow import BusClient
from mesh.host import Host, Parts
from mesh.ids import Ids, new_id
from mesh.inbox import Inbox
from mesh.memory import settle_heap
from mesh.migrations import MigrationError
from mesh.outbox import Relay
from mesh.settings import MeshSettings, SettingError

log = logging.getLogger(__name__)
Build = Callable[[Host], Awaitable[Parts]]
Loop = Callable[[], Coroutine[Any, Any, None]]
_PR_SET_PDEATHSIG = 1
_HOUSEKEEPING = timedelta(hours=1)
# refusals that waiting can help, and how long a loop in the background waits
_PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
_BEGUN_AGAIN_S = 1.0
# how long the refusals of calls that were not done in time may take
_TO_REFUSE = timedelta(seconds=1)
# an event is stored a little before it is handled
_INBOX_MARGIN = timedelta(hours=12)
SERVICES_FOLDER = catalogue.SERVICES_FOLDER


@dataclass
class Running:
    """A booted service: what it stands on, where it listens, and the tasks that must not end."""

    host: Host
    parts: Parts
    inbox: Inbox
    address: str
    server: grpc.aio.Server
    boundary: Boundary
    health: health.aio.HealthServicer
    tasks: list[asyncio.Task[None]]
    stack: AsyncExitStack

    async def failed(self) -> None:
        """Returns only by raising what ended one of its tasks."""
        for task in asyncio.as_completed(self.tasks):
            await task
            raise RuntimeError("a task of the service ended, which none should")

    async def stop(self, grace: timedelta) -> None:
        """Drains: says NOT_SERVING, lets running calls end within `grace`, then stops relay and inbox and closes the files.

        Calls that are not done by then are refused, so that their callers know to try again.
        """
        await self.health.enter_graceful_shutdown()
        for drain in self.parts.drain:
            await drain()
        stopping = asyncio.create_task(self.server.stop((grace + _TO_REFUSE).total_seconds()))
        await asyncio.wait({stopping}, timeout=grace.total_seconds())
        self.boundary.give_up()
        await stopping
        await self.stack.aclose()


async def boot(
    name: str,
    build: Build,
    settings: MeshSettings,
    *,
    replica: int = 0,
    clock: Clock | None = None,
    ids: Ids = new_id,
    env: Mapping[str, str] | None = None,
    with_bus: bool = True,
    alone: bool = False,
) -> Running:
    """Brings a service up. `with_bus` False keeps what it tells in the outbox and hears nothing (for the bus itself, and tests).

    `alone`: there is no door, so it answers on its public port instead of a socket.
    """
    extra_contracts.load(settings.extra_contracts)
    async with AsyncExitStack() as stack:
        host = await _open_host(name, settings, clock or SystemClock(), ids, env, stack)
        # nobody waits for an answer yet: a lock of another process, or a full disk, is no reason to give up
        host.db.patient = True
        parts = await build(host)
        host.db.patient = False
        for close in reversed(parts.close):
            stack.push_async_callback(close)
        incoming = Inbox(host.db, host.clock, parts.handlers)
        loops: list[Loop] = [host.db.failed, lambda: _keep_house(host), *(partial(_begun_again, loop) for loop in parts.background)]
        if with_bus:
            loops += await _join_bus(host, parts, incoming, stack)
        most = large.message_bytes(catalogue.service(name).grpc_services, settings)
        boundary = Boundary(ids, parts.self_validating)
        server = serving.make_server(settings, boundary, parts.open_streams, most)
        servicer = health.aio.HealthServicer()
        serving.register(server, name, parts, servicer, settings)
        if alone:
            place = serving.take_port(server, name, settings)
        else:
            place = f"unix:{serving.fresh_socket(settings.socket_of(name, replica))}"
            server.add_insecure_port(place)
        await server.start()
        stack.push_async_callback(server.stop, None)
        tasks = [asyncio.create_task(loop()) for loop in loops]
        stack.push_async_callback(_cancel, tasks)
        for service in ("", *catalogue.service(name).grpc_services):
            await servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
        # what was opened stays open until the service is stopped
        return Running(host, parts, incoming, place, server, boundary, servicer, tasks, stack.pop_all())


async def _open_host(
    name: str, settings: MeshSettings, clock: Clock, ids: Ids, env: Mapping[str, str] | None, stack: AsyncExitStack
) -> Host:
    """What the service stands on: its database, with its migrations applied, and its way to the rest of the mesh."""
    schema = SERVICES_FOLDER / name / "schema"
    file = settings.data_folder / name / f"{name}.db"
    database = await Database.open(file, [(name, schema)] if schema.is_dir() else [], settings, clock)
    stack.push_async_callback(database.close)
    client = MeshClient(f"{address.here(settings.listen_address)}:{settings.door_port}", settings)
    stack.push_async_callback(client.close)
    return Host(name, settings, database, client, clock, ids, env)


async def _join_bus(host: Host, parts: Parts, incoming: Inbox, stack: AsyncExitStack) -> list[Loop]:
    """The loops that tell the bus what stands in the outbox and apply what it delivers."""
    bus = BusClient(f"unix:{host.settings.socket_of('bus')}", clock=host.clock)
    await bus.start()
    stack.push_async_callback(bus.close)
    relay = Relay(host.db, bus, host.settings.outbox_batch, host.settings.outbox_interval)
    host.offer_to_relay = relay.offer
    loops: list[Loop] = [relay.run]
    if parts.handlers:
        loops.append(lambda: _listen(host, parts, incoming, bus))
    return loops


async def _listen(host: Host, parts: Parts, incoming: Inbox, bus: BusClient) -> None:
    """Hears for ever. A subscription that somebody deletes is made again, as far back as the inbox knows what was handled."""
    while True:
        try:
            async with bus.subscription(
                host.name,
                incoming.types,
                order_by_subject=parts.ordered,
                start_time=await _hear_from(host),
                max_in_flight=host.settings.inbox_batch,
            ) as deliveries:
                await incoming.run(deliveries)
        except Refusal as refusal:
            if refusal.code is not grpc.StatusCode.NOT_FOUND:
                raise
            log.warning("the subscription of %s was deleted; it is made again", host.name)


async def _hear_from(host: Host) -> datetime | None:
    """None, the beginning, for a service that has heard nothing yet; else not earlier than its inbox can tell repeats."""
    if not await host.db.read(inbox.has_heard):
        return None
    return host.clock.now() - host.settings.inbox_age + _INBOX_MARGIN


async def _keep_house(host: Host) -> None:
    """Drops old answers and old inbox notes, now and then."""

    async def sweep(tx: Transaction) -> None:
        now = host.clock.now()
        await answers.forget(tx, to_us(now - host.settings.request_id_age))
        await inbox.forget(tx, to_us(now - host.settings.inbox_age))

    while True:
        await asyncio.sleep(_HOUSEKEEPING.total_seconds())
        try:
            await host.db.write(sweep)
        except Refusal as refusal:
            # a disk that is full, or a lock that another process holds: there is always a next time
            log.warning("old answers and notes stay for now: %s", refusal)


async def _begun_again(loop: Loop) -> None:
    """A loop of the service, begun again when its store, or another service, can do nothing for it now.

    A full disk, or a lock that another process holds, must not end a service that can still answer, again and again.
    """
    while True:
        try:
            await loop()
        except Refusal as refusal:
            if refusal.code not in _PASSING:
                raise
            log.warning("work in the background waits: %s", refusal)
            await asyncio.sleep(_BEGUN_AGAIN_S)
        else:
            return


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def run(name: str, build: Build, *, alone: bool = False) -> None:
    """The main of a service process: boots, serves until it is told to stop, drains. The replica's number is TOOLOO_REPLICA.

    `alone`: without a process manager and a door; it answers on its public port, and Ctrl-C stops it as SIGTERM does.
    """
    try:
        _run(name, build, MeshSettings.load(), alone=alone)
    except (SettingError, MigrationError, UnusableError) as error:
        # it says what to do; where it came from is no help
        raise SystemExit(str(error)) from None


def _run(name: str, build: Build, settings: MeshSettings, *, alone: bool) -> None:
    logs.setup(name, settings.log_level)
    # the supervisor alone hears Ctrl-C; it tells its children by SIGTERM, in order
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_supervisor()
    uvloop.run(serve(name, build, settings, int(os.environ.get("TOOLOO_REPLICA", "0")), alone=alone))


async def serve(name: str, build: Build, settings: MeshSettings, replica: int = 0, *, alone: bool = False) -> None:
    """Boots and serves until SIGTERM; raises what ended one of the service's tasks."""
    stop = asyncio.Event()
    for wish in (signal.SIGTERM, *([signal.SIGINT] if alone else [])):
        asyncio.get_running_loop().add_signal_handler(wish, stop.set)
    stopping = asyncio.create_task(stop.wait())
    booting = asyncio.create_task(boot(name, build, settings, replica=replica, with_bus=name != "bus", alone=alone))
    # one that waits for its store may be told to stop
    await asyncio.wait((stopping, booting), return_when=asyncio.FIRST_COMPLETED)
    if not booting.done():
        await _cancel([booting])
        return
    running = booting.result()
    log.info("%s serves on %s", name, running.address)
    settle_heap()
    failing = asyncio.create_task(running.failed())
    try:
        await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        log.info("%s drains", name)
        await running.stop(settings.drain_grace)
    if failing.done():
        with suppress(asyncio.CancelledError):
            failing.result()
    failing.cancel()


def die_with_supervisor() -> None:
    """Ends this process when its supervisor dies, however it dies (prctl PR_SET_PDEATHSIG; Linux only)."""
    expected = os.environ.get("TOOLOO_SUPERVISOR")
    if not expected or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(expected):
        raise SystemExit("the supervisor that started this process is gone")
