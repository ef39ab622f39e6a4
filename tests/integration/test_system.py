"""The system API answers for the processes of a manager, and repeats change nothing."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import httpx
import psutil
import pytest
from tooloo.system.v1 import process_pb2 as process
from tooloo.system.v1 import system_service_pb2 as system
from tooloo.system.v1.system_service_pb2_grpc import SystemServiceStub, add_SystemServiceServicer_to_server

from envoy import binary
from envoy.statistics import Counted
from gateway.service import Installation, SystemService
from mesh import contracts, errors, testing
from mesh.catalogue import SERVICES, ServiceSpec, service
from mesh.child import Program, State
from mesh.clock import ManualClock
from mesh.host import Host, Parts

if TYPE_CHECKING:
    # a name of the type stubs only
    from tooloo.system.v1.system_service_pb2_grpc import SystemServiceAsyncStub

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REQUEST_ID = "018f0000-0000-7000-8000-000000000001"


async def no_envoy() -> dict[str, Counted]:
    """The statistics of an Envoy that is not there."""
    raise httpx.ConnectError("nobody listens")


async def never() -> bool:
    """The probe of a process that nobody probes."""
    return False


@dataclass
class Replica:
    """A process as the manager shows it."""

    program: Program
    state: State = State.SERVING
    pid: int = 0
    restarts: int = 2
    started: datetime | None = START
    last_exit: str = "signal 9"


@dataclass
class Manager:
    """A process manager that keeps its processes in a dictionary and notes what it was asked."""

    services: tuple[ServiceSpec, ...] = SERVICES
    running: dict[str, list[Replica]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    # unset: a restart takes until it is set
    restarted: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.running = {spec.name: [self.make(spec.name, 0)] for spec in self.services if spec.module}
        self.restarted.set()

    @staticmethod
    def make(name: str, number: int) -> Replica:
        """A replica that serves."""
        return Replica(Program(f"{name}-{number}", name, (), never))

    @property
    def processes(self) -> list[Replica]:
        """All of them."""
        return [replica for replicas in self.running.values() for replica in replicas]

    def replicas(self, service: str) -> list[Replica]:
        """Those of one service."""
        return self.running.get(service, [])

    async def start_service(self, service: str) -> None:
        """Runs one replica."""
        await self.scale_service(service, 1)

    async def stop_service(self, service: str) -> None:
        """Runs none."""
        await self.scale_service(service, 0)

    async def restart_service(self, service: str) -> None:
        """Notes it."""
        self.asked.append(f"restart {service}")
        await self.restarted.wait()

    async def scale_service(self, service: str, replicas: int) -> None:
        """Runs so many."""
        if service not in self.running:
            raise errors.not_found("service", service)
        self.asked.append(f"scale {service} {replicas}")
        self.running[service] = [self.make(service, number) for number in range(replicas)]


@dataclass
class Bench:
    """The service and the manager behind it."""

    stub: "SystemServiceAsyncStub"
    manager: Manager


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """The system service over a manager of its own, on a real socket and a real file."""
    manager = Manager()

    async def build(host: Host) -> Parts:
        installation = Installation(START, tmp_path, {spec.name: spec.port for spec in SERVICES})
        system_service = SystemService(host, manager, installation, no_envoy)
        return Parts([(add_SystemServiceServicer_to_server, system_service)], background=system_service.background)

    async with testing.running("system", build, tmp_path, clock=ManualClock(START)) as running:
        yield Bench(SystemServiceStub(running.channel), manager)


async def test_the_mesh_serves_when_every_service_does(bench: Bench) -> None:
    """One that does not is enough; the state of a service is that of its best replica."""
    well = await bench.stub.GetHealth(system.GetHealthRequest())
    assert well.state == process.SERVING_STATE_SERVING
    assert [each.service for each in well.services] == [spec.name for spec in SERVICES]
    learning = bench.manager.running["learning"]
    learning.append(Manager.make("learning", 1))
    learning[0].state = State.CRASHED
    half = await bench.stub.GetHealth(system.GetHealthRequest())
    shown = next(each for each in half.services if each.service == "learning")
    assert (shown.state, shown.serving_replicas, shown.wanted_replicas) == (process.SERVING_STATE_SERVING, 1, 2)
    learning[1].state = State.STARTING
    ill = await bench.stub.GetHealth(system.GetHealthRequest())
    assert ill.state == process.SERVING_STATE_NOT_SERVING
    assert next(each.state for each in ill.services if each.service == "learning") == process.SERVING_STATE_STARTING


async def test_info_says_what_runs_here(bench: Bench, tmp_path: Path) -> None:
    """Versions, start, folder and ports."""
    info = await bench.stub.GetSystemInfo(system.GetSystemInfoRequest())
    assert info.start_time.ToDatetime(UTC) == START
    assert (info.envoy_version, info.data_folder) == (binary.version(), str(tmp_path))
    assert info.ports["learning"] == service("learning").port


async def test_processes_are_listed_by_name(bench: Bench) -> None:
    """With what happened to them."""
    listed = (await bench.stub.ListProcesses(system.ListProcessesRequest())).processes
    assert [each.name for each in listed] == sorted(each.name for each in listed)
    assert (listed[0].restarts, listed[0].last_exit, listed[0].memory_bytes) == (2, "signal 9", 0)


async def test_the_process_manager_is_listed_too(bench: Bench) -> None:
    """It alone is marked as such, and its memory is that of the process that answers."""
    listed = (await bench.stub.ListProcesses(system.ListProcessesRequest())).processes
    (own,) = [each for each in listed if each.manager]
    assert (own.service, own.state, own.pid) == ("system", process.SERVING_STATE_SERVING, os.getpid())
    assert own.start_time.ToDatetime(UTC) == START
    resident = psutil.Process().memory_info().rss
    assert resident / 2 < own.memory_bytes < resident * 2


async def test_routes_are_those_of_the_contracts(bench: Bench) -> None:
    """Each with its RPC and the service that answers it."""
    listed = (await bench.stub.ListRoutes(system.ListRoutesRequest())).routes
    assert {each.rpc for each in listed} == {method.name for method in contracts.methods().values() if method.http}
    seek = next(each for each in listed if each.rpc.endswith("SeekSubscription"))
    assert (seek.method, seek.path, seek.service) == ("POST", "/api/v1/subscriptions/{name}/seek", "bus")


async def test_services_stop_start_and_scale(bench: Bench) -> None:
    """The answer tells how the service does after the change."""
    stopped = await bench.stub.StopService(system.StopServiceRequest(service="learning"))
    assert stopped.health.state == process.SERVING_STATE_STOPPED
    started = await bench.stub.StartService(system.StartServiceRequest(service="learning"))
    assert started.health.state == process.SERVING_STATE_SERVING
    scaled = await bench.stub.ScaleService(system.ScaleServiceRequest(service="learning", replicas=3))
    assert (scaled.health.serving_replicas, scaled.health.wanted_replicas) == (3, 3)


async def test_a_repeated_request_id_changes_nothing(bench: Bench) -> None:
    """The first answer comes again, also after other changes; another request under the id is refused."""
    request = system.ScaleServiceRequest(service="learning", replicas=3, request_id=REQUEST_ID)
    first = await bench.stub.ScaleService(request)
    await bench.stub.ScaleService(system.ScaleServiceRequest(service="learning", replicas=1))
    assert await bench.stub.ScaleService(request) == first
    assert bench.manager.asked == ["scale learning 3", "scale learning 1"]
    other = system.ScaleServiceRequest(service="learning", replicas=2, request_id=REQUEST_ID)
    with pytest.raises(grpc.aio.AioRpcError) as reused:
        await bench.stub.ScaleService(other)
    assert reused.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_a_restart_is_passed_on_once(bench: Bench) -> None:
    """A repeat of the call is no second restart."""
    request = system.RestartServiceRequest(service="learning", request_id=REQUEST_ID)
    assert await bench.stub.RestartService(request) == await bench.stub.RestartService(request)
    assert bench.manager.asked == ["restart learning"]


async def test_a_repeat_while_it_restarts_waits_for_the_first(bench: Bench) -> None:
    """A caller whose time is up asks again under the same id: no second restart, and another request under it is refused."""
    request = system.RestartServiceRequest(service="learning", request_id=REQUEST_ID)
    bench.manager.restarted.clear()
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await bench.stub.RestartService(request, timeout=0.5)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    repeats = [asyncio.ensure_future(bench.stub.RestartService(request)) for _ in range(2)]
    other = system.RestartServiceRequest(service="context", request_id=REQUEST_ID)
    reused = asyncio.ensure_future(bench.stub.RestartService(other))
    await bench.stub.ListProcesses(system.ListProcessesRequest())
    bench.manager.restarted.set()
    first, second = await asyncio.gather(*repeats)
    assert first == second
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await reused
    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert bench.manager.asked == ["restart learning"]


@pytest.mark.parametrize("name", ["nobody", "Not A Name", ""])
async def test_unknown_services_are_refused(bench: Bench, name: str) -> None:
    """By the manager when nobody has the name, by the contract when nobody can."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await bench.stub.StopService(system.StopServiceRequest(service=name))
    expected = grpc.StatusCode.NOT_FOUND if name == "nobody" else grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.code() is expected


async def test_the_openapi_document_is_an_http_body(bench: Bench) -> None:
    """As the door hands it out at /openapi.json."""
    body = await bench.stub.GetOpenApi(system.GetOpenApiRequest())
    assert body.content_type == "application/json"
    assert body.data.startswith(b'{"openapi": "3.1.0"')
