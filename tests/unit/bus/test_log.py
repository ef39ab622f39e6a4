"""The log against a plain model, and against what can happen to its disk."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tooloo.event.v1.event_pb2 import Event

from bus import maintenance, store
from bus.appending import Appender
from bus.batches import Append, Appended, CorruptBatch, VersionConflict
from bus.log import BeforeRetention, Log
from bus.settings import BusSettings
from bus.writer import DiskFull
from mesh.clock import ManualClock

IDS = [f"018f0000-0000-7000-8000-{number:012d}" for number in range(12)]
START = datetime(2026, 1, 1, tzinfo=UTC)


def event(number: int, subject: str = "a", kind: str = "service.started", size: int = 0) -> Event:
    """An event with a fixed id."""
    return Event(
        id=f"018f0000-0000-7000-8000-{number:012d}", type=kind, source="system", subject=subject, correlation_id="x" * size
    )


PUBLISHES = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 11), st.sampled_from("ab")), min_size=1, max_size=4),
        st.none() | st.tuples(st.sampled_from("ab"), st.integers(0, 6)),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(PUBLISHES, st.integers(1, 400))
def test_the_log_is_the_model(publishes: list[Any], coalesce: int) -> None:
    """Positions, duplicates, conflicts and contents are those of a list with a set of ids, also after reopening."""
    model: list[tuple[str, str]] = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        with closing(store.connect(path)) as connection:
            store.migrate(connection)
        for group in [publishes[index : index + 3] for index in range(0, len(publishes), 3)]:
            with closing(store.connect(path)) as connection:
                appender = Appender(connection, coalesce)
                connection.execute("BEGIN IMMEDIATE")
                appends = [
                    Append.of([event(n, subject) for n, subject in events], dict([expected]) if expected else {})
                    for events, expected, _ in group
                ]
                outcomes, batches = appender.store(appends, 1)
                connection.execute("COMMIT")
                before = len(model)
                for append, outcome in zip(appends, outcomes, strict=True):
                    assert describe(outcome) == apply(model, append)
                assert [batch.last - batch.position + 1 for batch in batches] == [len(batch.decode()) for batch in batches]
                assert sum(len(batch.decode()) for batch in batches) == len(model) - before
                found = store.read_batches(connection, 0, 1 << 30)
                assert [(one.id, one.subject) for batch in found for one in batch.decode()] == model
                assert store.head(connection)[0] == len(model)
        assert maintenance.verify(path) == []


def describe(outcome: Appended | VersionConflict) -> tuple[list[int], int] | dict[str, int]:
    """An outcome in the form that the model gives."""
    return dict(outcome.standing) if isinstance(outcome, VersionConflict) else (outcome.positions, outcome.duplicates)


def apply(model: list[tuple[str, str]], append: Append) -> tuple[list[int], int] | dict[str, int]:
    """What the model says to a publish, and the publish itself."""
    ids = [known for known, _ in model]
    fresh: list[tuple[str, str]] = []
    for one in append.events:
        if one.id not in ids and one.id not in [known for known, _ in fresh]:
            fresh.append((one.id, one.subject))
    versions = {subject: position for position, (_, subject) in enumerate(model, 1)}
    standing = {subject: versions.get(subject, 0) for subject in append.expected}
    wrong = {subject: position for subject, position in standing.items() if position != append.expected[subject]}
    if fresh and wrong:
        return wrong
    model.extend(fresh)
    ids = [known for known, _ in model]
    return [ids.index(one.id) + 1 for one in append.events], len(append.events) - len(fresh)


async def opened(path: Path, on_failure: Callable[[BaseException], None] | None = None, **values: Any) -> Log:
    """A log with a clock of its own; a failing disk fails the test unless it asks for it."""
    clock = values.pop("clock", None) or ManualClock(START)
    return await Log.open(path / "log.db", BusSettings(**values), clock, on_failure or failed)


def failed(error: BaseException) -> None:
    """No test expects this."""
    raise AssertionError(error)


async def test_a_flipped_byte_is_found_named_and_never_served(tmp_path: Path) -> None:
    """A damaged record refuses to be read, verify names it, and the records around it still read."""
    log = await opened(tmp_path)
    for number in range(3):
        await log.append([event(number, size=2000)])
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
        await log.append([event(number)])
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
    await log.append([event(0)])
    pages = await log.run(lambda connection: int(connection.execute("PRAGMA page_count").fetchone()[0]))
    await log.run(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 4}").fetchall())
    refused = 0
    for number in range(1, 30):
        try:
            await log.append([event(number, size=8000)])
        except DiskFull:
            refused += 1
    assert refused > 20
    stored = await log.events(range(1, 31))
    assert len(stored) == log.head == 30 - refused
    await log.run(lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchall())
    assert (await log.append([event(29, size=8000)])).positions == [log.head]
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

    writes = [asyncio.ensure_future(log.run(fail)), asyncio.ensure_future(log.append([event(1)]))]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(results[0], sqlite3.OperationalError)
    assert len(seen) == 1
    await log.close()


async def test_a_job_that_fails_undoes_only_itself(tmp_path: Path) -> None:
    """Writes share a commit, not their failures."""
    log = await opened(tmp_path)

    def half(connection: sqlite3.Connection) -> None:
        store.set_value(connection, "half", 1)
        raise ValueError("no")

    half_done = asyncio.ensure_future(log.run(half))
    whole = asyncio.ensure_future(log.run(lambda connection: store.set_value(connection, "whole", 1)))
    with pytest.raises(ValueError, match="no"):
        await half_done
    await whole
    assert await log.query(lambda connection: (store.value_of(connection, "half"), store.value_of(connection, "whole"))) == (0, 1)
    await log.close()


async def test_times_never_fall_when_the_clock_does(tmp_path: Path) -> None:
    """A clock that is set back does not disturb the search by time."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock=clock)
    await log.append([event(1)])
    clock.advance(timedelta(hours=-1))
    await log.append([event(2)])
    assert await log.time_of(2) == START
    clock.advance(timedelta(hours=2))
    await log.append([event(3)])
    assert await log.position_before(START) == 0
    assert await log.position_before(START + timedelta(seconds=1)) == 2
    assert await log.position_before(START + timedelta(days=1)) == 3
    assert await log.time_of(4) is None
    await log.close()


