"""A real bus behind a real Envoy: what REST callers of the bus stand before."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from envoy.testing import door_on_free_ports, running_door
from tests.integration.bus_bench import FAST, PATIENCE, BusBench, running_bus

SERVICES = {"bus": ("tooloo.bus.v1.EventBus",)}


@dataclass
class BusDoor:
    """The door's REST client, and the bus behind it."""

    rest: httpx.AsyncClient
    bus: BusBench


@asynccontextmanager
async def bus_door(folder: Path, settings: Mapping[str, str] = FAST) -> AsyncIterator[BusDoor]:
    """Runs both on free ports and files under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    async with running_bus(folder / "data", settings) as bus:
        socket = Path(bus.address.removeprefix("unix:"))
        door = door_on_free_ports(folder, SERVICES)
        async with (
            running_door(door, folder, {"bus": [socket]}),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{door.port}", timeout=PATIENCE) as rest,
        ):
            yield BusDoor(rest, bus)


@dataclass
class EventSource:
    """What a browser's EventSource does: reads a stream, keeps the last id, and comes back with it when the stream ends."""

    rest: httpx.AsyncClient
    params: Mapping[str, Any] = field(default_factory=dict)
    last_id: str = ""
    events: list[dict[str, str]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    connects: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, *, events: int = 0, comments: int = 0) -> None:
        """Reads, over as many connections as it takes, until there are so many events and comments in all."""
        async with asyncio.timeout(PATIENCE):
            while len(self.events) < events or len(self.comments) < comments:
                try:
                    await self._connect(events, comments)
                except httpx.TransportError:
                    await asyncio.sleep(0.02)

    async def has(self, events: int) -> None:
        """Waits until another task's read() has brought so many events."""
        async with asyncio.timeout(PATIENCE):
            while len(self.events) < events:
                self._news.clear()
                await self._news.wait()

    async def _connect(self, events: int, comments: int) -> None:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": self.last_id} if self.last_id else {})
        async with self.rest.stream("GET", "/api/v1/events/follow", params=self.params, headers=headers) as answer:
            if not answer.is_success:
                await asyncio.sleep(0.02)
                return
            self.connects += 1
            fields: dict[str, str] = {}
            async for line in answer.aiter_lines():
                self._take(line, fields)
                # a message is whole at its blank line
                if not line and len(self.events) >= events and len(self.comments) >= comments:
                    return

    def _take(self, line: str, fields: dict[str, str]) -> None:
        """One line, by the rules of the WHATWG: a blank one ends a message, and one without data dispatches nothing."""
        name, _, value = line.partition(": ")
        if line.startswith(":"):
            self.comments.append(line)
        elif line:
            fields[name] = value
            return
        if not line:
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields and fields.get("event") not in {"end", "error"}:
                self.events.append(dict(fields))
                self._news.set()
            fields.clear()
