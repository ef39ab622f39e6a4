"""What the door stands in front of: the plain data from which its configuration is made."""

from dataclasses import dataclass, field
from pathlib import Path

from envoy.settings import DoorSettings
from mesh.settings import MeshSettings

MESH_SERVICE = "tooloo.system.v1.SystemService"


@dataclass(frozen=True)
class Upstream:
    """One service behind the door: its name, its own public port, and the gRPC services it answers."""

    name: str
    port: int
    grpc_services: tuple[str, ...]


@dataclass(frozen=True)
class Door:
    """Everything the renderer needs: ports, folders, upstreams and settings. Paths are absolute and Envoy can read them."""

    upstreams: tuple[Upstream, ...]
    port: int
    admin_port: int
    descriptors: Path
    endpoints_folder: Path
    pages_folder: Path
    site_folder: Path
    access_log: Path
    address: str = "127.0.0.1"
    settings: DoorSettings = field(default_factory=DoorSettings)
    # largest body of a call that may carry large bytes (mesh/large.py)
    large_bytes: int = MeshSettings.large_message_bytes

    @property
    def grpc_services(self) -> tuple[str, ...]:
        """The gRPC services of all upstreams, in their order."""
        return tuple(name for upstream in self.upstreams for name in upstream.grpc_services)
