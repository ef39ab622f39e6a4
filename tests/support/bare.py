"""A bare environment with nothing in it but the package `tooloo-api`: what another tool has that calls us."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.support.mesh import ROOT


class BareEnvironment:
    """An environment elsewhere, with the contracts' wheel installed as another tool would."""

    def __init__(self, folder: Path) -> None:
        # a copy, because building leaves folders behind
        ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
        shutil.copytree(ROOT / "proto", folder / "proto", ignore=ignored)
        wheel = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
        run(*wheel, "-w", str(folder), str(folder / "proto"))
        self.folder = folder / "elsewhere"
        venv.create(self.folder, with_pip=False)
        self._python = str(self.folder / "bin" / "python")
        built = next(folder.glob("tooloo_api-*.whl"))
        install = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", self._python, str(built))
        try:
            # what it needs is kept from the installation of this environment, which asks nobody
            run(*install, "--offline")
        except AssertionError:
            run(*install)

    def __call__(self, program: str, *arguments: str) -> str:
        """Runs a program there, with nothing of this checkout in its path; gives what it printed."""
        file = self.folder / "caller.py"
        file.write_text(program)
        return run(self._python, "-P", str(file), *arguments)


def run(*command: str) -> str:
    """Runs a command to its end; AssertionError with its output when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout
