"""Reserve and settle, pairs a second with every answer on disk (synchronous=FULL), beside a transaction a call and pyrate-limiter.

Three budgets cover each call: one of everything, one of its customer, one of its model. The transaction by hand is what an engineer
writes first: the same three conditional updates and rows, one commit for each step, in threads. pyrate-limiter's SQLite bucket does
less (one limit, nothing is settled); it is asked by one thread, because asked by several at the same time it lets through fewer.
"""

import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import local
from typing import cast

from pyrate_limiter import Limiter, Rate, SQLiteBucket

from mesh.client import MeshClient
from mesh.clock import SystemClock
from mesh.db import Database, Transaction
from mesh.host import Host
from mesh.ids import new_id
from mesh.settings import MeshSettings
from services.provider.budget import Budget, Mode, Standing
from services.provider.flows import accounts, known, reserving
from services.provider.flows.known import Known
from services.provider.flows.reserving import Ask, Settled, Used
from services.provider.labels import Labels
from services.provider.reservation import Reservation
from services.provider.settings import HERE, ProviderSettings

CUSTOMERS, THREADS = 250, 8
LIMIT = 10**15
BY_HAND = (
    "CREATE TABLE budget (id TEXT PRIMARY KEY, cap INTEGER NOT NULL, spent INTEGER NOT NULL, reserved INTEGER NOT NULL)",
    "CREATE TABLE reservation (id TEXT PRIMARY KEY, customer TEXT, amount INTEGER, settled INTEGER)",
    "CREATE TABLE ledger (id TEXT PRIMARY KEY, customer TEXT, cost INTEGER, tokens INTEGER, time INTEGER)",
)


@dataclass(frozen=True)
class Row:
    """How fast one way was: pairs a second, and processor microseconds a pair."""

    way: str
    writers: int
    pairs: int
    rate: float
    cpu: float


async def ours(folder: Path, pairs: int, writers: int) -> Row:
    """The service's own flows, in process."""
    database = await Database.open(folder / "ours.db", [("provider", HERE / "schema")], MeshSettings())
    # nothing here calls another service
    host = Host("provider", MeshSettings(), database, cast(MeshClient, None), SystemClock(), new_id)
    knows = known.read(ProviderSettings(), {})
    try:
        await _budgets(host)
        numbers = iter(range(pairs))
        begin, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(_work(host, knows, numbers) for _ in range(writers)))
        spent = time.perf_counter() - begin
        return Row("reserve and settle (flows)", writers, pairs, pairs / spent, (time.process_time() - cpu) / pairs * 1e6)
    finally:
        await database.close()


async def _budgets(host: Host) -> None:
    now = host.clock.now()
    wanted = [Budget("all", LIMIT, mode=Mode.DENY), Budget("model", LIMIT, scope=Labels.of(model="gpt-5-mini"), mode=Mode.DENY)]
    wanted += [Budget(f"c{n}", LIMIT, scope=Labels.of(customer=f"c{n}"), mode=Mode.DENY) for n in range(CUSTOMERS)]
    for budget in wanted:
        await host.db.write(partial(_put, host, budget, now))


async def _put(host: Host, budget: Budget, now: datetime, tx: Transaction) -> Standing:
    return await accounts.put(host, tx, budget, None, now)


async def _work(host: Host, knows: Known, numbers: Iterator[int]) -> None:
    for number in numbers:
        labels = Labels.of(provider="openai", model="gpt-5-mini", customer=f"c{number % CUSTOMERS}", user=f"u{number % 40}")
        ask = Ask(labels, input_tokens=1000)
        made = await host.db.write(partial(_reserve, host, knows, ask))
        await host.db.write(partial(_settle, host, knows, made.reservation_id, Used(1000, 300 + number % 200)))


async def _reserve(host: Host, knows: Known, ask: Ask, tx: Transaction) -> Reservation:
    made = await reserving.reserve(host, tx, knows, ask)
    if isinstance(made, Reservation):
        return made
    raise RuntimeError("the budgets of this bench are never spent")


async def _settle(host: Host, knows: Known, reservation_id: str, used: Used, tx: Transaction) -> Settled:
    return await reserving.settle(host, tx, knows, reservation_id, used)


