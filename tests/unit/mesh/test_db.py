"""The database: group commit, isolation of failures, snapshots, migrations, backup."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path

import aiosqlite
import pytest

from mesh import db_errors, errors, migrations
from mesh.db import Database, Transaction
from mesh.migrations import MigrationError
from mesh.settings import MeshSettings


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """A folder with one migration."""
    folder = tmp_path / "schema"
    folder.mkdir()
    (folder / "0001_things.sql").write_text("CREATE TABLE things (name TEXT PRIMARY KEY);\n")
    return folder


async def _insert(tx: Transaction, name: str) -> str:
    await tx.execute("INSERT INTO things (name) VALUES (:name)", {"name": name})
    return name


def _inserting(name: str) -> Callable[[Transaction], Awaitable[str]]:
    return lambda tx: _insert(tx, name)


async def _names(tx: Transaction) -> list[str]:
    return [row["name"] for row in await tx.fetch_all("SELECT name FROM things ORDER BY name")]


async def test_an_answered_write_is_in_the_file(tmp_path: Path, schema: Path) -> None:
    """What write() answered can be read by another connection at once."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)])
    assert await database.write(lambda tx: _insert(tx, "one")) == "one"
    with sqlite3.connect(tmp_path / "a.db") as other:
        assert other.execute("SELECT name FROM things").fetchall() == [("one",)]
    other.close()
    await database.close()


async def test_a_write_that_nobody_waits_for_any_more_is_done(tmp_path: Path, schema: Path) -> None:
    """Given up before it began or while it runs: it is in the file with the write after it, which is answered as always."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)])
    for number in range(5):
        given_up = database.submit(_inserting(f"submitted {number}"))
        for _ in range(number):
            await asyncio.sleep(0)
        given_up.cancel()
    assert await database.write(_inserting("written")) == "written"
    assert await database.read(_names) == [*(f"submitted {number}" for number in range(5)), "written"]
    await database.close()


async def test_a_failing_write_undoes_only_itself(tmp_path: Path, schema: Path) -> None:
    """Of writes that share a commit, the one that fails leaves nothing, the others stand."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)])

    async def fails(tx: Transaction) -> str:
        await _insert(tx, "half")
        raise ValueError("on purpose")

    works = [_inserting(str(n)) for n in range(10)]
    results = await asyncio.gather(*(database.write(work) for work in [*works[:5], fails, *works[5:]]), return_exceptions=True)
    assert isinstance(results[5], ValueError)
    assert await database.read(_names) == [str(n) for n in range(10)]
    await database.close()


async def test_the_first_of_a_batch_may_fail(tmp_path: Path, schema: Path) -> None:
    """The first job runs without a savepoint; its failure must not take its neighbours with it."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)])
    await database.write(lambda tx: _insert(tx, "kept"))
    results = await asyncio.gather(*(database.write(_inserting(name)) for name in ("kept", "new")), return_exceptions=True)
    assert isinstance(results[0], sqlite3.IntegrityError)
    assert results[1] == "new"
    await database.close()


async def test_brief_writes_share_a_commit_and_undo_only_themselves(tmp_path: Path, schema: Path) -> None:
    """Those that wait together all run before the first is told of the commit; what fails is not in the file, all else is."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)])
    await database.write(_inserting("taken"))
    course: list[str] = []

    async def work(tx: Transaction, name: str) -> None:
        course.append(f"ran {name}")
        tx.after_commit(lambda: course.append(f"committed {name}"))
        await _insert(tx, name)

    names = ("one", "taken", "two")
    outcomes = await asyncio.gather(
        *(database.submit(partial(work, name=name), brief=True) for name in names), return_exceptions=True
    )
    assert course == ["ran one", "ran taken", "ran two", "committed one", "committed two"]
    assert isinstance(outcomes[1], sqlite3.IntegrityError)
    assert await database.read(_names) == ["one", "taken", "two"]
    with pytest.raises(sqlite3.IntegrityError):
        await database.submit(_inserting("taken"), brief=True)
    await database.close()


