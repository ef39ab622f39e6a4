"""A boot whose store is away for now: it waits, says so, is not ready meanwhile, and can be told to stop."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from tooloo.orchestration.v1 import orchestration_service_pb2 as orchestration
from tooloo.orchestration.v1.orchestration_service_pb2_grpc import (
    OrchestrationServiceServicer,
    OrchestrationServiceStub,
    add_OrchestrationServiceServicer_to_server,
)
from tooloo.system.v1 import system_service_pb2  # noqa: F401 - a boot looks at the contracts of its service

from mesh import boot, db, testing
from mesh.host import Host, Parts
from mesh.migrations import MigrationError
from mesh.reconnect import refusal_of
from mesh.settings import MeshSettings
from tests.robustness.process import MeshProcess
from tests.support.mesh import ROOT
from tests.support.waiting import until

SOON = {"TOOLOO_BUSY_TIMEOUT": "1ms"}
RUN = "018f0000-0000-7000-8000-000000000001"


@contextmanager
def write_lock(file: Path) -> Iterator[sqlite3.Connection]:
    """Another process holds the write lock, until it rolls back."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        yield other


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a database says while it waits, a little while at a time."""
    said: list[str] = []
    monkeypatch.setattr(db, "_AGAIN_S", 0.01)
    monkeypatch.setattr(db.log, "warning", lambda text, *values: said.append(text % values))
    return said


async def _nothing(host: Host) -> Parts:
    return Parts([])


async def test_a_locked_store_is_waited_for(tmp_path: Path, waits: list[str]) -> None:
    """The migrations wait for the lock of another process; then the service starts."""
    service = testing.running("system", _nothing, tmp_path, settings=SOON)
    with write_lock(tmp_path / "system" / "system.db") as other:
        starting = asyncio.create_task(service.__aenter__())
        await until(lambda: len(waits) > 2)
        assert not starting.done()
        assert "system.db can be written by nobody here now (database is locked)" in waits[0]
        other.execute("ROLLBACK")
        assert await (await starting).told() == []
        await service.__aexit__(None, None, None)


async def test_what_a_service_writes_while_it_boots_waits_too(tmp_path: Path, waits: list[str]) -> None:
    """Writes of build() wait in their order, and each is done once; after the boot the same is refused."""
    locked: list[sqlite3.Connection] = []

    async def build(host: Host) -> Parts:
        await host.db.write(lambda tx: tx.execute("CREATE TABLE seen (number INTEGER)"))
        locked[0].execute("BEGIN IMMEDIATE")
        writes = [host.db.submit(lambda tx: tx.execute("INSERT INTO seen SELECT count(*) FROM seen")) for _ in range(3)]
        await until(lambda: len(waits) > 2)
        locked[0].execute("ROLLBACK")
        await asyncio.gather(*writes)
        return Parts([])

    with write_lock(tmp_path / "system" / "system.db") as other:
        other.execute("ROLLBACK")
        locked.append(other)
        async with testing.running("system", build, tmp_path, settings=SOON) as running:
            assert other.execute("SELECT number FROM seen").fetchall() == [(0,), (1,), (2,)]
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Exception, match="another process holds its write lock"):
                await running.host.db.write(lambda tx: tx.execute("DELETE FROM seen"))


async def test_a_store_that_no_wait_can_help_ends_the_boot(tmp_path: Path, waits: list[str]) -> None:
    """A file of a newer version is told at once."""
    async with testing.running("system", _nothing, tmp_path, settings=SOON) as running:
        await running.host.db.write(lambda tx: tx.execute("INSERT INTO schema_migrations VALUES ('kit', 1000, 'x', 'x', 0)"))
    with pytest.raises(MigrationError):
        await testing.running("system", _nothing, tmp_path, settings=SOON).__aenter__()
    assert waits == []


async def test_a_process_that_waits_for_its_store_can_be_stopped(tmp_path: Path) -> None:
    """SIGTERM ends it in good order, although it does not serve yet; its log says what it waited for."""
    output = tmp_path / "log"
    env = {**SOON, "TOOLOO_LOG_LEVEL": "WARNING"}
    process = MeshProcess("learning", "services.learning", tmp_path, tmp_path, env, output=output)
    with write_lock(process.folder / "learning.db"):
        await process.start()
        await until(lambda: "learning.db can be written by nobody here" in output.read_text())
        assert await process.stop() == 0


class _Held(OrchestrationServiceServicer):
    """Begins to answer, and never ends."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)

    async def GetRun(self, request: orchestration.GetRunRequest, context: Any) -> orchestration.GetRunResponse:
        """Nothing, ever."""
        self.begun.release()
        await asyncio.Event().wait()
        return orchestration.GetRunResponse()

    async def WatchRun(self, request: orchestration.WatchRunRequest, context: Any) -> AsyncIterator[orchestration.WatchRunResponse]:
        """One message, then nothing."""
        yield orchestration.WatchRunResponse()
        self.begun.release()
        await asyncio.Event().wait()


async def test_calls_that_are_not_done_when_a_service_stops_are_refused(tmp_path: Path) -> None:
    """Whole answers and streams alike: UNAVAILABLE, with a reason and when to come again."""
    held = _Held()  # type: ignore[abstract] # it answers what this test asks

    async def build(host: Host) -> Parts:
        return Parts(servicers=[(add_OrchestrationServiceServicer_to_server, held)])

    with tempfile.TemporaryDirectory(prefix="tooloo-") as sockets:
        env = {"TOOLOO_DATA_FOLDER": str(tmp_path), "TOOLOO_SOCKET_FOLDER": sockets}
        running = await boot.boot("orchestration", build, MeshSettings.load(env), env=env, with_bus=False)
        async with grpc.aio.insecure_channel(running.address) as channel:
            stub = OrchestrationServiceStub(channel)
            watched = stub.WatchRun(orchestration.WatchRunRequest(run_id=RUN))
            assert await watched.read() == orchestration.WatchRunResponse()
            calls = [asyncio.ensure_future(call) for call in (watched.read(), _answer_of(stub))]
            for _ in calls:
                await held.begun.acquire()
            await running.stop(timedelta(0))
            for refused in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(refused, grpc.aio.AioRpcError)
                refusal = refusal_of(refused)
                assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "NOT_READY")


async def _answer_of(stub: Any) -> object:
    return await stub.GetRun(orchestration.GetRunRequest(run_id=RUN))


@pytest.mark.parametrize(
    ("what", "told"), [("damaged", "is damaged (file is not a database)"), ("newer", "which this version does not know")]
)
def test_a_file_that_helps_nobody_is_named_without_a_stack_trace(tmp_path: Path, what: str, told: str) -> None:
    """The process ends with one sentence that says what to do."""
    file = tmp_path / "learning" / "learning.db"
    file.parent.mkdir()
    if what == "damaged":
        file.write_bytes(b"?" * 5000)
    else:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE schema_migrations (owner, number, name, checksum, applied_us)")
            connection.execute("INSERT INTO schema_migrations VALUES ('learning', 999, '0999_later.sql', '', 0)")
            connection.commit()
    environment = {**os.environ, "TOOLOO_DATA_FOLDER": str(tmp_path)}
    command = [sys.executable, "-m", "services.learning"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
