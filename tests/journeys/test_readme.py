"""The README's calls are run as they stand there, and their answers are what it says."""

import json
import os
import re
import subprocess
from typing import Any

import pytest

from tests.support.mesh import ROOT, Mesh

README = (ROOT / "README.md").read_text()
ANSWER = re.compile(r"^\$ (?P<command>curl .*)\n(?P<answer>\{.*\})$", re.MULTILINE)
WHATEVER = "…"


def _calls() -> list[tuple[str, Any]]:
    return [(match["command"], json.loads(match["answer"])) for match in ANSWER.finditer(README)]


def test_the_readme_shows_at_least_ten_calls() -> None:
    """Reading none would prove nothing."""
    assert len(_calls()) >= 10


def test_every_call_of_the_readme_answers_as_it_says(mesh: Mesh) -> None:
    """In order, through a shell, as a newcomer pastes them; an answer's ids become $SESSION_ID and so on."""
    env = dict(os.environ)
    for command, expected in _calls():
        ported = command.replace("localhost:3000", f"127.0.0.1:{mesh.door_port}")
        done = subprocess.run(["bash", "-c", ported], env=env, capture_output=True, text=True, check=True, timeout=60)
        answer = json.loads(done.stdout)
        _matches(expected, answer, command)
        env |= {_variable(key): value for key, value in answer.items() if key.endswith("Id") and isinstance(value, str)}


def _variable(key: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", key).upper()


def _matches(expected: Any, got: Any, where: str) -> None:
    """What the README shows stands in the answer; an ellipsis stands for any value that is there."""
    if expected == WHATEVER:
        assert got not in (None, "", [], {}), where
    elif isinstance(expected, dict):
        for key, value in expected.items():
            assert key in got, f"{where}: no {key} in {got}"
            _matches(value, got[key], f"{where} → {key}")
    elif isinstance(expected, list):
        for wanted, item in zip(expected, got, strict=False):
            _matches(wanted, item, where)
    else:
        assert got == expected, where


def test_the_commands_of_the_readme_exist() -> None:
    """Every make target that it names is one."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert named <= targets, named - targets


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_the_links_of_the_readme_lead_somewhere(link: str) -> None:
    """No link to a file that is not there."""
    assert (ROOT / link).exists()
