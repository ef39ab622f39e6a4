"""A service under test: its real server, its real SQLite file, no bus. Its tests stand where door and bus would."""

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
from google.protobuf.message import Message
from tooloo.event.v1 import event_pb2, options_pb2

from mesh import boot
from mesh.clock import Clock, SystemClock
from mesh.host import Host
from mesh.ids import Ids, new_id
from mesh.outbox import Fact, make_event
from mesh.settings import MeshSettings


class Bench:
    """A running service with a channel to it; `told` and `hear` stand for the bus."""

    def __init__(
        self, name: str, build: boot.Build, settings: MeshSettings, clock: Clock, ids: Ids, env: Mapping[str, str]
    ) -> None:
        self._boot = (name, build, settings)
        self._clock = clock
        self._ids = ids
        self._env = env
        self._running: boot.Running | None = None
        self._channel: grpc.aio.Channel | None = None

    @property
    def host(self) -> Host:
        """What the service stands on."""
        return self._booted.host

    @property
    def _booted(self) -> boot.Running:
        if self._running is None:
            raise RuntimeError("the service does not run; start it first")
        return self._running

    @property
    def channel(self) -> grpc.aio.Channel:
        """A channel to the service; made anew by a restart."""
        if self._channel is None:
            raise RuntimeError("the service does not run; start it first")
        return self._channel

    @property
    def address(self) -> str:
        """Where the service listens."""
        return self._booted.address

    async def start(self) -> None:
        """Boots the service on its files."""
        name, build, settings = self._boot
        self._running = await boot.boot(name, build, settings, clock=self._clock, ids=self._ids, env=self._env, with_bus=False)
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.aio.insecure_channel(self._running.address, options=options)

    async def stop(self) -> None:
        """Stops without draining."""
        await self.channel.close()
        await self._booted.stop(timedelta(0))

    async def drain(self) -> None:
        """Begins to drain, as a stop by the process manager does, and goes on serving."""
        for drain in self._booted.parts.drain:
            await drain()

    async def restart(self) -> None:
        """Stops without draining and boots again on the same files."""
        await self.stop()
        await self.start()

    @property
    def hears(self) -> list[str]:
        """The event types, or patterns of them, that the service handles."""
        return self._booted.inbox.types

    async def told(self) -> list[event_pb2.Event]:
        """Every event the service has told so far, in order."""
        rows = await self.host.db.read(lambda tx: tx.fetch_all("SELECT event FROM outbox ORDER BY seq"))
        return [event_pb2.Event.FromString(row["event"]) for row in rows]

    async def hear(self, message: Message, *, subject: str = "test", event_id: str | None = None) -> bool:
        """Delivers an event to the handlers as the inbox does; False when its id was handled before."""
        owner = message.DESCRIPTOR.GetOptions().Extensions[options_pb2.event].owner
        event = make_event(Fact(message, subject), owner, self._clock, self._ids)
        event.id = event_id or event.id
        event.position = 1
        return await self._booted.inbox.handle(event)

    async def hear_event(self, event: event_pb2.Event) -> bool:
        """Delivers a whole event, e.g. one that `told` gave."""
        return await self._booted.inbox.handle(event)


@asynccontextmanager
async def running(
    name: str,
    build: boot.Build,
    folder: Path,
    *,
    clock: Clock | None = None,
    ids: Ids = new_id,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Bench]:
    """Runs a service on files under `folder`; `settings` are environment variables, e.g. {"TOOLOO_LEARNING_TIME_ZONE": "UTC"}."""
    # a socket's path is short by law of the kernel, a test's folder is not
    with tempfile.TemporaryDirectory(prefix="tooloo-") as sockets:
        env = {"TOOLOO_DATA_FOLDER": str(folder), "TOOLOO_SOCKET_FOLDER": sockets, **(settings or {})}
        bench = Bench(name, build, MeshSettings.load(env), clock or SystemClock(), ids, env)
        await bench.start()
        try:
            yield bench
        finally:
            await bench.stop()
