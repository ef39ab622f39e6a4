"""Replicas come and go under load: no call fails, and several processes on one file keep the promises that one keeps."""

import asyncio
from pathlib import Path

from tests.robustness.exact import ledger_is_exact, listeners_are_exact, log_is_exact
from tests.robustness.load import Load
from tests.support.mesh import Mesh, running_mesh

SEED = 20261122


async def test_scaling_and_restarting_lose_no_call(tmp_path: Path) -> None:
    """Provider 1 → 3 → 1 and a restart of analytics under load: each call is answered at once, each effect stands once."""
    with running_mesh(tmp_path / "var") as mesh:
        load = Load(mesh, SEED, "scaled")
        running = asyncio.create_task(load.run(callers=6))
        assert await _system(mesh, "provider/scale", {"replicas": 3}) == 3
        assert await _system(mesh, "analytics/restart", {}) == 1
        assert await _system(mesh, "provider/scale", {"replicas": 1}) == 1
        load.stop()
        await running
        assert not load.promised.unexpected
        assert load.promised.retried == 0
        assert load.promised.usages > 10
        await ledger_is_exact(mesh, load)
        await log_is_exact(mesh, load)
        await listeners_are_exact(mesh, load)


async def _system(mesh: Mesh, call: str, body: dict[str, int]) -> int:
    """A system call; gives the replicas that serve after it."""
    async with mesh.rest() as client:
        answer = await client.post(f"/api/v1/system/services/{call}", json=body, timeout=120)
        return int(answer.raise_for_status().json()["health"]["servingReplicas"])
