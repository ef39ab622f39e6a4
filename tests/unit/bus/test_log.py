"""The log and what can happen to its disk; test_log_model.py holds it against a model."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bus import file_store, maintenance
from bus.batches import CorruptBatch, VersionConflict
from bus.filters import Filter
from bus.log import Log
from bus.settings import BusSettings
from bus.slices import Chunk
from bus.storage import BeforeRetention, DiskFull
from mesh.clock import ManualClock
from tests.support.events import sample, sized

START = datetime(2026, 1, 1, tzinfo=UTC)


async def opened(path: Path, on_failure: Callable[[BaseException], None] | None = None, **values: Any) -> Log:
    """A log with a clock of its own; a failing disk fails the test unless it asks for it."""
    clock = values.pop("clock", None) or ManualClock(START)
    return await Log.open(path / "log.db", BusSettings(**values), clock, on_failure or failed)


def failed(error: BaseException) -> None:
    """No test expects this."""
    raise AssertionError(error)


async def test_a_flipped_byte_is_found_named_and_never_served(tmp_path: Path) -> None:
    """A damaged record refuses to be read, verify names it, and the records around it still read."""
    log = await opened(tmp_path)
    for number in range(3):
        await log.publish([sized(number, 2000)])
    await log.close()
    with closing(sqlite3.connect(log.path)) as connection:
        blob = bytearray(connection.execute("SELECT events FROM batches WHERE position = 2").fetchone()[0])
        blob[1000] ^= 1
        connection.execute("UPDATE batches SET events = ? WHERE position = 2", (bytes(blob),))
        connection.commit()
    assert maintenance.verify(log.path) == ["the batch at position 2 does not fit its checksum"]
    again = await opened(tmp_path)
    with pytest.raises(CorruptBatch, match="position 2"):
        await again.events([2])
    assert sorted(await again.events([1, 3])) == [1, 3]
    await again.close()


async def test_verify_names_missing_positions_and_garbage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hole and a file that is no database are findings, and the command line exits with 1; a sound log is ok."""
    log = await opened(tmp_path)
    for number in range(3):
        await log.publish([sample(number)])
    await log.close()
    assert maintenance.main(["verify", str(log.path)]) == 0
    assert maintenance.main(["backup", str(log.path), str(tmp_path / "copy.db")]) == 0
    assert maintenance.verify(tmp_path / "copy.db") == []
    with closing(sqlite3.connect(log.path)) as connection:
        connection.execute("DELETE FROM batches WHERE position = 2")
        connection.commit()
    assert maintenance.main(["verify", str(log.path)]) == 1
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"no database" * 1000)
    assert maintenance.main(["verify", str(garbage)]) == 1
    said = capsys.readouterr().out
    assert "positions 2 to 2 are missing" in said
    assert "SQLite" in said


async def test_a_full_disk_refuses_and_heals(tmp_path: Path) -> None:
    """While there is no room publishes are refused and nothing of them is stored; reads go on; with room so do publishes."""
    log = await opened(tmp_path)
    await log.publish([sample(0)])
    pages = await log.run(lambda connection: int(connection.execute("PRAGMA page_count").fetchone()[0]))
    await log.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 4}").fetchall())
    stored = [0]
    for number in range(1, 30):
        try:
            await log.publish([sized(number, 8000)])
            stored.append(number)
        except DiskFull:
            continue
    assert log.disk_full
    assert len(stored) < 10
    assert len(await log.events(range(1, 31))) == log.head == len(stored)
    await log.run(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchall())
    async with asyncio.timeout(30):
        while log.disk_full:  # noqa: ASYNC110 - the log tells nobody that it has room again
            await asyncio.sleep(0.01)
    # what was refused is not taken for a repeat
    assert list((await log.publish([sized(29, 8000)])).positions) == [log.head] == [len(stored) + 1]
    assert maintenance.verify(log.path) == []
    await log.close()


