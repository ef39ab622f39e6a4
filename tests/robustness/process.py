"""One process of the mesh that a test can kill, freeze and start again on the same files."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.integration.bus_bench import PATIENCE
from tests.robustness.faults.steered_clock import SteeredClock

ROOT = Path(__file__).resolve().parents[2]


class MeshProcess:
    """`python -m` a module on files under a folder; `env` adds to its environment, `before` stands before its command.

    What it prints goes to `output`, else to where the test's goes. With a `clock` it follows that one.
    """

    def __init__(
        self,
        name: str,
        module: str,
        folder: Path,
        sockets: Path,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        output: Path | None = None,
        clock: SteeredClock | None = None,
    ) -> None:
        self.name = name
        self.folder = folder / name
        self.address = f"unix:{sockets / f'{name}-0.sock'}"
        self.output = output
        self.env = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'build' / 'api'}",
            "TOOLOO_DATA_FOLDER": str(folder),
            "TOOLOO_SOCKET_FOLDER": str(sockets),
            "TOOLOO_LOG_LEVEL": "ERROR",
            **(clock.env() if clock else {}),
            **(env or {}),
        }
        runner = ["-m", "tests.robustness.faults.steered_clock"] if clock else ["-m"]
        self._command = [*before, sys.executable, *runner, module]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it; does not wait until it serves."""
        if self.output is None:
            self._process = await asyncio.create_subprocess_exec(*self._command, cwd=ROOT, env=self.env)
            return
        with self.output.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*self._command, cwd=ROOT, env=self.env, stdout=log, stderr=log)

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
            raise RuntimeError(f"{self.name} does not run; start it first")
        return self._process

    @property
    def alive(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def _end(self, how: signal.Signals) -> int:
        if self.running.returncode is None:
            self.running.send_signal(how)
        return await self.ended()
