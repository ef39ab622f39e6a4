"""The head that is told and what is read fit together, also while a commit is on its way from the writer's thread to the loop."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from bus.filters import Filter
from bus.log import Log
from bus.settings import BusSettings
from tests.integration.bus_bench import event


async def test_nothing_beyond_the_head_is_read(tmp_path: Path) -> None:
    """A reader's thread sees a commit of the writer's thread before the loop is told of it; it is not given out before."""
    log = await Log.open(tmp_path / "log.db", BusSettings(recent_bytes=1))
    try:
        await log.publish([event(1)])
        await log.publish([event(2)])
        # the moment between the commit in the writer's thread and its arrival in the loop
        log.head = 1
        for wanted in (None, log.wanted_types(Filter((event(1).type,)))):
            assert (await log.read(0, wanted)).scanned == log.head
    finally:
        await log.close()


async def test_no_time_leads_beyond_the_head(tmp_path: Path) -> None:
    """Or who reads or follows from a time just then would be told that it begins past the end."""
    log = await Log.open(tmp_path / "log.db", BusSettings())
    try:
        await log.publish([event(1)])
        await log.publish([event(2)])
        log.head = 1
        assert await log.position_before(datetime.now(UTC) + timedelta(hours=1)) == log.head
    finally:
        await log.close()
