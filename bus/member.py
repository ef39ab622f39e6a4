"""One stream that pulls a subscription: its credit, its token, and what waits to be sent on it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from tooloo.bus.v1.bus_service_pb2 import PullResponse
from tooloo.event.v1.event_pb2 import Event

from bus.dealing import Entry


class Member:
    """A member of a subscription. What is queued is bounded by the credit that the member gave."""

    def __init__(self, token: int, heartbeat: float, *, counts_bytes: bool) -> None:
        self.token = token
        self.heartbeat = heartbeat
        self.credit_events = 0
        self.credit_bytes = 0
        self.gone = False
        self.left = False
        self.acks_committed = 0
        self._counts_bytes = counts_bytes
        self._refused: list[int] = []
        self._queue: deque[PullResponse] = deque()
        self._wake = asyncio.Event()
        self._failure: Exception | None = None
        self._finished = False

    @property
    def room(self) -> int:
        """Events that may be sent now."""
        return 0 if self.gone or self.left or (self._counts_bytes and self.credit_bytes <= 0) else self.credit_events

    def send(self, entries: Sequence[Entry], events: Sequence[Event], message_bytes: int) -> None:
        """Queues a delivery, split so that no message is much larger than `message_bytes`."""
        response = PullResponse()
        size = 0
        for entry, event in zip(entries, events, strict=True):
            length = event.ByteSize()
            if size and size + length > message_bytes:
                self._queue.append(response)
                response, size = PullResponse(), 0
            response.events.append(event)
            response.positions.append(entry.position)
            response.attempts.append(entry.attempts)
            size += length
            self.credit_bytes -= length
        self._queue.append(response)
        self.credit_events -= len(entries)
        self._wake.set()

    def refuse(self, positions: Sequence[int]) -> None:
        """Tells the member that it no longer held these."""
        if positions:
            self._refused.extend(positions)
            self._wake.set()

    def fence(self, token: int) -> None:
        """Gives the stream a new token: what was out is void, and so is what was about to be sent."""
        self.credit_events += sum(len(response.events) for response in self._queue)
        self.credit_bytes += sum(event.ByteSize() for response in self._queue for event in response.events)
        self._queue.clear()
        self.token = token
        self._queue.append(PullResponse())
        self._wake.set()

    def fail(self, failure: Exception) -> None:
        """Ends the stream with a refusal."""
        self._failure = failure
        self._wake.set()

    def finish(self) -> None:
        """Ends the stream in good order, after what is queued."""
        self._finished = True
        self._wake.set()

    async def responses(self, stamp: Callable[[PullResponse], Awaitable[None]]) -> AsyncIterator[PullResponse]:
        """What goes out: first the token, then deliveries, and a heartbeat after each silence. `stamp` adds floor, head and lag."""
        yield await self._stamped(PullResponse(), stamp)
        while True:
            silent = not await self._woken()
            while self._queue:
                yield await self._stamped(self._queue.popleft(), stamp)
            if self._failure:
                raise self._failure
            if silent or self._refused or self._finished:
                yield await self._stamped(PullResponse(), stamp)
            if self._finished:
                return

    async def _woken(self) -> bool:
        try:
            async with asyncio.timeout(self.heartbeat):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _stamped(self, response: PullResponse, stamp: Callable[[PullResponse], Awaitable[None]]) -> PullResponse:
        response.fencing_token = self.token
        response.acks_committed = self.acks_committed
        response.refused_acks.extend(self._refused)
        self._refused.clear()
        await stamp(response)
        return response