async def test_brief_and_other_writes_keep_their_order(tmp_path: Path, schema: Path) -> None:
    """Each finds what those before it wrote, wherever they ran."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)])

    async def work(tx: Transaction, number: int) -> int:
        await _insert(tx, f"{number:02}")
        return len(await _names(tx))

    seen = []
    for number in range(12):
        seen.append(database.submit(partial(work, number=number), brief=bool(number % 3)))
        if number % 4 == 0:
            await asyncio.sleep(0)
    assert await asyncio.gather(*seen) == list(range(1, 13))
    await database.close()


async def test_a_brief_write_waits_for_another_process_elsewhere(tmp_path: Path, schema: Path) -> None:
    """While another process holds the lock the loop goes on; then it is written, or refused when that takes too long."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)], MeshSettings(busy_timeout=timedelta(milliseconds=300)))
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(errors.Refusal, match="another process holds its write lock"):
            await database.submit(_inserting("refused"), brief=True)
        waiting = database.submit(_inserting("waited"), brief=True)
        turns = 0
        while turns < 10:
            await asyncio.sleep(0.005)
            turns += 1
        assert not waiting.done()
        other.execute("COMMIT")
        assert await waiting == "waited"
    assert await database.read(_names) == ["waited"]
    await database.close()


async def test_callbacks_run_after_the_commit_only(tmp_path: Path, schema: Path) -> None:
    """after_commit is called for what stands and not for what was undone."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)])
    called: list[str] = []

    async def work(tx: Transaction, name: str) -> None:
        tx.after_commit(lambda: called.append(name))
        await _insert(tx, name)

    await database.write(lambda tx: work(tx, "one"))
    with pytest.raises(sqlite3.IntegrityError):
        await database.write(lambda tx: work(tx, "one"))
    assert called == ["one"]
    await database.close()


async def test_a_read_is_a_snapshot(tmp_path: Path, schema: Path) -> None:
    """A read that began before a write does not see it."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)])
    began, go_on = threading.Event(), threading.Event()

    async def slow_read(tx: Transaction) -> tuple[int, int]:
        before = len(await _names(tx))
        began.set()
        go_on.wait(20)
        return before, len(await _names(tx))

    reading = asyncio.create_task(database.read(slow_read))
    await asyncio.to_thread(began.wait, 20)
    await database.write(lambda tx: _insert(tx, "later"))
    go_on.set()
    assert await reading == (0, 0)
    await database.close()


async def test_work_that_waits_for_something_else_is_refused(tmp_path: Path, schema: Path) -> None:
    """A transaction that slept or called out would hold up every other writer; it is undone and says why."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)])
    elsewhere: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def waits(tx: Transaction) -> None:
        await _insert(tx, "half")
        await elsewhere

    with pytest.raises(RuntimeError, match="await the transaction only"):
        await database.write(waits)
    assert await database.read(_names) == []
    await database.close()


async def test_a_full_queue_refuses_by_name(tmp_path: Path, schema: Path) -> None:
    """More waiting writes than the setting allows are refused with the setting's name and a time to retry."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)], MeshSettings(write_queue=2))
    waiting = [asyncio.create_task(database.write(_inserting(str(n)))) for n in range(20)]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    refusals = [result for result in results if isinstance(result, errors.Refusal)]
    assert refusals
    assert refusals[0].details[1].violations[0].subject == "TOOLOO_WRITE_QUEUE"  # type: ignore[attr-defined] # QuotaFailure
    assert len(await database.read(_names)) == len(results) - len(refusals)
    await database.close()


