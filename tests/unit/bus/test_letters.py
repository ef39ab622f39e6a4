"""Dead letters in the file: how much of it is gone through for one of many, while the log's writer waits."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus import subscription_store as store
from bus.log import Log
from bus.ranges import AckState
from bus.settings import BusSettings
from bus.storage import Some, Stored
from mesh.clock import ManualClock

NAME = "reader"
MANY = 2000
FEW_STEPS = 500


def filled(connection: sqlite3.Connection) -> None:
    """A subscription with many dead letters."""
    store.insert(connection, Stored(NAME, b"", False, AckState(MANY), 0))
    connection.executemany(
        "INSERT INTO dead_letters (subscription, position, subject, event, checksum, reason, attempts, error, create_time_us) "
        "VALUES (?, ?, 's', x'', 0, 'parked', 1, '', 0)",
        [(NAME, position) for position in range(1, MANY + 1)],
    )


def steps_of(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], object]) -> tuple[object, int]:
    """What the work answers, and the instructions that SQLite's machine ran for it."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(count, 1)
    try:
        return work(connection), steps
    finally:
        connection.set_progress_handler(None, 0)


def redrive(connection: sqlite3.Connection, name: str, positions: Sequence[int] | None) -> int:
    """How many were redriven."""
    return len(store.redrive(connection, name, Some(positions, 0, MANY, MANY), 0))


def batches(connection: sqlite3.Connection, most: int, max_bytes: int) -> list[int]:
    """How many letters each write takes until none is left."""
    counts: list[int] = []
    after = 0
    while retries := store.redrive(connection, NAME, Some(None, after, most, max_bytes), 0):
        counts.append(len(retries))
        after = retries[-1].position
    return counts


def failed(error: BaseException) -> None:
    """No test expects this."""
    raise AssertionError(error)


@pytest.mark.parametrize("work", [store.drop, redrive])
async def test_one_of_many_is_found_by_its_key(tmp_path: Path, work: Callable[..., int]) -> None:
    """Dropped or redriven, one letter costs as much as one; an unknown position and a repeat count for nothing."""
    log = await Log.open(tmp_path / "log.db", BusSettings(), ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), failed)
    await log.run(filled)
    answer, steps = await log.run(lambda connection: steps_of(connection, lambda c: work(c, NAME, [7, 7, MANY + 1])))
    assert answer == 1
    assert steps < FEW_STEPS
    assert await log.query(store.dead_letter_counts) == {NAME: MANY - 1}
    assert await log.run(lambda connection: work(connection, NAME, None)) == MANY - 1
    assert await log.query(store.dead_letter_counts) == {}
    assert await log.run(lambda connection: work(connection, NAME, None)) == 0
    await log.close()


async def test_a_redrive_of_all_takes_some_in_each_write(tmp_path: Path) -> None:
    """At most so many, and so many bytes of their events, one at least."""
    log = await Log.open(tmp_path / "log.db", BusSettings(), ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), failed)
    await log.run(filled)
    enlarge = "UPDATE dead_letters SET event = zeroblob(100) WHERE position > 1500 AND position <= 1510"
    await log.run(lambda connection: connection.execute(enlarge))
    counts = await log.run(lambda connection: batches(connection, 500, 250))
    assert counts == [500, 500, 500, 2, 2, 2, 2, 492]
    await log.close()
