"""Which services the mesh has, and the ports callers know them by.

A service is a folder of services/ with a service.toml (title, port, scalable, place); the gRPC services that it answers are those
of its package, tooloo.<name>.v1. So a new service needs no line here.
"""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tooloo

DOOR_PORT = 3000
SERVICES_FOLDER = Path(__file__).resolve().parent.parent / "services"
_KEYS = {"title": str, "port": int, "scalable": bool, "place": int}
# where a service is shown that does not say it: behind those that do
_LAST = 1000


class CatalogueError(ValueError):
    """A service.toml that cannot be used; the message names it and says what would be right."""


@dataclass(frozen=True)
class ServiceSpec:
    """One service: its name, the port it is known by, the gRPC services it answers and how it is run."""

    name: str
    title: str
    port: int
    grpc_services: tuple[str, ...]
    module: str | None
    scalable: bool = True


def discover(folder: Path, grpc_services: dict[str, list[str]]) -> Iterator[ServiceSpec]:
    """The services of a folder by place, then by port; `grpc_services` holds the gRPC services of each package."""
    by_port: dict[int, str] = {}
    tables = {file.parent.name: _read(file) for file in sorted(folder.glob("*/service.toml"))}
    for name, table in sorted(tables.items(), key=lambda item: (item[1].get("place", _LAST), item[1]["port"])):
        port = table["port"]
        if port in by_port:
            raise CatalogueError(f"services/{name}/service.toml: port {port} is that of {by_port[port]}; choose another one")
        by_port[port] = name
        package = f"tooloo.{name}.v1"
        if package not in grpc_services:
            raise CatalogueError(
                f"services/{name}/service.toml: no contract declares a gRPC service in {package}; run `make build`"
            )
        yield ServiceSpec(
            name, table["title"], port, tuple(grpc_services[package]), f"services.{name}", table.get("scalable", True)
        )


def _read(file: Path) -> dict[str, Any]:
    table = tomllib.loads(file.read_text())
    wrong = [key for key, value in table.items() if not isinstance(value, _KEYS.get(key, ()))]
    wrong += [key for key in ("title", "port") if key not in table]
    if wrong:
        raise CatalogueError(f"services/{file.parent.name}/service.toml: {wrong[0]}: it needs a title (text) and a port (number)")
    return table


def declared(stubs: Path) -> dict[str, list[str]]:
    """The gRPC services of each package, as `make build` has written them beside the stubs."""
    try:
        found: dict[str, list[str]] = json.loads((stubs / "services.json").read_text())
    except FileNotFoundError as error:
        raise CatalogueError(f"{stubs} has no services.json: the stubs are older than this code; run `make build`") from error
    return found


_GRPC_SERVICES = declared(Path(str(tooloo.__path__[0])))

# In the order in which they are shown. The bus starts first, whatever the order.
SERVICES: tuple[ServiceSpec, ...] = (
    ServiceSpec("bus", "Event Bus", 3050, tuple(_GRPC_SERVICES["tooloo.bus.v1"]), "bus", scalable=False),
    *discover(SERVICES_FOLDER, _GRPC_SERVICES),
    # answered by the process manager itself, so it has no module of its own
    ServiceSpec("system", "System Service", 3123, tuple(_GRPC_SERVICES["tooloo.system.v1"]), None, scalable=False),
)

# The port of each service by name: the defaults of the settings.
PORTS = {spec.name: spec.port for spec in SERVICES}

# Ports kept for services that later issues bring.
RESERVED_PORTS = {"product": 3006, "segmentation": 3007, "design": 3014}


def service(name: str) -> ServiceSpec:
    """The service of this name; KeyError when there is none."""
    for spec in SERVICES:
        if spec.name == name:
            return spec
    raise KeyError(name)


def owner_of(grpc_service: str) -> ServiceSpec:
    """The service that answers a gRPC service, e.g. "tooloo.bus.v1.EventBus"; KeyError when none does."""
    for spec in SERVICES:
        if grpc_service in spec.grpc_services:
            return spec
    raise KeyError(grpc_service)
