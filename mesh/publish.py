"""Publishing: what waits at the same time shares a request, which is tried again with the same ids until it is acknowledged."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import grpc
from tooloo.bus.v1.bus_service_pb2 import PublishRequest
from tooloo.event.v1.event_pb2 import Event

from mesh import errors
from mesh.reconnect import Backoff, is_final, refusal_of

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.bus.v1.bus_service_pb2_grpc import EventBusAsyncStub

# of one request that several callers share; a single caller's events are never split
_SHARED_EVENTS = 500
_SHARED_BYTES = 96 * 1024
_IN_FLIGHT = 8
_ATTEMPT_SECONDS = 5.0


@dataclass(slots=True)
class _Waiting:
    """One caller's events, and the future that gives their positions."""

    events: Sequence[Event]
    expected: Mapping[str, int]
    size: int
    done: asyncio.Future[list[int]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Publisher:
    """Gathers concurrent publishes. Callers' own order is kept: each waits for its acknowledgement."""

    def __init__(self, stub: EventBusAsyncStub) -> None:
        self._stub = stub
        self._waiting: deque[_Waiting] = deque()
        self._sending: set[asyncio.Task[None]] = set()

    async def publish(self, events: Sequence[Event], expected: Mapping[str, int], seconds: float | None) -> list[int]:
        """Positions of the events once they are on disk; Refusal UNAVAILABLE when `seconds` (None: for ever) have passed."""
        waiting = _Waiting(events, expected, sum(event.ByteSize() for event in events))
        self._waiting.append(waiting)
        self._send_more()
        try:
            async with asyncio.timeout(seconds):
                return await waiting.done
        except TimeoutError:
            raise errors.unavailable("bus", detail=f"no acknowledgement within {seconds:g} s") from None

    async def close(self) -> None:
        """Ends what is under way; callers that wait get UNAVAILABLE."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        while self._waiting:
            _refuse(self._waiting.popleft(), errors.unavailable("bus", detail="the client was closed"))

    def _send_more(self) -> None:
        while self._waiting and len(self._sending) < _IN_FLIGHT:
            group = self._gather()
            task = asyncio.create_task(self._send(group))
            self._sending.add(task)
            task.add_done_callback(partial(self._sent, group))

    def _sent(self, group: list[_Waiting], task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        # a task can be cancelled before its first step, so its callers are told here
        failure = errors.unavailable("bus", detail="the client was closed") if task.cancelled() else task.exception()
        if failure:
            for waiting in group:
                _refuse(waiting, failure)
        if not task.cancelled():
            self._send_more()

    def _gather(self) -> list[_Waiting]:
        """The callers whose events go into the next request; one with expected versions goes alone."""
        group = [self._waiting.popleft()]
        events, size = len(group[0].events), group[0].size
        while self._waiting and not group[0].expected and not self._waiting[0].expected:
            events += len(self._waiting[0].events)
            size += self._waiting[0].size
            if events > _SHARED_EVENTS or size > _SHARED_BYTES:
                break
            group.append(self._waiting.popleft())
        return group

    async def _send(self, group: list[_Waiting]) -> None:
        """Publishes for a group of callers until that is acknowledged, refused for good, or nobody waits any more."""
        backoff = Backoff()
        request = PublishRequest(
            events=[event for waiting in group for event in waiting.events], expected_versions=group[0].expected
        )
        while any(not waiting.done.done() for waiting in group):
            try:
                response = await self._stub.Publish(request, timeout=_ATTEMPT_SECONDS)
            except grpc.aio.AioRpcError as error:
                if is_final(error):
                    await self._refused(group, error)
                    return
                await asyncio.sleep(backoff.wait())
                continue
            _acknowledge(group, response.positions)

    async def _refused(self, group: list[_Waiting], error: grpc.aio.AioRpcError) -> None:
        """One caller's events may have been at fault: then the others must not suffer, so each is tried alone."""
        if len(group) == 1:
            _refuse(group[0], refusal_of(error))
            return
        for waiting in group:
            await self._send([waiting])


def _acknowledge(group: list[_Waiting], positions: Sequence[int]) -> None:
    start = 0
    for waiting in group:
        end = start + len(waiting.events)
        if not waiting.done.done():
            waiting.done.set_result(list(positions[start:end]))
        start = end


def _refuse(waiting: _Waiting, refusal: BaseException) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(refusal)
