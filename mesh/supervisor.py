"""The supervisor: starts every process of the mesh in health order, keeps it running, and stops all in reverse.

It knows no service by itself: it is given the catalogue, the door's program, and who writes the endpoint files.
"""

import asyncio
import itertools
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tooloo.error.v1.error_reason_pb2 import ErrorReason

from mesh import errors, ports
from mesh.catalogue import ServiceSpec
from mesh.child import BootError, Child, Program, State
from mesh.clock import Clock, SystemClock
from mesh.ports import Taken
from mesh.settings import MeshSettings

log = logging.getLogger(__name__)
# how long the door needs, at most, to take up a changed endpoint file before a replica may go
_ENDPOINTS_APPLIED = 0.3
_PROBE_TIMEOUT = 2.0
# before an endpoint file that could not be written, as on a full disk, is written again
_WRITTEN_AGAIN = 1.0


class PortTakenError(RuntimeError):
    """Ports that other processes hold; the message names each, its holder and the setting that moves it."""


class Listener(Protocol):
    """Who wants to know what the processes do."""

    def process_changed(self, child: Child) -> None:
        """Called after each change of a process's state."""
        ...


class Supervisor:
    """Runs the services of a catalogue as child processes, one or more replicas each, behind a door."""

    def __init__(
        self,
        services: Sequence[ServiceSpec],
        settings: MeshSettings,
        door: Program,
        write_endpoints: Callable[[str, Sequence[Path]], None],
        clock: Clock | None = None,
    ) -> None:
        self.services = tuple(services)
        self._settings = settings
        self._clock = clock or SystemClock()
        self._write_endpoints = write_endpoints
        self._door = Child(door, settings, self._clock, self._changed)
        self._replicas: dict[str, list[Child]] = {spec.name: [] for spec in services if spec.module}
        self._numbers = {spec.name: itertools.count() for spec in services}
        self._locks = {spec.name: asyncio.Lock() for spec in services}
        self._listeners: list[Listener] = []
        # services whose endpoint file is to be written again
        self._unwritten: set[str] = set()

    @property
    def processes(self) -> list[Child]:
        """Every process, the door last."""
        return [*itertools.chain.from_iterable(self._replicas.values()), self._door]

    def replicas(self, service: str) -> list[Child]:
        """The processes of a service; none for one that has no process of its own."""
        return list(self._replicas.get(service, ()))

    def listen(self, listener: Listener) -> None:
        """Tells this listener of each change from now on."""
        self._listeners.append(listener)

    def check_ports(self) -> None:
        """PortTakenError when a port of the mesh is not free, or two settings name the same."""
        names = ports.of_mesh(self._settings, self.services)
        if clashes := ports.shared(names):
            raise PortTakenError("\n".join(clashes))
        held = {found.port: found for found in ports.taken(self._settings.listen_address, sorted(names.values()))}
        if held:
            raise PortTakenError("\n".join(_port_line(name, held[port]) for name, port in names.items() if port in held))

    async def start(self) -> None:
        """Starts the bus, then the services, and returns when all serve; the door gets ready beside them, and its retries wait."""
        self.check_ports()
        self._door.start()
        first = [spec for spec in self.services if spec.name == "bus"]
        rest = [spec for spec in self.services if spec.module and spec.name != "bus"]
        for group in (first, rest):
            for spec in group:
                self._add(spec).start()
            await asyncio.gather(*(self._replicas[spec.name][0].ready() for spec in group))
        await self._door.ready()

    async def stop(self) -> None:
        """Stops the door first, so that no caller is cut off by a service, then the services, then the bus."""
        await self._door.stop()
        rest = [child for name, children in self._replicas.items() if name != "bus" for child in children]
        await asyncio.gather(*(child.stop() for child in rest))
        await asyncio.gather(*(child.stop() for child in self._replicas.get("bus", ())))

    async def start_service(self, service: str) -> None:
        """Starts a stopped service with one replica; nothing when it runs."""
        spec = self._own(service)
        async with self._locks[service]:
            if not self._replicas[service]:
                await self._start_more(spec, 1)

    async def stop_service(self, service: str) -> None:
        """Takes a service from the door, drains and stops it."""
        self._own(service)
        async with self._locks[service]:
            await self._remove(self._replicas[service])

    async def restart_service(self, service: str) -> None:
        """Starts a service anew: a scalable one beside its old replicas, so that no call fails."""
        spec = self._own(service)
        async with self._locks[service]:
            old = list(self._replicas[service])
            if not spec.scalable:
                await self._remove(old)
                old = []
            await self._start_more(spec, max(1, len(old)))
            await self._remove(old)

    async def scale_service(self, service: str, replicas: int) -> None:
        """Runs a service as so many replicas. FAILED_PRECONDITION for one that can run only once."""
        spec = self._own(service)
        if not spec.scalable and replicas != 1:
            raise errors.failed_precondition(service, f"{service} can run only once", reason=ErrorReason.ERROR_REASON_NOT_SCALABLE)
        async with self._locks[service]:
            current = list(self._replicas[service])
            await self._start_more(spec, replicas - len(current))
            await self._remove(current[replicas:])

    def _own(self, service: str) -> ServiceSpec:
        for spec in self.services:
            if spec.name == service:
                if spec.module is None:
                    raise errors.failed_precondition(
                        service, f"{service} is the process manager itself", reason=ErrorReason.ERROR_REASON_NOT_SCALABLE
                    )
                return spec
        raise errors.not_found("service", service)

    def _add(self, spec: ServiceSpec) -> Child:
        number = next(self._numbers[spec.name])
        socket = self._settings.socket_of(spec.name, number)
        program = Program(
            name=f"{spec.name}-{number}",
            service=spec.name,
            command=(sys.executable, "-m", str(spec.module)),
            probe=health_probe(socket),
            env={"TOOLOO_REPLICA": str(number)},
            socket=socket,
        )
        child = Child(program, self._settings, self._clock, self._changed)
        self._replicas[spec.name].append(child)
        return child

    async def _start_more(self, spec: ServiceSpec, number: int) -> None:
        """So many more replicas of a service, or none: UNAVAILABLE, with those that got ready taken away, when one does not."""
        fresh = [self._add(spec) for _ in range(number)]
        for child in fresh:
            child.start()
        ended = await asyncio.gather(*(child.ready() for child in fresh), return_exceptions=True)
        for error in filter(None, ended):
            await self._remove(fresh)
            if isinstance(error, BootError):
                raise errors.unavailable(spec.name, detail=str(error).splitlines()[0]) from error
            raise error

    async def _remove(self, children: Sequence[Child]) -> None:
        if not children:
            return
        service = children[0].program.service
        self._replicas[service] = [child for child in self._replicas[service] if child not in children]
        self._publish_endpoints(service)
        await asyncio.sleep(_ENDPOINTS_APPLIED)
        await asyncio.gather(*(child.stop() for child in children))

    def _changed(self, child: Child) -> None:
        if child.program.socket:
            self._publish_endpoints(child.program.service)
        for listener in self._listeners:
            listener.process_changed(child)

    def _publish_endpoints(self, service: str) -> None:
        """Replicas that serve; when none does, all: the door's retries bridge a restart, an empty list would not."""
        replicas = self._replicas[service]
        serving = [child for child in replicas if child.state is State.SERVING]
        chosen = serving or replicas
        try:
            self._write_endpoints(service, [child.program.socket for child in chosen if child.program.socket])
        except OSError as error:
            # a full disk, for example: what the door knows is older, and who keeps the processes running must go on
            log.warning("the endpoints of %s cannot be written now: %s", service, error)
            self._publish_again(service)

    def _publish_again(self, service: str) -> None:
        """Writes the endpoint file of a service in a moment, as they are then."""

        def publish() -> None:
            self._unwritten.discard(service)
            self._publish_endpoints(service)

        if service not in self._unwritten:
            self._unwritten.add(service)
            asyncio.get_running_loop().call_later(_WRITTEN_AGAIN, publish)


def health_probe(socket: Path) -> Callable[[], Awaitable[bool]]:
    """A probe that asks the gRPC health service on a unix socket, over one channel as long as that answers."""
    channels: list[grpc.aio.Channel] = []
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]

    async def probe() -> bool:
        if not socket.exists():  # noqa: ASYNC240 - one stat call, and a process that boots is asked 30 times a second
            return False
        if not channels:
            channels.append(grpc.aio.insecure_channel(f"unix:{socket}", options=options))
        try:
            answer = await health_pb2_grpc.HealthStub(channels[0]).Check(health_pb2.HealthCheckRequest(), timeout=_PROBE_TIMEOUT)
        except grpc.aio.AioRpcError:
            # a fresh channel looks for a fresh socket at once, an old one waits out its backoff first
            await channels.pop().close()
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return probe


def _port_line(setting: str, found: Taken) -> str:
    return f"port {found.port} is taken by {found.holder}: stop it, or set {setting} to another port"
