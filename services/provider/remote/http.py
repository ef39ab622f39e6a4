"""HTTP/1.1 to providers: kept-alive connections, bounded and timed, no redirects, no surprises (RFC 9110, RFC 9112).

Our own on asyncio and llhttp (the parser of Node, by httptools), because a general client costs more than the whole rest of a call:
docs/decisions/0010-http-to-providers.md has the figures.
"""

import asyncio
import ipaddress
import os
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Self
from urllib.parse import urlsplit

import certifi

from services.provider.remote.connection import ConnectError, Connection, ProtocolError, TransportError

_FORBIDDEN = ("\r", "\n", "\0")


@dataclass(frozen=True)
class Origin:
    """Where a connection leads."""

    secure: bool
    host: str
    port: int


class Exchange:
    """One answer, as an async context manager: leaving it early ends the connection."""

    def __init__(self, pool: "Pool", origin: Origin, connection: Connection, deadline: float) -> None:
        self._pool = pool
        self._origin = origin
        self._connection = connection
        self._deadline = deadline
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Gives the connection back, or ends it."""
        self._pool.give_back(self._origin, self._connection)

    async def chunks(self, idle: float) -> AsyncGenerator[bytes, None]:
        """The body as it comes."""
        while data := await self._connection.read(min(idle, self._deadline - self._pool.now())):
            yield data

    async def drain(self, seconds: float) -> None:
        """Waits a moment for the end of a body whose content is complete, so that the connection can be used again."""
        with suppress(TransportError):
            while await self._connection.read(seconds):
                pass

    async def body(self, idle: float, most: int) -> bytes:
        """The whole body; ProtocolError when it is larger than `most`."""
        found = bytearray()
        async for data in self.chunks(idle):
            found += data
            if len(found) > most:
                raise ProtocolError(f"the answer has more than {most} bytes")
        return bytes(found)


class Pool:
    """Connections by origin: so many at most, kept for a while when nobody needs them."""

    def __init__(self, most: int, keep_seconds: float) -> None:
        self._most = most
        self._keep = keep_seconds
        self._idle: dict[Origin, deque[Connection]] = {}
        self._busy: dict[Connection, Origin] = {}
        self._slots: dict[Origin, asyncio.Semaphore] = {}
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """The loop's time."""
        return self._loop.time()

    @property
    def busy(self) -> int:
        """Connections on which an answer is awaited or read."""
        return len(self._busy)

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, connect: float, first_byte: float, total: float
    ) -> Exchange:
        """Sends a request and waits for status and headers of its answer."""
        origin, path = _split(url)
        data = _request(origin, path, headers, body)
        deadline = self.now() + total
        connection = await self._take(origin, connect)
        try:
            connection.send(data)
            await connection.head(min(first_byte, deadline - self.now()))
        except BaseException:
            connection.abort()
            self.give_back(origin, connection)
            raise
        return Exchange(self, origin, connection, deadline)

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """Ends the use of a connection."""
        if self._busy.pop(connection, None) is None:
            return
        if connection.reusable:
            connection.reused, connection.idle_since = True, self.now()
            self._idle.setdefault(origin, deque()).append(connection)
        else:
            connection.abort()
        self._slots[origin].release()

    async def close(self) -> None:
        """Ends every connection."""
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()
        for connection in list(self._busy):
            connection.abort()

    async def _take(self, origin: Origin, seconds: float) -> Connection:
        slots = self._slots.setdefault(origin, asyncio.Semaphore(self._most))
        if slots.locked():
            try:
                await asyncio.wait_for(slots.acquire(), seconds)
            except TimeoutError as error:
                raise ConnectError(f"all {self._most} connections to {origin.host} are in use") from error
        else:
            await slots.acquire()
        try:
            connection = self._fresh_enough(origin) or await _connect(origin, seconds)
        except BaseException:
            slots.release()
            raise
        self._busy[connection] = origin
        return connection

    def _fresh_enough(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            # the one used last: the others grow old and go
            connection = idle.pop()
            if connection.reusable and self.now() - connection.idle_since < self._keep:
                while idle and self.now() - idle[0].idle_since >= self._keep:
                    idle.popleft().abort()
                return connection
            connection.abort()
        return None


async def _connect(origin: Origin, seconds: float) -> Connection:
    loop = asyncio.get_running_loop()
    tls, name = (_tls(), origin.host) if origin.secure else (None, None)
    try:
        async with asyncio.timeout(seconds):
            _, connection = await loop.create_connection(Connection, origin.host, origin.port, ssl=tls, server_hostname=name)
    except TimeoutError as error:
        raise ConnectError(f"no connection to {origin.host} within {seconds:.3g} s") from error
    except (OSError, ssl.SSLError) as error:
        raise ConnectError(f"no connection to {origin.host}: {_reason(error)}") from error
    if _forbidden(connection.peer_address()):
        connection.abort()
        raise ConnectError(f"{origin.host} is a link-local address, where no provider is")
    return connection


def _forbidden(address: str) -> bool:
    """Link-local addresses are where clouds answer with the machine's own credentials."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_link_local


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    return error.strerror or type(error).__name__


@cache
def _tls() -> ssl.SSLContext:
    """Certificates are checked against SSL_CERT_FILE, else Mozilla's list."""
    context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


@cache
def _split(url: str) -> tuple[Origin, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConnectError("the address is no http or https URL")
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Origin(secure, parts.hostname, parts.port or (443 if secure else 80)), path


def _request(origin: Origin, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    port = "" if origin.port == (443 if origin.secure else 80) else f":{origin.port}"
    lines = [f"POST {path} HTTP/1.1", f"host: {host}{port}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any(mark in line for line in lines for mark in _FORBIDDEN) or " " in path:
        raise ConnectError("a header or the path holds a character that HTTP does not allow")
    try:
        return "\r\n".join((*lines, "", "")).encode("latin-1") + body
    except UnicodeEncodeError as error:
        raise ConnectError("a header or the path holds a character that HTTP does not allow") from error
