"""Puts the wheel of `tooloo-bus` together: bus/, the part of mesh/ that it needs, and its C library, all inside of one package.

`bus` and `mesh` are names for a checkout, not for an environment that others share: here they are `tooloo_bus.bus` and
`tooloo_bus.mesh`, and their imports of each other are rewritten to say so.
"""

import ast
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
INSIDE = "tooloo_bus"
OURS = ("bus", "mesh")
LIBRARY = "libtooloo_bus.so"
_FROM = re.compile(rf"^(\s*from )({'|'.join(OURS)})(?=[.\s])", re.MULTILINE)
_IMPORT = re.compile(rf"^(\s*)import ({'|'.join(OURS)})(?=\s|$)", re.MULTILINE)


def needed() -> set[Path]:
    """The modules of bus/, and what they import of ours, directly or not."""
    found: set[Path] = set()
    waiting = list((CHECKOUT / "bus").rglob("*.py"))
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += imported(file)
    return found


def imported(file: Path) -> Iterator[Path]:
    """The files of our modules that one imports, and those of the packages that hold them."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] in OURS:
                for length in range(1, len(parts) + 1):
                    place = CHECKOUT.joinpath(*parts[:length])
                    yield from (each for each in (place.with_suffix(".py"), place / "__init__.py") if each.is_file())


def rewritten(source: str) -> str:
    """A module's source with our packages inside of the one that is installed."""
    return _IMPORT.sub(rf"\1from {INSIDE} import \2", _FROM.sub(rf"\1{INSIDE}.\2", source))


class BuildBus(build_py):
    """Beside the package itself: modules, schemas and the C library."""

    def run(self) -> None:
        """Writes all of it into the build folder, from where the wheel is made."""
        target = Path(self.build_lib) / INSIDE
        # what an earlier build left there may be no part of it any more
        shutil.rmtree(target, ignore_errors=True)
        super().run()
        for file in sorted(needed()):
            place = target / file.relative_to(CHECKOUT)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(rewritten(file.read_text()))
        for schema in (CHECKOUT / "bus" / "schema", CHECKOUT / "mesh" / "schema"):
            shutil.copytree(schema, target / schema.relative_to(CHECKOUT), ignore=shutil.ignore_patterns("__pycache__"))
        sources = sorted(map(str, (CHECKOUT / "bus" / "native").glob("*.c")))
        compiler = shlex.split(os.environ.get("CC", "cc"))
        # in a folder that is no package: it is no module of Python's
        place = target / "bus" / "native" / "lib"
        place.mkdir()
        command = [*compiler, "-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden"]
        subprocess.run([*command, "-o", str(place / LIBRARY), *sources], check=True)  # noqa: S603 - the compiler


class BusWheel(bdist_wheel):
    """A wheel for this machine's kind and any Python: the C library uses nothing of Python's."""

    def get_tag(self) -> tuple[str, str, str]:
        """(Python, ABI, platform)."""
        return "py3", "none", super().get_tag()[2]


class BusDistribution(Distribution):
    """Holds something that was compiled."""

    def has_ext_modules(self) -> bool:
        """So that its wheel is for one platform."""
        return True


setup(cmdclass={"build_py": BuildBus, "bdist_wheel": BusWheel}, distclass=BusDistribution)
