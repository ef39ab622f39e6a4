"""kill -9 of random processes under load: what was acknowledged stands, and every effect stands once.

`make test` kills 25 times, `make chaos` as often as TOOLOO_CHAOS_KILLS says. The seed is printed; TOOLOO_CHAOS_SEED repeats it.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.robustness.load import Load
from tests.support.mesh import Mesh, eventually, running_mesh

KILLS = int(os.environ.get("TOOLOO_CHAOS_KILLS", "25"))
SEED = int(os.environ.get("TOOLOO_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
VICTIMS = ("bus", "learning", "provider", "orchestration", "analytics", "integration", "context", "envoy")
USER = "survivor"


async def test_nothing_acknowledged_is_lost_and_nothing_applied_twice(tmp_path: Path) -> None:
    """Ledger, log, analytics and what learning heard hold exactly what callers were promised."""
    print(f"seed {SEED}, {KILLS} kills")
    with running_mesh(tmp_path / "var", {"TOOLOO_RESTART_BACKOFF_LIMIT": "400ms"}) as mesh:
        load = Load(mesh, SEED, USER)
        running = asyncio.create_task(load.run(callers=9))
        killed = await _kill_at_random(mesh, random.Random(SEED))
        await _all_serve(mesh)
        load.stop()
        await running
        promised = load.promised
        figures = f"{promised.usages} usages, {len(promised.metric_events)} values, {len(promised.selections)} selections"
        print(f"killed {dict(killed)}; promised {figures}")
        assert not promised.unexpected
        assert promised.usages
        assert promised.metric_events
        assert promised.selections
        await _ledger_is_exact(mesh, load)
        await _log_is_exact(mesh, load)
        await _listeners_are_exact(mesh, load)


async def _kill_at_random(mesh: Mesh, choice: random.Random) -> Counter[str]:
    """Kills processes one after another, each when the one before serves again or has had its time."""
    killed: Counter[str] = Counter()
    while killed.total() < KILLS:
        pids = {name: pid for name, pid in (await _pids(mesh)).items() if pid}
        victim = choice.choice([name for name in VICTIMS if name in pids])
        os.kill(pids[victim], signal.SIGKILL)
        killed[victim] += 1
        await asyncio.sleep(choice.uniform(0.2, 1.2))
    return killed


async def _pids(mesh: Mesh) -> dict[str, int]:
    """Process ids by service, asked of the kernel: the door may be dead just now."""
    found: dict[str, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if parent == mesh.pid:
            name = "envoy" if "envoy" in command[0] else command[2].removeprefix("services.")
            found[name] = int(folder.name)
    return found


async def _all_serve(mesh: Mesh) -> None:
    async def health() -> int:
        try:
            async with mesh.rest() as client:
                return (await client.get("/health")).status_code
        except httpx.TransportError:
            return 0

    await eventually(health, lambda status: status == 200, 90)


async def _ledger_is_exact(mesh: Mesh, load: Load) -> None:
    """The ledger holds every acknowledged usage, once."""
    async with mesh.rest() as client:
        report = (await client.get("/api/v1/budget/report", params={"userId": USER, "groupBy": "model"})).raise_for_status().json()
    total = report["total"]
    assert (int(total["inputTokens"]), int(total["calls"])) == (load.promised.tokens, load.promised.usages)


async def _log_is_exact(mesh: Mesh, load: Load) -> None:
    """Every event that was promised stands in the log, once; positions have no gap and ids no repeat."""
    expected = {"metric.logged": len(load.promised.metric_events), "provider.selected": len(load.promised.selections)}

    async def counts() -> dict[str, int]:
        events = [event for event in await mesh.events(*expected) if _is_ours(event)]
        return dict(Counter(event["type"] for event in events))

    await eventually(counts, lambda found: found == expected, 60)
    everything = await mesh.events()
    assert [int(event["position"]) for event in everything] == list(range(1, len(everything) + 1))
    ids = [event["id"] for event in everything]
    assert len(set(ids)) == len(ids)
    assert set(load.promised.metric_events) <= set(ids)


def _is_ours(event: dict[str, Any]) -> bool:
    data = event["data"]
    return bool(USER in (data.get("userId"), data.get("labels", {}).get("user")))


async def _listeners_are_exact(mesh: Mesh, load: Load) -> None:
    """Analytics counted each value and each event once; learning heard of each selection once."""
    async with mesh.rest() as client:

        async def values() -> int:
            answer = (await client.get("/api/v1/analytics/metrics/kill_test")).raise_for_status().json()
            return int(answer["total"]["count"])

        async def heard() -> int:
            answer = (await client.get("/api/v1/analytics/overview")).raise_for_status().json()
            return sum(int(each["count"]) for each in answer["events"] if each["type"] == "provider.selected")

        async def learned() -> int:
            answer = (await client.get("/api/v1/training/overview", params={"userId": USER})).raise_for_status().json()
            return sum(int(each["selections"]) for each in answer["providersByDomain"])

        await eventually(values, lambda count: count == len(load.promised.metric_events), 60)
        await eventually(heard, lambda count: count == len(load.promised.selections), 60)
        await eventually(learned, lambda count: count == len(load.promised.selections), 60)
