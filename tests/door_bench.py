"""A real Envoy before small real gRPC servers: what the door's tests stand on."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
from google.api import httpbody_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tooloo.bus.v1 import bus_service_pb2 as bus
from tooloo.integration.v1 import integration_service_pb2 as integration
from tooloo.orchestration.v1 import orchestration_service_pb2 as orchestration
from tooloo.system.v1 import process_pb2 as process
from tooloo.system.v1 import system_service_pb2 as system

from envoy.door import Door
from envoy.settings import DoorSettings
from envoy.testing import door_on_free_ports, running_door
from mesh import contracts, errors
from mesh.boundary import Boundary
from mesh.serving import make_server
from mesh.settings import MeshSettings

SERVICES = {
    "bus": ("tooloo.bus.v1.EventBus",),
    "orchestration": ("tooloo.orchestration.v1.OrchestrationService",),
    "integration": ("tooloo.integration.v1.IntegrationService",),
    # nobody answers this one
    "analytics": ("tooloo.analytics.v1.AnalyticsService",),
    "system": ("tooloo.system.v1.SystemService",),
}
ORIGIN = "http://pages.example"
SETTINGS = DoorSettings(origins=(ORIGIN,), max_request_bytes=64 * 1024, retries=2, retry_pause=timedelta(milliseconds=20))
RUN = "018f0000-0000-7000-8000-000000000001"


@dataclass
class Seen:
    """What the last call of each RPC brought: its metadata and the seconds it had left."""

    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    remaining: dict[str, float | None] = field(default_factory=dict)

    def note(self, rpc: str, context: Any) -> None:
        """Notes a call."""
        self.metadata[rpc] = {str(key): str(value) for key, value in context.invocation_metadata()}
        self.remaining[rpc] = context.time_remaining()


class Bus:
    """Counts what it is sent, refuses on demand, and streams three messages."""

    def __init__(self, seen: Seen, name: str) -> None:
        self._seen = seen
        self._name = name
        self._stopped = False

    async def Publish(self, request: bus.PublishRequest, context: Any) -> bus.PublishResponse:
        """Positions 1 to n; the subject says how the call ends."""
        self._seen.note("Publish", context)
        subject = request.events[0].subject
        if subject == "refuse":
            raise errors.exhausted("test", "no more", retry_after=timedelta(seconds=2))
        if subject == "fail":
            raise RuntimeError("secret of the house")
        if subject == "stops" and not self._stopped:
            # as a service that stops does with what it has not taken yet
            self._stopped = True
            await context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
        return bus.PublishResponse(positions=range(1, len(request.events) + 1))

    async def GetBusStats(self, request: bus.GetBusStatsRequest, context: Any) -> bus.GetBusStatsResponse:
        """A quick answer that says who gave it."""
        return bus.GetBusStatsResponse(followers=int(self._name))

    async def Follow(self, request: bus.FollowRequest, context: Any) -> AsyncIterator[bus.FollowResponse]:
        """Three messages."""
        self._seen.note("Follow", context)
        for position in range(1, 4):
            yield bus.FollowResponse(head_position=position)

    async def FollowSse(self, request: bus.FollowSseRequest, context: Any) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """Three events as a service writes them."""
        self._seen.note("FollowSse", context)
        for position in range(1, 4):
            yield httpbody_pb2.HttpBody(content_type="text/event-stream", data=f"id: {position}\ndata: {{}}\n\n".encode())


class Orchestration:
    """Watches a run that ends at once."""

    async def WatchRun(self, request: orchestration.WatchRunRequest, context: Any) -> AsyncIterator[orchestration.WatchRunResponse]:
        """Two messages, the second of them final."""
        yield orchestration.WatchRunResponse(final=False)
        yield orchestration.WatchRunResponse(final=True)


class System:
    """A mesh whose health a test sets."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self.state = process.SERVING_STATE_SERVING

    async def GetHealth(self, request: system.GetHealthRequest, context: Any) -> system.GetHealthResponse:
        """The state that was set."""
        return system.GetHealthResponse(state=self.state, services=[process.ServiceHealth(service="bus", state=self.state)])

    async def GetSystemInfo(self, request: system.GetSystemInfoRequest, context: Any) -> system.GetSystemInfoResponse:
        """An answer with every kind of plain field, most of them zero."""
        self._seen.note("GetSystemInfo", context)
        return system.GetSystemInfoResponse(version="1")

    async def ListProcesses(self, request: system.ListProcessesRequest, context: Any) -> system.ListProcessesResponse:
        """Never answers."""
        await asyncio.Event().wait()
        return system.ListProcessesResponse()

    async def ListRoutes(self, request: system.ListRoutesRequest, context: Any) -> system.ListRoutesResponse:
        """An answer that is worth compressing."""
        return system.ListRoutesResponse(routes=[system.Route(path=f"/{number}") for number in range(500)])


