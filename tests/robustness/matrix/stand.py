"""A service and the bus as real processes, on a clock and a disk that can misbehave, with callers and others' events."""

import asyncio
import itertools
import random
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2
from tooloo.event.v1.event_pb2 import Event

from mesh.clock import SystemClock
from mesh.follow import BusClient
from mesh.ids import new_id
from mesh.outbox import make_event
from tests.robustness.bus_process import BusProcess
from tests.robustness.faults.disk import Disk
from tests.robustness.faults.steered_clock import SteeredClock
from tests.robustness.matrix.caller import Caller, Unexpected
from tests.robustness.matrix.scenario import Scenario
from tests.robustness.process import MeshProcess
from tests.robustness.traffic import in_background
from tests.robustness.traffic import until as until_in

PATIENCE = 120.0
_CALLERS = 3
_PAUSE = 0.02
_PAGE = 1000
# short waits everywhere: the faults last for parts of a second
_SHORT = {"TOOLOO_BUSY_TIMEOUT": "50ms", "TOOLOO_LOG_LEVEL": "WARNING", "TOOLOO_CALL_ATTEMPTS": "1"}


async def until(condition: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Waits for a condition of a stand."""
    await until_in(condition, PATIENCE)


class Stand:
    """One service under test, its bus, and who uses it."""

    def __init__(self, service: str, folder: Path, sockets: Path, scenario: Scenario, settings: Mapping[str, str]) -> None:
        data = folder / "var"
        self.disk = Disk(folder / "disk", data / service)
        self.wall = SteeredClock(folder / "clock")
        env = {**self.disk.env(), **_SHORT, **settings}
        module, output = f"services.{service}", folder / "service.log"
        self.process = MeshProcess(service, module, data, sockets, env, output=output, clock=self.wall)
        self.bus = BusProcess(data, sockets, clock=self.wall)
        self.client = BusClient(self.bus.address)
        self.caller = Caller(self.process.address, scenario.chance)
        self.scenario = scenario
        scenario.stand = self
        self.file = data / service / f"{service}.db"
        # whether the fault of the moment is the only one
        self.alone = True
        self._numbers = itertools.count()

    async def start(self) -> None:
        """Starts both; returns when the service serves and its work is prepared."""
        await self.bus.start()
        await self.client.start()
        await self.process.start()
        await self.ready()
        await self.scenario.prepare()

    async def close(self) -> None:
        """Ends both."""
        await self.client.close()
        await self.caller.channel.close()
        for process in (self.process, self.bus):
            if process.alive:
                await process.kill()

    async def serves(self) -> bool:
        """Whether the service says that it serves. A process that has died by itself is a defect."""
        if not self.process.alive:
            raise AssertionError(f"the process ended by itself ({self.process.running.returncode}):\n{self.log()[-4000:]}")
        with suppress(grpc.aio.AioRpcError):
            answer = await health_pb2_grpc.HealthStub(self.caller.channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
        return False

    async def ready(self) -> None:
        """Waits until the service serves."""
        await until(self.serves)

    async def killed(self) -> None:
        """Waits until the process, which is about to be killed, is gone, and starts it again."""
        await self.process.ended()
        await self.process.start()

    def log(self) -> str:
        """What the service has logged."""
        return self.process.output.read_text(errors="replace") if self.process.output else ""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What stands in the service's file, read by a connection of our own."""
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()

    async def told(self, *types: str) -> list[Event]:
        """The events of these types in the log, in order."""
        found: list[Event] = []
        request = pb.ReadEventsRequest(page_size=_PAGE, filter=subscription_pb2.EventFilter(types=types or ["*"]))
        while True:
            page = await self.client.stub.ReadEvents(request, wait_for_ready=True)
            found += page.events
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return found

    async def answers(self) -> None:
        """Waits until a few more calls have been answered."""
        wanted = self.caller.answered + _CALLERS

        async def answered() -> bool:
            return self.caller.answered >= wanted

        await until(answered)

    async def goes_on(self) -> None:
        """Waits until something was done in the background."""
        before = await self.scenario.ticks()

        async def ticked() -> bool:
            return await self.scenario.ticks() > before

        await until(ticked)

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """Calls come and others tell their events while the block lasts; afterwards every call that was begun has its answer."""
        stop = asyncio.Event()
        callers: list[Coroutine[Any, Any, None]] = [self._call_until(stop) for _ in range(_CALLERS)]
        async with in_background(*callers, self._tell_until(stop)) as tasks:
            yield
            stop.set()
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*tasks)

    async def _call_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with suppress(Unexpected):
                await self.scenario.work(next(self._numbers))
            await asyncio.sleep(_PAUSE)

    async def _tell_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            told = self.scenario.fact(next(self._numbers))
            if told is None:
                return
            source, fact = told
            await self.client.publish([make_event(fact, source, SystemClock(), new_id)], timeout=None)
            await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def standing(service: str, folder: Path, scenario: Scenario, chance: random.Random) -> AsyncIterator[Stand]:
    """A running stand."""
    async with AsyncExitStack() as stack:
        sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="tooloo-"))
        settings = await scenario.open(stack)
        stand = Stand(service, folder, Path(sockets), scenario, settings)
        stack.push_async_callback(stand.close)
        await stand.start()
        yield stand
