"""Inbox: a heard event's effect and the note that it was handled are one transaction, so what comes twice is applied once.

Idempotent consumer after Richardson, "Microservices Patterns", 2018, ch. 3.3.5.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from google.protobuf.message import Message
from tooloo.event.v1 import event_pb2

from mesh import call, contracts
from mesh.clock import Clock, to_us
from mesh.db import Database, Transaction
from mesh.db_errors import StoreRefusal
from mesh.deliveries import Delivery, Nack

log = logging.getLogger(__name__)
# what the contract allows in a Nack
_LONGEST_ERROR = 2048
_STORE_AGAIN_S = 1.0
Handler = Callable[[Transaction, event_pb2.Event, Message], Awaitable[None]]


class Deliveries(Protocol):
    """The part of a subscription that the inbox needs."""

    def batches(self) -> AsyncIterator[list[Delivery]]:
        """Batches for ever; reconnects by itself."""
        ...

    def keep(self) -> None:
        """What is held is waited for, however long it takes: it is no longer taken for hung."""
        ...

    async def settle(self, acks: Sequence[int], nacks: Sequence[Nack] = ()) -> None:
        """Acknowledges and gives back by position."""
        ...


class Inbox:
    """Applies events to a service's own state by the handlers that it gave for their types."""

    def __init__(self, database: Database, clock: Clock, handlers: Mapping[str, Handler]) -> None:
        self._database = database
        self._clock = clock
        self._handlers = handlers

    @property
    def types(self) -> list[str]:
        """The event types to subscribe to."""
        return sorted(self._handlers)

    def handlers_for(self, event_type: str) -> list[Handler]:
        """The handlers that want this type: the exact name, "prefix.*" and "*"."""
        return [handler for pattern, handler in self._handlers.items() if _matches(pattern, event_type)]

    async def run(self, deliveries: Deliveries) -> None:
        """Handles batches for ever; an event that fails goes back to the bus, which counts and delays it."""
        async for batch in deliveries.batches():
            errors = await self._handle_batch(batch, deliveries)
            await deliveries.settle(
                [delivery.position for delivery, error in zip(batch, errors, strict=True) if not error],
                [Nack(delivery.position, error=error) for delivery, error in zip(batch, errors, strict=True) if error],
            )

    async def _handle_batch(self, batch: Sequence[Delivery], deliveries: Deliveries) -> list[str]:
        """What went wrong with each event, or "".

        A store that can take nothing, as on a full disk, is waited for: given back, or let go as hung, each would count as a
        failure of the event, and after some of those it is a dead letter.
        """
        results = await self._try_each(batch)
        while waiting := [place for place, result in enumerate(results) if isinstance(result, StoreRefusal)]:
            log.warning("%d events wait for the store: %s", len(waiting), results[waiting[0]])
            await asyncio.sleep(_STORE_AGAIN_S)
            deliveries.keep()
            again = await self._try_each([batch[place] for place in waiting])
            for place, result in zip(waiting, again, strict=True):
                results[place] = result
        errors = []
        for delivery, result in zip(batch, results, strict=True):
            if isinstance(result, BaseException) and not isinstance(result, Exception):
                raise result
            if isinstance(result, Exception):
                event = delivery.event
                log.error("event %s (%s) was not handled, delivery %d", event.id, event.type, delivery.attempt, exc_info=result)
            errors.append(f"{type(result).__name__}: {result}"[:_LONGEST_ERROR] if isinstance(result, Exception) else "")
        return errors

    async def _try_each(self, batch: Sequence[Delivery]) -> list[bool | BaseException]:
        """One transaction per event, all waiting together, so that they share a commit; the writer keeps their order."""
        return await asyncio.gather(*(self.handle(delivery.event) for delivery in batch), return_exceptions=True)

    async def handle(self, event: event_pb2.Event) -> bool:
        """Applies one event in one transaction; False when it had been applied before."""
        token = call.current.set(
            call.Call(
                method=f"event {event.type}",
                traceparent=call.new_traceparent(event.traceparent),
                correlation_id=event.correlation_id or event.id,
                causation_id=event.id,
            )
        )
        try:
            return await self._database.write(lambda tx: self._apply(tx, event))
        finally:
            call.current.reset(token)

    async def _apply(self, tx: Transaction, event: event_pb2.Event) -> bool:
        fresh = await tx.execute(
            "INSERT INTO inbox (source, event_id, handled_us) VALUES (:source, :id, :now_us) ON CONFLICT DO NOTHING",
            {"source": event.source, "id": event.id, "now_us": to_us(self._clock.now())},
        )
        if not fresh:
            return False
        data = contracts.message_class(event.data.TypeName())()
        event.data.Unpack(data)
        for handler in self.handlers_for(event.type):
            await handler(tx, event, data)
        return True


async def forget(tx: Transaction, before_us: int) -> int:
    """Drops notes older than this; the bus has long acknowledged those events."""
    return await tx.execute("DELETE FROM inbox WHERE handled_us < :before_us", {"before_us": before_us})


async def has_heard(tx: Transaction) -> bool:
    """True when any event was ever handled (and its note is still kept)."""
    return await tx.fetch_one("SELECT 1 FROM inbox LIMIT 1") is not None


def _matches(pattern: str, event_type: str) -> bool:
    return pattern in ("*", event_type) or (pattern.endswith(".*") and event_type.startswith(pattern[:-1]))
