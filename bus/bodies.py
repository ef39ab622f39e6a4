"""The events that a subscription is about to deliver: from its scan while they fit into memory, else read again."""

from collections.abc import Iterable, Mapping, Sequence

from tooloo.bus.v1.bus_service_pb2 import PullResponse
from tooloo.event.v1.event_pb2 import Event

from bus import native
from bus.slices import Slice
from bus.storage import EventLog, SubscriptionStore


class Bodies:
    """Events between scan and delivery as `repeated Event = 1` each, with their positions; bounded in bytes."""

    def __init__(self, log: EventLog, store: SubscriptionStore, subscription: str, max_bytes: int) -> None:
        self._log = log
        self._store = store
        self._subscription = subscription
        self._max_bytes = max_bytes
        self._bytes = 0
        self._events: dict[int, bytes] = {}

    def keep(self, piece: Slice) -> None:
        """Keeps events until they are taken, as far as there is room."""
        stamped = piece.stamped()
        starts = native.event_starts(stamped, len(piece.positions))
        for index, position in enumerate(piece.positions):
            body = stamped[starts[index] : starts[index + 1]]
            if self._bytes + len(body) > self._max_bytes:
                return
            self._events[position] = body
            self._bytes += len(body)

    def put_back(self, events: Mapping[int, bytes]) -> None:
        """Keeps again what was taken and not sent, as far as there is room."""
        for position, body in events.items():
            if self._bytes + len(body) <= self._max_bytes:
                self._events[position] = body
                self._bytes += len(body)

    async def take(self, positions: Iterable[int]) -> Mapping[int, bytes]:
        """The events at some positions; what neither the log nor a redriven dead letter holds is left out."""
        found: dict[int, bytes] = {}
        missing = []
        for position in positions:
            body = self._events.pop(position, None)
            if body is None:
                missing.append(position)
            else:
                self._bytes -= len(body)
                found[position] = body
        if missing:
            found.update(await self._read(missing))
        return found

    async def _read(self, positions: Sequence[int]) -> Mapping[int, bytes]:
        events = await self._log.events(positions)
        for position in positions:
            if position not in events and (kept := await self._store.kept_event(self._subscription, position)):
                events[position] = Event.FromString(kept)
        return {position: PullResponse(events=[event]).SerializeToString() for position, event in events.items()}
