"""Another process holds the lock of the log, as a shell that somebody left in a transaction: publishes wait, nothing ends."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.bus_bench import event
from tests.robustness.bus_process import bus_and_client
from tests.robustness.traffic import read_log, until


@pytest.mark.parametrize("again", [False, True], ids=["running", "started anew"])
async def test_a_lock_on_the_log_is_waited_for(again: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The bus says so, answers meanwhile what needs no write if it served before, and stores what waits when the lock is free."""
    said = [""]

    async def waits() -> bool:
        said[0] += capfd.readouterr().err
        return said[0].count("holds the write lock of the log") > 2

    async with bus_and_client(tmp_path / "var", {"TOOLOO_LOG_LEVEL": "WARNING"}) as (bus, client):
        assert await client.publish([event(1)], timeout=None) == [1]
        if again:
            await bus.kill()
        with closing(sqlite3.connect(bus.log_file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            if again:
                await bus.start()
            publishing = asyncio.create_task(client.publish([event(2)], timeout=None))
            await until(waits)
            if not again:
                assert len(await read_log(client)) == 1
            assert not publishing.done()
            other.execute("ROLLBACK")
        assert await publishing == [2]
        assert await bus.stop() == 0
