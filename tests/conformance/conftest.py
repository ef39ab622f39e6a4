"""Every test of this folder runs once on each way of running the bus."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.ways import RunBus, fast, in_process, over_grpc
from tests.integration.bus_bench import BusBench

WAYS = ("in process", "gRPC on SQLite")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """The name of the way."""
    return str(request.param)


@pytest.fixture
def run_bus(way: str, tmp_path: Path) -> RunBus:
    """Runs a bus with these settings: an async context manager."""
    kind = in_process if way == "in process" else over_grpc
    return lambda settings=None: kind(tmp_path, fast(settings))


@pytest.fixture
async def bus(run_bus: RunBus) -> AsyncIterator[BusBench]:
    """A running bus with short waits."""
    async with run_bus() as running:
        yield running