def by_hand(folder: Path, pairs: int, writers: int) -> Row:
    """One SQL transaction for each step, written by hand."""
    path = folder / "hand.db"
    with sqlite3.connect(path) as first:
        first.execute("PRAGMA journal_mode = WAL")
        for statement in BY_HAND:
            first.execute(statement)
        names = ["all", "gpt-5-mini", *(f"c{n}" for n in range(CUSTOMERS))]
        first.executemany("INSERT INTO budget VALUES (?, ?, 0, 0)", [(name, LIMIT) for name in names])
    first.close()
    mine = local()

    def connection() -> sqlite3.Connection:
        if not hasattr(mine, "connection"):
            mine.connection = sqlite3.connect(path, isolation_level=None, timeout=60)
            mine.connection.execute("PRAGMA synchronous = FULL")
        return mine.connection  # type: ignore[no-any-return] # set just above

    def pair(number: int) -> None:
        one, customer, reservation = connection(), f"c{number % CUSTOMERS}", new_id()
        scopes = ("all", customer, "gpt-5-mini")
        one.execute("BEGIN IMMEDIATE")
        for scope in scopes:
            one.execute("UPDATE budget SET reserved = reserved + 900 WHERE id = ? AND spent + reserved + 900 <= cap", (scope,))
        one.execute("INSERT INTO reservation VALUES (?, ?, 900, 0)", (reservation, customer))
        one.execute("COMMIT")
        one.execute("BEGIN IMMEDIATE")
        one.execute("UPDATE reservation SET settled = 1 WHERE id = ?", (reservation,))
        for scope in scopes:
            one.execute("UPDATE budget SET reserved = reserved - 900, spent = spent + 800 WHERE id = ?", (scope,))
        one.execute("INSERT INTO ledger VALUES (?, ?, 800, 1400, ?)", (new_id(), customer, time.time_ns()))
        one.execute("COMMIT")

    return _in_threads("a transaction a call, by hand", pair, pairs, writers)


def limiter(folder: Path, pairs: int, writers: int) -> Row:
    """pyrate-limiter's bucket in SQLite: one acquisition stands for a pair."""
    bucket = SQLiteBucket.init_from_file([Rate(10**9, 60_000)], db_path=str(folder / "limiter.db"))
    one = Limiter(bucket)

    def take(number: int) -> None:
        if not one.try_acquire(f"c{number}", blocking=False):
            raise RuntimeError("the limit of this bench is never reached")

    row = _in_threads("pyrate-limiter, SQLite bucket", take, pairs, writers)
    one.close()
    return row


def _in_threads(way: str, pair: Callable[[int], object], pairs: int, writers: int) -> Row:
    begin, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(pair, range(pairs)))
    spent = time.perf_counter() - begin
    return Row(way, writers, pairs, pairs / spent, (time.process_time() - cpu) / pairs * 1e6)


async def rows(pairs: int = 6000, folder: str | None = None) -> list[Row]:
    """Ours alone and under concurrency, then the peers."""
    found = []
    with tempfile.TemporaryDirectory(prefix="tooloo-bench-", dir=folder) as name:
        for number, (count, writers) in enumerate(((max(pairs // 10, 1), 1), (pairs, 64), (pairs, 256))):
            place = Path(name) / str(number)
            place.mkdir()
            found.append(await ours(place, count, writers))
        found.append(await asyncio.to_thread(by_hand, Path(name), max(pairs // 3, 1), THREADS))
        found.append(await asyncio.to_thread(limiter, Path(name), max(pairs // 6, 1), 1))
    return found


def show(found: list[Row]) -> bool:
    """Prints the table; gives whether the bar of 2,000 pairs a second is met under concurrency."""
    peer = next(row for row in found if row.way.startswith("a transaction"))
    load = os.getloadavg()[0]
    print(f"{'way':32} {'writers':>7} {'pairs':>7} {'pairs/s':>9} {'to by hand':>11} {'cpu us/pair':>12}   (load {load:.1f})")
    for row in found:
        ratio = row.rate / peer.rate
        print(f"{row.way:32} {row.writers:7} {row.pairs:7} {row.rate:9.0f} {ratio:10.1f}x {row.cpu:12.0f}")
    return max(row.rate for row in found if row.way.startswith("reserve")) > 2000
