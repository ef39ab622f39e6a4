"""Every test of this folder runs once on each way of running the bus."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conformance.ways import RunBus, fast, in_process, over_grpc
from tests.integration.bus_bench import BusBench
from tests.peers.nats import NatsPeer, running_nats

MEMBERS = int(os.environ.get("TOOLOO_TEST_NATS_MEMBERS", "1"))
WAYS = ("in process", "gRPC on SQLite", "gRPC on JetStream")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """The name of the way."""
    return str(request.param)


@pytest.fixture(scope="package")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsPeer]:
    """One NATS server for all tests, or a cluster of TOOLOO_TEST_NATS_MEMBERS; each test has a stream of its own."""
    with running_nats(tmp_path_factory.mktemp("nats"), members=MEMBERS) as peer:
        yield peer


@pytest.fixture
def run_bus(way: str, tmp_path: Path, request: pytest.FixtureRequest) -> RunBus:
    """Runs a bus with these settings: an async context manager."""
    kind = in_process if way == "in process" else over_grpc
    way_settings = {}
    if way == "gRPC on JetStream":
        way_settings = request.getfixturevalue("nats").settings(f"t{uuid4().hex}", MEMBERS)
    return lambda settings=None: kind(tmp_path, fast({**way_settings, **(settings or {})}))


@pytest.fixture
async def bus(run_bus: RunBus) -> AsyncIterator[BusBench]:
    """A running bus with short waits."""
    async with run_bus() as running:
        yield running
