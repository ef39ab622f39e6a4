"""The system API: gRPC in, the process manager's call, gRPC out."""

# grpcio's classes are generic in its type stubs only, so annotations must not be evaluated
from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
import psutil
from google.api import httpbody_pb2
from tooloo.system.v1 import process_pb2 as process
from tooloo.system.v1 import system_service_pb2 as system
from tooloo.system.v1.system_service_pb2_grpc import SystemServiceServicer

from envoy import binary
from gateway import openapi
from gateway.log_service import LogCalls
from gateway.logtail import LogTail
from gateway.sampler import Ask, Sampler
from gateway.settings import SystemSettings
from gateway.traffic_service import TrafficCalls
from mesh import answers, contracts, errors
from mesh.catalogue import SERVICES, ServiceSpec, owner_of
from mesh.child import Program, State
from mesh.db import Transaction
from mesh.host import Host
from mesh.unbroken import Unbroken
from mesh.version import version

Asked = system.StartServiceRequest | system.StopServiceRequest | system.RestartServiceRequest | system.ScaleServiceRequest
Answer = TypeVar(
    "Answer",
    system.StartServiceResponse,
    system.StopServiceResponse,
    system.RestartServiceResponse,
    system.ScaleServiceResponse,
)
Change = Callable[[], Coroutine[Any, Any, None]]
Context = grpc.aio.ServicerContext[Any, Any]
_STATES = {
    State.STARTING: process.SERVING_STATE_STARTING,
    State.SERVING: process.SERVING_STATE_SERVING,
    State.NOT_SERVING: process.SERVING_STATE_NOT_SERVING,
    State.STOPPED: process.SERVING_STATE_STOPPED,
    State.CRASHED: process.SERVING_STATE_CRASHED,
}
# the state of a service is that of its best replica
_BEST_FIRST = (State.SERVING, State.STARTING, State.NOT_SERVING, State.CRASHED, State.STOPPED)


class ManagedProcess(Protocol):
    """What is asked of a process; mesh.child.Child is one."""

    @property
    def program(self) -> Program:
        """What it runs."""
        ...

    @property
    def state(self) -> State:
        """How it does."""
        ...

    @property
    def pid(self) -> int:
        """Process id, 0 when it does not run."""
        ...

    @property
    def restarts(self) -> int:
        """Times it was started again."""
        ...

    @property
    def started(self) -> datetime | None:
        """When it was started last."""
        ...

    @property
    def last_exit(self) -> str:
        """How it ended last."""
        ...


class ProcessManager(Protocol):
    """What is asked of the process manager; mesh.supervisor.Supervisor is one. Its calls raise mesh.errors refusals."""

    @property
    def services(self) -> Sequence[ServiceSpec]:
        """The services of the mesh."""
        ...

    @property
    def processes(self) -> Sequence[ManagedProcess]:
        """Every process, the door's too."""
        ...

    def replicas(self, service: str) -> Sequence[ManagedProcess]:
        """The processes of one service."""
        ...

    def start_service(self, service: str) -> Coroutine[Any, Any, None]:
        """Starts it when it is stopped."""
        ...

    def stop_service(self, service: str) -> Coroutine[Any, Any, None]:
        """Drains and stops it."""
        ...

    def restart_service(self, service: str) -> Coroutine[Any, Any, None]:
        """Starts it anew."""
        ...

    def scale_service(self, service: str, replicas: int) -> Coroutine[Any, Any, None]:
        """Runs it as so many replicas."""
        ...


@dataclass(frozen=True)
class Installation:
    """What does not change while the mesh runs: when it started, where its state is, and its ports by service name."""

    start_time: datetime
    data_folder: Path
    ports: dict[str, int]


