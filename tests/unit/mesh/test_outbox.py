"""The relay of the outbox: order, deletion after the acknowledgement, and a bus that is away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import pytest
from tooloo.event.v1.event_pb2 import Event

from mesh import errors, outbox
from mesh.db import Database, Transaction
from mesh.ids import new_id
from tests.support.mesh import eventually

T = TypeVar("T")


class Bus:
    """Refuses so many publishes, then takes them."""

    def __init__(self, refusals: list[errors.Refusal]) -> None:
        self.refusals = refusals
        self.taken: list[str] = []
        self.batches: list[int] = []
        self.all_taken = asyncio.Event()
        self._more = asyncio.Condition()

    async def publish(self, events: list[Event]) -> list[int]:
        """Takes the events, or refuses."""
        if self.refusals:
            raise self.refusals.pop(0)
        self.taken += [event.id for event in events]
        self.batches.append(len(events))
        self.all_taken.set()
        async with self._more:
            self._more.notify_all()
        return list(range(len(events)))

    async def took(self, event_id: str) -> None:
        """Waits until this event was taken."""
        async with self._more, asyncio.timeout(60):
            await self._more.wait_for(lambda: event_id in self.taken)


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
    await relay.settle()
    assert await _left(database) == 0


async def test_what_is_told_is_deleted_when_it_gets_quiet_and_at_the_end(database: Database) -> None:
    """A running relay empties the outbox by itself, and one that is stopped leaves nothing told behind."""
    await _add(database, 3)
    bus = Bus([])
    relay = outbox.Relay(database, bus, batch=10)
    relaying = asyncio.create_task(relay.run())

    async def left() -> int:
        return await _left(database)

    await eventually(left, lambda count: count == 0)
    await bus.took(await _commit(database, relay))
    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)
    assert await _left(database) == 0


async def test_a_number_of_the_outbox_is_never_given_twice(database: Database) -> None:
    """Two relays may read the same events; the slower one's delete must not hit a younger event that nobody has told."""
    await _add(database, 2)
    fast, slow = (outbox.Relay(database, Bus([]), batch=10) for _ in range(2))
    await slow.relay_once()
    await fast.relay_once()
    await fast.settle()
    younger = await _add(database, 1)
    await slow.settle()
    bus = Bus([])
    assert await outbox.Relay(database, bus, batch=10).relay_once() == 1
    assert bus.taken == younger


async def test_a_bus_that_is_away_ends_nothing(database: Database) -> None:
    """While the bus gives no acknowledgement the events stay, the process lives, and later they arrive."""
    wanted = await _add(database, 3)
    bus = Bus([errors.unavailable("bus", retry_after=timedelta(seconds=1)) for _ in range(2)])
    relaying = asyncio.create_task(outbox.Relay(database, bus, batch=10).run())
    async with asyncio.timeout(60):
        await bus.all_taken.wait()
    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)
    assert bus.taken == wanted


async def test_what_comes_close_behind_goes_together(database: Database) -> None:
    """The first event goes at once; three transactions within the interval behind it are one publish."""
    bus = Bus([])
    relay = outbox.Relay(database, bus, batch=10, interval=timedelta(seconds=1))
    [first] = await _add(database, 1)
    relaying = asyncio.create_task(relay.run())
    await bus.took(first)
    later = [*await _add(database, 1), *await _add(database, 1), await _commit(database, relay)]
    await bus.took(later[-1])
    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)
    assert bus.taken == [first, *later]
    assert bus.batches == [1, 3]


class _Counting:
    """A database that counts how often it is read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.write = database.write
        self.reads = 0

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Reads, and counts it."""
        self.reads += 1
        return await self._database.read(work)


async def _commit(database: Database, relay: outbox.Relay | None, size: int = 0) -> str:
    """One event, offered to the relay of the process that commits it; without one it is another process's."""
    event = Event(id=new_id(), subject="x" * size)
    number = await database.write(lambda tx: outbox.add(tx, event))
    if relay is not None:
        relay.offer(number, event)
    return event.id


@pytest.fixture
async def offered(database: Database) -> tuple[Database, _Counting, Bus, outbox.Relay]:
    """A relay that has told one event and knows where it stands."""
    counting, bus = _Counting(database), Bus([])
    relay = outbox.Relay(cast(Database, counting), bus, batch=4)
    await _commit(database, relay)
    assert await relay.relay_once() == 1
    counting.reads = 0
    bus.taken.clear()
    return database, counting, bus, relay


async def test_what_this_process_committed_is_told_without_a_read(offered: tuple[Database, _Counting, Bus, outbox.Relay]) -> None:
    """In order, batch by batch, and deleted afterwards like all else."""
    database, counting, bus, relay = offered
    wanted = [await _commit(database, relay) for _ in range(6)]
    assert [await relay.relay_once() for _ in range(2)] == [4, 2]
    assert bus.taken == wanted
    assert counting.reads == 0
    await relay.settle()
    assert await _left(database) == 0


@pytest.mark.parametrize("size", [0, 20_000])
async def test_what_it_has_not_at_hand_keeps_its_place(offered: tuple[Database, _Counting, Bus, outbox.Relay], size: int) -> None:
    """Events of another process on the same file, or too large to be kept, are read in between; each is told once, in order."""
    database, counting, bus, relay = offered
    wanted = []
    for place in range(12):
        strange = place % 5 == 2
        wanted.append(await _commit(database, None if strange and not size else relay, size if strange else 0))
    while await relay.relay_once():
        pass
    assert bus.taken == wanted
    assert counting.reads


async def test_more_than_a_relay_keeps_is_read(offered: tuple[Database, _Counting, Bus, outbox.Relay]) -> None:
    """While the bus is away the newest are at hand, those before them are in the outbox."""
    database, _, bus, relay = offered
    wanted = [await _commit(database, relay) for _ in range(30)]
    while await relay.relay_once():
        pass
    assert bus.taken == wanted


async def test_what_was_refused_for_now_is_told_later(offered: tuple[Database, _Counting, Bus, outbox.Relay]) -> None:
    """A bus that is away loses nothing of what was offered, and the order stays."""
    database, _, bus, relay = offered
    bus.refusals = [errors.unavailable("bus") for _ in range(2)]
    wanted = [await _commit(database, relay) for _ in range(3)]
    for _ in range(2):
        with pytest.raises(errors.Refusal):
            await relay.relay_once()
    wanted.append(await _commit(database, relay))
    assert await relay.relay_once() == 4
    assert bus.taken == wanted
