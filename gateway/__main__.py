"""`python -m gateway`: the whole mesh in the foreground. Starts everything, prints where it is, stops all on Ctrl-C or SIGTERM."""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import uvloop
from tooloo.system.v1.system_service_pb2_grpc import add_SystemServiceServicer_to_server

from envoy import binary, bootstrap
from envoy.door import Door, Upstream
from envoy.endpoints import write_endpoints
from envoy.settings import DoorSettings
from gateway.lifecycle import Lifecycle
from gateway.service import Installation, SystemService
from mesh import boot, contracts, logs
from mesh.catalogue import SERVICES
from mesh.child import BootError, Child, Program, State
from mesh.clock import SystemClock
from mesh.host import Host, Parts
from mesh.settings import MeshSettings, SettingError
from mesh.supervisor import PortTakenError, Supervisor

PAGES = Path(__file__).resolve().parent / "pages"
log = logging.getLogger(__name__)


def make_door(settings: MeshSettings) -> Door:
    """The door before every service of the catalogue."""
    data = settings.data_folder.absolute()
    return Door(
        upstreams=tuple(Upstream(spec.name, settings.port_of(spec.name), spec.grpc_services) for spec in SERVICES),
        port=settings.door_port,
        admin_port=settings.admin_port,
        descriptors=contracts.descriptor_path().absolute(),
        endpoints_folder=data / "envoy" / "endpoints",
        pages_folder=PAGES,
        access_log=data / "log" / "access.jsonl",
        address=settings.listen_address,
        settings=DoorSettings.load(),
    )


def door_program(door: Door, config: Path) -> Program:
    """Envoy as a program of the supervisor."""

    async def probe() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"http://127.0.0.1:{door.admin_port}/ready", timeout=2)
                return answer.is_success
        return False

    return Program("envoy", "envoy", binary.command(config, door.settings.concurrency), probe)


class Terminal:
    """Says on the terminal what becomes ready, and what dies."""

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._titles = {spec.name: spec.title for spec in SERVICES}

    def process_changed(self, child: Child) -> None:
        """One line for each process that becomes ready or dies."""
        service = child.program.service
        title = self._titles.get(service, "Door (Envoy)")
        port = self._settings.port_of(service) if service in self._titles else self._settings.door_port
        if child.state is State.SERVING:
            say(f"✓ {title} (port {port}) ready")
        elif child.state is State.CRASHED:
            say(f"✗ {title} ended ({child.last_exit}); it starts again. Its log: {child.log_file}")


def say(text: str) -> None:
    """A line on the terminal, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def welcome(settings: MeshSettings, seconds: float) -> str:
    """What to open, and one call to try."""
    url = f"http://localhost:{settings.door_port}"
    call = f"""curl -X POST {url}/api/v1/training/start -d '{{"userId":"ada","focusArea":"python","roundCount":3}}'"""
    return f"""
The mesh is ready after {seconds:.1f} s. Ctrl-C stops it.

  open    {url}/          what runs, and the live event stream
          {url}/docs      every call
          {url}/health    health of the whole mesh
  data    {settings.data_folder.absolute()}
  try     {call}
"""


async def run(settings: MeshSettings) -> None:
    """Runs the mesh until it is told to stop."""
    began = time.monotonic()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clock = SystemClock()
    door = make_door(settings)
    config = settings.data_folder.absolute() / "envoy" / "envoy.json"
    supervisor = Supervisor(
        SERVICES, settings, door_program(door, config), lambda name, sockets: _endpoints(door, name, sockets), clock
    )
    supervisor.check_ports()
    bootstrap.write(door, config)
    _endpoints(door, "system", [settings.socket_of("system")])
    ports = {spec.name: settings.port_of(spec.name) for spec in SERVICES} | {"door": settings.door_port}
    installation = Installation(clock.now(), settings.data_folder.absolute(), ports)
    lifecycle: list[Lifecycle] = []

    async def build(host: Host) -> Parts:
        lifecycle.append(Lifecycle(host))
        service = SystemService(host, supervisor, installation)
        return Parts([(add_SystemServiceServicer_to_server, service)], background=[lifecycle[0].run])

    system = await boot.boot("system", build, settings, clock=clock)
    supervisor.listen(lifecycle[0])
    supervisor.listen(Terminal(settings))
    try:
        starting = asyncio.create_task(supervisor.start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            say(f"✓ System Service (port {settings.system_port}) ready")
            say(welcome(settings, time.monotonic() - began))
            failing = asyncio.create_task(system.failed())
            await asyncio.wait((failing, stopping), return_when=asyncio.FIRST_COMPLETED)
            if failing.done():
                failing.result()
            failing.cancel()
        starting.cancel()
        stopping.cancel()
    finally:
        say("stopping: the door first, then the services, then the bus")
        await supervisor.stop()
        await lifecycle[0].flush()
        await system.stop(settings.drain_grace)
        say("stopped; nothing was lost")


def _endpoints(door: Door, service: str, sockets: Sequence[Path]) -> None:
    write_endpoints(door.endpoints_folder, service, sockets)


def main() -> int:
    """Exit code 0 after a stop, 1 when the mesh could not run; the reason is said in one line."""
    try:
        settings = MeshSettings.load()
        settings.data_folder.mkdir(parents=True, exist_ok=True)
        logs.setup("system", settings.log_level, settings.data_folder / "log" / "system.jsonl")
        uvloop.run(run(settings))
    except (SettingError, PortTakenError, BootError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
