"""The bus as a real process that a test can kill, freeze and start again on the same files."""

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from mesh.follow import BusClient
from tests.robustness.faults.steered_clock import SteeredClock
from tests.robustness.process import MeshProcess


class BusProcess(MeshProcess):
    """`python -m bus` with short waits and a small ballast."""

    def __init__(
        self,
        folder: Path,
        sockets: Path,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        clock: SteeredClock | None = None,
    ) -> None:
        short = {"TOOLOO_BUS_BACKOFF": "10ms", "TOOLOO_BUS_HEARTBEAT": "100ms", "TOOLOO_BUS_BALLAST_BYTES": "1048576"}
        super().__init__("bus", "bus", folder, sockets, {**short, **(env or {})}, before, clock=clock)
        self.log_file = self.folder / "log.db"


@asynccontextmanager
async def bus_and_client(
    folder: Path, env: Mapping[str, str] | None = None, before: Sequence[str] = ()
) -> AsyncIterator[tuple[BusProcess, BusClient]]:
    """A bus process and a client of it."""
    with tempfile.TemporaryDirectory(prefix="tooloo-") as sockets:
        bus = BusProcess(folder, Path(sockets), env, before)
        client = BusClient(bus.address)
        await bus.start()
        await client.start()
        try:
            yield bus, client
        finally:
            await client.close()
            await bus.kill()
