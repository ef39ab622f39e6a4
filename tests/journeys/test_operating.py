"""A mesh run by the command alone: started in the background with proof, backed up, stopped, restored; refused where it must be."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.mesh import ROOT, Mesh

DONE, REFUSED, UNREACHABLE, FAULT = 0, 1, 3, 4
# a mesh starts in seconds; a busy machine may take many times that
_PATIENCE = 240
_ANSWERS = 120


class Operator:
    """Somebody with the command and a data folder that nobody has used yet."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh

    def call(self, *words: str, expected: int = DONE) -> Any:
        """What the command answers under --json, or the error that it ends with."""
        command = [sys.executable, "-m", "mesh.cli", *words, "--json"]
        done = subprocess.run(command, cwd=ROOT, env=self.mesh.env, capture_output=True, text=True, check=False, timeout=_PATIENCE)
        assert done.returncode == expected, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else json.loads(done.stderr)["error"]


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    """Somebody who leaves nothing running."""
    mesh = Mesh(tmp_path / "operated" / "var")
    operator = Operator(mesh)
    try:
        yield operator
    finally:
        if (mesh.folder / "mesh.lock").exists():
            operator.call("down")
        mesh.close()


def test_a_taken_port_stops_a_guaranteed_start_before_it_begins(operator: Operator) -> None:
    """The doctor says which setting moves it, exit code 4; nothing was started."""
    with socket.create_server(("127.0.0.1", operator.mesh.door_port)):
        error = operator.call("up", "--guaranteed", "--detach", expected=FAULT)
    assert "faults: 1" in error["message"]
    assert "TOOLOO_DOOR_PORT" in error["nextStep"]
    assert not (operator.mesh.folder / "mesh.lock").exists()


def test_a_mesh_is_run_by_the_command(operator: Operator, tmp_path: Path) -> None:
    """From start to restore; what was backed up is there again, what came later is put aside."""
    started = operator.call("up", "--detach", "--guaranteed")
    assert httpx.get(f"{operator.mesh.url}/health", timeout=_ANSWERS).json()["state"] == "SERVING_STATE_SERVING"
    assert str(started["pid"]) in operator.call("up", expected=REFUSED)["message"]
    ports = [each for each in operator.call("doctor", "--deep") if each["check"] in ("ports", "processes", "integrity")]
    assert {each["level"] for each in ports} == {"ok"}
    before = operator.call("backup", str(tmp_path / "backup.tar.gz"))
    assert before["headPosition"] > 0
    body = {"name": "after_the_backup", "value": 1}
    httpx.post(f"{operator.mesh.url}/api/v1/analytics/log", json=body, timeout=_ANSWERS).raise_for_status()
    assert "tooloo down" in operator.call("restore", str(tmp_path / "backup.tar.gz"), expected=REFUSED)["nextStep"]
    assert operator.call("down")["stopped"]
    assert not operator.call("down")["stopped"]
    assert "--force" in operator.call("restore", str(tmp_path / "backup.tar.gz"), expected=REFUSED)["nextStep"]
    assert "no backup" in operator.call("restore", str(tmp_path), "--force", expected=FAULT)["message"]
    restored = operator.call("restore", str(tmp_path / "backup.tar.gz"), "--force")
    assert restored["headPosition"] == before["headPosition"]
    assert (Path(restored["replaced"]) / "bus" / "log.db").exists()
    operator.call("up", "--detach")
    logged = {"filter.types": "metric.logged"}
    events = httpx.get(f"{operator.mesh.url}/api/v1/events", params=logged, timeout=_ANSWERS).json()["events"]
    assert not [each for each in events if each["data"]["name"] == "after_the_backup"]


def test_a_bus_on_jetstream_is_not_backed_up_halfway(operator: Operator, tmp_path: Path) -> None:
    """Its log is elsewhere; the refusal says what to do instead."""
    operator.mesh.env["TOOLOO_BUS_WAY"] = "jetstream"
    try:
        error = operator.call("backup", str(tmp_path / "backup"), expected=2)
        assert "nats stream restore" in operator.call("restore", str(tmp_path), expected=2)["nextStep"]
    finally:
        del operator.mesh.env["TOOLOO_BUS_WAY"]
    assert "nats stream backup" in error["nextStep"]
    assert not (tmp_path / "backup").exists()


def test_a_mesh_that_does_not_start_says_why(operator: Operator) -> None:
    """In the background too; a process that is gone leaves nothing that stands in the way of the next start."""
    operator.mesh.env["TOOLOO_HEALTH_INTERVAL"] = "soon"
    try:
        error = operator.call("up", "--detach", expected=2)
        assert "TOOLOO_HEALTH_INTERVAL" in error["message"]
    finally:
        del operator.mesh.env["TOOLOO_HEALTH_INTERVAL"]
    operator.mesh.env |= {"TOOLOO_LEARNING_TIME_ZONE": "Nowhere/Town", "TOOLOO_BOOT_ATTEMPTS": "1"}
    try:
        error = operator.call("up", "--detach", expected=UNREACHABLE)
        assert "Nowhere/Town" in error["message"]
    finally:
        del operator.mesh.env["TOOLOO_LEARNING_TIME_ZONE"], operator.mesh.env["TOOLOO_BOOT_ATTEMPTS"]


@pytest.mark.parametrize("address", ["0.0.0.0", "::1"])  # noqa: S104 - it is what is tested
def test_a_mesh_that_listens_elsewhere_reaches_itself(operator: Operator, address: str) -> None:
    """Under one host name that is not this machine's, as behind a proxy: the command and a run's calls get through nevertheless."""
    if address == "::1" and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    operator.mesh.env |= {"TOOLOO_LISTEN_ADDRESS": address, "TOOLOO_DOOR_HOSTS": "mesh.example.com"}
    operator.call("up", "--detach")
    assert {row["state"] for row in operator.call("status")} == {"serving"}
    dag = {"nodes": [{"id": "look", "call": "tooloo.learning.v1.LearningService/ListLearners"}]}
    ran = operator.call("call", "ExecuteDag", json.dumps({"wait": "10s", "dag": dag}))
    assert ran["state"] == "RUN_STATE_SUCCEEDED", ran
    here = f"http://{'[::1]' if ':' in address else 'localhost'}:{operator.mesh.door_port}/health"
    assert httpx.get(here, timeout=_ANSWERS).status_code == httpx.codes.OK
    assert httpx.get(here, headers={"host": "mesh.example.com"}, timeout=_ANSWERS).status_code == httpx.codes.OK
    stranger = httpx.get(here, headers={"host": "evil.example"}, timeout=_ANSWERS)
    assert stranger.status_code == httpx.codes.MISDIRECTED_REQUEST


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