async def test_migrations_are_applied_once_and_never_edited(tmp_path: Path, schema: Path) -> None:
    """A second open applies only what is new; an edited migration stops the start."""
    await (await Database.open(tmp_path / "a.db", [("test", schema)])).close()
    (schema / "0002_more.sql").write_text("ALTER TABLE things ADD COLUMN size INTEGER;\n")
    await (await Database.open(tmp_path / "a.db", [("test", schema)])).close()
    (schema / "0002_more.sql").write_text("ALTER TABLE things ADD COLUMN weight INTEGER;\n")
    with pytest.raises(MigrationError, match="was edited after"):
        await Database.open(tmp_path / "a.db", [("test", schema)])


async def test_a_migration_that_finds_no_room_says_so(tmp_path: Path) -> None:
    """SQLite has undone it by itself then: a boot that is told of the disk waits, one that is told of the undoing ends."""
    sql = "CREATE TABLE big (bytes BLOB);\nINSERT INTO big VALUES (zeroblob(1000000));\n"
    big = migrations.Migration("test", 1, "0001_big.sql", sql)
    async with aiosqlite.connect(tmp_path / "a.db", isolation_level=None) as connection:
        await connection.execute("PRAGMA max_page_count = 20")
        with pytest.raises(sqlite3.OperationalError) as full:
            await migrations.apply(connection, [big], 0)
        assert db_errors.passes(full.value)
        await connection.execute("PRAGMA max_page_count = 2000")
        await migrations.apply(connection, [big], 0)


async def test_a_newer_database_is_not_opened_by_older_code(tmp_path: Path, schema: Path) -> None:
    """A migration that the code does not have stops the start: going back would lose data."""
    (schema / "0002_more.sql").write_text("CREATE TABLE more (name TEXT);\n")
    await (await Database.open(tmp_path / "a.db", [("test", schema)])).close()
    (schema / "0002_more.sql").unlink()
    with pytest.raises(MigrationError, match="does not know"):
        await Database.open(tmp_path / "a.db", [("test", schema)])


async def test_a_backup_is_a_whole_database(tmp_path: Path, schema: Path) -> None:
    """A backup of a database in use opens by itself and holds what was answered."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)])
    await database.write(lambda tx: _insert(tx, "one"))
    await database.backup(tmp_path / "copy.db")
    await database.close()
    copy = await Database.open(tmp_path / "copy.db", [("test", schema)])
    assert await copy.read(_names) == ["one"]
    await copy.close()


async def test_what_a_savepoint_copies_goes_to_no_file(tmp_path: Path, schema: Path) -> None:
    """A temporary file for each larger write would cost every call, and a full folder for such files would refuse them all."""
    database = await Database.open(tmp_path / "a.db", [("test", schema)])
    await database.write(lambda tx: tx.execute_many("INSERT INTO things (name) VALUES (:name)", [_long(n) for n in range(200)]))

    async def change_all(tx: Transaction) -> list[str]:
        await tx.execute("UPDATE things SET name = 'x' || name")
        return [name for entry in Path("/proc/self/fd").iterdir() if "etilqs" in (name := _target(entry))]

    # together, so that each has a savepoint
    found = await asyncio.gather(database.write(_inserting("first")), database.write(change_all))
    assert found[1] == []
    await database.close()


def _long(number: int) -> dict[str, str]:
    return {"name": f"{number:04}" * 250}


def _target(entry: Path) -> str:
    """Where a descriptor leads; one that is closed meanwhile leads nowhere."""
    try:
        return str(entry.readlink())
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("code", "refused"), [(sqlite3.SQLITE_FULL, True), (sqlite3.SQLITE_IOERR_SHMSIZE, True), (sqlite3.SQLITE_IOERR_WRITE, False)]
)
def test_what_there_is_no_room_for_is_refused_by_name(code: int, refused: bool) -> None:
    """The database, or the index of its write-ahead log, which grows too; an error of writing is none that passes."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    assert db_errors.passes(error) is refused
    assert ("the disk that holds a.db is full" in str(db_errors.refusal_of(error, "a.db"))) is refused
