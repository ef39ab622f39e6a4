"""What waits to be published: callers share requests, and requests go out again until they are acknowledged."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import grpc

from mesh import errors
from mesh.reconnect import is_final, refusal_of

# of one request that several callers share; a single caller's events are never split
_SHARED_EVENTS = 500
_SHARED_BYTES = 96 * 1024
_IN_FLIGHT = 16
# of requests that are not half full: what waits meanwhile fills the next one, or a hundred callers would make a hundred requests
_SMALL_IN_FLIGHT = 1


@dataclass(slots=True)
class Waiting:
    """One caller's events, encoded, and the future that gives their positions."""

    body: bytes
    count: int
    done: asyncio.Future[list[int]]
    deadline: float


@dataclass(slots=True)
class Request:
    """What goes out together."""

    callers: Sequence[Waiting]
    # events, and their bytes, of all of them
    count: int
    size: int
    sent: float = 0.0

    @classmethod
    def of(cls, caller: Waiting) -> Request:
        """The request of a single caller."""
        return cls([caller], caller.count, len(caller.body))

    @property
    def is_small(self) -> bool:
        """Whether it is less than half full."""
        return self.count < _SHARED_EVENTS // 2 and self.size < _SHARED_BYTES // 2

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return any(not caller.done.done() for caller in self.callers)

    def acknowledge(self, positions: list[int]) -> None:
        """Gives each caller the positions of its events; ValueError when there is not one for each."""
        if len(positions) != self.count:
            raise ValueError(f"the bus answered {self.count} events with {len(positions)} positions")
        start = 0
        for caller in self.callers:
            end, done = start + caller.count, caller.done
            if not done.done():
                done.set_result(positions[start:end])
            start = end

    def refuse(self, refusal: BaseException) -> None:
        """Tells every caller why not."""
        for caller in self.callers:
            if not caller.done.done():
                caller.done.set_exception(refusal)


class Requests:
    """The requests of one publisher: `sent` and without an answer, or to be sent `again`; those to come are made of who waits."""

    def __init__(self, waiting: deque[Waiting]) -> None:
        self.sent: deque[Request] = deque()
        self.again: deque[Request] = deque()
        self.waiting = waiting

    def next(self) -> Request | None:
        """What to send next; None while there is nothing, or enough under way."""
        if len(self.sent) >= _IN_FLIGHT or (len(self.sent) >= _SMALL_IN_FLIGHT and not self._half_full()):
            return None
        while self.again:
            request = self.again.popleft()
            if request.wanted:
                return request
        return self._gather()

    def take_back(self, error: grpc.aio.AioRpcError) -> None:
        """Puts aside for another try what was sent and not acknowledged; what the bus refused for good is told to its callers.

        The bus answers in order, so the first request without an answer is the one it refused. When several callers share it, only
        one may be at fault: each is sent by itself.
        """
        refused = self.sent.popleft() if self.sent and is_final(error) else None
        self.again.extendleft(reversed(self.sent))
        self.sent.clear()
        if refused:
            self.refused(refused, refusal_of(error))

    def refused(self, request: Request, refusal: errors.Refusal) -> None:
        """Tells a single caller why not; of several, each is sent by itself."""
        if len(request.callers) == 1:
            request.refuse(refusal)
        else:
            self.again.extendleft(Request.of(caller) for caller in reversed(request.callers))

    def sweep(self, now: float) -> float:
        """Tells those whose time is up, and forgets them; gives the time of the next, infinite when nobody's will be up."""
        callers = [*self.waiting, *(caller for request in (*self.sent, *self.again) for caller in request.callers)]
        for caller in callers:
            if caller.deadline <= now and not caller.done.done():
                caller.done.set_exception(too_late())
        standing = [caller for caller in self.waiting if not caller.done.done()]
        self.waiting.clear()
        self.waiting.extend(standing)
        return min((caller.deadline for caller in callers if not caller.done.done()), default=inf)

    def refuse_all(self, refusal: BaseException) -> None:
        """Tells every caller why not."""
        rest = [*self.sent, *self.again, Request(list(self.waiting), 0, 0)]
        for queue in (self.sent, self.again, self.waiting):
            queue.clear()
        for request in rest:
            request.refuse(refusal)

    def _half_full(self) -> bool:
        """Whether what waits fills at least half a request."""
        if len(self.waiting) >= _SHARED_EVENTS // 2:
            return True
        return sum(len(waiting.body) for waiting in self.waiting) >= _SHARED_BYTES // 2

    def _gather(self) -> Request | None:
        """The callers that wait, as many as fit into one request."""
        callers: list[Waiting] = []
        count = size = 0
        waiting = self.waiting
        while waiting:
            first = waiting[0]
            # else its time was up, or it was cancelled
            if not first.done.done():
                fits = count + first.count <= _SHARED_EVENTS and size + len(first.body) <= _SHARED_BYTES
                if callers and not fits:
                    break
                count += first.count
                size += len(first.body)
                callers.append(first)
            waiting.popleft()
        return Request(callers, count, size) if callers else None


def too_late() -> errors.Refusal:
    """The refusal for who has waited as long as he wanted."""
    return errors.unavailable("bus", detail="no acknowledgement within the time that the caller gave")
