"""A copy of this checkout as a clone would give it, in which a test may write what a reader of the documentation writes."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.mesh import ROOT

_PATIENCE = 240


def copy_to(folder: Path) -> None:
    """Copies the files that git knows or would take; the environments are this checkout's."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        # what was deleted and not yet committed is listed too
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for found in ROOT.glob(".venv*"):
        _lend(found, folder / found.name)


def _lend(environment: Path, to: Path) -> None:
    """Links this environment, all but its command: the copy's build writes its own, which must not land here."""
    (to / "bin").mkdir(parents=True)
    for part in [*environment.iterdir(), *(environment / "bin").iterdir()]:
        if part.name not in ("bin", "tooloo"):
            (to / part.relative_to(environment)).symlink_to(part)


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Writes files that a page shows."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def environment(folder: Path) -> dict[str, str]:
    """The environment of a process that runs from the copy: its own code and stubs come before this checkout's.

    The classifier that was trained for this checkout serves the copy too.
    """
    models = ROOT / "build" / "models"
    own = f"{folder}{os.pathsep}{folder / 'build' / 'api'}"
    return os.environ | {"PYTHONPATH": own, "TOOLOO_ORCHESTRATION_MODEL_FOLDER": str(models)}


def shell(folder: Path, command: str, **env: str) -> str:
    """What a command says; AssertionError with everything that it said when it fails."""
    done = subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env=environment(folder) | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )
    assert not done.returncode, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def apply(folder: Path, patch: str) -> None:
    """Applies a unified diff to the copy; its lines must stand where it says."""
    done = subprocess.run(
        ["git", "apply", "--unidiff-zero", "--whitespace=nowarn", "-"],
        cwd=folder,
        input=patch,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, f"{done.stderr}\n{patch}"
