"""Worker processes: what they answer, and what happens when one dies or hangs."""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from services.context.parsing import State
from services.context.reading import Limits, Read
from services.context.walking import Reason
from services.context.workers import packing
from services.context.workers.pool import NoWorkers, Pool

LIMITS = Limits(max_file_bytes=10_000, max_symbols=100, max_imports=100)
MEMORY = 2 * 1024**3


async def test_outcomes_come_in_the_order_asked(tmp_path: Path) -> None:
    """Each file has an outcome, also one that is not there."""
    (tmp_path / "a.py").write_text("def f(): ...\n")
    (tmp_path / "b").write_bytes(b"\0")
    async with Pool(2, timedelta(seconds=30), MEMORY) as pool:
        outcomes = await pool.read(tmp_path, [("missing", ""), ("a.py", ""), ("b", "")], LIMITS)
    assert [path for path, _ in outcomes] == ["missing", "a.py", "b"]
    assert outcomes[0][1] is Reason.VANISHED
    assert outcomes[2][1] is Reason.BINARY
    read = outcomes[1][1]
    assert isinstance(read, Read)
    assert read.parsed
    assert [symbol.name for symbol in read.parsed.symbols] == ["f"]
    assert packing.unpack(packing.pack("a.py", read)) == ("a.py", read)


async def _started(pool: Pool, root: Path) -> int:
    """Process id of the pool's worker, after it has answered once."""
    (root / "a.py").write_text("def f(): ...\n")
    await pool.read(root, [("a.py", "")], LIMITS)
    (process,) = pool._running
    return process.pid


async def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    """A stopped process stands for an endless parse: its batch is read by another one, file by file."""
    async with Pool(1, timedelta(seconds=3), MEMORY) as pool:
        stopped = await _started(pool, tmp_path)
        os.kill(stopped, signal.SIGSTOP)
        outcomes = await pool.read(tmp_path, [("a.py", ""), ("missing", "")], LIMITS)
        (process,) = pool._running
        assert process.pid != stopped
    assert isinstance(outcomes[0][1], Read)
    assert outcomes[1][1] is Reason.VANISHED


async def test_a_file_that_kills_its_parser_is_listed_without_symbols(tmp_path: Path) -> None:
    """Too little memory makes the grammar's C code abort; the other file of the batch keeps its symbols."""
    (tmp_path / "a.py").write_text("def f(): ...\n")
    (tmp_path / "monster.py").write_bytes(b"f(a, [b]);" * 600_000)
    async with Pool(1, timedelta(seconds=60), 192 * 1024**2) as pool:
        limits = Limits(max_file_bytes=40_000_000, max_symbols=100, max_imports=100)
        outcomes = dict(await pool.read(tmp_path, [("monster.py", ""), ("a.py", "")], limits))
    monster, other = outcomes["monster.py"], outcomes["a.py"]
    assert isinstance(monster, Read)
    assert isinstance(other, Read)
    assert monster.parsed
    assert other.parsed
    assert (monster.parsed.state, other.parsed.state) == (State.FAILED, State.PARSED)
    assert monster.size == 6_000_000


async def test_a_cancelled_read_leaves_no_answer_behind(tmp_path: Path) -> None:
    """The next batch gets its own answer, and leaving the pool ends every process."""
    async with Pool(1, timedelta(seconds=60), MEMORY) as pool:
        os.kill(await _started(pool, tmp_path), signal.SIGSTOP)
        task = asyncio.create_task(pool.read(tmp_path, [("missing", "")], LIMITS))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ((path, _),) = await pool.read(tmp_path, [("a.py", "")], LIMITS)
        assert path == "a.py"
        processes = list(pool._running)
    assert [process.returncode is not None for process in processes] == [True]


async def test_without_workers_nothing_is_told_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that was replaced by one that does not run, or is away, is not a tree of unreadable files."""
    (tmp_path / "a.py").write_text("def f(): ...\n")
    for program in ("/bin/false", str(tmp_path / "away")):
        monkeypatch.setattr("services.context.workers.pool.sys.executable", program)
        async with Pool(2, timedelta(seconds=30), MEMORY) as pool:
            with pytest.raises(NoWorkers):
                await pool.read(tmp_path, [("a.py", ""), ("missing", "")], LIMITS)
