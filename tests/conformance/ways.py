"""The ways of running the bus, each as something a test can start, ask and start again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bus.__main__ import build
from bus.core import Core, open_core
from bus.local import channel_to
from bus.settings import BusSettings
from mesh import testing
from mesh.clock import SystemClock
from tests.integration.bus_bench import FAST, BusBench

if TYPE_CHECKING:
    # grpcio's classes are generic in its type stubs only
    import grpc

Settings = Mapping[str, str]
RunBus = Callable[..., AbstractAsyncContextManager[BusBench]]


class LocalBench:
    """A bus in the test's own process."""

    address = ""

    def __init__(self, file: Path, settings: Settings) -> None:
        self._file = file
        self._settings = BusSettings.load(settings)
        self._stack = AsyncExitStack()
        self._core: Core | None = None
        self._channel: grpc.aio.Channel | None = None

    @property
    def channel(self) -> grpc.aio.Channel:
        """A channel to it."""
        assert self._channel is not None, "the bus does not run; start it first"
        return self._channel

    async def start(self) -> None:
        """Opens the log."""
        self._core = await self._stack.enter_async_context(open_core(self._settings, SystemClock(), self._file))
        self._channel = channel_to(self._core)
        self._stack.push_async_callback(self._channel.close)

    async def stop(self) -> None:
        """Drains, ends every call and closes the log."""
        await self.drain()
        await self._stack.aclose()

    async def restart(self) -> None:
        """Closes the log and opens it again."""
        await self.stop()
        await self.start()

    async def drain(self) -> None:
        """Begins to drain."""
        assert self._core is not None
        await self._core.service.drain()


@asynccontextmanager
async def in_process(folder: Path, settings: Settings) -> AsyncIterator[BusBench]:
    """The bus in this process, on a file."""
    bench = LocalBench(folder / "log.db", settings)
    await bench.start()
    try:
        yield BusBench(bench)
    finally:
        await bench.stop()


@asynccontextmanager
async def over_grpc(folder: Path, settings: Settings) -> AsyncIterator[BusBench]:
    """The bus behind a real gRPC server; what its log stands on is in the settings."""
    async with testing.running("bus", build, folder, settings=settings) as bench:
        yield BusBench(bench)


def fast(settings: Settings | None) -> dict[str, str]:
    """Settings with short waits."""
    return {**FAST, **(settings or {})}
