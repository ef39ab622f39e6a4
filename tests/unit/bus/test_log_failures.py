"""A disk that is full, fails or lies: what the log refuses, what it never serves, and when it ends the process."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bus import file_store, maintenance
from bus.batches import CorruptBatch
from bus.storage import DiskFull
from tests.support.events import sample, sized
from tests.unit.bus.log_bench import opened


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
    async with asyncio.timeout(60):
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