async def test_a_failing_disk_stops_the_process(tmp_path: Path) -> None:
    """Any other error of the disk is told to the one who ends the process; no write is acknowledged after it."""
    seen: list[BaseException] = []
    log = await opened(tmp_path, seen.append)

    def fail(_: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    writes = [asyncio.ensure_future(log.run(fail)), asyncio.ensure_future(log.publish([sample(1)]))]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(results[0], sqlite3.OperationalError)
    assert len(seen) == 1
    await log.close()


async def test_a_job_that_fails_undoes_only_itself(tmp_path: Path) -> None:
    """Writes share a commit, not their failures."""
    log = await opened(tmp_path)

    def half(connection: sqlite3.Connection) -> None:
        file_store.set_value(connection, "half", 1)
        raise ValueError("no")

    half_done = asyncio.ensure_future(log.run(half))
    whole = asyncio.ensure_future(log.run(lambda connection: file_store.set_value(connection, "whole", 1)))
    with pytest.raises(ValueError, match="no"):
        await half_done
    await whole
    assert await log.query(
        lambda connection: (file_store.value_of(connection, "half"), file_store.value_of(connection, "whole"))
    ) == (0, 1)
    await log.close()


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


async def test_ids_are_forgotten_by_count_and_age(tmp_path: Path) -> None:
    """Within both windows a repeat is known; outside of one it is stored anew."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock=clock, unique_count=2, unique_age=timedelta(days=1))
    for number in range(4):
        await log.publish([sample(number)])
    await log.upkeep(1)
    assert (await log.publish([sample(3)])).duplicates == 1
    assert list((await log.publish([sample(0)])).positions) == [5]
    clock.advance(timedelta(days=2))
    await log.upkeep(1)
    assert list((await log.publish([sample(3)])).positions) == [6]
    await log.close()


async def test_retention_by_age_keeps_what_must_be_kept(tmp_path: Path) -> None:
    """Old batches go up to the position that someone still needs; positions go on from the head when all are gone."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock=clock, retention_age=timedelta(hours=1))
    for number in range(3):
        await log.publish([sample(number)])
    clock.advance(timedelta(hours=2))
    assert await log.upkeep(keep_from=3) == 2
    assert log.first == 3
    with pytest.raises(BeforeRetention, match="keeps positions 3 to 3"):
        log.check_start(1)
    log.check_start(2)
    assert await log.upkeep(keep_from=99) == 1
    await log.close()
    again = await opened(tmp_path, clock=clock)
    assert again.head == 3
    assert list((await again.publish([sample(9)])).positions) == [4]
    await again.close()


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


async def test_ids_outlive_the_events_that_retention_deletes(tmp_path: Path) -> None:
    """A repeat is known for as long as the window says, however early its event goes, also after a restart."""
    clock = ManualClock(START)
    values: dict[str, Any] = {"clock": clock, "retention_age": timedelta(hours=1), "unique_age": timedelta(days=7)}
    log = await opened(tmp_path, **values)
    await log.publish([sample(1)])
    clock.advance(timedelta(hours=2))
    assert await log.upkeep(99) == 1
    assert (await log.publish([sample(1)])).duplicates == 1
    await log.close()
    again = await opened(tmp_path, **values)
    assert list((await again.publish([sample(1)])).positions) == [1]
    clock.advance(timedelta(days=8))
    await again.upkeep(99)
    assert list((await again.publish([sample(1)])).positions) == [2]
    await again.close()


async def test_reading_where_nothing_is_kept_comes_to_an_end(tmp_path: Path) -> None:
    """After retention has taken all, also after a restart, a reader from the beginning is at the head at once."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock=clock, retention_age=timedelta(hours=1))
    await log.publish([sample(1), sample(2)])
    clock.advance(timedelta(hours=2))
    await log.upkeep(99)
    assert (await log.read(0)).scanned == 2
    await log.close()
    again = await opened(tmp_path, clock=clock)
    for wanted in (None, again.wanted_types(Filter(("service.stopped",)))):
        assert await again.read(0, wanted) == Chunk((), 2)
    await again.close()


async def test_versions_outlive_retention_and_a_crash(tmp_path: Path) -> None:
    """The newest position of a subject is known although its event is deleted and nothing was closed in good order."""
    log = await opened(tmp_path, coalesce_bytes=1, retention_count=1)
    await log.publish([sample(1, "a")])
    await log.publish([sample(2, "b")])
    assert await log.upkeep(99) == 1
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for path in (log.path, log.path.with_name("log.db-wal")):
        shutil.copy(path, crashed)
    await log.close()
    again = await opened(crashed)
    with pytest.raises(VersionConflict) as caught:
        await again.publish([sample(3, "a")], {"a": 0})
    assert caught.value.standing == {"a": 1}
    assert list((await again.publish([sample(3, "a")], {"a": 1})).positions) == [3]
    await again.close()


async def test_records_that_are_gone_stay_until_nobody_stands_in_them(tmp_path: Path) -> None:
    """An erased beginning of the log is no gap for a reader that has not passed it; upkeep deletes it behind the last of them."""
    log = await opened(tmp_path, coalesce_bytes=1)
    for number in range(4):
        await log.publish([sample(number, "gone" if number < 3 else "kept")])
    assert await log.erase("gone") == 3
    assert (log.first, (await log.read(1)).scanned) == (1, 4)
    await log.upkeep(keep_from=3)
    assert log.first == 3
    log.check_start(2)
    await log.upkeep(keep_from=99)
    assert log.first == 4
    with pytest.raises(BeforeRetention):
        log.check_start(2)
    assert list(await log.events(range(1, 5))) == [4]
    await log.close()


async def test_erased_text_is_nowhere_in_the_files(tmp_path: Path) -> None:
    """Neither where it stood, nor in pages that were free already, nor in the write-ahead log while a reader holds on to it."""
    log = await opened(tmp_path, coalesce_bytes=1)
    secret = "people/secret-name"
    for number in range(40):
        await log.publish([sized(number, 3000 if number % 2 else 20, secret if number % 4 else "other")])
    # compaction does not overwrite whole pages: what it frees still holds the text
    assert await log.compact(["service.*"], timedelta(0), 99) > 0
    with closing(file_store.connect(log.path, readonly=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM batches").fetchone()
        erasing = asyncio.ensure_future(log.erase(secret))
        await log.publish([sample(100)])
        assert not erasing.done()
        reader.execute("COMMIT")
        assert await erasing == 1
    for path in tmp_path.glob("log.db*"):
        assert secret.encode() not in path.read_bytes(), path.name
    await log.close()
    assert maintenance.verify(log.path) == []


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


@pytest.mark.parametrize("inline", [timedelta(0), timedelta(seconds=1)])
async def test_what_no_one_expects_in_a_commit_ends_the_process(tmp_path: Path, inline: timedelta) -> None:
    """Not only an error of the disk: nobody waits for ever, in either thread, and nothing half done stays."""
    seen: list[BaseException] = []
    log = await opened(tmp_path, seen.append, inline_commit=inline)
    await log.publish([sample(1)])
    broken = log.intake.events([sample(2)])
    with pytest.raises(IndexError):
        await log.submit(replace(broken, types=b"", count=1, expected={"a": 1}))
    assert [type(error) for error in seen] == [IndexError]
    assert log.head == 1
    await log.close()


async def test_what_waits_behind_a_full_disk_is_refused_too(tmp_path: Path) -> None:
    """A publish that came after a refused one is not stored before its publisher can send that again; other writes go on."""
    log = await opened(tmp_path, commit_batch=1, ballast_bytes=0)
    pages = await log.run(lambda connection: int(connection.execute("PRAGMA page_count").fetchone()[0]))
    await log.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 4}").fetchall())
    large, small = log.submit(log.intake.events([sized(1, 200_000)])), log.submit(log.intake.events([sample(2)]))
    noted = asyncio.ensure_future(log.run(lambda connection: file_store.set_value(connection, "noted", 1)))
    for refused in (large, small):
        with pytest.raises(DiskFull):
            await refused
    await noted
    assert (log.head, log.disk_full) == (0, True)
    await log.close()


async def test_ids_of_a_quiet_log_are_forgotten_when_they_are_old(tmp_path: Path) -> None:
    """At the first upkeep after it, though no later publish has had them noted; times do not move with it."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock=clock, unique_age=timedelta(days=1))
    await log.publish([sample(1)])
    clock.advance(timedelta(days=2))
    await log.upkeep(1)
    clock.advance(timedelta(hours=-1))
    assert list((await log.publish([sample(1)])).positions) == [2]
    assert await log.time_of(2) == clock.now()
    await log.close()
