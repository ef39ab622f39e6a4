"""Outbox and inbox: what is told stands with its state, goes out in order until acknowledged, and what is heard applies once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from google.protobuf.message import Message
from tooloo.event.v1.event_pb2 import Event
from tooloo.system.v1 import system_events_pb2 as events

from mesh import call, errors, outbox
from mesh import inbox as inbox_module
from mesh.clock import ManualClock
from mesh.db import Database, Transaction
from mesh.deliveries import Delivery, Nack
from mesh.ids import new_id
from mesh.inbox import Inbox
from mesh.outbox import Fact, Relay, make_event


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A database with the kit's tables and one of the test's own."""
    schema = tmp_path / "schema"
    schema.mkdir()
    (schema / "0001_seen.sql").write_text("CREATE TABLE seen (name TEXT NOT NULL);\n")
    opened = await Database.open(tmp_path / "a.db", [("test", schema)])
    yield opened
    await opened.close()


def _event(name: str) -> Event:
    return make_event(Fact(events.ServiceStarted(service=name), f"processes/{name}"), "system", ManualClock(), new_id)


async def _see(tx: Transaction, event: Event, data: Message) -> None:
    """A handler that writes what it heard."""
    assert isinstance(data, events.ServiceStarted)
    if data.service == "broken":
        raise ValueError("on purpose")
    await tx.execute("INSERT INTO seen (name) VALUES (:name)", {"name": data.service})


async def _seen(database: Database) -> list[str]:
    return [row["name"] for row in await database.read(lambda tx: tx.fetch_all("SELECT name FROM seen ORDER BY rowid"))]


async def _tell(database: Database, told: Sequence[Event]) -> None:
    async def work(tx: Transaction) -> None:
        for event in told:
            await outbox.add(tx, event)

    await database.write(work)


class FlakyPublisher:
    """A bus that dies after storing, and answers only the second time."""

    def __init__(self) -> None:
        self.received: list[list[str]] = []

    async def publish(self, batch: Sequence[Event], *, timeout: float | None = None) -> list[int]:
        """Fails the first time, when the events are already stored."""
        self.received.append([event.id for event in batch])
        if len(self.received) == 1:
            raise ConnectionError("gone after the commit")
        return list(range(1, len(batch) + 1))


async def test_the_relay_repeats_the_same_ids_until_it_is_answered(database: Database) -> None:
    """An unanswered publish goes again with the same ids in the same order; only then the outbox is empty."""
    told = [_event(str(n)) for n in range(3)]
    await _tell(database, told)
    publisher = FlakyPublisher()
    relay = Relay(database, publisher, batch=10)
    with pytest.raises(ConnectionError):
        await relay.relay_once()
    assert await relay.relay_once() == 3
    assert publisher.received == [[event.id for event in told]] * 2
    assert await relay.relay_once() == 0


class StrictPublisher:
    """A bus that will never take one of the events."""

    def __init__(self, never: str) -> None:
        self.taken: list[str] = []
        self._never = never

    async def publish(self, batch: Sequence[Event], *, timeout: float | None = None) -> list[int]:
        """Refuses a batch as a whole, as the bus does."""
        if any(event.id == self._never for event in batch):
            raise errors.invalid("events[0].data", "does not fit its type")
        self.taken += [event.id for event in batch]
        return [0] * len(batch)


async def test_an_event_that_never_fits_is_put_aside(database: Database) -> None:
    """Its neighbours are told, in order, and it is kept with the reason."""
    told = [_event(str(n)) for n in range(3)]
    await _tell(database, told)
    publisher = StrictPublisher(never=told[1].id)
    assert await Relay(database, publisher, batch=10).relay_once() == 3
    assert publisher.taken == [told[0].id, told[2].id]
    aside = await database.read(lambda tx: tx.fetch_all("SELECT event, refusal FROM outbox_refused"))
    assert [Event.FromString(row["event"]).id for row in aside] == [told[1].id]
    assert "does not fit" in aside[0]["refusal"]


