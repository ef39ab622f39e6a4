"""HTTP to providers over aiohttp: kept-alive connections, bounded and timed, no redirects, no cookies (docs/decisions/0010)."""

import asyncio
import contextvars
import io
import ipaddress
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import certifi

from services.provider.remote.transport import ConnectError, CutError, ProtocolError, TransportError, WaitError

# what aiohttp would add by itself; a compressed stream comes late
_UNASKED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
# aiohttp writes what is smaller at once
_LARGE = 1024 * 1024
_UNBOUNDED = aiohttp.ClientTimeout(total=None)


class _LinkLocalError(OSError):
    """The address is where clouds answer with the machine's own credentials."""


@dataclass
class _Made:
    """Whether a connection was made for a request, of which aiohttp tells nobody but its tracers, who cost more."""

    connection: bool = False


_made: contextvars.ContextVar[_Made | None] = contextvars.ContextVar("made", default=None)


class Exchange:
    """One answer, as an async context manager: leaving it early ends the connection."""

    def __init__(self, pool: "Pool", response: aiohttp.ClientResponse, deadline: float) -> None:
        self._pool = pool
        self._response = response
        self._deadline = deadline
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Gives the connection back, or ends it: the provider then stops generating."""
        self._pool.busy -= 1
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()

    async def drain(self, seconds: float) -> None:
        """Waits a moment for the end of a body whose content is complete, so that the connection can be used again."""
        try:
            while await self.read(seconds):
                pass
        except TransportError:
            self._response.close()

    async def body(self, idle: float, most: int) -> bytes:
        """The whole body; ProtocolError when it is larger than `most`."""
        found = bytearray()
        while data := await self.read(idle):
            found += data
            if len(found) > most:
                raise ProtocolError(f"the answer has more than {most} bytes")
            if self._response.content.at_eof():
                break
        return bytes(found)

    async def read(self, idle: float) -> bytes:
        """More of the body; b"" at its end."""
        seconds = min(idle, self._deadline - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(seconds):
                return await self._response.content.readany()
        except TimeoutError as error:
            raise WaitError(f"no further byte within {max(seconds, 0):.3g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _told(error) from error


class Pool:
    """Connections by origin: so many at most, kept for a while when nobody needs them."""

    def __init__(self, most: int, keep_seconds: float) -> None:
        tls = _tls()
        self._kept = _session(_connector(most, tls, keepalive_timeout=keep_seconds))
        # connections for one request each
        self._new = _session(_connector(most, tls, force_close=True))
        # answers that are being read
        self.busy = 0

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, connect: float, first_byte: float, total: float
    ) -> Exchange:
        """Sends a request and waits for status and headers of its answer."""
        now, seconds = asyncio.get_running_loop().time(), min(first_byte, total)
        waits = aiohttp.ClientTimeout(total=None, connect=connect)
        try:
            async with asyncio.timeout(seconds):
                response = await self._posted(url, body, {"headers": headers, "allow_redirects": False, "timeout": waits})
        except aiohttp.ConnectionTimeoutError as error:
            raise ConnectError(f"no connection within {connect:.3g} s") from error
        except TimeoutError as error:
            raise WaitError(f"no answer within {seconds:.3g} s") from error
        except (aiohttp.InvalidURL, ValueError) as error:
            raise ConnectError("the address or a header holds what HTTP does not allow; correct the provider's entry") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _told(error) from error
        self.busy += 1
        return Exchange(self, response, now + total)

    async def _posted(self, url: str, body: bytes, request: dict[str, Any]) -> aiohttp.ClientResponse:
        """The head of the answer. Where a kept connection ends without one, the far end closed it as idle: once more on a new one.

        So do curl and browsers: a far end that has said nothing has hardly begun, and a burst after a pause would fail as a whole.
        """
        made = _Made()
        _made.set(made)
        try:
            return await self._kept.post(url, data=_payload(body), **request)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError) as error:
            begun = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
            if begun or made.connection:
                raise
        return await self._new.post(url, data=_payload(body), **request)

    async def close(self) -> None:
        """Ends every connection."""
        await self._kept.close()
        await self._new.close()


def _payload(body: bytes) -> bytes | io.BytesIO:
    """A body as aiohttp wants it: a large one piece by piece, so that nobody else waits while it is written."""
    return body if len(body) <= _LARGE else io.BytesIO(body)


def _connector(most: int, tls: ssl.SSLContext, **kept: Any) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(limit=most, ssl=tls, socket_factory=_socket, enable_cleanup_closed=False, **kept)


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_UNASKED,
        timeout=_UNBOUNDED,
        auto_decompress=True,
    )


def _told(error: BaseException) -> TransportError:
    """The same without the address and what it may hold."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return ConnectError(f"its certificate is not accepted ({_reason(error.certificate_error)})")
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectError(f"no connection: {_reason(error.os_error)}")
    if isinstance(error, aiohttp.ClientResponseError):
        return ProtocolError("the answer is no HTTP")
    return CutError("the connection ended before the answer did")


def _reason(error: BaseException) -> str:
    if isinstance(error, _LinkLocalError):
        return "the address is link-local, where no provider is; correct the provider's base_url"
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    return (error.strerror if isinstance(error, OSError) else "") or type(error).__name__


def _socket(address: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
    """A socket for an address that a name was found to have; OSError for one where no provider is: no key goes there."""
    family, kind, protocol, _, place = address
    if (made := _made.get()) is not None:
        made.connection = True
    found = ipaddress.ip_address(str(place[0]).partition("%")[0])
    if (getattr(found, "ipv4_mapped", None) or found).is_link_local:
        raise _LinkLocalError(f"{found} is link-local")
    return socket.socket(family, kind, protocol)


def _tls() -> ssl.SSLContext:
    """Certificates are checked against SSL_CERT_FILE, else Mozilla's list."""
    return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())
