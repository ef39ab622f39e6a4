"""Ids and versions that are in memory and not in their tables yet: over crashes, retention, erase, and jobs that fail."""

import asyncio
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bus import file_store, key_store, note_store, notes
from bus.batches import CorruptBatch, VersionConflict
from bus.log import Log
from bus.settings import BusSettings
from bus.storage import DiskFull
from mesh.clock import ManualClock
from tests.support.events import sample

START = datetime(2026, 1, 1, tzinfo=UTC)


def failed(error: BaseException) -> None:
    """No test expects that the process would end."""
    raise AssertionError(error)


async def opened(path: Path, clock: ManualClock | None = None, **values: Any) -> Log:
    """A log that commits in the loop's thread unless told otherwise."""
    settings = BusSettings(**{"inline_commit": timedelta(seconds=10), **values})
    return await Log.open(path / "log.db", settings, clock or ManualClock(START), failed)


async def after_a_crash(log: Log, path: Path) -> Log:
    """Another log on what is on the disk now."""
    path.mkdir()
    for file in log.path.parent.glob("log.db*"):
        shutil.copy(file, path / file.name)
    return await opened(path)


async def publish(log: Log, numbers: Iterable[int], subject: str = "a") -> list[int]:
    """Publishes each event by itself; gives the positions."""
    return [(await log.publish([sample(number, subject)])).positions[0] for number in numbers]


def noted(log: Log) -> int:
    """Up to which position the tables are."""
    with closing(sqlite3.connect(log.path)) as connection:
        return note_store.noted(connection)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes are due once three records are without; they are written with the next one."""
    monkeypatch.setattr(notes, "_RECORDS", 3)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 11])
async def test_a_crash_between_notes_loses_none(tmp_path: Path, few: None, count: int) -> None:
    """Wherever the tables stand: repeats get their first answer, and versions are those of the newest events."""
    log = await opened(tmp_path)
    await publish(log, range(count), "a")
    await publish(log, [100], "b")
    assert noted(log) == (count + 1) // 4 * 4
    again = await after_a_crash(log, tmp_path / "crashed")
    assert await publish(again, [*range(count), 100]) == list(range(1, count + 2))
    with pytest.raises(VersionConflict) as caught:
        await again.publish([sample(200, "a"), sample(201, "b")], {"a": 0, "b": 0})
    assert caught.value.standing == {"a": count, "b": count + 1}
    await again.publish([sample(200, "a"), sample(201, "b")], {"a": count, "b": count + 1})
    await again.close()
    await log.close()


async def test_a_close_writes_down_all_there_is(tmp_path: Path) -> None:
    """So that the next start has nothing to read again."""
    log = await opened(tmp_path)
    await publish(log, range(5))
    assert noted(log) == 0
    await log.close()
    assert noted(log) == 5


async def test_notes_that_are_due_and_asked_for_are_written_once(tmp_path: Path, few: None) -> None:
    """Retention, an erase and a compaction at a time when the notes are due anyway, in one commit."""
    log = await opened(tmp_path, retention_count=2)
    await publish(log, range(3))
    await asyncio.gather(
        log.upkeep(lambda: log.head + 1),
        log.erase("b"),
        log.compact(["*"], timedelta(0), lambda: log.head + 1),
        *(log.publish([sample(9, "b")]),),
    )
    assert await publish(log, range(3)) == [1, 2, 3]
    await log.close()


@pytest.mark.parametrize("due", [False, True])
async def test_a_job_that_fails_takes_no_notes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, due: bool) -> None:
    """An erase that meets a damaged record: it is refused, and the ids and versions of all events are still known."""
    log = await opened(tmp_path)
    await publish(log, range(4))
    monkeypatch.setattr(notes, "_RECORDS", 4 if due else 1000)

    def damaged(*_: object) -> None:
        raise CorruptBatch(2)

    with monkeypatch.context() as patch:
        patch.setattr("bus.removal.apply", damaged)
        with pytest.raises(CorruptBatch):
            await log.erase("a")
    assert await publish(log, range(4)) == [1, 2, 3, 4]
    with pytest.raises(VersionConflict):
        await log.publish([sample(10, "a")], {"a": 0})
    again = await after_a_crash(log, tmp_path / "crashed")
    assert await publish(again, range(4)) == [1, 2, 3, 4]
    await again.close()
    await log.close()


async def test_ids_outlive_a_deleted_log_whose_table_lagged(tmp_path: Path) -> None:
    """Retention by age deletes records that no table had: their ids are noted first, and go by their own age later."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock, retention_age=timedelta(hours=1), unique_age=timedelta(days=7))
    await publish(log, range(3))
    clock.advance(timedelta(hours=2))
    assert await log.upkeep(lambda: log.head + 1) == 3
    assert await publish(log, range(3)) == [1, 2, 3]
    again = await after_a_crash(log, tmp_path / "crashed")
    assert await publish(again, range(3)) == [1, 2, 3]
    await again.close()
    clock.advance(timedelta(days=8))
    await log.upkeep(lambda: log.head + 1)
    # the first upkeep can only have noted them, the next one forgets
    await log.upkeep(lambda: log.head + 1)
    assert await publish(log, [0]) == [4]
    await log.close()


