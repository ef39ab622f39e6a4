"""Outbox: an event stands in the transaction of the state it tells of; a relay brings it to the bus until that has acknowledged it.

Transactional outbox after Richardson, "Microservices Patterns", 2018, ch. 3.3. A crash between publish and delete publishes again;
the bus knows the (source, id) and stores nothing twice.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import islice, takewhile
from typing import Protocol

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from tooloo.event.v1 import event_pb2, options_pb2

from mesh import call
from mesh.clock import Clock, to_us
from mesh.db import Database, Transaction
from mesh.errors import Refusal
from mesh.ids import Ids
from mesh.reconnect import Backoff

log = logging.getLogger(__name__)
# how long what is told may still stand in the outbox
_LINGER_SECONDS = 0.1
# what a relay has at hand of what its process committed: so many batches of small events; all else is read
_OFFERS, _SMALL_BYTES = 2, 16 * 1024
# an event, and its number in the outbox
Numbered = tuple[int, event_pb2.Event]
# refusals that trying again can help
_PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}


@dataclass(frozen=True)
class Fact:
    """What has happened: the event's own message, its subject (also the ordering key), and attributes for filters.

    `at` is when, for what is told later than it happened; None is now.
    """

    message: Message
    subject: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    at: datetime | None = None


class Publisher(Protocol):
    """The part of the bus client that the relay needs."""

    async def publish(self, events: list[event_pb2.Event]) -> list[int]:
        """Gives positions when the events are on disk."""
        ...


def make_event(fact: Fact, source: str, clock: Clock, ids: Ids) -> event_pb2.Event:
    """The envelope of a fact, with correlation, cause and trace of the current call."""
    current = call.current.get()
    event = event_pb2.Event(
        id=ids(),
        type=_type_of(fact.message.DESCRIPTOR),
        source=source,
        subject=fact.subject,
        correlation_id=current.correlation_id,
        causation_id=current.causation_id,
        traceparent=current.traceparent,
        attributes=fact.attributes,
    )
    now_us = clock.now_us() if fact.at is None else to_us(fact.at)
    event.time.seconds, event.time.nanos = now_us // 1_000_000, now_us % 1_000_000 * 1000
    event.data.Pack(fact.message)
    return event


@cache
def _type_of(descriptor: Descriptor) -> str:
    """The event type that a message's contract gives it."""
    return str(descriptor.GetOptions().Extensions[options_pb2.event].type)


async def add(tx: Transaction, event: event_pb2.Event) -> int:
    """Puts an event into the outbox, in the transaction of its state; gives its number there."""
    row = await tx.fetch_one("INSERT INTO outbox (event) VALUES (:event) RETURNING seq", {"event": event.SerializeToString()})
    return int(row["seq"]) if row else 0


class Relay:
    """Brings the outbox to the bus, in order, until it is empty; then waits to be woken.

    The first event after a silence goes at once; those that come within `interval` behind it go together, because each publish
    costs the bus a commit and every listener another.

    What this process has just committed it is offered, and need not read: as long as the numbers follow each other without a gap,
    nothing of another process on the same file stands between them, so that the order of the outbox is kept.

    What the bus has acknowledged is deleted a moment later, many at once: a delete behind each event would cost every write that
    follows it a second fsync. A crash in that moment publishes again, and the bus stores nothing twice.
    """

    def __init__(self, database: Database, publisher: Publisher, batch: int, interval: timedelta = timedelta()) -> None:
        self._database = database
        self._publisher = publisher
        self._batch = batch
        self._interval = interval.total_seconds()
        self._wake = asyncio.Event()
        self._acknowledged: list[int] = []
        # committed by this process, in order; and the number up to which everything is told
        self._offered: deque[Numbered] = deque(maxlen=_OFFERS * batch)
        self._told = 0

    def offer(self, number: int, event: event_pb2.Event) -> None:
        """Says what this process has committed to the outbox, and under which number."""
        if event.ByteSize() <= _SMALL_BYTES:
            self._offered.append((number, event))
        self._wake.set()

    async def run(self) -> None:
        """Relays for ever. A bus that is away ends nothing: the events stand in the outbox, and the service goes on answering."""
        backoff = Backoff()
        try:
            while True:
                self._wake.clear()
                try:
                    told = await self.relay_once()
                    if not told:
                        await self._rest()
                    elif told < self._batch:
                        await asyncio.sleep(self._interval)
                    backoff.reset()
                except Refusal as refusal:
                    log.warning("events wait in the outbox: %s", refusal)
                    await asyncio.sleep(backoff.wait())
        finally:
            await self.settle()

    async def _rest(self) -> None:
        """Waits until it is woken; when nothing comes for a moment, deletes first what is told."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS if self._acknowledged else None):
                await self._wake.wait()
                return
        await self.settle()

    async def relay_once(self) -> int:
        """Publishes one batch; gives the number of events. Refusal when the bus cannot take them now."""
        if len(self._acknowledged) >= self._batch:
            await self.settle()
        events = self._at_hand() or await self._read()
        if not events:
            return 0
        try:
            await self._publish(events)
        except Refusal as refusal:
            if refusal.code in _PASSING:
                raise
            await self._publish_one_by_one(events)
        self._told = events[-1][0]
        return len(events)

    def _at_hand(self) -> list[Numbered]:
        """Of what was offered that which follows on what is told, without a gap."""
        while self._offered and self._offered[0][0] <= self._told:
            self._offered.popleft()
        following = enumerate(islice(self._offered, self._batch), self._told + 1)
        return [event for _, event in takewhile(lambda item: item[0] == item[1][0], following)] if self._told else []

    async def _read(self) -> list[Numbered]:
        after = self._acknowledged[-1] if self._acknowledged else 0
        rows = await self._database.read(
            lambda tx: tx.fetch_all(
                "SELECT seq, event FROM outbox WHERE seq > :after ORDER BY seq LIMIT :batch", {"after": after, "batch": self._batch}
            )
        )
        return [(row["seq"], event_pb2.Event.FromString(row["event"])) for row in rows]

    async def settle(self) -> None:
        """Deletes what the bus has acknowledged."""
        told, self._acknowledged = self._acknowledged, []
        if told:
            await self._database.write(partial(_delete, told=told))

    async def _publish(self, events: Sequence[Numbered]) -> None:
        await self._publisher.publish([event for _, event in events])
        self._acknowledged += [number for number, _ in events]

    async def _publish_one_by_one(self, events: Sequence[Numbered]) -> None:
        """One event that does not fit the contract must not keep the others from being told; it is put aside."""
        for number, event in events:
            try:
                await self._publish([(number, event)])
            except Refusal as refusal:
                if refusal.code in _PASSING:
                    raise
                log.critical("the bus refuses event %d of the outbox for good: %s", number, refusal)
                await self._database.write(partial(_put_aside, number=number, event=event, why=str(refusal)))
            self._told = number


async def _delete(tx: Transaction, told: Sequence[int]) -> None:
    await tx.execute_many("DELETE FROM outbox WHERE seq = :seq", [{"seq": seq} for seq in told])


async def _put_aside(tx: Transaction, number: int, event: event_pb2.Event, why: str) -> None:
    await tx.execute(
        "INSERT INTO outbox_refused (event, refusal) VALUES (:event, :why)",
        {"event": event.SerializeToString(), "why": why},
    )
    await _delete(tx, [number])
