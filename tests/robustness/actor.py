"""A publisher or a consumer as a process of its own that a test can kill or freeze; what it saw stands in a journal."""

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any, Self

from mesh.follow import BusClient
from tests.robustness.process import ROOT
from tests.robustness.record import Handled, Membership, Publisher
from tests.robustness.traffic import handle_into, publish_until


class _Journal:
    """Lines that are in the kernel's hands before the writer goes on: a SIGKILL loses none."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, line: object) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")


class _JournalPublisher(Publisher):
    def __init__(self, journal: _Journal) -> None:
        super().__init__()
        self._journal = journal

    def send(self, ids: list[str]) -> None:
        super().send(ids)
        self._journal.write(["send", ids])

    def acknowledge(self, positions: list[int]) -> None:  # type: ignore[override]  # it is given a list
        super().acknowledge(positions)
        self._journal.write(["told", positions])


class _JournalMembership(Membership):
    def __init__(self, journal: _Journal) -> None:
        super().__init__()
        self._journal = journal

    def handle(self, position: int, attempt: int) -> None:
        super().handle(position, attempt)
        self._journal.write([position, attempt, self.handled[-1].at])


class Actor:
    """The process: `role` is "publish" or "consume". Each start writes another journal."""

    def __init__(self, role: str, address: str, folder: Path, seed: int) -> None:
        self._command = [sys.executable, "-m", "tests.robustness.actor", role, address]
        self._seed = seed
        self.name = role
        self._folder = folder
        self._journals: list[Path] = []
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it; does not wait until it works."""
        journal = self._folder / f"{self.name}-{len(self._journals)}.jsonl"
        self._journals.append(journal)
        path = f"{ROOT}{os.pathsep}{ROOT / 'build' / 'api'}"
        self._process = await asyncio.create_subprocess_exec(
            *self._command, str(journal), str(self._seed + len(self._journals)), cwd=ROOT, env={**os.environ, "PYTHONPATH": path}
        )

    async def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, e.g. SIGSTOP."""
        if self._process is None:
            raise RuntimeError("the actor does not run; start it first")
        self._process.send_signal(number)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    def published(self) -> list[Publisher]:
        """What each start of the publisher noted."""
        found = []
        for lines in self._lines():
            found.append(Publisher())
            for kind, what in lines:
                if kind == "send":
                    found[-1].send(what)
                else:
                    found[-1].acknowledge(what)
        return found

    def handled(self) -> list[Handled]:
        """What all starts of the consumer noted."""
        return [Handled(position, attempt, at) for lines in self._lines() for position, attempt, at in lines]

    def _lines(self) -> list[list[Any]]:
        return [
            [json.loads(line) for line in journal.read_text().splitlines(keepends=True) if line.endswith("\n")]
            for journal in self._journals
            if journal.exists()
        ]


async def _main(role: str, address: str, journal: str, seed: str) -> None:
    client = BusClient(address)
    await client.start()
    if role == "publish":
        await publish_until(asyncio.Event(), client, _JournalPublisher(_Journal(Path(journal))), random.Random(int(seed)))
    else:
        await handle_into(client, "reader", _JournalMembership(_Journal(Path(journal))))


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
