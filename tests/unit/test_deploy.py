"""The units of systemd and the pages about running the mesh name only what there is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.reference import sections

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())
PAGES = [ROOT / "docs" / "how-to" / name for name in ("run-in-production.md", "back-up-and-restore.md")]
# prefixes of several settings
GROUPS = {"TOOLOO_BUS_NATS_"}


@pytest.mark.parametrize("path", [*UNITS, *PAGES], ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    """A misspelt one would change nothing, silently."""
    known = {row.env for section in sections() for row in section.documented()} | GROUPS
    named = set(re.findall(r"TOOLOO_[A-Z_]+", path.read_text()))
    assert named <= known, named - known


def test_every_command_of_the_pages_exists() -> None:
    """Each word after `tooloo` is a command or a service, each module after `python -m` is one."""
    text = "\n".join(page.read_text() for page in PAGES)
    commands = {path.stem for path in (ROOT / "mesh" / "cli" / "commands").glob("*.py")}
    named = set(re.findall(r"(?:`|\$ |^|sh -c '.*|FILE |/rehearsal )tooloo ([a-z]+)", text, re.MULTILINE))
    assert {"backup", "restore", "down", "doctor"} <= named
    assert named <= commands, named - commands


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze comes with systemd")
def test_systemd_finds_the_units_right(tmp_path: Path) -> None:
    """As they are, but for where the checkout is: systemd wants to see the programs."""
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/tooloo/.venv/bin/python", sys.executable))
    names = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
