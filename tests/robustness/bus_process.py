"""The bus as a real process that a test can kill, freeze and start again on the same files."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from mesh.follow import BusClient
from tests.integration.bus_bench import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


class BusProcess:
    """`python -m bus` on files under a folder; `env` adds to its environment, `before` stands before its command (e.g. nsenter)."""

    def __init__(self, folder: Path, sockets: Path, env: Mapping[str, str] | None = None, before: Sequence[str] = ()) -> None:
        self.name = "bus"
        self.folder = folder / "bus"
        self.log_file = self.folder / "log.db"
        self.address = f"unix:{sockets / 'bus-0.sock'}"
        self.env = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'build' / 'api'}",
            "TOOLOO_DATA_FOLDER": str(folder),
            "TOOLOO_SOCKET_FOLDER": str(sockets),
            "TOOLOO_LOG_LEVEL": "ERROR",
            "TOOLOO_BUS_BACKOFF": "10ms",
            "TOOLOO_BUS_HEARTBEAT": "100ms",
            "TOOLOO_BUS_BALLAST_BYTES": "1048576",
            **(env or {}),
        }
        self._before = before
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it; does not wait until it serves."""
        command = [*self._before, sys.executable, "-m", "bus"]
        self._process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=self.env)

    async def kill(self) -> None:
        """SIGKILL: no drain, no flush, no goodbye."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM: drains and ends; gives the exit code."""
        return await self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP: it is there, and does nothing."""
        self.running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it was."""
        self.running.send_signal(signal.SIGCONT)

    async def ended(self) -> int:
        """Waits until it ends by itself; gives the exit code."""
        async with asyncio.timeout(PATIENCE):
            return await self.running.wait()

    @property
    def running(self) -> asyncio.subprocess.Process:
        """The process."""
        if self._process is None:
            raise RuntimeError("the bus does not run; start it first")
        return self._process

    async def _end(self, how: signal.Signals) -> int:
        if self.running.returncode is None:
            self.running.send_signal(how)
        return await self.ended()


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
