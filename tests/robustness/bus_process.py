"""The bus as a real process that a test can kill and start again on the same files."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.integration.bus_bench import PATIENCE

ROOT = Path(__file__).resolve().parents[2]


class BusProcess:
    """`python -m bus` on files under a folder."""

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.log_file = folder / "bus" / "log.db"
        self.address = f"unix:{sockets / 'bus-0.sock'}"
        self._env = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'build' / 'api'}",
            "TOOLOO_DATA_FOLDER": str(folder),
            "TOOLOO_SOCKET_FOLDER": str(sockets),
            "TOOLOO_LOG_LEVEL": "ERROR",
            "TOOLOO_BUS_BACKOFF": "10ms",
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it; does not wait until it serves."""
        self._process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bus", cwd=ROOT, env=self._env)

    async def kill(self) -> None:
        """SIGKILL: no drain, no flush, no goodbye."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM: drains and ends; gives the exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            raise RuntimeError("the bus does not run; start it first")
        if self._process.returncode is None:
            self._process.send_signal(how)
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()
