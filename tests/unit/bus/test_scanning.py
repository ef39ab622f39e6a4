"""Reading the disk for a filter: in parts by several threads, and yet in order, whole, and not beyond what was asked for."""

import sqlite3
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import batch_store, file_store, scanning
from bus.batches import GONE, CorruptBatch
from bus.filters import Filter
from bus.log import Log
from bus.removal import Cut
from bus.settings import BusSettings
from tests.support.events import sample, sized

WANTED, OTHER = "service.started", "service.stopped"


@given(st.lists(st.integers(1, 3_000_000), max_size=40), st.integers(1, 5))
def test_parts_hold_every_record_once_in_order(lengths: list[int], most: int) -> None:
    """None is empty, and there are not more than threads."""
    plan = scanning.Plan([(index, length) for index, length in enumerate(lengths, 1)], len(lengths))
    parts = plan.parts(most)
    assert [position for part in parts for position in part] == list(range(1, len(lengths) + 1))
    assert len(parts) <= most
    assert all(parts)


async def opened(path: Path, **settings: Any) -> Log:
    """A log of which only the newest record is in memory, a record for each publish."""
    steady = BusSettings(ballast_bytes=0, recent_bytes=1, coalesce_bytes=1, inline_commit=timedelta(seconds=1), **settings)
    return await Log.open(path / "log.db", steady)


@pytest.mark.parametrize("threads", [1, 2, 3])
async def test_what_several_threads_read_comes_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Every third event is wanted; a start within a record is kept to."""
    monkeypatch.setattr(scanning, "_PART_BYTES", 1)
    log = await opened(tmp_path, read_threads=threads)
    for first in range(1, 61, 3):
        kinds = (OTHER, OTHER, WANTED)
        await log.publish([sample(number, kind=kind) for number, kind in enumerate(kinds, first)])
    wanted = log.wanted_types(Filter((WANTED,)))
    after, found = 8, []
    while after < log.head:
        chunk = await log.read(after, wanted)
        assert chunk.scanned > after
        found += [(event.position, event.type) for part in chunk.slices for event in part.decode()]
        after = chunk.scanned
    assert found == [(position, WANTED) for position in range(9, 61, 3)]
    await log.close()


async def test_not_much_more_is_read_than_asked_for(tmp_path: Path) -> None:
    """Also where all of it is wanted: what one reader gets at a time is bounded."""
    log = await opened(tmp_path, scan_bytes=1_000_000)
    for number in range(1, 41):
        await log.publish([sized(number, 10_000)])
    wanted = bytearray(log.wanted_types(Filter((WANTED,))) or b"")
    wanted[:] = b"\x01" * len(wanted)
    chunk = await log.read(0, bytes(wanted), 50_000)
    assert 5 <= chunk.scanned <= 6
    assert sum(len(part.events) for part in chunk.slices) <= 70_000
    await log.close()


async def test_what_no_thread_has_time_for_is_read_by_the_one_that_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads may be in the middle of a scan: none waits for what only another scan's thread could do."""
    monkeypatch.setattr(scanning, "_PART_BYTES", 1)
    log = await opened(tmp_path)
    for number in range(1, 31):
        await log.publish([sample(number, kind=WANTED)])
    wanted = log.wanted_types(Filter((WANTED,))) or b""
    search = scanning.Search(0, wanted, 1_000_000, 1_000_000, log.head)
    chunk = await log.query(lambda connection: scanning.scan(connection, lambda _: Future(), 4, search))
    assert [event.position for part in chunk.slices for event in part.decode()] == list(range(1, 31))
    await log.close()


async def test_a_large_record_is_read_as_it_stands_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    """Its events are read apart from its row: what was taken out of it, or deleted, in between is not told."""
    log = await opened(tmp_path)
    for first in (1, 3):
        await log.publish([sized(first, 100_000), sized(first + 1, 100_000)])
    asked = "SELECT position, last, time_us, types, checksum, NULL FROM batches WHERE position = 1"
    row = await log.query(lambda connection: connection.execute(asked).fetchone())
    whole = await log.query(lambda connection: batch_store._batch_of(connection, row))
    assert whole
    assert [event.id for event in whole.decode()] == [sized(number, 1).id for number in (1, 2)]
    await log._upkeep._remove(lambda _: [Cut(1, [0])])
    shorter = await log.query(lambda connection: batch_store._batch_of(connection, row))
    assert shorter
    assert next(iter(shorter.type_ids())) == GONE
    await log.run(lambda connection: batch_store.delete_batches(connection, 2))
    assert await log.query(lambda connection: batch_store._batch_of(connection, row)) is None
    await log.run(lambda connection: connection.execute("UPDATE batches SET events = zeroblob(length(events))"))
    for read in (partial(batch_store.read_batch, position=3), partial(batch_store.read_batches, after=2, max_bytes=1)):
        with pytest.raises(CorruptBatch, match="position 3"):
            await log.query(read)
    await log.close()


async def test_a_plan_reads_no_more_headers_than_it_needs(tmp_path: Path) -> None:
    """Each is a step of SQLite and a copy of its types: of hundreds that would be found most would be read again and again."""
    log = await opened(tmp_path)
    for number in range(30):
        await log.publish([sample(number, kind=WANTED)])

    def steps(connection: sqlite3.Connection, scan_bytes: int) -> int:
        taken: list[bytes] = []

        def length(value: bytes) -> int:
            taken.append(value)
            return len(value)

        connection.create_function("length", 1, length)
        scanning.plan(connection, scanning.Search(0, b"\1" * 256, 1 << 20, scan_bytes, log.head))
        return len(taken)

    connection = file_store.connect(log.path, readonly=True)
    assert steps(connection, 1) <= 2
    assert steps(connection, 1 << 20) == 30
    connection.close()
    await log.close()
