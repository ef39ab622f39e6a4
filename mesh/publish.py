"""Publishing: what waits at the same time shares a request, requests follow each other on one stream without waiting for answers.

A stream that breaks is opened anew and gets again, with the same ids, whatever was not acknowledged; the bus stores nothing twice.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from tooloo.bus.v1.bus_service_pb2 import PublishRequest, PublishResponse, PublishStreamResponse
from tooloo.event.v1.event_pb2 import Event

from mesh.publish_frames import events_field
from mesh.publish_requests import Request, Requests, Waiting, too_late
from mesh.publish_stream import PublishStream
from mesh.reconnect import Backoff, client_closed, is_final, refusal_of, until_closed

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.bus.v1.bus_service_pb2_grpc import EventBusAsyncStub

_PUBLISH = "/tooloo.bus.v1.EventBus/Publish"
_PUBLISH_STREAM = "/tooloo.bus.v1.EventBus/PublishStream"
# a stream that answers nothing for so long is taken for dead
_STALLED_SECONDS = 5.0
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
        self._standing: PublishStream | None = None
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    def publish(self, events: Sequence[Event], expected: Mapping[str, int] | None, seconds: float | None) -> Awaitable[list[int]]:
        """Gives positions once the events are on disk; Refusal UNAVAILABLE when `seconds` (None: for ever) have passed.

        To be awaited at once. Most callers get the bare future that tells them: a coroutine around it costs as much again.
        """
        if self._closed:
            raise client_closed()
        if expected:
            # what may be refused because of other publishes must not hold up those that share its stream
            return self._alone(PublishRequest(events=events, expected_versions=expected), seconds)
        loop = self._loop
        if self._sweeping is None and seconds is not None:
            self._sweeping = loop.call_later(min(seconds, _SWEEP_SECONDS), self._sweep)
        if self._task is None:
            self._task = loop.create_task(self._send_forever(), name="publish")
            self._task.add_done_callback(self._ended)
        deadline = math.inf if seconds is None else loop.time() + seconds
        waiting = Waiting(events_field(events), len(events), loop.create_future(), deadline)
        stream = self._standing
        if stream is not None and stream.idle and (request := Request.of(waiting)).is_small:
            # with nobody else on the stream, handing over to the sending task only takes time
            if not stream.exchanges:
                return self._write_at_once(stream, request)
            stream.exchange(request)
            return waiting.done
        self._waiting.append(waiting)
        self._changed.set()
        return waiting.done

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

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The sending task never ends by itself: if something unexpected ends it, callers are told, and the next starts another."""
        self._task = None
        if not task.cancelled() and (error := task.exception()):
            self._requests.refuse_all(error)

    async def _write_at_once(self, stream: PublishStream, request: Request) -> list[int]:
        """Writes in the caller's own task."""
        done = request.callers[0].done
        try:
            await stream.write(request)
        except asyncio.CancelledError:
            # nobody waits for it any more
            done.cancel()
            raise
        finally:
            # the sending task may have been waiting for this, or has ended the stream
            if self._waiting or self._requests.again:
                self._changed.set()
        return await done

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
            request.acknowledge(list(response.positions))
            self._requests.again.popleft()

    async def _stream(self, backoff: Backoff) -> None:
        """One stream; raises what ended it."""
        stream = self._standing = PublishStream(self._open(), self._requests, self._changed, backoff, _STALLED_SECONDS)
        try:
            await stream.run()
        finally:
            self._standing = None
