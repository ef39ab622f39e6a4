"""Whether the server's memory is flat at 5,000 events/s: `python -m bench.bus.soak`, for TOOLOO_SOAK_SECONDS (default 60).

One publisher, one durable subscription with acks; default settings but for retention, which keeps the newest 256 MiB. The slope is
that of the second half (least squares). Memory grows until the window of remembered ids is full: 1,000,000 events, the first 200 s.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path

import uvloop

from bench.bus import events, server
from bench.memory import Memory
from mesh.follow import BusClient

SECONDS = float(os.environ.get("TOOLOO_SOAK_SECONDS", "60"))
RATE = 5_000
_TICKS = 100
_SLACK_SECONDS = 30
SETTINGS = {"TOOLOO_BUS_RETENTION_BYTES": str(256 * 1024 * 1024), "TOOLOO_BUS_UPKEEP_INTERVAL": "10s"}


class Soak:
    """Publishes at the rate, consumes with acks, and looks at the server's memory."""

    def __init__(self, client: BusClient, pid: int) -> None:
        self._client = client
        self._memory = Memory(pid, SECONDS)
        self._maker = events.Maker()
        self.published = 0
        self.consumed = 0
        self._last = int(SECONDS * _TICKS) * (RATE // _TICKS)
        self._done = asyncio.Event()

    async def run(self) -> None:
        """Until the time is over and everything that was published is consumed."""
        async with asyncio.TaskGroup() as group:
            consumer = group.create_task(self._consume())
            watcher = group.create_task(self._memory.watch())
            await self._publish()
            async with asyncio.timeout(_SLACK_SECONDS):
                await self._done.wait()
            consumer.cancel()
            watcher.cancel()

    async def _publish(self) -> None:
        """A hundred batches a second; one that was late is made up for."""
        payload, began = os.urandom(256), time.monotonic()
        size = RATE // _TICKS
        for tick in range(int(SECONDS * _TICKS)):
            await asyncio.sleep(max(0.0, began + tick / _TICKS - time.monotonic()))
            await self._client.publish(self._maker.many(range(self.published, self.published + size), payload))
            self.published += size

    async def _consume(self) -> None:
        async with self._client.subscription("soak") as deliveries:
            async for batch in deliveries.batches():
                await deliveries.settle([delivery.position for delivery in batch])
                self.consumed += len(batch)
                if self.consumed == self._last:
                    self._done.set()

    def table(self) -> None:
        """Memory over time, and how it grows in the second half."""
        self._memory.table("server")
        print(f"{self.published:,} events published and consumed; second half: {self._memory.slope:+.1f} MB an hour")


async def measure(pid: int, address: str) -> None:
    """Runs, then prints."""
    client = BusClient(address)
    await client.start()
    soak = Soak(client, pid)
    await soak.run()
    await client.close()
    soak.table()


def main() -> None:
    """Runs a server and its traffic."""
    with (
        tempfile.TemporaryDirectory(prefix="tooloo-bench-") as folder,
        server.running(Path(folder), SETTINGS) as (process, address),
    ):
        uvloop.run(measure(process.pid, address))


if __name__ == "__main__":
    main()
