"""One stream that pulls a subscription: its credit, its token, and what waits to be sent on it."""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tooloo.bus.v1.bus_service_pb2 import PullResponse

from bus import native
from bus.deliveries import Entry
from bus.slices import Slice, behind, packed, positions_of

# adds to an answer where the subscription stands; also whether it brings events
Stamp = Callable[[PullResponse, bool], Awaitable[None]]
# numbers that are set in a message faster than they are packed for it
_FEW = 16
# hardly an event is smaller
_SMALL_EVENT_BYTES = 128


@dataclass(slots=True)
class _Delivery:
    """One message's worth of events: on their first delivery slices, else positions, attempts and bytes."""

    count: int
    size: int
    pieces: Sequence[Slice] = ()
    positions: Sequence[int] = ()
    attempts: Sequence[int] = ()
    events: bytes = b""


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
        self._queue: deque[_Delivery] = deque()
        # something has to be said though there is no event: a new token, a sign of life
        self._tell = False
        self._last_sign = 0.0
        self._watching: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._failure: Exception | None = None
        self._finished = False

    @property
    def room(self) -> int:
        """Events that may be sent now."""
        return 0 if self.gone or self.left or (self._counts_bytes and self.credit_bytes <= 0) else self.credit_events

    @property
    def room_bytes(self) -> int | None:
        """Bytes that may be sent now; None when the member counts events alone."""
        return self.credit_bytes if self._counts_bytes else None

    def most_that_fit(self, limit: int) -> int:
        """How many events, at most `limit`, may fit into its credit in bytes."""
        return limit if self.room_bytes is None else min(limit, max(1, self.room_bytes // _SMALL_EVENT_BYTES))

    def fitting(self, sizes: Sequence[int]) -> int:
        """How many events of these sizes fit into its credit in bytes, one at least."""
        if self.room_bytes is None:
            return len(sizes)
        return max(1, bisect_right(list(accumulate(sizes)), self.room_bytes))

    def send(self, entries: Sequence[Entry], bodies: Mapping[int, bytes], message_bytes: int) -> None:
        """Queues events one by one, split so that no message is much larger than `message_bytes`."""
        group: list[Entry] = []
        size = 0
        for entry in entries:
            length = len(bodies[entry.position])
            if group and size + length > message_bytes:
                self._queue_entries(group, bodies)
                group, size = [], 0
            group.append(entry)
            size += length
        self._queue_entries(group, bodies)

    def send_slices(self, pieces: Sequence[Slice], message_bytes: int, message_events: int) -> None:
        """Queues neighbouring events on their first delivery."""
        for group in packed(pieces, message_bytes, message_events):
            count = sum([len(part.positions) for part in group])
            # to count its bytes every event is looked at
            size = sum([part.stamped_size() for part in group]) if self._counts_bytes else 0
            self._push(_Delivery(count, size, group))

    def _queue_entries(self, entries: Sequence[Entry], bodies: Mapping[int, bytes]) -> None:
        positions = [entry.position for entry in entries]
        events = b"".join(bodies[position] for position in positions)
        attempts = [entry.attempts for entry in entries]
        self._push(_Delivery(len(entries), len(events), positions=positions, attempts=attempts, events=events))

    def _push(self, delivery: _Delivery) -> None:
        self._queue.append(delivery)
        self.credit_events -= delivery.count
        self.credit_bytes -= delivery.size
        self._wake.set()

    def is_to_be_sent(self, text: bytes) -> bool:
        """Whether these bytes stand in anything that waits to be sent."""
        return any(text in part for each in self._queue for part in (each.events, *(piece.events for piece in each.pieces)))

    def refuse(self, positions: Sequence[int]) -> None:
        """Tells the member that it no longer held these."""
        if positions:
            self._refused.extend(positions)
            self._wake.set()

    def fence(self, token: int) -> None:
        """Gives the stream a new token: what was out is void, and so is what was about to be sent."""
        self.credit_events += sum(delivery.count for delivery in self._queue)
        self.credit_bytes += sum(delivery.size for delivery in self._queue)
        self._queue.clear()
        self.token = token
        self._tell = True
        self._wake.set()

    def fail(self, failure: Exception) -> None:
        """Ends the stream with a refusal."""
        self._failure = failure
        self._wake.set()

    def finish(self) -> None:
        """Ends the stream in good order, after what is queued."""
        self._finished = True
        self._wake.set()

    async def responses(self, stamp: Stamp) -> AsyncIterator[bytes]:
        """What goes out, encoded: first the token, then deliveries, a heartbeat after each silence. `stamp` adds floor and lag."""
        loop = asyncio.get_running_loop()
        self._watch(loop)
        try:
            yield await self._stamped(PullResponse(), stamp)
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._last_sign = loop.time()
                while self._queue:
                    yield await self._delivery(self._queue.popleft(), stamp)
                if self._failure:
                    raise self._failure
                if self._tell or self._refused or self._finished:
                    self._tell = False
                    yield await self._stamped(PullResponse(), stamp)
                if self._finished:
                    return
        finally:
            if self._watching:
                self._watching.cancel()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sees to a heartbeat after each silence: one timer for the stream, not one for each message."""
        silent = loop.time() - self._last_sign if self._last_sign else 0.0
        if silent >= self.heartbeat:
            self._tell = True
            self._wake.set()
            silent = 0.0
        self._watching = loop.call_later(self.heartbeat - silent, self._watch, loop)
        self._last_sign = self._last_sign or loop.time()

    async def _delivery(self, delivery: _Delivery, stamp: Stamp) -> bytes:
        """A header and, behind it, stored bytes: protobuf reads both as one message."""
        if delivery.pieces:
            header, packed_numbers = PullResponse(), b""
            if delivery.count <= _FEW:
                header = PullResponse(positions=positions_of(delivery.pieces), attempts=(1,) * delivery.count)
            else:
                packed_numbers = _first_deliveries(delivery.pieces)
            encoded = await self._stamped(header, stamp, delivers=True)
            return behind(encoded + packed_numbers, delivery.pieces)
        header = PullResponse(positions=delivery.positions, attempts=delivery.attempts)
        return await self._stamped(header, stamp, delivers=True) + delivery.events

    async def _stamped(self, response: PullResponse, stamp: Stamp, *, delivers: bool = False) -> bytes:
        response.fencing_token = self.token
        response.acks_committed = self.acks_committed
        response.refused_acks.extend(self._refused)
        self._refused.clear()
        await stamp(response, delivers)
        return response.SerializeToString()


def _tag(name: str) -> bytes:
    """The tag of a packed field of PullResponse."""
    tag = PullResponse.DESCRIPTOR.fields_by_name[name].number << 3 | 2
    return native.pack(range(tag, tag + 1))


_POSITIONS, _ATTEMPTS = _tag("positions"), _tag("attempts")


def _first_deliveries(pieces: Sequence[Slice]) -> bytes:
    """Positions and attempts, encoded: setting a thousand numbers in a message would take longer than all else about it."""
    positions = positions_of(pieces)
    return _field(_POSITIONS, native.pack(positions)) + _field(_ATTEMPTS, b"\x01" * len(positions))


def _field(tag: bytes, value: bytes) -> bytes:
    return b"".join((tag, native.pack(range(len(value), len(value) + 1)), value))
