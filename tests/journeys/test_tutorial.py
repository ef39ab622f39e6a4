"""The tutorial is followed as it stands: its files are those of examples/, its commands print what it says."""

import os
import re
import subprocess
import sys

from tests.support import shown
from tests.support.mesh import ROOT, Mesh

PAGE = (ROOT / "docs" / "tutorial" / "assistant.md").read_text()


def _mine(text: str) -> str:
    """The page's users under names of their own: what they spend must not stand against other tests of this mesh."""
    return re.sub(r"\b(ada|bob)\b", r"\1-tutorial", text)


def test_the_files_of_the_tutorial_are_those_of_the_example() -> None:
    """Letter by letter, and none is missing."""
    files = shown.files(PAGE)
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "examples" / "assistant").glob("*.py")}
    assert set(files) == there
    for name, text in files.items():
        assert text == (ROOT / name).read_text(), name


def test_the_tutorial_works_as_it_stands(mesh: Mesh) -> None:
    """Understood, asked, trained, scheduled, heard, refused by the budget: in the order of the page."""
    steps = list(shown.dialogues(PAGE))
    assert len(steps) >= 11
    env = os.environ | {"TOOLOO_DOOR": mesh.target, "PYTHONPATH": str(ROOT / "build" / "api")}
    for command, expected in steps:
        here = _mine(command).replace(".venv/bin/python", sys.executable).replace("localhost:3000", mesh.target)
        done = subprocess.run(["bash", "-c", here], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)
        assert not done.returncode, f"{command}\n{done.stderr}"
        shown.prints(_mine(expected), done.stdout, command)
