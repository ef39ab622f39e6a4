"""Which version of the mesh this is."""

import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@cache
def version() -> str:
    """The version of the project; it is run from its checkout, so its project file is there."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
