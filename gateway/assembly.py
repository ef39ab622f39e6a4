"""How the parts of a mesh are put together: the door before the services, the supervisor behind both, the system API beside."""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
from tooloo.system.v1.system_service_pb2_grpc import add_SystemServiceServicer_to_server

from envoy import admin, binary, bootstrap
from envoy.door import Door, Upstream
from envoy.endpoints import write_endpoints
from envoy.settings import DoorSettings
from gateway.last_seen import LastSeen
from gateway.lifecycle import Lifecycle
from gateway.rotating import AccessLog, ProcessLogs, reopening
from gateway.sampler import asking
from gateway.service import Installation, SystemService
from gateway.settings import SystemSettings
from mesh import boot, extra_contracts
from mesh.catalogue import SERVICES
from mesh.child import Program
from mesh.clock import SystemClock
from mesh.errors import Refusal
from mesh.host import Host, Parts
from mesh.settings import MeshSettings
from mesh.supervisor import Supervisor

log = logging.getLogger(__name__)
PAGES = Path(__file__).resolve().parent / "pages"
# where gateway.handbook puts it; that module is heavy, and the site need not be there
SITE = PAGES.parents[1] / "build" / "site"
_READY_TIMEOUT = 2.0


def make_door(settings: MeshSettings) -> Door:
    """The door before every service of the catalogue."""
    data = settings.data_folder.absolute()
    return Door(
        upstreams=tuple(Upstream(spec.name, settings.port_of(spec.name), spec.grpc_services) for spec in SERVICES),
        port=settings.door_port,
        admin_port=settings.admin_port,
        descriptors=data / "envoy" / "descriptors.binpb",
        endpoints_folder=data / "envoy" / "endpoints",
        pages_folder=PAGES,
        site_folder=SITE,
        access_log=data / "log" / "access.jsonl",
        address=settings.listen_address,
        settings=DoorSettings.load(),
        large_bytes=settings.large_message_bytes,
    )


def door_program(door: Door, config: Path) -> Program:
    """Envoy as a program of the supervisor."""
    client = admin.client(door.admin_port, _READY_TIMEOUT)

    async def probe() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return (await client.get("/ready")).is_success
        return False

    return Program("envoy", "envoy", binary.command(config, door.admin_port, door.settings.concurrency), probe)


def log_files(supervisor: Supervisor, settings: MeshSettings) -> list[Path]:
    """The logs whose writers see when they are renamed: this process's and the services'. Envoy's is begun anew with each Envoy."""
    ours = [child.log_file for child in supervisor.processes if child.program.service != "envoy"]
    return [system_log(settings), *ours]


def system_log(settings: MeshSettings) -> Path:
    """The log of this process, the manager."""
    return settings.data_folder / "log" / "system.jsonl"


@dataclass(frozen=True)
class Assembly:
    """A mesh that can be started: the supervisor of its processes, and the system service that this process itself answers."""

    supervisor: Supervisor
    lifecycle: Lifecycle
    system: boot.Running

    async def stop(self, settings: MeshSettings) -> None:
        """Stops the processes, tells that, then ends the system service."""
        await self.supervisor.stop()
        binary.shared_memory(settings.admin_port).unlink(missing_ok=True)
        try:
            await self.lifecycle.flush(self.system.host)
        except Refusal as refusal:
            log.warning("the last changes of the processes are told to nobody: %s", refusal)
        await self.system.stop(settings.drain_grace)


async def assemble(settings: MeshSettings) -> Assembly:
    """Writes the door's configuration and boots the system service; starts no process yet. PortTakenError when a port is."""
    extra_contracts.load(settings.extra_contracts)
    clock = SystemClock()
    door = make_door(settings)
    config = settings.data_folder.absolute() / "envoy" / "envoy.json"

    def endpoints(service: str, sockets: Sequence[Path]) -> None:
        write_endpoints(door.endpoints_folder, service, sockets)

    supervisor = Supervisor(SERVICES, settings, door_program(door, config), endpoints, clock)
    supervisor.check_ports()
    bootstrap.write(door, config)
    endpoints("system", [settings.socket_of("system")])
    ports = {spec.name: settings.port_of(spec.name) for spec in SERVICES} | {"door": settings.door_port}
    installation = Installation(clock.now(), settings.data_folder.absolute(), ports)
    last_seen = LastSeen(settings.data_folder / "system", SystemSettings.load().seen_interval)
    lifecycle = Lifecycle(last_seen)
    lifecycle.take_up(clock.now())

    async def build(host: Host) -> Parts:
        service = SystemService(host, supervisor, installation, asking(settings.admin_port))
        rotating = AccessLog(door.access_log, reopening(settings.admin_port), host.settings_of(SystemSettings))
        logs = ProcessLogs(partial(log_files, supervisor, settings), settings)
        loops: list[boot.Loop] = [partial(lifecycle.run, host), last_seen.keep, rotating.run, logs.run]
        background = [*loops, *service.background]
        return Parts([(add_SystemServiceServicer_to_server, service)], background=background)

    system = await boot.boot("system", build, settings, clock=clock)
    supervisor.listen(lifecycle)
    return Assembly(supervisor, lifecycle, system)
