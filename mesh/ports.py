"""Which ports of this machine are free, and who holds one that is not."""

import errno
import socket
from dataclasses import dataclass
from ipaddress import ip_address

import psutil

from mesh.settings import MeshSettings, SettingError

# of a port; any other error is one of the address
_OF_PORT = {errno.EADDRINUSE, errno.EACCES}


@dataclass(frozen=True)
class Taken:
    """A port that somebody else listens on, and who: "python3 (pid 123)", or "another process" when the system does not tell."""

    port: int
    holder: str


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