class Integration:
    """Takes back whoever comes from a sign-in."""

    async def HandleOAuthCallback(self, request: integration.HandleOAuthCallbackRequest, context: Any) -> httpbody_pb2.HttpBody:
        """A page with the state."""
        return httpbody_pb2.HttpBody(content_type="text/html", data=request.state.encode())


@dataclass
class Bench:
    """A running door with its callers' clients."""

    door: Door
    seen: Seen
    system: System
    health: Any
    rest: httpx.AsyncClient
    channel: grpc.aio.Channel
    folder: Path

    def url(self, service: str) -> str:
        """Base URL of a service's own port."""
        return f"http://127.0.0.1:{next(each.port for each in self.door.upstreams if each.name == service)}"


def register(server: grpc.aio.Server, service: str, servicer: object) -> None:
    """Adds those RPCs of a service that the object has; the door's tests need only a few of each."""
    handlers = {}
    for method in contracts.methods().values():
        rpc = method.name.rsplit("/", 1)[-1]
        if method.service == service and hasattr(servicer, rpc):
            stream = method.server_streaming
            kind: Any = grpc.unary_stream_rpc_method_handler if stream else grpc.unary_unary_rpc_method_handler
            handlers[rpc] = kind(getattr(servicer, rpc), method.request.FromString, method.response.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


@contextlib.asynccontextmanager
async def serving(socket: Path, seen: Seen, name: str = "1") -> AsyncIterator[tuple[System, Any]]:
    """All servicers on one unix socket, with the kit's own boundary and limits."""
    server = make_server(MeshSettings(), Boundary())
    answering, checks = System(seen), health.aio.HealthServicer()
    register(server, "tooloo.bus.v1.EventBus", Bus(seen, name))
    register(server, "tooloo.orchestration.v1.OrchestrationService", Orchestration())
    register(server, "tooloo.integration.v1.IntegrationService", Integration())
    register(server, "tooloo.system.v1.SystemService", answering)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield answering, checks
    finally:
        await server.stop(1)


@contextlib.asynccontextmanager
async def bench(folder: Path, settings: DoorSettings = SETTINGS, pages: Path | None = None) -> AsyncIterator[Bench]:
    """Servers, door and clients on free ports."""
    # a unix socket's path has at most 108 characters, and pytest's folders are long
    with tempfile.TemporaryDirectory() as short:
        socket, seen = Path(short) / "all.sock", Seen()
        door = door_on_free_ports(folder, SERVICES, settings, pages)
        sockets: Mapping[str, list[Path]] = {
            **{name: [socket] for name in SERVICES},
            "analytics": [Path(short) / "nobody.sock"],
        }
        url = f"http://127.0.0.1:{door.port}"
        async with (
            serving(socket, seen) as (answering, checks),
            running_door(door, folder, sockets),
            httpx.AsyncClient(base_url=url, timeout=60) as rest,
            grpc.aio.insecure_channel(f"127.0.0.1:{door.port}") as channel,
        ):
            yield Bench(door, seen, answering, checks, rest, channel, folder)


def event(subject: str = "users/ada") -> dict[str, Any]:
    """An event that the contract's rules allow."""
    started = {"@type": "type.googleapis.com/tooloo.system.v1.ServiceStarted", "service": "learning"}
    return {
        "id": RUN,
        "type": "service.started",
        "source": "system",
        "subject": subject,
        "time": "2026-01-02T03:04:05Z",
        "data": started,
    }