async def test_events_that_never_fit_are_put_aside_one_after_another(database: Database) -> None:
    """Also when the outbox was empty in between and its numbers begin again."""
    for name in ("first", "second"):
        event = _event(name)
        await _tell(database, [event])
        assert await Relay(database, StrictPublisher(never=event.id), batch=10).relay_once() == 1
    aside = await database.read(lambda tx: tx.fetch_all("SELECT event FROM outbox_refused ORDER BY seq"))
    assert [Event.FromString(row["event"]).subject for row in aside] == [_event("first").subject, _event("second").subject]


async def test_an_undone_write_tells_nothing(database: Database) -> None:
    """State and event are one transaction: what is undone was never told."""

    async def fails(tx: Transaction) -> None:
        await outbox.add(tx, _event("never"))
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        await database.write(fails)
    assert await database.read(lambda tx: tx.fetch_all("SELECT * FROM outbox")) == []


async def test_an_event_heard_twice_is_applied_once(database: Database) -> None:
    """The inbox knows its id, also when both deliveries come at the same time."""
    inbox = Inbox(database, ManualClock(), {"service.*": _see})
    event = _event("one")
    assert sorted(await asyncio.gather(inbox.handle(event), inbox.handle(event))) == [False, True]
    assert await _seen(database) == ["one"]


async def test_a_failing_handler_leaves_nothing_and_gives_the_event_back(database: Database) -> None:
    """Neither effect nor note stands after a failure, and only the failed one goes back to the bus."""
    inbox = Inbox(database, ManualClock(), {"service.started": _see})
    deliveries = OneBatch([Delivery(_event(name), position, 1) for position, name in enumerate(("a", "broken", "b"), 1)])
    await inbox.run(deliveries)
    assert deliveries.acks == [1, 3]
    assert [(nack.position, nack.error) for nack in deliveries.nacks] == [(2, "ValueError: on purpose")]
    assert await _seen(database) == ["a", "b"]


async def test_a_store_that_can_take_nothing_is_waited_for(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk no event is given back, or it would become a dead letter; with room all are handled once."""
    monkeypatch.setattr(inbox_module, "_STORE_AGAIN_S", 0.01)
    waits = asyncio.Semaphore(0)
    monkeypatch.setattr(inbox_module.log, "warning", lambda *said: waits.release())
    await database.write(lambda tx: tx.execute("PRAGMA max_page_count = 1"))
    inbox = Inbox(database, ManualClock(), {"service.started": _see})
    deliveries = OneBatch([Delivery(_event(name * 200), position, 1) for position, name in enumerate(("a", "b") * 50, 1)])
    running = asyncio.create_task(inbox.run(deliveries))
    async with asyncio.timeout(60):
        for _ in range(3):
            await waits.acquire()
    assert (deliveries.acks, deliveries.nacks) == ([], [])
    assert deliveries.kept >= 2
    await database.write(lambda tx: tx.execute("PRAGMA max_page_count = 1000000"))
    await running
    assert (deliveries.acks, deliveries.nacks) == (list(range(1, 101)), [])
    assert len(await _seen(database)) == 100


async def test_a_handler_runs_in_the_circumstances_of_its_event(database: Database) -> None:
    """What a handler tells is caused by the event and stays in its correlation."""
    calls: list[call.Call] = []

    async def look(tx: Transaction, event: Event, data: Message) -> None:
        calls.append(call.current.get())

    event = _event("one")
    event.correlation_id = "journey"
    await Inbox(database, ManualClock(), {"*": look}).handle(event)
    assert [(each.correlation_id, each.causation_id) for each in calls] == [("journey", event.id)]


class OneBatch:
    """A subscription that delivers one batch and ends."""

    def __init__(self, batch: list[Delivery]) -> None:
        self._batch = batch
        self.acks: list[int] = []
        self.nacks: list[Nack] = []
        self.kept = 0

    def keep(self) -> None:
        """Takes note."""
        self.kept += 1

    async def batches(self) -> AsyncIterator[list[Delivery]]:
        """The batch."""
        yield self._batch

    async def settle(self, acks: Sequence[int], nacks: Sequence[Nack] = ()) -> None:
        """Takes note."""
        self.acks += acks
        self.nacks += nacks
