"""The write-ahead log begins anew while commits follow each other without a pause, and nothing of it is lost."""

from datetime import timedelta
from pathlib import Path

import pytest

from bus import maintenance
from bus.checkpointing import Checkpointer
from bus.log import Log
from bus.settings import BusSettings
from tests.support.events import sample
from tests.support.waiting import until

_PAGE = 8192
_SUBJECT = "x" * 700
_ENOUGH = 50_000


@pytest.mark.parametrize("inline", [timedelta(seconds=1), timedelta(0)])
async def test_the_file_begins_anew_under_load(tmp_path: Path, inline: timedelta) -> None:
    """Many times its length goes through it: the commits that come while pages are moved do not let it grow for ever."""
    settings = BusSettings(ballast_bytes=0, inline_commit=inline, checkpoint_interval=timedelta(milliseconds=20))
    file, wal = tmp_path / "log.db", tmp_path / "log.db-wal"
    log = await Log.open(file, settings)
    # each commit writes a page at least
    while log.commits < 500 or log.commits * _PAGE < 8 * wal.stat().st_size:
        await log.publish([sample(log.head + 1, _SUBJECT)])
        assert log.commits < _ENOUGH, "it only grows"
    head = log.head
    await log.close()
    log = await Log.open(file, settings)
    assert log.head == head
    assert set(await log.events(range(1, head + 1))) == set(range(1, head + 1))
    await log.close()
    assert maintenance.verify(file) == []


async def test_nothing_is_left_to_move_after_the_end(tmp_path: Path) -> None:
    """Also when somebody has read from the disk: the next start would have to read the write-ahead log first."""
    log = await Log.open(tmp_path / "log.db", BusSettings(ballast_bytes=0, recent_bytes=1))
    for number in range(1, 4):
        await log.publish([sample(number)])
    assert (await log.read(0)).scanned == 3
    await log.close()
    assert not (tmp_path / "log.db-wal").exists()


async def test_it_rests_when_nothing_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a burst too: the pages of which nothing is left to move are no reason to come often."""
    moves: list[int] = []
    move = Checkpointer._move

    def counted(self: Checkpointer) -> int:
        moves.append(move(self))
        return moves[-1]

    monkeypatch.setattr(Checkpointer, "_move", counted)
    log = await Log.open(tmp_path / "log.db", BusSettings(ballast_bytes=0, checkpoint_interval=timedelta(milliseconds=10)))
    for number in range(1, 200):
        await log.publish([sample(number, _SUBJECT)])
    await until(lambda: len(moves) > 3 and moves[-3:] == [0, 0, 0])
    await log.close()
    assert any(moves)
