"""A log that the first schema wrote: everything of it is found again, nothing damaged is taken over, a crash leaves it whole."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from array import array
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from struct import Struct
from uuid import UUID

import pytest
from tooloo.bus.v1.bus_service_pb2 import PublishRequest
from tooloo.event.v1.event_pb2 import Event

from bus import file_store, maintenance
from bus.batches import CorruptBatch, VersionConflict
from bus.filters import Filter
from bus.log import Log
from mesh.clock import ManualClock, to_us
from tests.support.events import sample

START = datetime(2026, 1, 1, tzinfo=UTC)
HEADER = Struct("<qqq")
RECORDS = (
    [sample(1, "a"), sample(2, "b", "service.stopped")],
    [sample(3, "a", "mastery.changed")],
    [sample(4, "c"), sample(5, "a"), sample(6, "a", "service.stopped")],
)


def old_log(path: Path, records: Sequence[Sequence[Event]] = RECORDS) -> None:
    """A file as schema 1 was filled: a row for each id and subject, CRC-32, numbers for types alone as they came."""
    with closing(file_store.connect(path)) as connection:
        connection.executescript("BEGIN IMMEDIATE;\n" + (file_store.SCHEMA / "0001_log.sql").read_text())
        connection.execute("PRAGMA user_version = 1")
        types: dict[str, int] = {}
        position = 1
        for record in records:
            for where, event in enumerate(record, position):
                types.setdefault(event.type, len(types) + 1)
                connection.execute("INSERT INTO event_ids VALUES (?, ?)", (where, UUID(event.id).bytes + event.source.encode()))
                connection.execute("INSERT OR REPLACE INTO subjects VALUES (?, ?)", (event.subject, where))
            numbers = array("H", [types[event.type] for event in record]).tobytes()
            blob = PublishRequest(events=record).SerializeToString()
            last, time_us = position + len(record) - 1, to_us(START) + position
            crc = zlib.crc32(blob, zlib.crc32(numbers, zlib.crc32(HEADER.pack(position, last, time_us))))
            connection.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)", (position, last, time_us, numbers, crc, blob))
            position = last + 1
        connection.executemany("INSERT INTO event_types VALUES (?, ?)", [(number, name) for name, number in types.items()])
        connection.execute("INSERT INTO subscriptions VALUES ('kept', x'', 0, 2, x'', 1)")
        connection.execute("COMMIT")


async def opened(path: Path) -> Log:
    """The log, upgraded."""
    return await Log.open(path, clock=ManualClock(START))


async def test_everything_of_an_old_log_is_found_again(tmp_path: Path) -> None:
    """Events, types, times, repeats and versions; and the file is a sound one of today."""
    path = tmp_path / "log.db"
    old_log(path)
    log = await opened(path)
    assert (log.head, log.first) == (6, 1)
    stored = await log.events(range(1, 7))
    for position, event in enumerate((event for record in RECORDS for event in record), 1):
        assert stored[position].position == position
        stored[position].ClearField("position")
        assert stored[position] == event
    chunk = await log.read(0, log.wanted_types(Filter(("service.stopped",))))
    assert [position for piece in chunk.slices for position in piece.positions] == [2, 6]
    assert list((await log.publish([sample(3, "x", "mastery.changed"), sample(1)])).positions) == [3, 1]
    with pytest.raises(VersionConflict) as caught:
        await log.publish([sample(7, "a")], {"a": 5, "b": 2, "c": 4})
    assert caught.value.standing == {"a": 6}
    assert list((await log.publish([sample(7, "a")], {"a": 6, "b": 2})).positions) == [7]
    assert await log.query(lambda connection: connection.execute("SELECT name, ack_floor FROM subscriptions").fetchall()) == [
        ("kept", 2)
    ]
    await log.close()
    assert maintenance.verify(path) == []
    again = await opened(path)
    assert list((await again.publish([sample(5)])).positions) == [5]
    await again.close()


async def test_ids_of_deleted_events_are_still_known(tmp_path: Path) -> None:
    """The window of schema 1 was longer than its retention, and so is what is taken over; gaps in it are no harm."""
    path = tmp_path / "log.db"
    old_log(path)
    with closing(file_store.connect(path)) as connection:
        connection.execute("DELETE FROM batches WHERE position < 4")
        connection.execute("DELETE FROM event_ids WHERE position = 2")
    log = await opened(path)
    assert log.first == 4
    assert list((await log.publish([sample(1), sample(3, "a", "mastery.changed")])).positions) == [1, 3]
    assert list((await log.publish([sample(2)])).positions) == [7]
    await log.close()


async def test_a_log_without_events_keeps_its_head(tmp_path: Path) -> None:
    """When retention had deleted all of it."""
    path = tmp_path / "log.db"
    old_log(path)
    with closing(file_store.connect(path)) as connection:
        connection.execute("DELETE FROM batches")
        connection.execute("INSERT INTO meta VALUES ('head', 6), ('head_time_us', 1)")
    log = await opened(path)
    assert (await log.publish([sample(6, "a", "service.stopped")])).duplicates == 1
    assert list((await log.publish([sample(9)])).positions) == [7]
    await log.close()


async def test_a_damaged_record_refuses_the_upgrade_by_its_position(tmp_path: Path) -> None:
    """The old file stays as it was: it can be mended, or read by the version that wrote it."""
    path = tmp_path / "log.db"
    old_log(path)
    with closing(file_store.connect(path)) as connection:
        connection.execute("UPDATE batches SET events = x'0a00' WHERE position = 3")
        before = list(connection.iterdump())
    with pytest.raises(CorruptBatch, match="position 3"):
        await opened(path)
    with closing(file_store.connect(path)) as connection:
        assert list(connection.iterdump()) == before
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from bus import file_store, key_store, upgrade_store
from bus.log import Log

calls = 0
def killed(*arguments):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return insert(*arguments)

insert, key_store.insert_keys = key_store.insert_keys, killed
drop = upgrade_store.drop_before_records
def killed_late(connection):
    drop(connection)
    os.kill(os.getpid(), signal.SIGKILL)
upgrade_store.drop_before_records = killed_late
asyncio.run(Log.open(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("call", [1, 3, 99])
async def test_a_kill_in_the_middle_leaves_the_old_log_whole(tmp_path: Path, call: int) -> None:
    """After the first record, the last, or when all but the commit is done; the next start begins again and ends."""
    path = tmp_path / "log.db"
    old_log(path)
    with closing(file_store.connect(path)) as connection:
        before = list(connection.iterdump())
    root = Path(__file__).resolve().parents[3]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(root), str(root / "build" / "api")))}
    command = [sys.executable, "-c", KILLED, str(path), str(call)]
    ended = await asyncio.to_thread(subprocess.run, command, cwd=root, env=env, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    copy = tmp_path / "copy"
    copy.mkdir()
    for left in tmp_path.glob("log.db*"):
        shutil.copy(left, copy)
    with closing(sqlite3.connect(copy / "log.db")) as connection:
        assert list(connection.iterdump()) == before
    log = await opened(path)
    assert len(await log.events(range(1, 7))) == 6
    await log.close()
    assert maintenance.verify(path) == []
