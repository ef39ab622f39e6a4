"""What the writer's connection remembers: read once, and never a moment longer than it is true, whoever writes."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mesh import remembered
from mesh.db import Database, Transaction
from mesh.remembered import UNKNOWN, written_by

_TABLE = "things"
_PUT = "INSERT INTO things (name, size) VALUES (:name, :size) ON CONFLICT (name) DO UPDATE SET size = excluded.size"


@pytest.fixture
def what_is_remembered_is_true() -> None:
    """Nothing: here it is counted what is read."""


class Replica:
    """A process on a shared file; `loads` counts what it really read."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.loads: Counter[str] = Counter()

    async def size(self, tx: Transaction, name: str) -> int | None:
        """The size of a thing as the store remembers it."""

        async def load() -> int | None:
            self.loads[name] += 1
            row = await tx.fetch_one("SELECT size FROM things WHERE name = :name", {"name": name})
            return row["size"] if row else None

        return await tx.remembered(_TABLE, name, load)

    async def look(self, name: str) -> int | None:
        """The same in a transaction of its own."""
        return await self.database.write(lambda tx: self.size(tx, name))

    async def put(self, name: str, size: int) -> None:
        """Sets it, and says nothing of what that changes."""
        await self.database.write(lambda tx: tx.execute(_PUT, {"name": name, "size": size}))

    async def put_and_say(self, name: str, size: int) -> None:
        """Sets it, and says that nothing else is changed."""
        await self.database.write(lambda tx: tx.execute(_PUT, {"name": name, "size": size}, now={name: size}))


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two replicas on one file."""
    schema = tmp_path / "schema"
    schema.mkdir()
    (schema / "0001_things.sql").write_text(
        "CREATE TABLE things (name TEXT NOT NULL PRIMARY KEY, size INTEGER NOT NULL);\n"
        "CREATE TABLE others (size INTEGER NOT NULL);\n"
    )
    async with AsyncExitStack() as stack:
        opened = [await Database.open(tmp_path / "a.db", [("test", schema)]) for _ in range(2)]
        for database in opened:
            stack.push_async_callback(database.close)
        yield Replica(opened[0]), Replica(opened[1])


async def test_it_is_read_once_until_its_table_is_written(two: tuple[Replica, Replica]) -> None:
    """Also that there is nothing; what other tables do changes nothing."""
    one, _ = two
    assert [await one.look("a") for _ in range(3)] == [None] * 3
    await one.database.write(lambda tx: tx.execute("INSERT INTO others (size) VALUES (1)"))
    assert await one.look("a") is None
    assert one.loads["a"] == 1
    await one.put("b", 1)
    await one.put("a", 2)
    assert [await one.look("a") for _ in range(3)] == [2] * 3
    assert one.loads["a"] == 2


async def test_what_another_replica_writes_holds_at_once(two: tuple[Replica, Replica]) -> None:
    """In the very next transaction of the other, in both directions."""
    one, other = two
    for size in range(5):
        await one.put_and_say("a", size)
        assert await other.look("a") == size
        await other.put("a", -size)
        assert await one.look("a") == -size


async def test_a_statement_that_says_what_it_changed_costs_no_read(two: tuple[Replica, Replica]) -> None:
    """The value it sets is known from there on, the others stay known; UNKNOWN is read again."""
    one, _ = two
    await one.put("b", 7)
    await one.look("b")
    await one.put_and_say("a", 1)
    assert (await one.look("a"), await one.look("b")) == (1, 7)
    assert one.loads == {"b": 1}
    await one.database.write(lambda tx: tx.execute(_PUT, {"name": "a", "size": 2}, now={"a": UNKNOWN}))
    assert (await one.look("a"), await one.look("b")) == (2, 7)
    assert one.loads == {"a": 1, "b": 1}


@pytest.mark.parametrize("together", [1, 3])
async def test_what_was_undone_is_not_remembered(two: tuple[Replica, Replica], together: int) -> None:
    """Neither what it said nor what it read of its own writing; alone in its commit and among others."""
    one, _ = two
    await one.put("a", 1)

    async def fails(tx: Transaction) -> None:
        await tx.execute(_PUT, {"name": "a", "size": 2}, now={"a": 2})
        await tx.execute(_PUT, {"name": "b", "size": 2})
        assert (await one.size(tx, "a"), await one.size(tx, "b")) == (2, 2)
        raise ValueError("on purpose")

    works = [one.look("c") for _ in range(together - 1)]
    results = await asyncio.gather(one.database.write(fails), *works, return_exceptions=True)
    assert isinstance(results[0], ValueError)
    assert (await one.look("a"), await one.look("b")) == (1, None)


async def test_a_statement_that_gives_rows_forgets_too(two: tuple[Replica, Replica]) -> None:
    """UPDATE … RETURNING writes; `remember` says afterwards what came of it."""
    one, _ = two
    await one.put("a", 1)
    await one.look("a")
    grow = "UPDATE things SET size = size + 1 WHERE name = 'a' RETURNING size"
    await one.database.write(lambda tx: tx.fetch_one(grow))
    assert await one.look("a") == 2

    async def grow_and_say(tx: Transaction) -> None:
        row = await tx.fetch_one(grow, now={})
        assert row is not None
        tx.remember(_TABLE, "a", row["size"])

    await one.database.write(grow_and_say)
    loads = one.loads["a"]
    assert await one.look("a") == 3
    assert one.loads["a"] == loads


async def test_a_transaction_that_only_reads_has_no_memory(two: tuple[Replica, Replica]) -> None:
    """Its snapshot may be older than the writer's."""
    one, _ = two
    await one.put_and_say("a", 1)
    for _ in range(2):
        assert await one.database.read(lambda tx: one.size(tx, "a")) == 1
    assert one.loads["a"] == 2


async def test_no_number_of_names_fills_the_memory(two: tuple[Replica, Replica], monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit of a table its values are forgotten."""
    monkeypatch.setattr(remembered, "_MOST", 8)
    one, _ = two
    for place in range(50):
        await one.look(str(place))
    memory = one.database._memory
    assert len(memory.tables[_TABLE]) <= 8


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("SELECT * FROM things", ""),
        ("INSERT INTO Things (name) VALUES ('a')", "things"),
        ("insert or ignore into things (name) VALUES ('a')", "things"),
        ("\n UPDATE things SET size = 1", "things"),
        ("DELETE FROM things WHERE size IN (SELECT size FROM others)", "things"),
        ("WITH small AS (SELECT 1) DELETE FROM things", "*"),
        ("DROP TABLE things", "*"),
    ],
)
def test_which_table_a_statement_writes(sql: str, table: str) -> None:
    """One that does not say it at its beginning counts as writing all of them."""
    assert written_by(sql) == table


async def test_two_replicas_agree_whatever_they_do(two: tuple[Replica, Replica]) -> None:
    """At random: what a replica remembers is what the file says."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, truth = random.Random(seed), {}
    for size in range(300):
        replica, name = chance.choice(two), chance.choice("abc")
        if chance.random() < 0.4:
            await chance.choice((replica.put, replica.put_and_say))(name, size)
            truth[name] = size
        assert await replica.look(name) == truth.get(name)
