"""What the processes do is told in order, and a store that can take nothing for a while ends nothing."""

import asyncio
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from tooloo.system.v1 import system_events_pb2 as events
from tooloo.system.v1 import system_service_pb2  # noqa: F401 - the contract of the service that is run here

from gateway.last_seen import FILE, LastSeen
from gateway.lifecycle import Lifecycle
from mesh import testing
from mesh.child import Child, Program, State
from mesh.host import Host, Parts
from tests.support.mesh import eventually


async def never() -> bool:
    """The probe of a process that nobody probes."""
    return False


def _change(state: State, name: str = "sample-0") -> Child:
    """A process that has just come into a state."""
    changed = SimpleNamespace(program=Program(name, name.partition("-")[0], (), never), name=name, state=state)
    return cast(Child, SimpleNamespace(**vars(changed), pid=1, restarts=0, last_exit="signal 9"))


async def test_an_end_that_nobody_could_tell_is_told_at_the_next_start(tmp_path: Path) -> None:
    """After a power cut, or a kill of all: unhealthy from when they were last seen, so that the time since counts as down."""
    seen, now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC), datetime(2026, 11, 22, 20, 0, tzinfo=UTC)
    before = Lifecycle(LastSeen(tmp_path, timedelta(seconds=1)))
    for name, states in {
        "a-0": (State.SERVING,),
        "b-0": (State.SERVING, State.CRASHED),
        "c-0": (State.SERVING, State.STOPPED),
    }.items():
        for state in states:
            before.process_changed(_change(state, name))
    os.utime(tmp_path / FILE, (seen.timestamp(), seen.timestamp()))
    after = Lifecycle(LastSeen(tmp_path, timedelta(seconds=1)))
    after.take_up(now)
    after.process_changed(_change(State.SERVING, "a-0"))
    after.process_changed(_change(State.STOPPED, "a-0"))
    Lifecycle(LastSeen(tmp_path, timedelta(seconds=1))).take_up(now)

    async def build(host: Host) -> Parts:
        return Parts([])

    async with testing.running("system", build, tmp_path) as running:
        await after.flush(running.host)
        told = await running.told()
    kinds = [(event.data.TypeName().rpartition(".")[2], event.subject) for event in told]
    assert kinds == [(kind, "processes/a-0") for kind in ("ServiceUnhealthy", "ServiceStopped", "ServiceStarted", "ServiceStopped")]
    assert [told[0].time.ToDatetime(UTC) == seen, told[1].time.ToDatetime(UTC) == seen] == [True, False]
    nothing_left = Lifecycle(LastSeen(tmp_path, timedelta(seconds=1)))
    nothing_left.take_up(now)
    async with testing.running("system", build, tmp_path) as running:
        await nothing_left.flush(running.host)
        assert len(await running.told()) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '"x"'])
def test_a_note_that_is_none_is_passed_over(tmp_path: Path, content: str) -> None:
    """As a power cut may leave it."""
    (tmp_path / FILE).write_text(content)
    assert LastSeen(tmp_path, timedelta(seconds=1)).left_behind()[0] == {}


async def test_processes_are_seen_again_and_again(tmp_path: Path) -> None:
    """As long as one serves; a manager that has started none yet leaves the note of the one before as it is."""
    last_seen = LastSeen(tmp_path, timedelta(milliseconds=5))
    (tmp_path / FILE).write_text('{"a-0": "a"}')
    os.utime(tmp_path / FILE, (1, 1))
    keeping = asyncio.create_task(last_seen.keep())
    await asyncio.sleep(0.05)
    assert last_seen.left_behind()[1].timestamp() == 1
    last_seen.note("b-0", "b", serves=True)
    os.utime(tmp_path / FILE, (1, 1))

    async def seen() -> float:
        return last_seen.left_behind()[1].timestamp()

    await eventually(seen, lambda time: time > 1)
    keeping.cancel()
    assert last_seen.left_behind()[0] == {"b-0": "b"}


async def test_a_store_that_takes_nothing_now_is_told_later(tmp_path: Path) -> None:
    """While another process holds the write lock, or the disk is full, the loop goes on; then all is told, in order, once."""
    lifecycle = Lifecycle()

    async def build(host: Host) -> Parts:
        return Parts([], background=[lambda: lifecycle.run(host)])

    async with testing.running("system", build, tmp_path, settings={"TOOLOO_BUSY_TIMEOUT": "1ms"}) as running:
        with closing(sqlite3.connect(running.host.db.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for state in (State.CRASHED, State.STARTING, State.SERVING):
                lifecycle.process_changed(_change(state))
            # some attempts are made in vain
            await asyncio.sleep(0.3)
            assert await running.told() == []
            other.execute("ROLLBACK")
        told = await eventually(running.told, lambda now: len(now) == 2)
        await lifecycle.flush(running.host)
        assert [event.data.TypeName() for event in told] == [
            events.ServiceUnhealthy.DESCRIPTOR.full_name,
            events.ServiceStarted.DESCRIPTOR.full_name,
        ]
        assert await running.told() == told
