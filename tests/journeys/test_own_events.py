"""Somebody brings event types of their own: docs/how-to/own-events.md, step by step, through the door."""

import asyncio
import json
import os
import subprocess
import sys
from base64 import b64decode
from functools import partial
from pathlib import Path

import httpx

from tests.support import shown
from tests.support.mesh import ROOT, Mesh

PAGE = (ROOT / "docs" / "how-to" / "own-events.md").read_text()
_PATIENCE = 120


def _shell(command: str, folder: Path, door: str) -> str:
    """Runs a command of the page; this environment's Python stands for the one of `make dev`."""
    here = command.replace('"$TOOLOO/.venv/bin/python"', sys.executable).replace("localhost:3000", door)
    env = {**os.environ, "TOOLOO": str(ROOT), "TOOLOO_DOOR": door, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT / 'build' / 'api'}"}
    done = subprocess.run(["bash", "-c", here], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    assert not done.returncode, f"{here}\n{done.stderr}"
    return done.stdout


async def test_the_page_of_own_events_works_as_it_stands(tmp_path: Path) -> None:
    """A contract is compiled and brought; its events are published by stub and by JSON, and read as JSON through Envoy."""
    for name, text in shown.files(PAGE).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (compile_it, _), *steps = shown.steps(PAGE)
    assert len(steps) == 4
    mesh = Mesh(tmp_path / "var", {"TOOLOO_EXTRA_CONTRACTS": str(tmp_path / "shop.binpb")})
    _shell(compile_it, tmp_path, mesh.target)
    try:
        mesh.start()
        for command, expected in steps:
            ask = partial(_shell, command, tmp_path, mesh.target)
            if expected is None:
                ask()
            else:
                shown.answered(json.dumps(expected), ask, command)
        mesh.stop()
        mesh.env.pop("TOOLOO_EXTRA_CONTRACTS")
        mesh.start()
        await _events_without_their_contract(mesh)
    finally:
        mesh.close()


async def _events_without_their_contract(mesh: Mesh) -> None:
    """What is in the log stays there and is delivered; the stream shows bytes where it cannot show fields, and ends for nobody."""
    async with asyncio.timeout(_PATIENCE):
        # position 1 is something that the mesh told of itself
        stream = mesh.follow("order.*", after=1)
        shown_as = [(await anext(stream))["data"] for _ in range(2)]
        await stream.aclose()
    assert [each["@type"] for each in shown_as] == ["type.googleapis.com/shop.v1.OrderPlaced"] * 2
    assert b64decode(shown_as[0]["base64"]) == b"\n\x0217\x10\xcf\x0f"
    async with mesh.rest() as client:
        answer = await client.get("/api/v1/events", params={"filter.types": "order.*"})
    # Envoy itself writes that JSON, and has no other form for what it does not know
    assert answer.status_code == httpx.codes.BAD_GATEWAY


def test_a_set_that_cannot_be_added_stops_the_start_with_the_reason(tmp_path: Path) -> None:
    """One message on the terminal, no traceback, exit code 1, before any process is started."""
    missing = tmp_path / "nobody.binpb"
    env = {**os.environ, "TOOLOO_DATA_FOLDER": str(tmp_path / "var"), "TOOLOO_EXTRA_CONTRACTS": str(missing)}
    command = [sys.executable, "-m", "gateway"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"TOOLOO_EXTRA_CONTRACTS: {missing} cannot be read (No such file or directory); make it with `protoc"
    )
    assert "Traceback" not in done.stderr
