"""The events that a subscription is about to deliver: from its scan while they fit into memory, else read again."""

from collections.abc import Iterable

from tooloo.event.v1.event_pb2 import Event

from bus.storage import EventLog, SubscriptionStore


class Bodies:
    """Events between scan and delivery, bounded in bytes."""

    def __init__(self, log: EventLog, store: SubscriptionStore, subscription: str, max_bytes: int) -> None:
        self._log = log
        self._store = store
        self._subscription = subscription
        self._max_bytes = max_bytes
        self._bytes = 0
        self._events: dict[int, Event] = {}

    def keep(self, position: int, event: Event) -> None:
        """Keeps an event until it is taken, if there is room."""
        size = event.ByteSize()
        if self._bytes + size <= self._max_bytes:
            self._events[position] = event
            self._bytes += size

    async def take(self, positions: Iterable[int]) -> dict[int, Event]:
        """The events at some positions, each with its own; what neither the log nor a redriven dead letter holds is left out."""
        found: dict[int, Event] = {}
        missing = []
        for position in positions:
            event = self._events.pop(position, None)
            if event is None:
                missing.append(position)
            else:
                self._bytes -= event.ByteSize()
                found[position] = event
        if missing:
            found |= await self._log.events(missing)
        for position in missing:
            if position not in found and (kept := await self._kept_event(position)):
                found[position] = kept
        return found

    async def _kept_event(self, position: int) -> Event | None:
        kept = await self._store.kept_event(self._subscription, position)
        return Event.FromString(kept) if kept else None
