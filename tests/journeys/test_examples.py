"""Every example runs as its docstring says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mesh import ROOT, Mesh

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TELLS = {
    "training.py": "mastery of algorithms",
    "follow_events.py": "service.started",
    "fill.py": "is filled (seed 1)",
    "bus_in_process.py": "dead letter users/eve because eve has no address",
}
# what an example takes besides the address of the mesh; None: it needs no mesh
ARGUMENTS = {"follow_events.py": ["5"], "bus_in_process.py": None}


def test_every_example_is_expected() -> None:
    """A new example says here what it must print."""
    assert {path.name for path in EXAMPLES} == set(TELLS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(mesh: Mesh, example: Path) -> None:
    """It ends by itself, in seconds, and prints what it is about."""
    more = ARGUMENTS.get(example.name, [])
    arguments = [] if more is None else [mesh.target, *more]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "build" / "api")}
    done = subprocess.run(
        [sys.executable, str(example), *arguments], env=env, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert TELLS[example.name] in done.stdout
