"""Our bus in the caller's own process: one event at a time, acknowledged when it is on disk. No peer has this way."""

import os
import statistics
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.bus import events
from bus.local import open_bus
from mesh import extra_contracts

_WARM = 50


def measure(folder: Path, count: int, size: int) -> dict[str, Any]:
    """The times of `count` publishes as the harness's scenarios give them."""
    contracts = folder / "bench.binpb"
    events.write_contracts(contracts)
    extra_contracts.load([str(contracts)])
    times = uvloop.run(_times(folder / "in_process.db", count, os.urandom(size)))
    return {"in_process": {"n": count, "ev_s": round(count / sum(times)), "p50_ms": statistics.median(times) * 1e3}}


async def _times(path: Path, count: int, payload: bytes) -> list[float]:
    """Seconds of each publish."""
    maker, times = events.Maker(), []
    async with open_bus(path) as client:
        for number in range(_WARM + count):
            began = time.perf_counter()
            await client.publish([maker.one(f"t{number % events.TYPES}", payload)])
            times.append(time.perf_counter() - began)
    return times[_WARM:]
