"""What the pages of data are tested on: the shared mesh, filled by the example as a person would fill it."""

import asyncio
import os
import sys
from typing import Any

import httpx

from tests.support.mesh import ROOT, Mesh

_filled: set[str] = set()


async def fill(mesh: Mesh) -> None:
    """Runs examples/fill.py once a mesh; its request ids make a second time harmless anyway."""
    if mesh.target in _filled:
        return
    program = [sys.executable, str(ROOT / "examples" / "fill.py"), mesh.target]
    running = await asyncio.create_subprocess_exec(
        *program, env={**os.environ}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await running.communicate()
    assert running.returncode == 0, output.decode()
    _filled.add(mesh.target)


async def call(mesh: Mesh, verb: str, path: str, **options: Any) -> Any:
    """The answer of a REST call; it must succeed."""
    async with httpx.AsyncClient(base_url=mesh.url, timeout=30) as client:
        return (await client.request(verb, f"/api/v1/{path}", **options)).raise_for_status().json()
