"""The move of the log to JetStream as docs/how-to/run-in-production.md tells it, command by command, to a real nats-server."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.peers.nats import running_nats
from tests.support.mesh import ROOT, Mesh

PAGE = (ROOT / "docs" / "how-to" / "run-in-production.md").read_text()
COMMANDS = re.search(r"## Move the log to JetStream.*?```sh\n(.*?)```", PAGE, re.DOTALL)


class Host:
    """A machine that has the page's folders elsewhere, and no systemd: the units' programs are started by hand."""

    def __init__(self, mesh: Mesh, backups: Path, nats: dict[str, str]) -> None:
        self.mesh = mesh
        self._backups = backups
        self._nats = nats

    def run(self, line: str) -> str:
        """Does what a line of the page says; gives what it says."""
        words = shlex.split(line, comments=True)
        if words[0] == "sudoedit":
            self.mesh.env |= self._nats
        elif words[:3] == ["sudo", "systemctl", "start"]:
            self.mesh.start()
        elif words[:3] == ["sudo", "systemctl", "stop"]:
            self.mesh.stop()
        elif words[0] != "sudo":
            return self._command(words)
        return ""

    def _command(self, words: list[str]) -> str:
        programs = {"tooloo": [sys.executable, "-m", "mesh.cli"], ".venv/bin/python": [sys.executable]}
        places = {"localhost:3000": self.mesh.target, "/var/backups/tooloo": str(self._backups), "N": "0"}
        rest = [re.sub("|".join(rf"^{place}" for place in places), lambda found: places[found[0]], word) for word in words[1:]]
        done = subprocess.run(
            [*programs[words[0]], *rest], cwd=ROOT, env=self.mesh.env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def ask(self, path: str, **params: str) -> Any:
        """The answer of a call of the mesh."""
        return httpx.get(f"{self.mesh.url}/api/v1/{path}", params=params, timeout=120).raise_for_status().json()

    def settled(self) -> None:
        """Waits until no listener has anything before it."""
        for _ in range(600):
            standing = json.loads(self._command(["tooloo", "events", "lag", "--json"]))
            if standing and not any(each["backlog"] for each in standing):
                return
        raise AssertionError(f"not settled: {standing}")

    def counts(self) -> dict[str, str]:
        """How many events of each type analytics has counted, but for those that every start tells."""
        counted = self.ask("analytics/overview")["events"]
        return {each["type"]: each["totalCount"] for each in counted if not each["type"].startswith(("service.", "health."))}

    def told(self) -> list[str]:
        """What the log holds of trainings, in order."""
        read = json.loads(self._command(["tooloo", "events", "read", "--type", "training.*", "--json"]))
        return [each["id"] for each in read]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A mesh on SQLite, and a NATS beside it."""
    mesh = Mesh(tmp_path / "var")
    (tmp_path / "backups").mkdir()
    try:
        with running_nats(tmp_path / "nats") as peer:
            mesh.start()
            yield Host(mesh, tmp_path / "backups", peer.settings("tooloo"))
            mesh.stop()
    finally:
        mesh.close()


def test_the_log_moves_as_the_page_says(host: Host) -> None:
    """Every event is there again in its order, nothing is handled twice, and the services go on."""
    assert COMMANDS is not None
    train = {"userId": "moved", "focusArea": "python", "roundCount": 1}
    begun = httpx.post(f"{host.mesh.url}/api/v1/training/start", json=train, timeout=120).raise_for_status().json()
    feedback = {"userId": "moved", "sessionId": begun["sessionId"], "roundId": begun["roundId"], "score": 0.9}
    httpx.post(f"{host.mesh.url}/api/v1/coach/feedback", json=feedback, timeout=120).raise_for_status()
    host.settled()
    before = host.told()
    assert len(before) == 2
    counted = host.counts()
    assert counted["training.completed"] == "1"
    lines = COMMANDS[1].splitlines()
    said = {line: host.run(line) for line in lines}
    # whatever the mesh told of itself meanwhile
    assert " events" in next(out for line, out in said.items() if "--resume" in line)
    assert host.told() == before
    host.settled()
    assert host.counts() == counted
    badges = [each["badgeId"] for each in host.ask("badges/earned", userId="moved")["badges"]]
    assert badges == ["first-training"]
    assert "0 events are new" in host.run(next(line for line in lines if " import " in line))
