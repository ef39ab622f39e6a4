"""What a statement costs through plain aiosqlite, SQLAlchemy Core (asyncio) and the kit's mesh/db.py, and what their imports cost.

`python -m bench.storage [folder]`; the databases lie in `folder`, by default on tmpfs where there is one, so that the disk is out
of the comparison. Everywhere WAL and synchronous=FULL (checked), one row a transaction, the answer after the commit. A select is
measured alone, and in a read transaction, which gives a handler one snapshot for all its statements (the kit offers that only).
SQLAlchemy is used in its fastest way: statements built once, and an engine of its own in AUTOCOMMIT for selects alone. Imports are
measured with bytecode on disk, whatever PYTHONDONTWRITEBYTECODE says: compiling costs four times as much. The ratios of one run
swing with the price of a hop between threads, up to threefold on a busy machine: quote ranges of several runs.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiosqlite
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, bindparam, event, insert, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import create_async_engine

from mesh.db import Database, Transaction

STATEMENTS, WRITERS, ROUNDS, IMPORTS = 1000, 64, 5, 7
CREATE = "CREATE TABLE facts (id INTEGER PRIMARY KEY, body BLOB NOT NULL)"
INSERT = "INSERT INTO facts (id, body) VALUES (:id, :body)"
SELECT = "SELECT body FROM facts WHERE id = :id"
PRAGMAS = ("journal_mode = WAL", "synchronous = FULL")
NAMES = ("journal_mode", "synchronous")
BODY = b"x" * 256
HERE = Path(__file__).resolve().parent.parent
Call = Callable[[int], Awaitable[object]]


@dataclass(frozen=True)
class Calls:
    """One way to a database: inserts a row and commits; selects one alone (None where not offered), and in a transaction."""

    insert: Call
    select: Call | None
    select_in_transaction: Call


@dataclass(frozen=True)
class Cost:
    """Microseconds a statement: on the wall, and of processor time in all threads."""

    wall: float
    cpu: float


@asynccontextmanager
async def plain(path: Path) -> AsyncIterator[Calls]:
    """Plain aiosqlite as its documentation shows it; writers wait for each other at a lock."""
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        for statement in (*(f"PRAGMA {pragma}" for pragma in PRAGMAS), CREATE):
            await connection.execute(statement)
        lock = asyncio.Lock()

        async def add(number: int) -> None:
            async with lock:
                await connection.execute("BEGIN IMMEDIATE")
                await connection.execute(INSERT, {"id": number, "body": BODY})
                await connection.execute("COMMIT")

        async def find(number: int) -> object:
            return await connection.execute_fetchall(SELECT, {"id": number})

        async def find_in_transaction(number: int) -> object:
            async with lock:
                await connection.execute("BEGIN")
                try:
                    return await find(number)
                finally:
                    await connection.execute("ROLLBACK")

        yield Calls(add, find, find_in_transaction)
        await _check(connection)


async def _check(connection: aiosqlite.Connection) -> None:
    """The comparison is worth nothing unless all have the same durability."""
    _same_durability([tuple(row) for name in NAMES for row in await connection.execute_fetchall(f"PRAGMA {name}")])


def _same_durability(found: list[tuple[object, ...]]) -> None:
    if found != [("wal",), (2,)]:
        raise SystemExit(f"journal_mode and synchronous are {found}, not WAL and FULL")


def _set_pragmas(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


@asynccontextmanager
async def core(path: Path) -> AsyncIterator[Calls]:
    """SQLAlchemy Core on aiosqlite; its pool of one connection makes writers wait."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", pool_size=1, max_overflow=0)
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    metadata = MetaData()
    facts = Table("facts", metadata, Column("id", BigInteger, primary_key=True), Column("body", LargeBinary, nullable=False))
    adding, finding = insert(facts), select(facts.c.body).where(facts.c.id == bindparam("number"))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        raw = (await connection.get_raw_connection()).driver_connection
        if not isinstance(raw, aiosqlite.Connection):
            raise SystemExit("SQLAlchemy does not run on aiosqlite here")
        await _check(raw)

    async def add(number: int) -> None:
        async with engine.begin() as connection:
            await connection.execute(adding, {"id": number, "body": BODY})

    async def find_in_transaction(number: int) -> object:
        async with engine.connect() as connection:
            return (await connection.execute(finding, {"number": number})).one()

    reading = create_async_engine(
        f"sqlite+aiosqlite:///{path}", pool_size=1, max_overflow=0, isolation_level="AUTOCOMMIT", pool_reset_on_return=None
    )

    async def find(number: int) -> object:
        async with reading.connect() as connection:
            return (await connection.execute(finding, {"number": number})).one()

    yield Calls(add, find, find_in_transaction)
    await reading.dispose()
    await engine.dispose()


