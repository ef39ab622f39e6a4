"""The README's calls are run as they stand there, and their answers are what it says."""

import json
import os
import re
import subprocess
from functools import partial

import pytest

from tests.support import shown
from tests.support.mesh import ROOT, Mesh

README = (ROOT / "README.md").read_text()


def test_the_readme_shows_at_least_ten_calls() -> None:
    """Reading none would prove nothing."""
    assert len(shown.answers(README)) >= 10


def test_every_call_of_the_readme_answers_as_it_says(mesh: Mesh) -> None:
    """In order, through a shell, as a newcomer pastes them; an answer's ids become $SESSION_ID and so on."""
    env = dict(os.environ)
    for command, expected in shown.answers(README):
        ported = command.replace("localhost:3000", f"127.0.0.1:{mesh.door_port}")
        answer = json.loads(shown.answered(json.dumps(expected), partial(_shell, ported, env), command))
        env |= {_variable(key): value for key, value in answer.items() if key.endswith("Id") and isinstance(value, str)}


def _shell(command: str, env: dict[str, str]) -> str:
    return subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, check=True, timeout=120).stdout


def _variable(key: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", key).upper()


def test_the_commands_of_the_readme_exist() -> None:
    """Every make target that it names is one."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert named <= targets, named - targets


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_the_links_of_the_readme_lead_somewhere(link: str) -> None:
    """No link to a file that is not there."""
    assert (ROOT / link).exists()
