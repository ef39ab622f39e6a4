"""What a service does in the background outlives what passes: a full disk, or a lock of another process."""

import asyncio
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from tooloo.system.v1 import system_events_pb2 as events

from mesh import boot, errors, testing
from mesh.host import Host, Parts
from mesh.outbox import Fact
from tests.support.mesh import eventually


async def test_a_lock_of_another_process_ends_no_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else holds the write lock the loop is begun again and again; then it does its work, once."""
    monkeypatch.setattr(boot, "_BEGUN_AGAIN_S", 0.01)
    begun = asyncio.Semaphore(0)

    async def tell_once(host: Host) -> None:
        begun.release()
        fact = Fact(events.ServiceStopped(service="sample"), "processes/sample")
        await host.db.write(lambda tx: host.tell(tx, fact))
        await asyncio.Event().wait()

    async def build(host: Host) -> Parts:
        other.append(sqlite3.connect(host.db.path, isolation_level=None))
        other[0].execute("BEGIN IMMEDIATE")
        return Parts([], background=[partial(tell_once, host)])

    other: list[sqlite3.Connection] = []
    async with testing.running("system", build, tmp_path, settings={"TOOLOO_BUSY_TIMEOUT": "1ms"}) as running:
        with closing(other[0]):
            async with asyncio.timeout(60):
                for _ in range(3):
                    await begun.acquire()
            other[0].execute("ROLLBACK")
        await eventually(running.told, lambda told: len(told) == 1)


async def test_a_refusal_for_good_ends_the_loop() -> None:
    """No wait can help it, so the process must end and say so."""

    async def refused() -> None:
        raise errors.failed_precondition("sample", "not this way")

    with pytest.raises(errors.Refusal, match="not this way"):
        await boot._begun_again(refused)