async def test_what_is_new_is_not_forgotten_while_all_in_the_table_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that are noted while retention looks for the old ones are not among them."""
    with closing(file_store.connect(tmp_path / "log.db")) as connection:
        file_store.migrate(connection, {})
        with closing(file_store.connect(tmp_path / "log.db")) as writer:

            def noted_meanwhile(statement: str) -> None:
                # the writer commits right when the reader asks how far the tables are: each statement is one look at the log
                if not note_store.noted(writer) and "meta" in statement:
                    key_store.insert_keys(writer, [key_store.Keys(1, 1_000, bytes(18))])
                    note_store.set_noted(writer, 1)

            connection.set_trace_callback(noted_meanwhile)
            assert key_store.ids_before(connection, 500) == 0
            connection.set_trace_callback(None)


async def test_an_erase_leaves_the_version_of_what_was_published_meanwhile(tmp_path: Path) -> None:
    """Only a subject of which no event stands is forgotten."""
    log = await opened(tmp_path)
    await publish(log, [1], "a")
    await publish(log, [2], "b")
    with pytest.MonkeyPatch.context() as patch:
        removing = log._upkeep._remove

        async def removed(*arguments: Any, **options: Any) -> int:
            count = await removing(*arguments, **options)
            await publish(log, [3], "a")
            return count

        patch.setattr(log._upkeep, "_remove", removed)
        assert await log.erase("a") == 1
    assert await log.erase("b") == 1
    with pytest.raises(VersionConflict) as caught:
        await log.publish([sample(4, "a"), sample(5, "b")], {"a": 0, "b": 0})
    assert caught.value.standing == {"a": 3}
    await log.close()


@pytest.mark.parametrize("inline", [timedelta(0), timedelta(seconds=10)])
async def test_a_full_disk_undoes_notes_with_their_records(tmp_path: Path, few: None, inline: timedelta) -> None:
    """What was refused is not known afterwards; what was stored before is, in memory and after a crash."""
    log = await opened(tmp_path, inline_commit=inline, ballast_bytes=0)
    await publish(log, range(2))
    pages = await log.run(lambda connection: int(connection.execute("PRAGMA page_count").fetchone()[0]))
    await log.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall())
    stored = 2
    with suppress(DiskFull):
        while True:
            await log.publish([sample(stored, "a", note="x" * 256)])
            stored += 1
    again = await after_a_crash(log, tmp_path / "crashed")
    assert again.head == stored
    assert await publish(again, range(stored)) == list(range(1, stored + 1))
    assert await publish(again, [stored]) == [stored + 1]
    await again.close()
    await log.close()


async def test_the_commit_that_notes_does_not_count_for_the_pace(tmp_path: Path, few: None) -> None:
    """It is far larger than the others: by itself it must not move all commits into a thread."""
    log = await opened(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        measured: list[float] = []
        patch.setattr(log._writer.pace, "took", measured.append)
        await publish(log, range(8))
        assert noted(log) == 8
    assert len(measured) == 6
    await log.close()
