"""The supervisor: what dies is started again, what does not start is explained, a taken port is named."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from mesh.child import BootError, Child, Program, State
from mesh.clock import SystemClock
from mesh.ports import taken
from mesh.settings import MeshSettings
from tests.support.mesh import eventually

SLEEPER = (sys.executable, "-c", "import time; print('here'); time.sleep(600)")


def _child(tmp_path: Path, command: tuple[str, ...], seen: list[State] | None = None, *, serves: bool = True) -> Child:
    settings = MeshSettings.load(
        {"TOOLOO_DATA_FOLDER": str(tmp_path), "TOOLOO_RESTART_BACKOFF": "10ms", "TOOLOO_BOOT_TIMEOUT": "20s"}
    )
    children: list[Child] = []

    async def probe() -> bool:
        return serves and bool(children[0].pid)

    def changed(child: Child) -> None:
        if seen is not None:
            seen.append(child.state)

    children.append(Child(Program("sample-0", "sample", command, probe), settings, SystemClock(), changed))
    return children[0]


async def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    """SIGKILL is seen, said, counted, and a new process serves."""
    seen: list[State] = []
    child = _child(tmp_path, SLEEPER, seen)
    child.start()
    await child.ready()
    first = child.pid
    os.kill(first, signal.SIGKILL)

    async def pid() -> int:
        return child.pid if child.state is State.SERVING else 0

    assert await eventually(pid, lambda now: now not in {0, first}) != first
    assert (child.restarts, child.last_exit) == (1, "signal 9")
    await child.stop()
    assert seen == [State.STARTING, State.SERVING, State.CRASHED, State.STARTING, State.SERVING, State.STOPPED]
    assert child.pid == 0


async def test_a_process_that_never_serves_is_explained(tmp_path: Path) -> None:
    """The start is given up after a few deaths, with the end of the process's log."""
    child = _child(tmp_path, (sys.executable, "-c", "raise SystemExit('the reason stands here')"), serves=False)
    child.start()
    with pytest.raises(BootError, match="the reason stands here"):
        await child.ready()
    await child.stop()


async def test_a_frozen_process_can_be_stopped(tmp_path: Path) -> None:
    """A process under SIGSTOP hears SIGTERM only when it is continued."""
    child = _child(tmp_path, SLEEPER)
    child.start()
    await child.ready()
    os.kill(child.pid, signal.SIGSTOP)
    async with asyncio.timeout(8):
        await child.stop()
    assert child.state is State.STOPPED


def test_a_taken_port_is_named_with_its_holder() -> None:
    """The one who listens is found by name and process id."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        found = taken("127.0.0.1", [port])
    assert [each.port for each in found] == [port]
    assert str(os.getpid()) in found[0].holder
