"""Builds the stubs into the wheel of `tooloo-api`, so that the wheel never holds older ones than the contracts beside it."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


class BuildStubs(build_py):
    """Generates the packages `tooloo` and `buf.validate` instead of copying them from the source tree."""

    def run(self) -> None:
        """Writes the stubs into the build folder, from where the wheel is made."""
        from build_stubs import build

        build(Path(self.build_lib))


setup(cmdclass={"build_py": BuildStubs})
