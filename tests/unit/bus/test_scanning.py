"""Reading the disk for a filter: in parts by several threads, and yet in order, whole, and not beyond what was asked for."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import scanning
from bus.filters import Filter
from bus.log import Log
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
