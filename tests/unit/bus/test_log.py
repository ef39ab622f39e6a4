"""The log and what can happen to its disk; test_log_model.py holds it against a model."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from bus import file_store
from bus.filters import Filter
from mesh.clock import ManualClock
from tests.support.events import sample, sized
from tests.unit.bus.log_bench import START, opened


async def test_times_never_fall_when_the_clock_does(tmp_path: Path) -> None:
    """A clock that is set back does not disturb the search by time."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock=clock)
    await log.publish([sample(1)])
    clock.advance(timedelta(hours=-1))
    await log.publish([sample(2)])
    assert await log.time_of(2) == START
    clock.advance(timedelta(hours=2))
    await log.publish([sample(3)])
    assert await log.position_before(START) == 0
    assert await log.position_before(START + timedelta(seconds=1)) == 2
    assert await log.position_before(START + timedelta(days=1)) == 3
    assert await log.time_of(4) is None
    await log.close()


async def test_a_time_leads_to_nothing_that_is_about_to_be_deleted(tmp_path: Path) -> None:
    """Retention says what goes before it goes: reading could not begin there, though its records still stand."""
    log = await opened(tmp_path, clock=ManualClock(START), coalesce_bytes=1)
    for number in range(4):
        await log.publish([sample(number)])
    log.first = 3
    after = await log.position_before(START)
    assert after == 2
    log.check_start(after)
    await log.close()


async def test_a_filtered_scan_reads_only_batches_of_wanted_types(tmp_path: Path) -> None:
    """From the disk, batches without a wanted type are passed over, and the scan says how far it came."""
    log = await opened(tmp_path, recent_bytes=1, coalesce_bytes=1)
    for number in range(10):
        await log.publish([sample(number, kind="service.stopped" if number == 7 else "service.started")])
    wanted = log.wanted_types(Filter(("service.stopped",)))
    chunk = await log.read(0, wanted)
    assert [list(piece.positions) for piece in chunk.slices] == [[8]]
    assert chunk.scanned == 10
    assert await log.read(10, wanted) == await log.read(10)
    await log.close()


async def test_a_scan_stops_where_it_has_looked_through_enough(tmp_path: Path) -> None:
    """A filter that matches little does not hold a reader's thread for the whole log."""
    log = await opened(tmp_path, recent_bytes=1, coalesce_bytes=1, scan_bytes=1024)
    for number in range(10):
        await log.publish([sized(number, 2000), sample(100 + number, kind="service.stopped")])
    chunk = await log.read(0, log.wanted_types(Filter(("service.stopped",))))
    assert [list(piece.positions) for piece in chunk.slices] == [[2]]
    assert chunk.scanned == 2
    await log.close()


async def test_a_filter_looks_through_more_of_memory_than_it_is_given(tmp_path: Path) -> None:
    """A few events of each record would else leave in a message of their own; yet what is looked at at a time is bounded."""
    log = await opened(tmp_path, coalesce_bytes=1, read_bytes=1024, scan_bytes=80_000)
    for number in range(10):
        await log.publish([sized(number, 2000), sample(100 + number, kind="service.stopped")])
    wanted = log.wanted_types(Filter(("service.stopped",)))
    chunk = log.read_now(0, wanted)
    assert chunk is not None
    assert [list(piece.positions) for piece in chunk.slices] == [list(range(2, 17, 2))]
    assert chunk.scanned == 16
    assert await log.read(10, wanted) == log.read_now(10, wanted)
    unfiltered = log.read_now(0)
    assert unfiltered is not None
    assert unfiltered.scanned == 2
    await log.close()


async def test_reopening_finds_head_and_types_again(tmp_path: Path) -> None:
    """Type numbers survive, so that an old batch is still found by the name of its type."""
    log = await opened(tmp_path)
    await log.publish([sample(1, kind="service.stopped"), sample(2)])
    await log.close()
    again = await opened(tmp_path)
    await again.publish([sample(3, kind="service.unhealthy")])
    chunk = await again.read(0, again.wanted_types(Filter(("service.stopped",))))
    assert [list(piece.positions) for piece in chunk.slices] == [[1]]
    await again.close()


async def test_a_type_that_left_the_contracts_is_still_read(tmp_path: Path) -> None:
    """Its number stays in the log: a filter finds it by its name, and nobody can publish it any more."""
    log = await opened(tmp_path)
    await log.publish([sample(1), sample(2, kind="service.stopped")])
    await log.run(
        lambda connection: connection.execute("UPDATE sourced_types SET type = 'service.old' WHERE type = 'service.started'")
    )
    await log.close()
    again = await opened(tmp_path)
    chunk = await again.read(0, again.wanted_types(Filter(("service.old",))))
    assert [list(piece.positions) for piece in chunk.slices] == [[1]]
    assert (await again.read(0, again.wanted_types(Filter(("service.started",))))).slices == []
    assert (await again.publish([sample(3)])).positions == range(3, 4)
    # the same id is still a repeat: uniqueness is by source, and that has not changed
    assert (await again.publish([sample(1)])).duplicates == 1
    await again.close()


async def test_a_reader_that_lasts_does_not_hold_up_the_writer(tmp_path: Path) -> None:
    """Emptying a large write-ahead log gives up at once while somebody reads; publishes go on in the meantime."""
    log = await opened(tmp_path, wal_limit_bytes=1, checkpoint_interval=timedelta(milliseconds=1))
    await log.publish([sized(0, 8000)])
    with closing(file_store.connect(log.path, readonly=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM batches").fetchone()
        writer = sqlite3.connect(log.path, timeout=0, isolation_level=None)
        free = 0
        for number in range(1, 60):
            await log.publish([sample(number)])
            try:
                writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                await asyncio.sleep(0.001)
                continue
            writer.execute("ROLLBACK")
            free += 1
        writer.close()
    assert free > 20
    await log.close()
