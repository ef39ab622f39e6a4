"""For tests: a real Envoy with the rendered configuration, on free ports, in front of whatever sockets a test gives it."""

import asyncio
import contextlib
import itertools
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import httpx

from envoy import admin, binary, bootstrap
from envoy.door import Door, Upstream
from envoy.endpoints import write_endpoints
from envoy.settings import DoorSettings

_ANSWER_SECONDS = 5.0

# Below the range from which the kernel takes ports for outgoing connections: one of those would be gone again by the time a mesh
# has booted. Test workers that run beside each other (pytest-xdist: gw0, gw1, …) take them from different thousands.
_PORTS_OF_A_WORKER = 2_000
_FIRST_PORTS = range(10_000, 32_000, _PORTS_OF_A_WORKER)
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# One after the other: a port that was given away may be free for a moment, for whoever has it is being started again.
_NUMBERS = itertools.count(secrets.randbelow(_PORTS_OF_A_WORKER))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment, and that were not given away before."""
    first = _FIRST_PORTS[_WORKER % len(_FIRST_PORTS)]
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            port = first + next(_NUMBERS) % _PORTS_OF_A_WORKER
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
    return found


def door_on_free_ports(
    folder: Path, services: Mapping[str, Sequence[str]], settings: DoorSettings | None = None, pages: Path | None = None
) -> Door:
    """A door before these services (name -> gRPC services), all its files in `folder`."""
    port, admin, *ports = free_ports(2 + len(services))
    return Door(
        upstreams=tuple(Upstream(name, own, tuple(services[name])) for name, own in zip(services, ports, strict=True)),
        port=port,
        admin_port=admin,
        descriptors=folder / "descriptors.binpb",
        endpoints_folder=folder / "endpoints",
        pages_folder=pages or folder / "pages",
        site_folder=folder / "site",
        access_log=folder / "access.jsonl",
        settings=settings or DoorSettings(),
    )


@contextlib.asynccontextmanager
async def running_door(door: Door, folder: Path, sockets: Mapping[str, Sequence[Path]]) -> AsyncIterator[Door]:
    """Runs Envoy until the block ends; `sockets` are the first endpoints of each service. Envoy's own log is folder/envoy.log."""
    for service, paths in sockets.items():
        write_endpoints(door.endpoints_folder, service, paths)
    bootstrap.write(door, folder / "envoy.json")
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *binary.command(folder / "envoy.json", door.admin_port), stdout=log, stderr=log
        )
        try:
            await _ready(door, process, folder / "envoy.log")
            yield door
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            binary.shared_memory(door.admin_port).unlink(missing_ok=True)


async def _ready(door: Door, process: asyncio.subprocess.Process, log: Path) -> None:
    async with admin.client(door.admin_port, _ANSWER_SECONDS) as client, asyncio.timeout(60):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"Envoy ended with {process.returncode}; see {log}")
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/ready")).is_success:
                    return
            await asyncio.sleep(0.02)
