"""Publishing: what waits at the same time shares a request, requests follow each other on one stream without waiting for answers.

A stream that breaks is opened anew and gets again, with the same ids, whatever was not acknowledged; the bus stores nothing twice.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from tooloo.bus.v1.bus_service_pb2 import PublishRequest, PublishResponse, PublishStreamResponse
from tooloo.event.v1.event_pb2 import Event

from mesh.publish_frames import events_field, stream_request
from mesh.publish_requests import Request, Requests, Waiting, too_late
from mesh.reconnect import Backoff, client_closed, is_final, refusal_of, until_closed
from mesh.writing import written

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.bus.v1.bus_service_pb2_grpc import EventBusAsyncStub

_PUBLISH = "/tooloo.bus.v1.EventBus/Publish"
_PUBLISH_STREAM = "/tooloo.bus.v1.EventBus/PublishStream"
# a stream that answers nothing for so long is taken for dead
_STALLED_SECONDS = 5.0
# what a caller may write by itself: it must not wait, beyond its own time, for a server that takes nothing
_AT_ONCE_BYTES = 16 * 1024
# how late the end of a caller's time may be noticed
_SWEEP_SECONDS = 0.1


class Publisher:
    """Gathers concurrent publishes. Callers' own order is kept: each waits for its acknowledgement."""

    def __init__(self, channel: grpc.aio.Channel, stub: EventBusAsyncStub) -> None:
        self._stub = stub
        self._open: Callable[[], Any] = channel.stream_stream(
            _PUBLISH_STREAM, response_deserializer=PublishStreamResponse.FromString
        )
        self._call: Callable[..., Any] = channel.unary_unary(_PUBLISH, response_deserializer=PublishResponse.FromString)
        # asking for the loop at each publish costs a system call (CPython compares process ids)
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Waiting] = deque()
        self._requests = Requests(self._waiting)
        self._changed = asyncio.Event()
        self._sequence = 0
        # the stream while whoever comes next may write on it by itself, whether its newest answer was for a single caller, and
        # whether somebody writes on it
        self._idle: Any = None
        self._lone = False
        self._writing = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    async def publish(self, events: Sequence[Event], expected: Mapping[str, int], seconds: float | None) -> list[int]:
        """Positions of the events once they are on disk; Refusal UNAVAILABLE when `seconds` (None: for ever) have passed."""
        if self._closed:
            raise client_closed()
        if expected:
            # what may be refused because of other publishes must not hold up those that share its stream
            return await self._alone(PublishRequest(events=events, expected_versions=expected), seconds)
        waiting = self._begun(events_field(events), len(events), seconds)
        if self._idle is not None and self._at_rest and len(waiting.body) <= _AT_ONCE_BYTES:
            await self._write_at_once(self._idle, waiting)
        else:
            self._waiting.append(waiting)
            self._changed.set()
        return await waiting.done

    async def close(self) -> None:
        """Ends what is under way; callers that wait get UNAVAILABLE."""
        self._closed = True
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._sweeping:
            self._sweeping.cancel()
        self._requests.refuse_all(client_closed())

    async def _alone(self, request: PublishRequest, seconds: float | None) -> list[int]:
        backoff = Backoff()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        with until_closed():
                            return list((await self._stub.Publish(request, timeout=_STALLED_SECONDS)).positions)
                    except grpc.aio.AioRpcError as error:
                        if is_final(error):
                            raise refusal_of(error) from error
                        await asyncio.sleep(backoff.wait())
        except TimeoutError:
            raise too_late() from None

    def _begun(self, body: bytes, count: int, seconds: float | None) -> Waiting:
        """A caller who begins to wait; starts what there is to be for one."""
        loop = self._loop
        if seconds is not None and self._sweeping is None:
            self._sweeping = loop.call_later(min(seconds, _SWEEP_SECONDS), self._sweep)
        if self._task is None:
            self._task = asyncio.create_task(self._send_forever(), name="publish")
            self._task.add_done_callback(self._ended)
        return Waiting(body, count, loop.create_future(), math.inf if seconds is None else loop.time() + seconds)

    @property
    def _at_rest(self) -> bool:
        """Whether nothing is under way or waits."""
        requests = self._requests
        return not (self._writing or self._waiting or requests.sent or requests.again)

    def _go_on(self, call: Any, callers: int) -> None:
        """After an answer: a single caller writes its next one by itself; what many callers say next is gathered."""
        self._lone = lone = callers == 1
        self._idle = call if lone else None
        if callers > 1 or self._waiting or self._requests.again:
            self._changed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The sending task never ends by itself: if something unexpected ends it, callers are told, and the next starts another."""
        self._task = None
        if not task.cancelled() and (error := task.exception()):
            self._requests.refuse_all(error)

    async def _write_at_once(self, call: Any, waiting: Waiting) -> None:
        """Writes in the caller's own task: with nobody else on the stream, handing over to the sending task only takes time."""
        try:
            await self._write(call, Request([waiting], waiting.count))
        except asyncio.CancelledError:
            # nobody waits for it any more
            waiting.done.cancel()
            raise
        finally:
            # the sending task may have been waiting for this, or has ended the stream
            if self._waiting or self._requests.again:
                self._changed.set()

    def _sweep(self) -> None:
        """Tells those whose time is up. One timer for all: one for each publish would cost as much as the publish."""
        now = self._loop.time()
        soonest = self._requests.sweep(now)
        left = min(_SWEEP_SECONDS, soonest - now)
        self._sweeping = self._loop.call_later(left, self._sweep) if soonest < math.inf else None

    async def _send_forever(self) -> None:
        """Streams as long as there is something to send; one that broke is followed by another."""
        backoff = Backoff()
        while True:
            while not (self._waiting or self._requests.again):
                self._changed.clear()
                await self._changed.wait()
            try:
                await self._stream(backoff)
            except grpc.aio.AioRpcError as error:
                self._requests.take_back(error)
                if error.code() is grpc.StatusCode.INTERNAL and self._requests.again:
                    await self._ask(self._requests.again[0], backoff)
                else:
                    await asyncio.sleep(backoff.wait())

    async def _ask(self, request: Request, backoff: Backoff) -> None:
        """Publishes the first of what waits for another try by a call of its own.

        A write that meets the end of its stream hides from grpc.aio why the stream ended.
        """
        try:
            response = await self._call(b"".join([caller.body for caller in request.callers]), timeout=_STALLED_SECONDS)
        except grpc.aio.AioRpcError as error:
            if is_final(error):
                self._requests.again.popleft()
                self._requests.refused(request, refusal_of(error))
            else:
                await asyncio.sleep(backoff.wait())
        else:
            request.acknowledge(response.positions)
            self._requests.again.popleft()

    async def _stream(self, backoff: Backoff) -> None:
        """One stream; raises what ended it."""
        call = self._open()
        listening = asyncio.create_task(self._listen(call, backoff))
        watching = asyncio.create_task(self._watch(call))
        try:
            self._sequence, self._lone = 0, False
            while not listening.done():
                request = None if self._writing else self._requests.next()
                if request:
                    await self._write(call, request)
                    continue
                self._changed.clear()
                # also at rest for the moment in which many were answered and have not come back: the first would go without them
                self._idle = call if self._lone and self._at_rest else None
                await self._changed.wait()
            await asyncio.wait((listening,))
            raise (None if listening.cancelled() else listening.exception()) or _broken("the stream stalled")
        finally:
            self._idle = None
            call.cancel()
            for task in (listening, watching):
                task.cancel()
            await asyncio.gather(listening, watching, return_exceptions=True)

    async def _write(self, call: Any, request: Request) -> None:
        """Sends a request. A write on a stream that has ended says nothing of why; the reader does."""
        self._sequence = sequence = self._sequence + 1
        self._requests.sent.append(request)
        request.sent = self._loop.time()
        self._writing = True
        try:
            await written(call, stream_request([caller.body for caller in request.callers], sequence))
        finally:
            self._writing = False

    async def _listen(self, call: Any, backoff: Backoff) -> None:
        """Takes answers until the stream ends; raises the status that it ended with."""
        sent, acknowledged = self._requests.sent, 0
        try:
            while isinstance(response := await call.read(), PublishStreamResponse):
                backoff.reset()
                start = callers = 0
                positions = response.positions
                while acknowledged < response.sequence:
                    request = sent[0]
                    request.acknowledge(positions[start : start + request.count])
                    sent.popleft()
                    start += request.count
                    callers += len(request.callers)
                    acknowledged += 1
                self._go_on(call, callers)
            # the bus ends a stream without an error only when it goes away
            raise _broken("the stream ended")
        finally:
            self._idle = None
            self._changed.set()

    async def _watch(self, call: Any) -> None:
        """Ends a stream that has stalled: the server may be frozen, or the connection half open."""
        while True:
            await asyncio.sleep(_STALLED_SECONDS / 4)
            sent = self._requests.sent
            if sent and self._loop.time() - sent[0].sent > _STALLED_SECONDS:
                call.cancel()


def _broken(details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)
