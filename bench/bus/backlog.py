"""How soon after its start a bus with a million events delivers the first one: `python -m bench.bus.backlog [events]`.

The time runs from the start of the process, Python's own start included; an empty log beside it says what of that is the backlog's.
The file lies on disk and in the page cache. Bar: the first event in less than 0.5 s, and the file open in less than 1 s.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop
from tooloo.bus.v1 import bus_service_pb2 as pb

from bench.bus import events, server
from bench.bus.adapter import Adapter
from mesh.follow import BusClient

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
_ROUNDS = 3
_PATIENCE = 60
_BAR_SECONDS = 0.5


@dataclass(frozen=True)
class Start:
    """Seconds from the start of the process until it listens, and until the first event is delivered."""

    listens: float
    first_event: float


async def fill(address: str, count: int) -> None:
    """Publishes the backlog."""
    adapter = Adapter({"address": address, "after": 0})
    await adapter.connect()
    await adapter.publish_many(count, os.urandom(256))
    await adapter.close()


async def _listening(process: subprocess.Popen[bytes], address: str) -> None:
    """Waits until somebody listens on the unix socket; looks often, for the wait is what is measured."""
    async with asyncio.timeout(_PATIENCE):
        while process.poll() is None:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as caller:
                caller.connect(address.removeprefix("unix:"))
                return
            await asyncio.sleep(0.002)
    raise RuntimeError(f"the bus ended with {process.returncode}; bus.log in its folder says why")


async def _first_event(address: str) -> None:
    client = BusClient(address)
    await client.start()
    async with asyncio.timeout(_PATIENCE):
        if not (await client.stub.ReadEvents(pb.ReadEventsRequest(page_size=1))).head_position:
            await client.publish([events.Maker().one("t0", os.urandom(256))])
        async for _ in client.follow(after_position=0):
            break
    await client.close()


async def start(folder: Path) -> Start:
    """Starts a bus on the folder's files and waits for its first event; an empty log gets one."""
    began = time.perf_counter()
    process, address = server.start(folder)
    try:
        await _listening(process, address)
        listens = time.perf_counter() - began
        await _first_event(address)
        return Start(listens, time.perf_counter() - began)
    finally:
        server.stop(process)


def measure(title: str, folder: Path) -> None:
    """Prints the line of a log: the best of some starts."""
    best = min((uvloop.run(start(folder)) for _ in range(_ROUNDS)), key=lambda each: each.first_event)
    size = (folder / "bus" / "log.db").stat().st_size / 1e6
    verdict = "reached" if best.first_event < _BAR_SECONDS else "MISSED"
    print(f"{title:20} {size:9,.0f} {best.listens:12.2f} {best.first_event:16.2f}  < {_BAR_SECONDS} s {verdict}")


def main() -> None:
    """Fills a log, then starts on it, and on an empty one."""
    with tempfile.TemporaryDirectory(prefix="tooloo-bench-") as empty, tempfile.TemporaryDirectory(prefix="tooloo-bench-") as full:
        with server.running(Path(full)) as (_, address):
            uvloop.run(fill(address, COUNT))
        print(f"{'log':20} {'MB':>9} {'listens, s':>12} {'first event, s':>16}  bar")
        measure("one event", Path(empty))
        measure(f"{COUNT:,} events", Path(full))


if __name__ == "__main__":
    main()
