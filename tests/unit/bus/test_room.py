"""What goes on while the log's disk is full, and what does not; on a file system that says so when the test wants it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from bus import room
from bus.ballast import Ballast
from bus.log import Log
from bus.settings import BusSettings
from bus.storage import DiskFull
from tests.support.events import sample
from tests.support.waiting import until

BYTES = 4 * 1024 * 1024


async def opened(tmp_path: Path) -> Log:
    """A log that holds some blocks back."""
    return await Log.open(tmp_path / "log.db", BusSettings(ballast_bytes=BYTES))


def full(times: int) -> Callable[[sqlite3.Connection], str]:
    """A job that finds the disk full so many times."""
    left = [times]

    def job(_: sqlite3.Connection) -> str:
        if left[0]:
            left[0] -= 1
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return "done"

    return job


@pytest.fixture
def stays_full(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The disk has no room again before this is undone; it is looked often."""
    monkeypatch.setattr(room, "_LOOK_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(Ballast, "take_again", lambda _: False)
    return monkeypatch


async def test_a_job_lives_on_the_ballast_and_refuses_nobody(tmp_path: Path) -> None:
    """The room that it is given is enough for it: whether the next publish finds some is seen then."""
    log = await opened(tmp_path)
    assert await log.run(full(3)) == "done"
    assert not log.disk_full
    await log.publish([sample(1)])
    await log.close()


async def test_a_publish_is_refused_where_a_job_in_its_commit_goes_on(tmp_path: Path, stays_full: pytest.MonkeyPatch) -> None:
    """Publishes are refused from then on, jobs are not; all is well again once the ballast is whole."""
    log = await opened(tmp_path)
    refused, done = log.submit(log.intake.events([sample(1)])), log._writer.run(full(1))
    with pytest.raises(DiskFull):
        await refused
    assert await done == "done"
    assert log.disk_full
    with pytest.raises(DiskFull):
        await log.publish([sample(2)])
    assert await log.run(full(0)) == "done"
    stays_full.undo()
    await until(lambda: not log.disk_full)
    assert (await log.publish([sample(2)])).positions == range(1, 2)
    await log.close()


async def test_a_job_is_refused_when_all_of_the_ballast_is_given(tmp_path: Path, stays_full: pytest.MonkeyPatch) -> None:
    """It gets every portion; and the ballast is taken back when there is room."""
    log = await opened(tmp_path)
    held = tmp_path / "log.db-ballast"
    assert held.stat().st_size > 0
    with pytest.raises(DiskFull):
        await log.run(full(1000))
    assert log.disk_full
    assert held.stat().st_size == 0
    looks: list[Ballast] = []

    def look(ballast: Ballast) -> bool:
        looks.append(ballast)
        return False

    stays_full.setattr(Ballast, "take_again", look)
    await until(lambda: len(looks) > 1)
    stays_full.undo()
    await until(lambda: not log.disk_full)
    assert held.stat().st_size > 0
    await log.close()


async def test_publishes_are_refused_when_the_ballast_covers_them_no_more(tmp_path: Path, stays_full: pytest.MonkeyPatch) -> None:
    """What is in the write-ahead log must find room in the database: the disk is as good as full before it is."""
    log = await opened(tmp_path)
    stays_full.setattr(Ballast, "cover", lambda _: False)

    async def publishes() -> None:
        while True:
            await log.publish([sample(log.head + 1, "x" * 700)])

    with pytest.raises(DiskFull):
        await publishes()
    assert log.disk_full
    assert log.head > 1
    stays_full.undo()
    await until(lambda: not log.disk_full)
    await log.publish([sample(log.head + 1, "x" * 700)])
    await log.close()