class SystemService(TrafficCalls, LogCalls, SystemServiceServicer):
    """Answers tooloo.system.v1.SystemService."""

    def __init__(self, host: Host, manager: ProcessManager, installation: Installation, ask_envoy: Ask) -> None:
        self._host = host
        self._clock = host.clock
        self._manager = manager
        self._installation = installation
        self._settings = host.settings_of(SystemSettings)
        self._sampler = Sampler(ask_envoy, host.clock, self._settings)
        self._logs = installation.data_folder / "log"
        self._tail = LogTail(self._logs, self._settings)
        self._unbroken = Unbroken()

    @property
    def background(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What has to run beside the calls."""
        return [self._sampler.run, self._tail.run]

    async def GetHealth(self, request: system.GetHealthRequest, context: Context) -> system.GetHealthResponse:
        """The mesh serves when each of its services does; the door turns anything else into a 503."""
        services = [self._health(spec) for spec in self._manager.services]
        serving = all(each.state == process.SERVING_STATE_SERVING for each in services)
        response = system.GetHealthResponse(
            state=process.SERVING_STATE_SERVING if serving else process.SERVING_STATE_NOT_SERVING, services=services
        )
        response.time.FromDatetime(self._host.clock.now())
        return response

    async def GetSystemInfo(self, request: system.GetSystemInfoRequest, context: Context) -> system.GetSystemInfoResponse:
        """What runs here."""
        response = system.GetSystemInfoResponse(
            version=version(),
            python_version=platform.python_version(),
            envoy_version=binary.version(),
            data_folder=str(self._installation.data_folder),
            ports=self._installation.ports,
        )
        response.start_time.FromDatetime(self._installation.start_time)
        return response

    async def ListProcesses(self, request: system.ListProcessesRequest, context: Context) -> system.ListProcessesResponse:
        """Every process by name, this one among them."""
        processes = [self._own_process(), *(_process(each) for each in self._manager.processes)]
        return system.ListProcessesResponse(processes=sorted(processes, key=lambda each: each.name))

    def _own_process(self) -> process.Process:
        """The process manager, under the name of the service that it answers for."""
        name = next(spec.name for spec in self._manager.services if not spec.module)
        own = process.Process(
            name=name,
            service=name,
            state=process.SERVING_STATE_SERVING,
            pid=os.getpid(),
            memory_bytes=_memory(os.getpid()),
            manager=True,
        )
        own.start_time.FromDatetime(self._installation.start_time)
        return own

    async def ListRoutes(self, request: system.ListRoutesRequest, context: Context) -> system.ListRoutesResponse:
        """Every REST route by path."""
        return system.ListRoutesResponse(routes=routes())

    async def StartService(self, request: system.StartServiceRequest, context: Context) -> system.StartServiceResponse:
        """Starts a stopped service."""
        return await self._once(request, system.StartServiceResponse, lambda: self._manager.start_service(request.service))

    async def StopService(self, request: system.StopServiceRequest, context: Context) -> system.StopServiceResponse:
        """Stops a service."""
        return await self._once(request, system.StopServiceResponse, lambda: self._manager.stop_service(request.service))

    async def RestartService(self, request: system.RestartServiceRequest, context: Context) -> system.RestartServiceResponse:
        """Starts a service anew."""
        return await self._once(request, system.RestartServiceResponse, lambda: self._manager.restart_service(request.service))

    async def ScaleService(self, request: system.ScaleServiceRequest, context: Context) -> system.ScaleServiceResponse:
        """Runs a service as so many replicas."""
        return await self._once(
            request, system.ScaleServiceResponse, lambda: self._manager.scale_service(request.service, request.replicas)
        )

    async def GetOpenApi(self, request: system.GetOpenApiRequest, context: Context) -> httpbody_pb2.HttpBody:
        """The OpenAPI document."""
        return httpbody_pb2.HttpBody(content_type="application/json", data=self._document)

    @cached_property
    def _document(self) -> bytes:
        titles = {name: spec.title for spec in SERVICES for name in spec.grpc_services}
        return json.dumps(openapi.document(titles, version()), ensure_ascii=False).encode()

    async def _once(self, request: Asked, response_type: type[Answer], change: Change) -> Answer:
        """Makes a change of the processes unless the request was answered before, and keeps the answer."""
        # a caller that goes away must not leave a service half stopped, nor the answer to his repeat unkept; a change takes
        # seconds, and what comes meanwhile under the same request_id waits for its answer
        return await self._unbroken.run(self._change(request, response_type, change), alone=answers.request_id_of(request))

    async def _change(self, request: Asked, response_type: type[Answer], change: Change) -> Answer:
        known = await self._host.answered(request, response_type)
        if known is not None:
            return known
        await change()
        answer = response_type(health=self._health_of(request.service))

        async def keep(_: Transaction) -> Answer:
            return answer

        return await self._host.once(request, response_type, keep)

    def _health_of(self, service: str) -> process.ServiceHealth:
        for spec in self._manager.services:
            if spec.name == service:
                return self._health(spec)
        raise errors.not_found("service", service)

    def _health(self, spec: ServiceSpec) -> process.ServiceHealth:
        # who has no process of its own is answered by this very process, so it serves
        states = [each.state for each in self._manager.replicas(spec.name)] if spec.module else [State.SERVING]
        return process.ServiceHealth(
            service=spec.name,
            state=_STATES[min(states, key=_BEST_FIRST.index, default=State.STOPPED)],
            port=self._installation.ports.get(spec.name, spec.port),
            serving_replicas=states.count(State.SERVING),
            wanted_replicas=len(states),
        )


def _process(managed: ManagedProcess) -> process.Process:
    message = process.Process(
        name=managed.program.name,
        service=managed.program.service,
        state=_STATES[managed.state],
        pid=managed.pid,
        restarts=managed.restarts,
        last_exit=managed.last_exit,
        memory_bytes=_memory(managed.pid),
    )
    if managed.started:
        message.start_time.FromDatetime(managed.started)
    return message


def _memory(pid: int) -> int:
    """Resident memory in bytes; 0 for a process that does not run, or has just ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    except psutil.Error:
        return 0


def routes() -> list[system.Route]:
    """The REST routes of all services, by path and method."""
    found = [
        system.Route(method=method.http.verb, path=method.http.path, rpc=method.name, service=owner_of(method.service).name)
        for method in contracts.methods().values()
        if method.http
    ]
    return sorted(found, key=lambda route: (route.path, route.method))
