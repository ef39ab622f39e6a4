"""The bus in the caller's own process: the same contract, the same client, no socket. For tests and small tools."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tooloo.bus.v1 import bus_service_pb2 as pb

from bus.core import Core, open_core
from bus.handlers import SELF_VALIDATING, add_to_server
from bus.settings import BusSettings
from mesh.boundary import Boundary
from mesh.clock import Clock, SystemClock
from mesh.follow import BusClient
from mesh.local.channel import LocalChannel, LocalServer

__all__ = ["LocalChannel", "channel_to", "open_bus"]

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder inside is made with tempfile
# containers often have only 64 MiB there, which a log would soon fill
_ROOM = 256 * 1024 * 1024


@asynccontextmanager
async def open_bus(
    path: Path | str | None = None, *, settings: BusSettings | None = None, clock: Clock | None = None
) -> AsyncIterator[BusClient]:
    """A client of a bus on a log file; None: on a log in memory, which ends with the block (DURABILITY_MEMORY).

    One process at a time may have the file open.
    """
    settings, clock = settings or BusSettings(), clock or SystemClock()
    async with AsyncExitStack() as stack:
        durability = None
        if path is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tooloo-bus-", dir=_memory()))) / "log.db"
            durability = pb.PublishResponse.DURABILITY_MEMORY
        core = await stack.enter_async_context(open_core(settings, clock, Path(path), durability=durability))
        channel = await stack.enter_async_context(channel_to(core))
        # streams that would never end by themselves end before the channel does
        stack.push_async_callback(core.service.drain)
        client = BusClient(channel=channel, clock=clock)
        await client.start()
        stack.push_async_callback(client.close)
        yield client


def channel_to(core: Core) -> LocalChannel:
    """A channel to a bus in this process, for the generated stubs."""
    server: Any = LocalServer(Boundary(self_validating=SELF_VALIDATING))
    add_to_server(core.service, server)
    return LocalChannel(server)


def _memory() -> Path | None:
    """The folder of the machine's shared memory when there is room, else None: the folder for temporary files."""
    if _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free >= _ROOM:
        return _SHARED_MEMORY
    return None
