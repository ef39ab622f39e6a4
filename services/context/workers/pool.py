"""A few worker processes that parse files; one that dies or hangs is replaced, and only the file it fell over is lost."""

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from services.context.reading import Limits, Read
from services.context.walking import Reason
from services.context.workers import packing

_CHECKOUT = Path(__file__).resolve().parents[3]
# what a batch may come to as JSON
_LONGEST_ANSWER = 256 * 1024 * 1024

Outcomes = list[tuple[str, Read | Reason]]


class WorkerFailed(Exception):
    """A worker died, did not answer in time, or answered nonsense."""


class NoWorkers(Exception):
    """No worker can be started, or none can answer anything: that says nothing of the files."""


class Pool:
    """Starts a worker when there is work for it; leaving the context ends them all."""

    def __init__(self, size: int, timeout: timedelta, memory_bytes: int) -> None:
        self._timeout = timeout.total_seconds()
        self._memory = memory_bytes
        # the one that came back last first: a small run after another needs one worker, not each of them
        self._slots: asyncio.LifoQueue[asyncio.subprocess.Process | None] = asyncio.LifoQueue()
        self._running: set[asyncio.subprocess.Process] = set()
        for _ in range(size):
            self._slots.put_nowait(None)

    async def __aenter__(self) -> Self:
        """Nothing runs yet."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Ends every worker."""
        await self.close()

    async def close(self) -> None:
        """Ends every worker."""
        for process in list(self._running):
            await self._end(process)

    async def read(self, root: Path, files: Sequence[tuple[str, str]], limits: Limits) -> Outcomes:
        """Reads files given as (path, known hash). A file whose parser fails comes without symbols; NoWorkers when none works."""
        try:
            return await self._ask(root, files, limits, parse=True)
        except WorkerFailed:
            if len(files) > 1:
                return [outcome for file in files for outcome in await self.read(root, [file], limits)]
        try:
            return await self._ask(root, files, limits, parse=False)
        except WorkerFailed:
            await self._prove(root, limits)
            return [(path, Reason.UNREADABLE) for path, _ in files]

    async def _prove(self, root: Path, limits: Limits) -> None:
        """Lets a worker do nothing, so that it is known whether it was the file that could not be read."""
        try:
            await self._ask(root, [], limits, parse=False)
        except WorkerFailed as error:
            raise NoWorkers from error

    async def _ask(self, root: Path, files: Sequence[tuple[str, str]], limits: Limits, *, parse: bool) -> Outcomes:
        process = await self._slots.get()
        try:
            if process is None or process.returncode is not None:
                # one that died while it had nothing to do says nothing of these files
                await self._end(process)
                process = await self._start()
            batch = {"root": str(root), "limits": asdict(limits), "files": files, "parse": parse}
            async with asyncio.timeout(self._timeout):
                answer = await _exchange(process, batch)
            return [packing.unpack(packed) for packed in answer]
        except (OSError, ValueError, TimeoutError) as error:
            await self._end(process)
            process = None
            raise WorkerFailed from error
        except BaseException:
            # cancelled: its answer would be taken for that of the next batch
            await self._end(process)
            process = None
            raise
        finally:
            self._slots.put_nowait(process)

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.context.workers.worker",
            str(self._memory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_CHECKOUT,
            limit=_LONGEST_ANSWER,
        )
        self._running.add(process)
        return process

    async def _end(self, process: asyncio.subprocess.Process | None) -> None:
        if process is None:
            return
        self._running.discard(process)
        with suppress(ProcessLookupError):
            process.kill()
        # communicate closes the pipes too, where wait alone would leave them to the garbage collector
        await process.communicate()


async def _exchange(process: asyncio.subprocess.Process, batch: dict[str, Any]) -> list[dict[str, Any]]:
    if process.stdin is None or process.stdout is None:
        raise OSError("the worker has no pipes")
    process.stdin.write(json.dumps(batch).encode() + b"\n")
    await process.stdin.drain()
    line = await process.stdout.readline()
    if not line.endswith(b"\n"):
        raise OSError("the worker ended")
    answer: list[dict[str, Any]] = json.loads(line)
    return answer
