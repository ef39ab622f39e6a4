"""Replicas come and go behind the door, and no call fails for it."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
from tooloo.bus.v1 import bus_service_pb2 as bus
from tooloo.bus.v1.bus_service_pb2_grpc import EventBusStub

from envoy.door import Door
from envoy.endpoints import write_endpoints
from envoy.testing import door_on_free_ports, running_door
from tests.door_bench import Seen, serving

STATS = "/api/v1/events/stats"
ENOUGH = 20


@dataclass
class Traffic:
    """Callers that never pause, by REST and by gRPC: who answered, and what failed."""

    answered: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def rest(self, url: str) -> None:
        """REST calls, one after the other."""
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            while True:
                answer = await client.get(STATS)
                if answer.is_success:
                    self._answered(answer.json()["followers"])
                else:
                    self.failed.append(answer.text)

    async def native(self, target: str) -> None:
        """Native calls, one after the other."""
        async with grpc.aio.insecure_channel(target) as channel:
            while True:
                try:
                    answer = await EventBusStub(channel).GetBusStats(bus.GetBusStatsRequest())
                    self._answered(answer.followers)
                except grpc.aio.AioRpcError as error:
                    self.failed.append(str(error.details()))

    async def until_answered_by(self, wanted: set[int]) -> None:
        """Waits until exactly these replicas answered the newest calls."""
        async with asyncio.timeout(60):
            while set(self.answered[-ENOUGH:]) != wanted:
                self.news.clear()
                await self.news.wait()

    def _answered(self, replica: int) -> None:
        self.answered.append(replica)
        self.news.set()


@contextlib.asynccontextmanager
async def under_load(door: Door) -> AsyncIterator[Traffic]:
    """Runs the callers while the block runs."""
    traffic = Traffic()
    address = f"127.0.0.1:{door.port}"
    callers = [asyncio.create_task(call) for call in (traffic.rest(f"http://{address}"), traffic.native(address))]
    try:
        yield traffic
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


async def test_scaling_up_and_down_loses_no_call(tmp_path: Path) -> None:
    """One replica, then two, then the other one alone: every call is answered, and by those who should."""
    door = door_on_free_ports(tmp_path, {"bus": ("tooloo.bus.v1.EventBus",)})
    with tempfile.TemporaryDirectory() as short:
        first, second = Path(short) / "1.sock", Path(short) / "2.sock"
        async with serving(second, Seen(), "2"), contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(serving(first, Seen(), "1"))
            async with running_door(door, tmp_path, {"bus": [first]}), under_load(door) as traffic:
                await traffic.until_answered_by({1})
                write_endpoints(door.endpoints_folder, "bus", [first, second])
                await traffic.until_answered_by({1, 2})
                write_endpoints(door.endpoints_folder, "bus", [second])
                await traffic.until_answered_by({2})
                await stack.aclose()
                traffic.answered.clear()
                await traffic.until_answered_by({2})
            assert not traffic.failed


async def test_a_restart_is_waited_for(tmp_path: Path) -> None:
    """A service that is gone for a moment costs its callers that moment, not an error."""
    door = door_on_free_ports(tmp_path, {"bus": ("tooloo.bus.v1.EventBus",)})
    with tempfile.TemporaryDirectory() as short:
        socket = Path(short) / "1.sock"
        async with running_door(door, tmp_path, {"bus": [socket]}), httpx.AsyncClient(timeout=60) as client:
            call = asyncio.create_task(client.get(f"http://127.0.0.1:{door.port}{STATS}", timeout=20))
            await stats_of(door, "upstream_rq_retry", client)
            async with serving(socket, Seen()):
                assert (await call).status_code == 200


async def test_a_service_without_replicas_is_unavailable(tmp_path: Path) -> None:
    """Its calls are refused at once."""
    door = door_on_free_ports(tmp_path, {"bus": ("tooloo.bus.v1.EventBus",)})
    async with running_door(door, tmp_path, {"bus": []}), httpx.AsyncClient(timeout=60) as client:
        answer = await client.get(f"http://127.0.0.1:{door.port}{STATS}")
        assert answer.status_code == 503
        assert answer.json()["details"][0]["reason"] == "DEPENDENCY_UNAVAILABLE"


async def stats_of(door: Door, name: str, client: httpx.AsyncClient) -> None:
    """Waits until Envoy has counted at least one of these for the bus."""
    async with asyncio.timeout(60):
        while True:
            text = (await client.get(f"http://127.0.0.1:{door.admin_port}/stats?filter=cluster.bus.{name}$")).text
            if text.strip() and int(text.rsplit(":", 1)[-1]) > 0:
                return
            await asyncio.sleep(0.01)