@asynccontextmanager
async def kit(path: Path) -> AsyncIterator[Calls]:
    """mesh/db.py: one writer with group commit, readers beside it."""
    database = await Database.open(path)
    await database.write(lambda tx: tx.execute(CREATE))
    found = [await database.write(partial(Transaction.fetch_one, sql=f"PRAGMA {name}")) for name in NAMES]
    _same_durability([tuple(row) for row in found if row])

    async def add(number: int) -> None:
        async def work(tx: Transaction) -> None:
            await tx.execute(INSERT, {"id": number, "body": BODY})

        await database.write(work)

    async def find(number: int) -> object:
        return await database.read(lambda tx: tx.fetch_one(SELECT, {"id": number}))

    yield Calls(add, None, find)
    await database.close()


WAYS: dict[str, Callable[[Path], AbstractAsyncContextManager[Calls]]] = {
    "aiosqlite": plain,
    "SQLAlchemy Core": core,
    "mesh/db.py": kit,
}
WORK = ("insert + commit, 1 writer", f"insert + commit, {WRITERS} writers", "select one, alone", "select one, in a transaction")


async def _timed(work: Awaitable[object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    await work
    return Cost((time.perf_counter() - wall) / STATEMENTS * 1e6, (time.process_time() - cpu) / STATEMENTS * 1e6)


async def _in_turn(call: Call, numbers: range) -> None:
    for number in numbers:
        await call(number)


async def _by_many(call: Call, numbers: range) -> None:
    await asyncio.gather(*(_in_turn(call, numbers[start::WRITERS]) for start in range(WRITERS)))


async def measure(way: Callable[[Path], AbstractAsyncContextManager[Calls]], path: Path) -> list[Cost | None]:
    """One round on a fresh database, in the order of WORK."""
    async with way(path) as calls:
        return [
            await _timed(_in_turn(calls.insert, range(STATEMENTS))),
            await _timed(_by_many(calls.insert, range(STATEMENTS, 2 * STATEMENTS))),
            await _timed(_in_turn(calls.select, range(STATEMENTS))) if calls.select else None,
            await _timed(_in_turn(calls.select_in_transaction, range(STATEMENTS))),
        ]


def import_seconds(modules: str, bytecode: Path) -> float:
    """Processor seconds of an import in a fresh Python, beyond asyncio and sqlite3, which every service has."""
    program = f"import asyncio, sqlite3, time; t = time.process_time(); import {modules}; print(time.process_time() - t)"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(bytecode)

    def once() -> float:
        return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=env).stdout)

    # the first one writes the bytecode
    once()
    return statistics.median(once() for _ in range(IMPORTS))


def _print_imports() -> None:
    print(f"{'import, median of ' + str(IMPORTS):30} {'CPU ms':>8}")
    stack = "aiosqlite, sqlalchemy.ext.asyncio, sqlalchemy.dialects.sqlite.aiosqlite"
    with tempfile.TemporaryDirectory(prefix="tooloo-bench-") as bytecode:
        for name, modules in (("aiosqlite", "aiosqlite"), ("SQLAlchemy Core on it", stack)):
            print(f"{name:30} {import_seconds(modules, Path(bytecode)) * 1000:8.0f}")


def _median(costs: list[Cost | None]) -> Cost | None:
    known = [cost for cost in costs if cost]
    return Cost(statistics.median(cost.wall for cost in known), statistics.median(cost.cpu for cost in known)) if known else None


def _print_costs(rounds: list[dict[str, list[Cost | None]]]) -> None:
    print(f"\n{STATEMENTS} statements, median of {ROUNDS} rounds" + " " * 5 + "µs a statement; ratios to aiosqlite")
    print(f"{'work':30} {'way':16} {'wall':>8} {'CPU':>8} {'wall ×':>8} {'CPU ×':>8}")
    for place, work in enumerate(WORK):
        medians = {way: _median([each[way][place] for each in rounds]) for way in WAYS}
        base = medians["aiosqlite"]
        for way, cost in medians.items():
            if cost and base:
                print(
                    f"{work:30} {way:16} {cost.wall:8.0f} {cost.cpu:8.0f} {cost.wall / base.wall:8.2f} {cost.cpu / base.cpu:8.2f}"
                )


def _kit_revision() -> str:
    """Which kit was measured, so that figures of two versions are not taken for one."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments, "--", "mesh/db.py"]
        return subprocess.run(command, cwd=HERE, check=False, capture_output=True, text=True).stdout.strip()

    return (git("log", "-1", "--format=%h") or "no checkout") + (
        ", with uncommitted changes" if git("status", "--porcelain") else ""
    )


def main() -> None:
    """Runs every way in every round, in turn, so that all see the same machine."""
    memory = Path("/dev/shm")  # noqa: S108 # the standard place of tmpfs; the folder in it is made safely
    parent = Path(sys.argv[1]) if len(sys.argv) > 1 else memory if memory.is_dir() else None
    print(f"mesh/db.py of {_kit_revision()}")
    _print_imports()
    rounds = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="tooloo-bench-", dir=parent) as folder:
            rounds.append(
                {name: asyncio.run(measure(way, Path(folder) / f"{place}.db")) for place, (name, way) in enumerate(WAYS.items())}
            )
    _print_costs(rounds)


if __name__ == "__main__":
    main()
