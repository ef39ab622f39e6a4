"""Which ports of this machine are free, and who holds one that is not."""

import errno
import socket
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import psutil

from mesh.catalogue import SERVICES, ServiceSpec
from mesh.settings import MeshSettings, SettingError

# of a port; any other error is one of the address
_OF_PORT = {errno.EADDRINUSE, errno.EACCES}


@dataclass(frozen=True)
class Taken:
    """A port that somebody else listens on, and who: "python3 (pid 123)", or "another process" when the system does not tell."""

    port: int
    holder: str


def of_mesh(settings: MeshSettings, services: Sequence[ServiceSpec] = SERVICES) -> dict[str, int]:
    """Every port that a mesh listens on, by the environment variable of its setting."""
    names = {"door_port": settings.door_port, "admin_port": settings.admin_port}
    names |= {f"{spec.name}_port": settings.port_of(spec.name) for spec in services}
    return {MeshSettings.env_name(name): port for name, port in names.items()}


def shared(ports: Mapping[str, int]) -> list[str]:
    """A sentence for each port that more than one setting names."""
    names = defaultdict(list)
    for name, port in ports.items():
        names[port].append(name)
    return [f"{' and '.join(found)} are both {port}: give each a port of its own" for port, found in names.items() if found[1:]]


def taken(address: str, ports: list[int]) -> list[Taken]:
    """Those of the ports that cannot be listened on; SettingError when nobody can listen on the address."""
    return [Taken(port, holder_of(port)) for port in ports if not _free(address, port)]


def _free(address: str, port: int) -> bool:
    name = MeshSettings.env_name("listen_address")
    try:
        family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET  # noqa: PLR2004 - the version's own number
    except ValueError:
        raise SettingError(f"{name} is {address!r}, which is no IP address; write 127.0.0.1, or one of this machine") from None
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # as servers do it: a port in TIME_WAIT is free, one that is listened on is not
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno not in _OF_PORT:
                raise SettingError(
                    f"{name} is {address}, where nobody can listen ({error.strerror}); write one of this machine"
                ) from error
            return False
    return True


def holder_of(port: int) -> str:
    """Name and id of the process that listens on a port."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        # not ours to look at, or gone by now
        return "another process"
    return "another process"
