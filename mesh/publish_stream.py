"""One stream of publishes: small requests and their answers in turn, larger ones behind each other without waiting for answers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import grpc
from tooloo.bus.v1.bus_service_pb2 import PublishStreamResponse

from mesh.exchange import core_of, exchange
from mesh.publish_frames import stream_request
from mesh.publish_requests import Request, Requests
from mesh.reconnect import Backoff
from mesh.writing import written


class PublishStream:
    """Sends the requests that there are, and tells callers their positions, until the stream ends."""

    def __init__(self, call: Any, requests: Requests, changed: asyncio.Event, backoff: Backoff, stalled_seconds: float) -> None:
        self._call = call
        self._core = core_of(call)
        self._requests = requests
        # set when there may be something to send
        self._changed = changed
        self._backoff = backoff
        self._stalled_seconds = stalled_seconds
        self._loop = asyncio.get_running_loop()
        self._sequence = self._acknowledged = 0
        # a request is being written, or it and its answer are exchanged: nothing else can be sent
        self._busy = False
        # set while answers come by reading; the answer in an exchange does not
        self._to_read = asyncio.Event()
        # whether the newest answer was for a single caller
        self._lone = False
        self._failure: Exception | None = None
        self._ended = False

    async def run(self) -> None:
        """Sends until the stream ends; raises what ended it."""
        listening = asyncio.create_task(self._listen())
        watching = asyncio.create_task(self._watch())
        if self._core is None:
            self._to_read.set()
        else:
            # nobody reads while there is nothing to read: the end would not be seen
            self._call.add_done_callback(self._read_on)
        try:
            # a write that waited for the connection would wait for ever when the call is ended meanwhile; why there is none, the
            # reader says
            with suppress(grpc.aio.AioRpcError):
                await self._call.wait_for_connection()
            while not listening.done():
                request = None if self._busy else self._requests.next()
                if request:
                    await self._send(request)
                    continue
                self._changed.clear()
                await self._changed.wait()
            await asyncio.wait((listening,))
            raise (None if listening.cancelled() else listening.exception()) or broken("the stream stalled")
        finally:
            self._ended = True
            self._call.cancel()
            for task in (listening, watching):
                task.cancel()
            await asyncio.gather(listening, watching, return_exceptions=True)

    @property
    def idle(self) -> bool:
        """Whether a caller who comes now had best send by himself.

        Not in the moment in which many were answered and have not come back: the first would go without them.
        """
        requests = self._requests
        return self._lone and not (self._ended or self._busy or requests.waiting or requests.sent or requests.again)

    @property
    def exchanges(self) -> bool:
        """Whether small requests are exchanged. The first one is written, for it has to wait for the stream to be there."""
        return self._core is not None and self._sequence > 0

    def exchange(self, request: Request) -> None:
        """Sends a small request while nothing is under way, and takes its answer. Until then nothing else is sent."""
        self._busy = True
        exchange(self._core, self._framed(request), self._exchanged)

    async def write(self, request: Request) -> None:
        """Sends a request whose answer is read. A write on a stream that has ended says nothing of why; the reader does."""
        message = self._framed(request)
        self._to_read.set()
        self._busy = True
        try:
            await written(self._call, message)
        finally:
            self._busy = False

    async def _send(self, request: Request) -> None:
        if self.exchanges and request.is_small and not self._requests.sent:
            self.exchange(request)
        else:
            await self.write(request)

    def _framed(self, request: Request) -> bytes:
        """The next request as it is sent; from now on it is under way."""
        self._sequence += 1
        self._requests.sent.append(request)
        request.sent = self._loop.time()
        return stream_request([caller.body for caller in request.callers], self._sequence)

    def _exchanged(self, answer: bytes | None) -> None:
        self._busy = False
        if self._ended:
            # what was under way has been taken back
            return
        try:
            if answer is not None:
                self._take(PublishStreamResponse.FromString(answer))
        except Exception as error:  # noqa: BLE001 - the reader raises it, as if it had read this answer
            self._failure = error
        if self._failure or self._requests.sent:
            # it was no answer to the request: the stream has ended, or one that is comes by reading
            self._read_on()

    def _read_on(self, _: object = None) -> None:
        """Reads, also to find out why the stream has ended."""
        self._to_read.set()

    async def _listen(self) -> None:
        """Reads answers until the stream ends; raises the status that it ended with."""
        try:
            while True:
                await self._to_read.wait()
                if self._failure:
                    raise self._failure
                response = await self._call.read()
                if not isinstance(response, PublishStreamResponse):
                    # the bus ends a stream without an error only when it goes away
                    raise broken("the stream ended")
                self._take(response)
                if self._core is not None and not self._requests.sent:
                    self._to_read.clear()
        finally:
            self._ended = True
            self._changed.set()

    def _take(self, response: PublishStreamResponse) -> None:
        """Tells callers what was answered; what many of them say next is gathered."""
        self._backoff.reset()
        sent = self._requests.sent
        start = callers = 0
        positions = list(response.positions)
        while self._acknowledged < response.sequence:
            request = sent[0]
            request.acknowledge(positions[start : start + request.count])
            sent.popleft()
            start += request.count
            callers += len(request.callers)
            self._acknowledged += 1
        self._lone = callers == 1
        if callers > 1 or self._requests.waiting or self._requests.again:
            self._changed.set()

    async def _watch(self) -> None:
        """Ends a stream that has stalled: the server may be frozen, or the connection half open."""
        while True:
            await asyncio.sleep(self._stalled_seconds / 4)
            sent = self._requests.sent
            if sent and self._loop.time() - sent[0].sent > self._stalled_seconds:
                self._call.cancel()


def broken(details: str) -> grpc.aio.AioRpcError:
    """What a stream ended with that ended without a status."""
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)
