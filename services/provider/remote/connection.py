"""One HTTP/1.1 connection to a provider, one exchange at a time; llhttp (the parser of Node, by httptools) reads the answers."""

import asyncio
from collections import deque

import httptools

_PAUSE_AT = 256 * 1024
_INFORMATIONAL = range(100, 200)


class TransportError(Exception):
    """No answer, or not all of it; the message names no address beyond the host and no secret."""


class ConnectError(TransportError):
    """There is no connection: nothing was sent."""


class WaitError(TransportError):
    """A time limit passed."""


class CutError(TransportError):
    """The connection ended before the answer did."""


class ProtocolError(TransportError):
    """What came is no HTTP."""


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time. Reading stops while the reader does not keep up."""

    def __init__(self) -> None:
        self.reused = False
        self.idle_since = 0.0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self.lost = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: deque[bytes] = deque()
        self._size = 0
        self._head_done = False
        self._framed = False
        self._keep = False
        self._paused = False
        self._error: TransportError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio's call."""
        self._transport = transport  # type: ignore[assignment] # a TCP connection's transport is a Transport

    def data_received(self, data: bytes) -> None:
        """Asyncio's call."""
        if self.complete:
            # nobody asked: whatever it is, the next answer on this connection could not be trusted
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._error = self._error or ProtocolError("the answer is no HTTP")
            self.abort()
        self._wake()

    def eof_received(self) -> None:
        """Asyncio's call: the transport then closes itself."""

    def connection_lost(self, error: Exception | None) -> None:
        """Asyncio's call. Without a length the end of the connection is the end of the answer."""
        self.lost = True
        if not self.complete and self._error is None:
            if self._head_done and not self._framed and error is None:
                self.complete = True
            else:
                self._error = CutError("the connection ended before the answer did")
        self._wake()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser's call."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The parser's call."""
        self.status = self._parser.get_status_code()
        if self.status in _INFORMATIONAL:
            self.headers = {}
            return
        self._head_done = True
        self._framed = "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "").lower()

    def on_body(self, data: bytes) -> None:
        """The parser's call."""
        self._body.append(data)
        self._size += len(data)
        if self._size > _PAUSE_AT and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The parser's call."""
        if self.status not in _INFORMATIONAL:
            self.complete = True
            self._keep = self._parser.should_keep_alive()

    def send(self, data: bytes) -> None:
        """Begins an exchange."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectError("the connection was closed meanwhile")
        self._parser = httptools.HttpResponseParser(self)
        self.status, self.headers = 0, {}
        self.complete = self._head_done = self._framed = self._keep = False
        self._transport.write(data)

    async def head(self, seconds: float) -> None:
        """Waits until status and headers are there."""
        while not self._head_done:
            await self._wait(seconds, "no answer")

    async def read(self, seconds: float) -> bytes:
        """What came of the body since; b"" at its end."""
        while not self._body:
            if self.complete:
                return b""
            await self._wait(seconds, "no further byte")
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._size = 0
        if self._paused and self._transport is not None and not self.lost:
            self._paused = False
            self._transport.resume_reading()
        return data

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow."""
        return self.complete and self._keep and not self.lost and not self._body and self._transport is not None

    def abort(self) -> None:
        """Ends the connection at once: the provider stops generating."""
        if self._transport is not None:
            self._transport.abort()

    def peer_address(self) -> str:
        """The address at the other end; "" when it cannot be told."""
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return str(peer[0]) if isinstance(peer, tuple) and peer else ""

    async def _wait(self, seconds: float, what: str) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = waiter = self._loop.create_future()
        timer = self._loop.call_later(max(seconds, 0.0), _expire, waiter)
        try:
            await waiter
        except WaitError as error:
            raise WaitError(f"{what} within {seconds:.3g} s") from error
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(WaitError())
