"""Pools that are lent: workers are kept for the next run for a while, and end with it, with the service, or when they died."""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from services.context.reading import Limits, Read
from services.context.workers.pool import Pool
from services.context.workers.pools import Pools

LIMITS = Limits(max_file_bytes=10_000, max_symbols=100, max_imports=100)
MEMORY = 2 * 1024**3


def _pools(idle: timedelta, made: list[Pool]) -> Pools:
    def make() -> Pool:
        made.append(Pool(2, timedelta(seconds=30), MEMORY))
        return made[-1]

    return Pools(make, idle)


async def _read(pool: Pool, root: Path) -> int:
    """Process id of the one worker that the pool has, after it has read a file."""
    (root / "a.py").write_text("def f(): ...\n")
    ((_, outcome),) = await pool.read(root, [("a.py", "")], LIMITS)
    assert isinstance(outcome, Read)
    assert outcome.parsed
    (process,) = pool._running
    return process.pid


async def test_a_worker_is_kept_for_the_next_run(tmp_path: Path) -> None:
    """One after another they need one; at the same time each has a pool of its own; the service's end ends what is kept."""
    made: list[Pool] = []
    pools = _pools(timedelta(hours=1), made)
    async with pools.lent() as first:
        worker = await _read(first, tmp_path)
        async with pools.lent() as beside:
            assert await _read(beside, tmp_path) != worker
    async with pools.lent() as again:
        assert await _read(again, tmp_path) in {process.pid for pool in made for process in pool._running}
    assert len(made) == 2
    await pools.close()
    assert not any(pool._running for pool in made)


async def test_kept_workers_end_when_nobody_comes(tmp_path: Path) -> None:
    """After their time, or at once where none is given; a run that breaks off keeps none."""
    for idle in (timedelta(milliseconds=20), timedelta(0)):
        made: list[Pool] = []
        pools = _pools(idle, made)
        async with pools.lent() as pool:
            await _read(pool, tmp_path)
        async with asyncio.timeout(60):
            while made[0]._running:  # noqa: ASYNC110 # nothing tells of it
                await asyncio.sleep(0.01)
    pools = _pools(timedelta(hours=1), made)
    with pytest.raises(KeyError):
        await _broken_off(pools, tmp_path)
    assert not made[-1]._running


async def _broken_off(pools: Pools, root: Path) -> None:
    async with pools.lent() as pool:
        await _read(pool, root)
        raise KeyError


async def test_a_worker_that_died_while_it_was_kept_loses_no_file(tmp_path: Path) -> None:
    """Another one is started in its place, and the file has its symbols."""
    pools = _pools(timedelta(hours=1), [])
    async with pools.lent() as pool:
        worker = await _read(pool, tmp_path)
        (process,) = pool._running
    os.kill(worker, signal.SIGKILL)
    await process.wait()
    async with pools.lent() as pool:
        assert await _read(pool, tmp_path) != worker
    await pools.close()
