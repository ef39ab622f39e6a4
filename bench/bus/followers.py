"""What ten thousand idle followers cost, and how soon one event reaches all: `python -m bench.bus.followers [count]`.

One client process follows over a few channels, with the default heartbeat; the server has its default settings, but for the limits
on how many may follow. Bar: below 600 MB for 10,000 followers, and less than 4 s.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil
import uvloop
from tooloo.bus.v1 import bus_service_pb2 as pb

from bench.bus import events, server
from mesh.follow import BusClient

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
CHANNELS = 8
# streams that are opened at a time, so that none waits longer than its client has patience
_OPENING = 500
_PATIENCE = 120
_BAR_MB, _BAR_SECONDS = 600, 4
SETTINGS = {"TOOLOO_BUS_MAX_FOLLOWERS": str(COUNT), "TOOLOO_MAX_CONCURRENT_RPCS": str(COUNT + 100)}


class Crowd:
    """The followers: how many stand, and how many have seen the event."""

    def __init__(self) -> None:
        self.seen = 0
        self.all_seen = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def gather(self, clients: list[BusClient]) -> None:
        """Opens the streams; returns when the server counts all of them."""
        for start in range(0, COUNT, _OPENING):
            end = min(COUNT, start + _OPENING)
            self._tasks += [asyncio.create_task(self._follow(clients[number % CHANNELS])) for number in range(start, end)]
            await self._counted(clients[0], end)

    async def _counted(self, client: BusClient, count: int) -> None:
        async with asyncio.timeout(_PATIENCE):
            while (await client.stub.GetBusStats(pb.GetBusStatsRequest())).followers < count:
                self._raise_what_ended()
                await asyncio.sleep(0.01)

    def _raise_what_ended(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    async def _follow(self, client: BusClient) -> None:
        async for _ in client.follow():
            self.seen += 1
            if self.seen == COUNT:
                self.all_seen.set()

    async def leave(self) -> None:
        """Ends the streams."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def clients_of(address: str) -> AsyncIterator[list[BusClient]]:
    """A client for each channel."""
    async with AsyncExitStack() as stack:
        clients = [BusClient(address) for _ in range(CHANNELS)]
        for client in clients:
            await client.start()
            stack.push_async_callback(client.close)
        yield clients


async def measure(pid: int, address: str) -> None:
    """Prints the table."""
    process, crowd, maker = psutil.Process(pid), Crowd(), events.Maker()
    before = process.memory_info().rss
    async with clients_of(address) as clients:
        began = time.perf_counter()
        await crowd.gather(clients)
        opened = time.perf_counter() - began
        after = process.memory_info().rss
        began = time.perf_counter()
        await clients[0].publish([maker.one("t0", os.urandom(256))])
        async with asyncio.timeout(_PATIENCE):
            await crowd.all_seen.wait()
        reached = time.perf_counter() - began
        peak = process.memory_info().rss
        await crowd.leave()
    print(f"{'followers':>10} {'opened in s':>12} {'idle MB':>9} {'KiB each':>9} {'MB after':>9} {'one event to all, s':>20}  bar")
    each = (after - before) / COUNT / 1024
    row = f"{COUNT:10,} {opened:12.1f} {after / 1e6:9.0f} {each:9.1f} {peak / 1e6:9.0f} {reached:20.2f}"
    print(f"{row}  < {_BAR_MB} MB, < {_BAR_SECONDS} s {_verdict(after, reached)}")


def _verdict(rss: int, seconds: float) -> str:
    return "reached" if rss < _BAR_MB * 1e6 and seconds < _BAR_SECONDS else "MISSED"


def main() -> None:
    """Runs a server and its followers."""
    with (
        tempfile.TemporaryDirectory(prefix="tooloo-bench-") as folder,
        server.running(Path(folder), SETTINGS) as (process, address),
    ):
        uvloop.run(measure(process.pid, address))


if __name__ == "__main__":
    main()
