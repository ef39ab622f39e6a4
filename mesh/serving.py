"""The gRPC server of a service process: its limits, what it answers and where it listens."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import grpc
from grpc_health.v1 import health, health_pb2_grpc

from mesh import catalogue
from mesh.address import host_of
from mesh.boundary import Boundary
from mesh.host import Parts
from mesh.settings import MeshSettings, SettingError


def make_server(
    settings: MeshSettings, boundary: Boundary, open_streams: int = 0, message_bytes: int | None = None
) -> grpc.aio.Server:
    """A gRPC server with the mesh's limits; `open_streams` of long life do not count among its calls.

    `message_bytes` is the largest message that it takes and gives; None: as all others.
    """
    most = message_bytes or settings.max_message_bytes
    return grpc.aio.server(
        interceptors=(boundary,),
        maximum_concurrent_rpcs=settings.max_concurrent_rpcs + open_streams,
        options=[
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", most),
            ("grpc.so_reuseport", 0),
            ("grpc.http2.max_frame_size", 1024 * 1024),
            # the door asks for a sign of life every few seconds; by default that counts as abuse and ends the connection
            ("grpc.http2.max_ping_strikes", 0),
            # the door bounds headers; the default of 8 KiB would refuse what it lets through
            ("grpc.max_metadata_size", 64 * 1024),
        ],
    )


def fresh_socket(path: Path) -> Path:
    """The path of a unix socket that nobody listens on; what a killed process left there goes. SettingError for no folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
    except OSError as error:
        name = MeshSettings.env_name("socket_folder")
        raise SettingError(f"{name}: no socket can be made in {path.parent} ({error.strerror}); name another folder") from error
    return path


def take_port(server: grpc.aio.Server, name: str, settings: MeshSettings) -> str:
    """Lets the service be reached on its public port, where there is no door that has it; gives the address."""
    address = f"{host_of(settings.listen_address)}:{settings.port_of(name)}"
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        setting = MeshSettings.env_name(f"{name}_port")
        raise SettingError(f"{setting}: nothing can listen on {address}, perhaps because something does; choose another") from error
    return address


class _ByName:
    """A server as the generated code registers services at it, that finds methods by their names alone.

    For each method that is registered beside that, grpc.aio keeps a future of its own and waits for all of them anew with every
    call: a tenth of a millisecond for a service of seventy methods (`_server_main_loop` of its aio/server.pyx.pxi).
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Does nothing: the generic handlers have the same methods."""


def register(server: grpc.aio.Server, name: str, parts: Parts, servicer: Any, settings: MeshSettings) -> None:
    """Puts a service's calls there, its health, and reflection unless that is turned off."""
    by_name = cast(grpc.aio.Server, _ByName(server))
    for add, implementation in parts.servicers:
        add(implementation, by_name)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, by_name)
    if settings.reflection:
        # imported here: production turns it off and need not pay for it
        from grpc_reflection.v1alpha import reflection  # noqa: PLC0415 - see above

        reflection.enable_server_reflection((*catalogue.service(name).grpc_services, health.SERVICE_NAME), by_name)