async def test_ids_are_forgotten_by_count_and_age(tmp_path: Path) -> None:
    """Within both windows a repeat is known; outside of one it is stored anew."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock=clock, unique_count=2, unique_age=timedelta(days=1))
    for number in range(4):
        await log.append([event(number)])
    await log.upkeep(1)
    assert (await log.append([event(3)])).duplicates == 1
    assert (await log.append([event(0)])).positions == [5]
    clock.advance(timedelta(days=2))
    await log.upkeep(1)
    assert (await log.append([event(3)])).positions == [6]
    await log.close()


async def test_retention_by_age_keeps_what_must_be_kept(tmp_path: Path) -> None:
    """Old batches go up to the position that someone still needs; positions go on from the head when all are gone."""
    clock = ManualClock(START)
    log = await opened(tmp_path, clock=clock, retention_age=timedelta(hours=1))
    for number in range(3):
        await log.append([event(number)])
    clock.advance(timedelta(hours=2))
    assert await log.upkeep(keep_from=3) == 2
    assert log.first == 3
    with pytest.raises(BeforeRetention, match="keeps positions 3 to 3"):
        log.check_start(1)
    log.check_start(2)
    assert await log.upkeep(keep_from=99) == 1
    await log.close()
    again = await opened(tmp_path, clock=clock)
    assert again.head == 3
    assert (await again.append([event(9)])).positions == [4]
    await again.close()


async def test_a_filtered_scan_reads_only_batches_of_wanted_types(tmp_path: Path) -> None:
    """From the disk, batches without a wanted type are passed over, and the scan says how far it came."""
    log = await opened(tmp_path, recent_bytes=1, coalesce_bytes=1)
    for number in range(10):
        await log.append([event(number, kind="service.stopped" if number == 7 else "service.started")])
    wanted = log.type_ids(lambda name: name == "service.stopped")
    chunk = await log.read(0, wanted)
    assert [batch.position for batch in chunk.batches] == [8]
    assert chunk.scanned == 10
    assert await log.read(10, wanted) == await log.read(10)
    await log.close()


async def test_reopening_finds_head_and_types_again(tmp_path: Path) -> None:
    """Type ids survive, so that an old batch is still found by the name of its type."""
    log = await opened(tmp_path)
    await log.append([event(1, kind="service.stopped"), event(2)])
    await log.close()
    again = await opened(tmp_path)
    await again.append([event(3, kind="service.unhealthy")])
    (kind,) = again.type_ids(lambda name: name == "service.stopped")
    chunk = await again.read(0, frozenset({kind}))
    assert [batch.position for batch in chunk.batches] == [1]
    assert len(again.type_ids(lambda _: True)) == 3
    await again.close()
