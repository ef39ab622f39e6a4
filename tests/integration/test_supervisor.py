"""The supervisor: what dies is started again, what does not start is explained, a taken port is named."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mesh import errors, supervisor
from mesh.catalogue import ServiceSpec
from mesh.child import BootError, Child, Program, State
from mesh.clock import SystemClock
from mesh.ports import taken
from mesh.settings import MeshSettings, SettingError
from mesh.supervisor import PortTakenError, Supervisor
from tests.support.mesh import eventually

SLEEPER = (sys.executable, "-c", "import time; print('here'); time.sleep(600)")


def _child(tmp_path: Path, command: tuple[str, ...], seen: list[State] | None = None, *, serves: bool = True) -> Child:
    settings = MeshSettings.load(
        {
            "TOOLOO_DATA_FOLDER": str(tmp_path),
            "TOOLOO_RESTART_BACKOFF": "10ms",
            "TOOLOO_BOOT_TIMEOUT": "60s",
            "TOOLOO_DRAIN_GRACE": "1h",
        }
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


async def test_what_was_wrong_before_explains_nothing(tmp_path: Path) -> None:
    """The log goes on from run to run; what does not start is explained by what it has said since."""
    log = tmp_path / "log" / "sample-0.jsonl"
    log.parent.mkdir()
    log.write_text("a reason of yesterday\n")
    child = _child(tmp_path, (sys.executable, "-c", "raise SystemExit('the reason stands here')"), serves=False)
    child.start()
    with pytest.raises(BootError) as told:
        await child.ready()
    await child.stop()
    assert "the reason stands here" in str(told.value)
    assert "yesterday" not in str(told.value)


async def test_a_frozen_process_can_be_stopped(tmp_path: Path) -> None:
    """A process under SIGSTOP hears SIGTERM only when it is continued; it need not be killed."""
    child = _child(tmp_path, SLEEPER)
    child.start()
    await child.ready()
    os.kill(child.pid, signal.SIGSTOP)
    async with asyncio.timeout(60):
        await child.stop()
    assert child.state is State.STOPPED


def test_a_taken_port_is_named_with_its_holder() -> None:
    """The one who listens is found by name and process id."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        found = taken("127.0.0.1", [port])
    assert [each.port for each in found] == [port]
    assert str(os.getpid()) in found[0].holder


def test_two_settings_with_the_same_port_are_named(tmp_path: Path) -> None:
    """Before anything is started."""
    settings = MeshSettings.load({"TOOLOO_DATA_FOLDER": str(tmp_path), "TOOLOO_ADMIN_PORT": "3999", "TOOLOO_DOOR_PORT": "3999"})

    async def probe() -> bool:
        return True

    door = Program("envoy", "envoy", SLEEPER, probe)
    with pytest.raises(PortTakenError, match="TOOLOO_DOOR_PORT and TOOLOO_ADMIN_PORT are both 3999"):
        Supervisor([], settings, door, lambda service, sockets: None).check_ports()


@pytest.mark.parametrize(("address", "told"), [("localhost", "is no IP address"), ("192.0.2.1", "nobody can listen")])
def test_an_address_that_is_not_ours_is_no_taken_port(address: str, told: str) -> None:
    """It is the setting of the address that is named, and no process that holds the port elsewhere."""
    with pytest.raises(SettingError, match=f"TOOLOO_LISTEN_ADDRESS.*{told}"):
        taken(address, [3000])


async def test_what_could_not_be_started_is_started_when_it_can_be(tmp_path: Path) -> None:
    """No room for its log, as on a full disk, is a death like any other: the next attempt is made, and it counts."""
    child = _child(tmp_path, SLEEPER)
    in_the_way = tmp_path / "log"
    in_the_way.touch()
    child.start()
    with pytest.raises(BootError, match="could not be started"):
        await child.ready()
    in_the_way.unlink()

    async def state() -> State:
        return child.state

    await eventually(state, lambda now: now is State.SERVING)
    await child.stop()
    assert child.restarts >= 3


# answers health checks on the socket of its replica; the one whose number is named on the command line ends at once
SAMPLE = """
import asyncio, os, sys
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

async def main():
    if os.environ["TOOLOO_REPLICA"] == os.environ["ENDS"]:
        raise SystemExit("this one does not serve")
    server, servicer = grpc.aio.server(), health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port("unix:" + os.environ["TOOLOO_SOCKET_FOLDER"] + "/sample-" + os.environ["TOOLOO_REPLICA"] + ".sock")
    await server.start()
    await server.wait_for_termination()

asyncio.run(main())
"""


class _Endpoints:
    """Takes what is written for the door; refuses it, as a full disk does, while `full`."""

    def __init__(self) -> None:
        self.full = False
        self.written: list[str] = []

    def write(self, service: str, sockets: Sequence[Path]) -> None:
        """The sockets that answer for the service from now on."""
        if self.full:
            raise OSError(28, "No space left on device")
        self.written = [socket.stem for socket in sockets]


def _supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoints: _Endpoints, ends: str = "") -> Supervisor:
    """Of one service, sample, which is the program above."""
    (tmp_path / "sample_service.py").write_text(SAMPLE)
    env = {"TOOLOO_DATA_FOLDER": str(tmp_path), "TOOLOO_SOCKET_FOLDER": str(tmp_path), "TOOLOO_RESTART_BACKOFF": "10ms"}
    for name, value in {**env, "PYTHONPATH": str(tmp_path), "ENDS": ends}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(supervisor, "_ENDPOINTS_APPLIED", 0.0)
    monkeypatch.setattr(supervisor, "_WRITTEN_AGAIN", 0.05)
    spec = ServiceSpec("sample", "Sample", 1, (), "sample_service")

    async def probe() -> bool:
        return False

    return Supervisor([spec], MeshSettings.load(env), Program("door", "door", (), probe), endpoints.write)


async def test_a_full_disk_ends_nobody_who_keeps_processes_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while the door's files cannot be written is started again, and the door learns of it afterwards."""
    endpoints = _Endpoints()
    running = _supervisor(tmp_path, monkeypatch, endpoints)
    await running.scale_service("sample", 2)
    first, second = running.replicas("sample")
    endpoints.full = True
    before = first.pid
    os.kill(before, signal.SIGKILL)

    async def pid() -> int:
        return first.pid if first.state is State.SERVING else 0

    await eventually(pid, lambda now: now not in {0, before})
    await second.stop()
    endpoints.full = False

    async def written() -> list[str]:
        return endpoints.written

    await eventually(written, lambda now: now == ["sample-0"])
    await running.stop()


async def test_replicas_that_were_started_for_nothing_are_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two fresh replicas does not serve: the restart is refused, and the service runs as it did."""
    endpoints = _Endpoints()
    running = _supervisor(tmp_path, monkeypatch, endpoints, ends="3")
    await running.scale_service("sample", 2)
    before = running.replicas("sample")
    with pytest.raises(errors.Refusal, match="sample-3 does not get ready"):
        await running.restart_service("sample")
    assert running.replicas("sample") == before
    assert endpoints.written == ["sample-0", "sample-1"]
    await running.stop()
