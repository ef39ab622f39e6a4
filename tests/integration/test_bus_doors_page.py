"""docs/bus-doors.md is run as it stands, through a shell, and its answers are what it says."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.bus_door import bus_door

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "bus-doors.md").read_text()
STEPS = re.findall(r"^\$ (.+)\n(.+)$", PAGE, re.MULTILINE)
WHATEVER = "…"


def shell(command: str, folder: Path) -> str:
    """What a command says, on both of its channels, with our Python first in the path."""
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
    return (done.stdout + done.stderr).strip()


def check(expected: Any, got: Any, where: str) -> None:
    """What the page shows stands in the answer, whatever else stands there."""
    if expected == WHATEVER:
        assert got, where
    elif isinstance(expected, dict):
        for key, value in expected.items():
            assert key in got, f"{where}: no {key} in {got}"
            check(value, got[key], f"{where} → {key}")
    elif isinstance(expected, list):
        assert len(expected) == len(got), f"{where}: {got}"
        for wanted, item in zip(expected, got, strict=True):
            check(wanted, item, where)
    else:
        assert got == expected, where


async def test_every_step_answers_as_the_page_says(tmp_path: Path) -> None:
    """In order, from an empty bus on."""
    assert len(STEPS) >= 9
    async with bus_door(tmp_path) as door:
        for command, expected in STEPS:
            ported = command.replace("localhost:3000", f"127.0.0.1:{door.rest.base_url.port}")
            said = await asyncio.to_thread(shell, ported, tmp_path)
            if expected[0] in "[{":
                check(json.loads(expected), json.loads(said), command)
            else:
                assert said == expected, command


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`?(tooloo_bus_\w+)", PAGE))))
async def test_every_metric_of_the_page_exists(tmp_path: Path, name: str) -> None:
    """Also those that it names in passing."""
    async with bus_door(tmp_path) as door:
        assert f"# TYPE {name} " in (await door.rest.get("/api/v1/events/metrics")).text
