"""The relay of the outbox: order, deletion after the acknowledgement, and a bus that is away."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tooloo.event.v1.event_pb2 import Event

from mesh import errors, outbox
from mesh.db import Database, Transaction
from mesh.ids import new_id


class Bus:
    """Refuses so many publishes, then takes them."""

    def __init__(self, refusals: list[errors.Refusal]) -> None:
        self.refusals = refusals
        self.taken: list[str] = []
        self.all_taken = asyncio.Event()

    async def publish(self, events: list[Event]) -> list[int]:
        """Takes the events, or refuses."""
        if self.refusals:
            raise self.refusals.pop(0)
        self.taken += [event.id for event in events]
        self.all_taken.set()
        return list(range(len(events)))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A database with an outbox."""
    opened = await Database.open(tmp_path / "a.db")
    yield opened
    await opened.close()


async def _add(database: Database, count: int) -> list[str]:
    events = [Event(id=new_id()) for _ in range(count)]

    async def add(tx: Transaction) -> None:
        for event in events:
            await outbox.add(tx, event)

    await database.write(add)
    return [event.id for event in events]


async def _left(database: Database) -> int:
    return len(await database.read(lambda tx: tx.fetch_all("SELECT seq FROM outbox")))


async def test_events_are_brought_in_order_and_then_deleted(database: Database) -> None:
    """Batches keep the order of the outbox, and what is acknowledged is gone from it."""
    wanted = await _add(database, 5)
    bus = Bus([])
    relay = outbox.Relay(database, bus, batch=2)
    assert [await relay.relay_once() for _ in range(4)] == [2, 2, 1, 0]
    assert bus.taken == wanted
    assert await _left(database) == 0


async def test_a_bus_that_is_away_ends_nothing(database: Database) -> None:
    """While the bus gives no acknowledgement the events stay, the process lives, and later they arrive."""
    wanted = await _add(database, 3)
    bus = Bus([errors.unavailable("bus", retry_after=timedelta(seconds=1)) for _ in range(2)])
    relaying = asyncio.create_task(outbox.Relay(database, bus, batch=10).run())
    async with asyncio.timeout(10):
        await bus.all_taken.wait()
    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)
    assert bus.taken == wanted
