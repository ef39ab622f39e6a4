"""HTTP to providers over httpx's transport: kept-alive connections, bounded and timed, no redirects, no cookies."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Self

import httpx

from services.provider.remote.transport import ConnectError, CutError, ProtocolError, TransportError, WaitError


class Exchange:
    """One answer, as an async context manager: leaving it early ends the connection."""

    def __init__(self, pool: "Pool", response: httpx.Response, deadline: float) -> None:
        self._pool = pool
        self._response = response
        self._deadline = deadline
        self._bytes = response.aiter_raw()
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Gives the connection back, or ends it."""
        self._pool.busy -= 1
        with suppress(httpx.HTTPError):
            await self._response.aclose()

    async def chunks(self, idle: float) -> AsyncGenerator[bytes, None]:
        """The body as it comes."""
        while data := await self._next(idle):
            yield data

    async def drain(self, seconds: float) -> None:
        """Waits a moment for the end of a body whose content is complete, so that the connection can be used again."""
        with suppress(TransportError):
            while await self._next(seconds):
                pass

    async def body(self, idle: float, most: int) -> bytes:
        """The whole body; ProtocolError when it is larger than `most`."""
        found = bytearray()
        while data := await self._next(idle):
            found += data
            if len(found) > most:
                raise ProtocolError(f"the answer has more than {most} bytes")
        return bytes(found)

    async def _next(self, idle: float) -> bytes:
        """More of the body; b"" at its end."""
        seconds = min(idle, self._deadline - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(seconds):
                # an empty piece would look like the end
                while not (data := await anext(self._bytes)):
                    pass
                return data
        except StopAsyncIteration:
            return b""
        except TimeoutError as error:
            raise WaitError(f"no further byte within {max(seconds, 0):.3g} s") from error
        except httpx.HTTPError as error:
            raise _told(error) from error


class Pool:
    """Connections by origin: so many at most, kept for a while when nobody needs them."""

    def __init__(self, most: int, keep_seconds: float) -> None:
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=keep_seconds)
        # the transport and not the client: what the client adds (cookies, redirects, authentication) no provider needs,
        # and it costs; certificates are checked against SSL_CERT_FILE, else Mozilla's list
        self._transport = httpx.AsyncHTTPTransport(limits=limits, retries=0)
        # answers that are being read
        self.busy = 0

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, connect: float, first_byte: float, total: float
    ) -> Exchange:
        """Sends a request and waits for status and headers of its answer."""
        now = asyncio.get_running_loop().time()
        waits = {"connect": connect, "pool": connect, "read": None, "write": first_byte}
        seconds = min(first_byte, total)
        try:
            request = httpx.Request("POST", url, headers=dict(headers), content=body, extensions={"timeout": waits})
            async with asyncio.timeout(seconds):
                response = await self._transport.handle_async_request(request)
        except TimeoutError as error:
            raise WaitError(f"no answer within {seconds:.3g} s") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError, ValueError) as error:
            raise ConnectError("the address or a header holds what HTTP does not allow; correct the provider's entry") from error
        except httpx.HTTPError as error:
            raise _told(error) from error
        self.busy += 1
        exchange = Exchange(self, response, now + total)
        if _link_local(response):
            async with exchange:
                raise ConnectError("the address is link-local, where no provider is; correct the provider's base_url")
        return exchange

    async def close(self) -> None:
        """Ends every connection."""
        await self._transport.aclose()


def _told(error: httpx.HTTPError) -> TransportError:
    """The same without the address and what it may hold."""
    if isinstance(error, httpx.PoolTimeout):
        return ConnectError("all connections to the provider are in use (setting TOOLOO_PROVIDER_CONNECTIONS)")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ConnectError(f"no connection: {_reason(error)}")
    if isinstance(error, httpx.TimeoutException):
        return WaitError("the provider did not take the request in time")
    if isinstance(error, httpx.LocalProtocolError):
        return ConnectError("a header holds what HTTP does not allow; correct the provider's entry")
    if isinstance(error, httpx.RemoteProtocolError) and "disconnected" not in str(error) and "incomplete" not in str(error):
        return ProtocolError("the answer is no HTTP")
    return CutError("the connection ended before the answer did")


def _reason(error: BaseException) -> str:
    """The innermost cause in words: what httpx says of it is only that all attempts failed."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    return (error.strerror if isinstance(error, OSError) else "") or type(error).__name__


def _link_local(response: httpx.Response) -> bool:
    """Link-local addresses are where clouds answer with the machine's own credentials."""
    stream = response.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    try:
        found = ipaddress.ip_address(str(peer[0]).partition("%")[0]) if peer else None
    except ValueError:
        return False
    return found is not None and (getattr(found, "ipv4_mapped", None) or found).is_link_local
