"""What leaves the log in a file, and what outlives it: ids, versions, and places where somebody still stands."""

import asyncio
import shutil
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bus import file_store, maintenance
from bus.batches import VersionConflict
from bus.filters import Filter
from bus.slices import Chunk
from bus.storage import BeforeRetention
from mesh.clock import ManualClock
from tests.support.events import sample, sized
from tests.unit.bus.log_bench import START, opened


async def test_ids_are_forgotten_by_count_and_age(tmp_path: Path) -> None:
    """Within both windows a repeat is known; outside of one it is stored anew."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock=clock, unique_count=2, unique_age=timedelta(days=1))
    for number in range(4):
        await log.publish([sample(number)])
    await log.upkeep(lambda: 1)
    assert (await log.publish([sample(3)])).duplicates == 1
    assert list((await log.publish([sample(0)])).positions) == [5]
    clock.advance(timedelta(days=2))
    await log.upkeep(lambda: 1)
    assert list((await log.publish([sample(3)])).positions) == [6]
    await log.close()


async def test_retention_by_age_keeps_what_must_be_kept(tmp_path: Path) -> None:
    """Old batches go up to the position that someone still needs; positions go on from the head when all are gone."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock=clock, retention_age=timedelta(hours=1))
    for number in range(3):
        await log.publish([sample(number)])
    clock.advance(timedelta(hours=2))
    assert await log.upkeep(lambda: 3) == 2
    assert log.first == 3
    with pytest.raises(BeforeRetention, match="keeps positions 3 to 3"):
        log.check_start(1)
    log.check_start(2)
    assert await log.upkeep(lambda: 99) == 1
    await log.close()
    again = await opened(tmp_path, clock=clock)
    assert again.head == 3
    assert list((await again.publish([sample(9)])).positions) == [4]
    await again.close()


async def test_ids_outlive_the_events_that_retention_deletes(tmp_path: Path) -> None:
    """A repeat is known for as long as the window says, however early its event goes, also after a restart."""
    clock = ManualClock(START)
    values: dict[str, Any] = {"clock": clock, "retention_age": timedelta(hours=1), "unique_age": timedelta(days=7)}
    log = await opened(tmp_path, **values)
    await log.publish([sample(1)])
    clock.advance(timedelta(hours=2))
    assert await log.upkeep(lambda: 99) == 1
    assert (await log.publish([sample(1)])).duplicates == 1
    await log.close()
    again = await opened(tmp_path, **values)
    assert list((await again.publish([sample(1)])).positions) == [1]
    clock.advance(timedelta(days=8))
    await again.upkeep(lambda: 99)
    assert list((await again.publish([sample(1)])).positions) == [2]
    await again.close()


async def test_reading_where_nothing_is_kept_comes_to_an_end(tmp_path: Path) -> None:
    """After retention has taken all, also after a restart, a reader from the beginning is at the head at once."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock=clock, retention_age=timedelta(hours=1))
    await log.publish([sample(1), sample(2)])
    clock.advance(timedelta(hours=2))
    await log.upkeep(lambda: 99)
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
    assert await log.upkeep(lambda: 99) == 1
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
    await log.upkeep(lambda: 3)
    assert log.first == 3
    log.check_start(2)
    await log.upkeep(lambda: 99)
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
    assert await log.compact(["service.*"], timedelta(0), lambda: 99) > 0
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


async def test_ids_of_a_quiet_log_are_forgotten_when_they_are_old(tmp_path: Path) -> None:
    """At the first upkeep after it, though no later publish has had them noted; times do not move with it."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock=clock, unique_age=timedelta(days=1))
    await log.publish([sample(1)])
    clock.advance(timedelta(days=2))
    await log.upkeep(lambda: 1)
    clock.advance(timedelta(hours=-1))
    assert list((await log.publish([sample(1)])).positions) == [2]
    assert await log.time_of(2) == clock.now()
    await log.close()


@pytest.mark.parametrize("types", [(), ("service.*",)], ids=["every type", "some types"])
async def test_a_reader_is_told_of_what_goes_while_it_reads(tmp_path: Path, types: tuple[str, ...]) -> None:
    """It has looked where the log begins and waits for a thread: what it finds then begins later, and would be a gap."""
    log = await opened(tmp_path, retention_count=1, coalesce_bytes=1, recent_bytes=1)
    for number in range(1, 6):
        await log.publish([sample(number)])
    query = log.query

    async def late(work: Any) -> Any:
        log.query = query  # type: ignore[method-assign]
        await log.upkeep(lambda: 99)
        return await query(work)

    log.query = late  # type: ignore[method-assign]
    with pytest.raises(BeforeRetention, match="keeps positions 5 to 5"):
        await log.read(1, log.wanted_types(Filter(types)))
    for number in range(6, 10):
        await log.publish([sample(number)])
    log.query = late  # type: ignore[method-assign]
    # who wants all that is kept has no gap
    chunk = await log.read(0, log.wanted_types(Filter(types)))
    assert [position for piece in chunk.slices for position in piece.positions] == [9]
    await log.close()
