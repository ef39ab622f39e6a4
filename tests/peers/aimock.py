"""A far end that speaks every provider's dialect (npm `@copilotkit/aimock`): started with fixtures and chaos, asked what it saw."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from envoy.testing import free_ports
from tests.peers import npm

_READY_SECONDS = 30
Fixture = Mapping[str, Any]


@dataclass(frozen=True)
class Mock:
    """A running mock."""

    url: str

    async def journal(self) -> list[dict[str, Any]]:
        """What it was asked so far, oldest first."""
        async with httpx.AsyncClient(base_url=self.url, timeout=60) as client:
            found: list[dict[str, Any]] = (await client.get("/__aimock/journal")).json()
        return found


@asynccontextmanager
async def aimock(folder: Path, fixtures: Sequence[Fixture], *flags: str) -> AsyncIterator[Mock]:
    """Runs the mock on a free port with these fixtures; `flags` are those of its command line, e.g. "--chaos-drop", "1"."""
    modules = await asyncio.to_thread(npm.node_modules)
    file = folder / "fixtures.json"
    file.write_text(json.dumps({"fixtures": list(fixtures)}))
    [port] = free_ports(1)
    script = str(modules / "@copilotkit/aimock/dist/cli.js")
    command = (str(npm.NODE), script, "-p", str(port), "-f", str(file), "--log-level", "warn", *flags)
    with (folder / "aimock.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            await _ready(port, process, folder / "aimock.log")
            yield Mock(f"http://127.0.0.1:{port}")
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _ready(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    async with httpx.AsyncClient(timeout=60) as client, asyncio.timeout(_READY_SECONDS):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"aimock ended with {process.returncode}: {log.read_text()[-2000:]}")
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(f"http://127.0.0.1:{port}/__aimock/journal")).is_success:
                    return
            await asyncio.sleep(0.05)
