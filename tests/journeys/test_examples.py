"""Every example runs against a mesh, as its docstring says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mesh import ROOT, Mesh

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TELLS = {"training.py": "mastery of algorithms", "follow_events.py": "service.started"}


def test_every_example_is_expected() -> None:
    """A new example says here what it must print."""
    assert {path.name for path in EXAMPLES} == set(TELLS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(mesh: Mesh, example: Path) -> None:
    """It ends by itself, in seconds, and prints what it is about."""
    arguments = [mesh.target, "5"] if example.name == "follow_events.py" else [mesh.target]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "build" / "api")}
    done = subprocess.run(
        [sys.executable, str(example), *arguments], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert TELLS[example.name] in done.stdout
