"""The faults of the matrix: each is there while its block lasts, and healed after it.

One that is alone there also demands what must go on meanwhile; beside another one it cannot know.
"""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from datetime import timedelta
from pathlib import Path

from tests.robustness.matrix.stand import Stand, until

Fault = Callable[[Stand, random.Random], AbstractAsyncContextManager[None]]
_LEFT_BYTES = 24 * 1024
# a commit is some ten writes and syncs
_DEATHS_DOOR = 30
_AT_A_COMMIT, _AT_RANDOM = 1, 1
_LONGEST_LIFE = 0.2


@asynccontextmanager
async def clock_an_hour_back(stand: Stand, chance: random.Random) -> AsyncIterator[None]:
    """The wall clock is set back; what goes on in the background goes on."""
    async with _clock_off(stand, timedelta(hours=-1)):
        yield


@asynccontextmanager
async def clock_a_day_ahead(stand: Stand, chance: random.Random) -> AsyncIterator[None]:
    """The wall clock is a day ahead, and then put right."""
    async with _clock_off(stand, timedelta(days=1)):
        yield


@asynccontextmanager
async def _clock_off(stand: Stand, by: timedelta) -> AsyncIterator[None]:
    stand.wall.set_off(by)
    try:
        if stand.alone:
            await stand.answers()
            await stand.goes_on()
        yield
    finally:
        stand.wall.set_off(timedelta(0))


@asynccontextmanager
async def disk_full(stand: Stand, chance: random.Random) -> AsyncIterator[None]:
    """No room in the service's folder: writes are refused by name, questions are answered."""
    refused = stand.caller.refused["DISK_FULL"]
    # a write-ahead log that has grown takes writes without growing any more
    with closing(sqlite3.connect(stand.file, timeout=1)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    stand.disk.fill(_LEFT_BYTES)

    async def full() -> bool:
        return stand.caller.refused["DISK_FULL"] > refused

    try:
        if stand.alone:
            await until(full)
            await stand.scenario.read()
        yield
    finally:
        stand.disk.make_room()


@asynccontextmanager
async def store_locked(stand: Stand, chance: random.Random) -> AsyncIterator[None]:
    """Another process holds the write lock: writes are refused, questions are answered."""
    with write_lock(stand.file):
        if stand.alone:
            await stand.scenario.read()
        yield


@asynccontextmanager
async def locked_at_boot(stand: Stand, chance: random.Random) -> AsyncIterator[None]:
    """The lock is held while the service starts: it waits, says so, and is not ready until the lock is free."""
    await stand.process.kill()
    said = len(stand.log())
    with write_lock(stand.file):
        await stand.process.start()

        async def waits() -> bool:
            assert not await stand.serves()
            return "lock" in stand.log()[said:]

        await until(waits)
        yield
        assert not await stand.serves()


@asynccontextmanager
async def killed(stand: Stand, chance: random.Random) -> AsyncIterator[None]:
    """Kill -9 between two writes of a commit, the start after it included, and at a random moment."""
    for _ in range(_AT_A_COMMIT if stand.alone else 0):
        stand.disk.die_at(chance.randint(1, _DEATHS_DOOR))
        await stand.killed()
    for _ in range(_AT_RANDOM):
        await asyncio.sleep(chance.uniform(0.0, _LONGEST_LIFE))
        stand.disk.die_at(0)
        await stand.process.kill()
        await stand.process.start()
    yield


@asynccontextmanager
async def bus_away(stand: Stand, chance: random.Random) -> AsyncIterator[None]:
    """The bus is killed: calls are answered all the same, and their events wait."""
    await stand.bus.kill()
    try:
        if stand.alone:
            await stand.answers()
        yield
    finally:
        await stand.bus.start()


@asynccontextmanager
async def callers_give_up(stand: Stand, chance: random.Random) -> AsyncIterator[None]:
    """Every other call is cut off at a random moment, and asked again with the same request_id."""
    stand.caller.gives_up = True
    try:
        if stand.alone:
            await stand.answers()
        yield
    finally:
        stand.caller.gives_up = False


@contextmanager
def write_lock(file: Path) -> Iterator[None]:
    """Holds the write lock of a SQLite file, as another process would."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


# both hold the lock
NEVER_BESIDE = {store_locked, locked_at_boot}
FAULTS: list[Fault] = [
    clock_an_hour_back,
    clock_a_day_ahead,
    disk_full,
    store_locked,
    locked_at_boot,
    killed,
    bus_away,
    callers_give_up,
]
