"""Reading ahead over a real log: what left the log meanwhile is not told, and what is held is bounded, whoever goes away."""

import asyncio
import gc
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bus.filters import Filter
from bus.follower import Follower
from bus.log import Log
from bus.reading_ahead import ReadAhead
from bus.settings import BusSettings
from bus.slices import Chunk
from bus.storage import BeforeRetention
from mesh.clock import ManualClock
from tests.support.events import sample
from tests.support.waiting import until

START = datetime(2026, 1, 1, tzinfo=UTC)
# a part of the log holds two or three of these
SIZE = 500


async def filled(path: Path, subjects: Iterable[str] = "abcdefghij", **values: Any) -> Log:
    """A log of records of one event each, all but the newest on the disk alone, read in small parts."""
    settings = BusSettings(**{"recent_bytes": 1, "read_bytes": 1024, "coalesce_bytes": 1, **values})
    log = await Log.open(path / "log.db", settings, ManualClock(START))
    for number, subject in enumerate(subjects):
        await log.publish([sample(number, subject, note="x" * SIZE)])
    return log


def positions(chunk: Chunk) -> list[int]:
    """What a part holds."""
    return [position for piece in chunk.slices for position in piece.positions]


async def read_on(ahead: ReadAhead, log: Log, after: int = 0) -> list[int]:
    """Everything that a reader gets from a position on."""
    found: list[int] = []
    while after < log.head:
        chunk = await ahead.read(after, 0)
        found += positions(chunk)
        after = chunk.scanned
    return found


async def test_a_reader_gets_everything_once(tmp_path: Path) -> None:
    """In order, and in the end nothing is held."""
    log = await filled(tmp_path)
    ahead = ReadAhead(log, None)
    assert await read_on(ahead, log) == list(range(1, 11))
    assert log.reading_ahead == 0
    await log.close()


@pytest.mark.parametrize("done", [False, True])
async def test_what_is_erased_while_it_was_read_ahead_is_not_told(tmp_path: Path, done: bool) -> None:
    """Whether it was read before, or is being read while it goes."""
    log = await filled(tmp_path)
    ahead = ReadAhead(log, None)
    first = await ahead.read(0, 0)
    erased = positions(first)[-1] + 1
    if done:
        assert ahead._ahead
        await ahead._ahead.chunk
    assert await log.erase("abcdefghij"[erased - 1]) == 1
    assert await read_on(ahead, log, first.scanned) == list(range(erased + 1, 11))
    await log.close()


async def test_a_follower_is_not_told_what_was_erased_ahead_of_it(tmp_path: Path) -> None:
    """It may have been slow for long."""
    log = await filled(tmp_path)
    follower = Follower(log, Filter(), 0)
    part = await follower.read()
    erased = part.progress + 1
    await log.erase("abcdefghij"[erased - 1])
    assert (await follower.read()).slices[0].positions[0] == erased + 1
    await log.close()


async def test_what_retention_deletes_ahead_of_a_reader_is_a_gap(tmp_path: Path) -> None:
    """As it would be without reading ahead."""
    log = await filled(tmp_path, retention_count=2)
    ahead = ReadAhead(log, None)
    first = await ahead.read(0, 0)
    await log.upkeep(lambda: log.head + 1)
    with pytest.raises(BeforeRetention):
        await ahead.read(first.scanned, 0)
    await log.close()


async def test_readers_that_do_not_go_on_count_until_they_are_gone(tmp_path: Path) -> None:
    """What was read for them takes memory, so the number of those is what is bounded, not that of reads under way."""
    log = await filled(tmp_path, read_ahead=2)
    readers = [ReadAhead(log, None) for _ in range(4)]
    for reader in readers:
        await reader.read(0, 0)
    held = [reader._ahead for reader in readers]
    await asyncio.gather(*(each.chunk for each in held if each))
    assert [each is not None for each in held] == [True, True, False, False]
    assert log.reading_ahead == 2
    del held
    readers[0].drop()
    gc.collect()
    assert log.reading_ahead == 1
    del readers, reader
    gc.collect()
    assert log.reading_ahead == 0
    await log.close()


async def test_a_close_while_something_is_read_ahead(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log closes; a failure of what nobody asks for any more is no news to anyone."""
    log = await filled(tmp_path)
    ahead = ReadAhead(log, None)
    await ahead.read(0, 0)
    await log.close()
    del ahead
    await until(lambda: len(asyncio.all_tasks()) == 1)
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_a_reader_that_is_cancelled_while_it_waits(tmp_path: Path) -> None:
    """Lets go of what it waited for; another reader is not disturbed."""
    log = await filled(tmp_path)
    ahead, other = ReadAhead(log, None), ReadAhead(log, None)
    first = await ahead.read(0, 0)
    assert await other.read(0, 0)
    waiting = asyncio.create_task(ahead.read(first.scanned, 0))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await read_on(other, log, first.scanned) == list(range(first.scanned + 1, 11))
    # it may have got its part before it was cancelled, and then reads ahead again
    del waiting, ahead
    gc.collect()
    assert log.reading_ahead == 0
    await log.close()


async def test_reading_ahead_can_be_turned_off(tmp_path: Path) -> None:
    """Then nothing is held."""
    log = await filled(tmp_path, read_ahead=0, checkpoint_interval=timedelta(seconds=1))
    ahead = ReadAhead(log, None)
    await ahead.read(0, 0)
    assert (ahead._ahead, log.reading_ahead) == (None, 0)
    assert await read_on(ahead, log) == list(range(1, 11))
    await log.close()
