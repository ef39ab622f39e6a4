"""A bare environment with nothing in it but packages of ours: what another tool has that uses us."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.support.mesh import ROOT

# the packages, and what of the checkout each is made from
CONTRACTS = ("proto", ("proto",))
BUS = ("deploy/bus", ("deploy/bus", "bus", "mesh"))


class BareEnvironment:
    """An environment elsewhere, with the wheels of packages installed as another tool would."""

    def __init__(self, folder: Path, *packages: tuple[str, tuple[str, ...]]) -> None:
        # a copy, because building leaves folders behind
        ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
        sources = folder / "sources"
        for place in {place for _, places in packages for place in places}:
            shutil.copytree(ROOT / place, sources / place, ignore=ignored)
        wheel = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder))
        run(*wheel, *(str(sources / package) for package, _ in packages))
        self.folder = folder / "elsewhere"
        venv.create(self.folder, with_pip=False)
        self.python = str(self.folder / "bin" / "python")
        built = map(str, folder.glob("*.whl"))
        install = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", self.python, *built)
        try:
            # what it needs is kept from the installation of this environment, which asks nobody
            run(*install, "--offline")
        except AssertionError:
            run(*install)

    def __call__(self, program: str, *arguments: str) -> str:
        """Runs a program there, with nothing of this checkout in its path; gives what it printed."""
        file = self.folder / "caller.py"
        file.write_text(program)
        return run(self.python, "-P", str(file), *arguments)


def run(*command: str) -> str:
    """Runs a command to its end; AssertionError with its output when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout
