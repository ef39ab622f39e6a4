"""What the processes do is told in order, and a store that can take nothing for a while ends nothing."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from tooloo.system.v1 import system_events_pb2 as events

from gateway.lifecycle import Lifecycle
from mesh import testing
from mesh.child import Child, Program, State
from mesh.host import Host, Parts
from tests.support.mesh import eventually


async def never() -> bool:
    """The probe of a process that nobody probes."""
    return False


def _change(state: State) -> Child:
    """A process that has just come into a state."""
    changed = SimpleNamespace(program=Program("sample-0", "sample", (), never), name="sample-0", state=state)
    return cast(Child, SimpleNamespace(**vars(changed), pid=1, restarts=0, last_exit="signal 9"))


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
