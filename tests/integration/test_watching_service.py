"""Traffic and logs at the service itself: heartbeats, followers that are too slow, an Envoy that is silent, one sampler for all."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import httpx
import pytest
from tooloo.system.v1 import log_pb2
from tooloo.system.v1 import system_service_pb2 as system
from tooloo.system.v1.system_service_pb2_grpc import SystemServiceStub, add_SystemServiceServicer_to_server

from envoy.statistics import UNARY, Counted, Outcome
from gateway.service import Installation, SystemService
from mesh import testing
from mesh.catalogue import SERVICES
from mesh.host import Host, Parts
from tests.integration.test_system import Manager
from tests.support.waiting import until

if TYPE_CHECKING:
    # a name of the type stubs only
    from tooloo.system.v1.system_service_pb2_grpc import SystemServiceAsyncStub

START = datetime(2026, 1, 2, tzinfo=UTC)
QUICK = {
    "TOOLOO_SYSTEM_LOG_HEARTBEAT": "50ms",
    "TOOLOO_SYSTEM_LOG_POLL": "10ms",
    "TOOLOO_SYSTEM_LOG_QUEUE": "100",
    "TOOLOO_SYSTEM_TRAFFIC_INTERVAL": "200ms",
    "TOOLOO_SYSTEM_TRAFFIC_LINGER": "100ms",
}


@dataclass
class Envoy:
    """An Envoy that counts three more calls of learning each time when it is asked, or is away."""

    asked: int = 0
    away: bool = False
    calls: Counter[Outcome] = field(default_factory=Counter)

    async def ask(self) -> dict[str, Counted]:
        """Its statistics."""
        if self.away:
            raise httpx.ConnectError("nobody listens")
        self.asked += 1
        self.calls += Counter({Outcome(UNARY, 200, -1): 1, Outcome(UNARY, 404, -1): 1, Outcome(UNARY, 200, 13): 1})
        return {"learning": Counted(Counter(self.calls), 2, {(1000.0, 100.0): self.asked})}


@dataclass
class Bench:
    """The service, its log folder and the Envoy that it asks."""

    stub: "SystemServiceAsyncStub"
    logs: Path
    envoy: Envoy

    def write(self, *messages: str, level: str = "INFO") -> None:
        """Adds lines to the log of a process."""
        with (self.logs / "learning-0.jsonl").open("a") as file:
            for message in messages:
                file.write(json.dumps({"time": START.isoformat(), "level": level, "message": message}) + "\n")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """The system service on a real socket, with real log files."""
    (tmp_path / "log").mkdir()
    envoy = Envoy()

    async def build(host: Host) -> Parts:
        installation = Installation(START, tmp_path, {spec.name: spec.port for spec in SERVICES})
        service = SystemService(host, Manager(), installation, envoy.ask)
        return Parts([(add_SystemServiceServicer_to_server, service)], background=service.background)

    async with testing.running("system", build, tmp_path, settings=QUICK) as running:
        yield Bench(SystemServiceStub(running.channel), tmp_path / "log", envoy)


async def test_a_silent_log_says_that_it_is_there(bench: Bench) -> None:
    """At once, so that the caller knows that it follows, and again after each silence; then the line that comes."""
    call = bench.stub.FollowLogs(system.FollowLogsRequest(min_level=log_pb2.LOG_LEVEL_WARNING))
    for _ in range(3):
        message = await call.read()
        assert isinstance(message, system.FollowLogsResponse)
        assert not message.records
        assert message.HasField("time")
    bench.write("quiet")
    bench.write("loud", level="ERROR")
    seen: list[str] = []
    while not seen:
        message = await call.read()
        assert isinstance(message, system.FollowLogsResponse)
        seen += [record.message for record in message.records]
    assert seen == ["loud"]
    call.cancel()


async def test_old_lines_come_first_and_none_twice(bench: Bench) -> None:
    """Those that are there, then those that are written: no gap between the two, and no repeat."""
    bench.write(*(f"old {number}" for number in range(30)))
    call = bench.stub.FollowLogs(system.FollowLogsRequest(tail=25))
    seen: list[str] = []
    written = 0
    while len(seen) < 75:
        message = await call.read()
        assert isinstance(message, system.FollowLogsResponse)
        seen += [record.message for record in message.records]
        if written < 50:
            bench.write(f"new {written}")
            written += 1
    assert seen == [*(f"old {number}" for number in range(5, 30)), *(f"new {number}" for number in range(50))]
    call.cancel()


async def test_a_follower_that_is_too_slow_is_told_what_it_missed(bench: Bench) -> None:
    """The oldest lines are left out, and a line says how many."""
    call = bench.stub.FollowLogs(system.FollowLogsRequest())
    await call.read()
    bench.write(*(f"line {number}" for number in range(5000)))
    seen: list[str] = []
    while "line 4999" not in seen:
        message = await call.read()
        assert isinstance(message, system.FollowLogsResponse)
        seen += [record.message for record in message.records]
    told = [text for text in seen if "left out" in text]
    assert sum(int(text.split()[0]) for text in told) + len(seen) - len(told) == 5000
    assert told
    call.cancel()


async def test_all_watchers_share_one_sampler_that_sleeps_without_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten watchers cost no more samples than one, and none are taken a while after the last has left."""
    monkeypatch.setattr("gateway.sampler._PATIENCE", 60)
    request = system.WatchTrafficRequest()
    request.interval.FromMilliseconds(500)
    calls = [bench.stub.WatchTraffic(request) for _ in range(10)]
    answers = await asyncio.gather(*(call.read() for call in calls))
    assert bench.envoy.asked < 2 * len(calls), "a window needs two samples: each watcher took its own"
    for answer in answers:
        assert isinstance(answer, system.WatchTrafficResponse)
        learning = next(each for each in answer.traffic.services if each.service == "learning")
        steps = learning.calls // 3
        assert (learning.calls, learning.failed, learning.refused, learning.active) == (3 * steps, steps, steps, 2)
        assert learning.p50.ToMicroseconds() == pytest.approx(1050, abs=51)
        assert learning.calls_per_second > 0
    for call in calls:
        call.cancel()
    await until_asleep(bench)


async def until_asleep(bench: Bench) -> None:
    """Waits until no sample is taken any more."""
    before = -1
    while before != bench.envoy.asked:
        before = bench.envoy.asked
        await asyncio.sleep(0.5)


async def test_an_envoy_that_does_not_tell_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """UNAVAILABLE after a while; when it is back the figures are too."""
    monkeypatch.setattr("gateway.sampler._PATIENCE", 0.2)
    bench.envoy.away = True
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bench.stub.GetTraffic(system.GetTrafficRequest())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "envoy" in (caught.value.details() or "").lower()
    bench.envoy.away = False
    monkeypatch.setattr("gateway.sampler._PATIENCE", 60)
    answer = await bench.stub.GetTraffic(system.GetTrafficRequest())
    assert sum(each.calls for each in answer.services) > 0
    await until(lambda: bench.envoy.asked > 1)
