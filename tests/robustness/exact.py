"""What must hold after a mesh under load was disturbed: everything that was promised stands, and stands once."""

from collections import Counter
from typing import Any

import httpx

from tests.robustness.load import Load
from tests.support.mesh import Mesh, eventually


async def all_serve(mesh: Mesh) -> None:
    """Waits until the whole mesh serves again."""

    async def health() -> int:
        try:
            async with mesh.rest() as client:
                return (await client.get("/health")).status_code
        except httpx.TransportError:
            return 0

    await eventually(health, lambda status: status == 200, 90)


async def ledger_is_exact(mesh: Mesh, load: Load) -> None:
    """The ledger holds every acknowledged usage, once."""
    async with mesh.rest() as client:
        report = (
            (await client.get("/api/v1/budget/report", params={"userId": load.user, "groupBy": "model"})).raise_for_status().json()
        )
    total = report["total"]
    assert (int(total["inputTokens"]), int(total["calls"])) == (load.promised.tokens, load.promised.usages)


async def log_is_exact(mesh: Mesh, load: Load) -> None:
    """Every event that was promised stands in the log, once; positions have no gap and ids no repeat."""
    expected = {"metric.logged": len(load.promised.metric_events), "provider.selected": len(load.promised.selections)}

    async def counts() -> dict[str, int]:
        events = [event for event in await mesh.events(*expected) if _is_of(event, load.user)]
        return dict(Counter(event["type"] for event in events))

    await eventually(counts, lambda found: found == expected, 60)
    everything = await mesh.events()
    assert [int(event["position"]) for event in everything] == list(range(1, len(everything) + 1))
    ids = [event["id"] for event in everything]
    assert len(set(ids)) == len(ids)
    assert set(load.promised.metric_events) <= set(ids)


def _is_of(event: dict[str, Any], user: str) -> bool:
    data = event["data"]
    return bool(user in (data.get("userId"), data.get("labels", {}).get("user")))


async def listeners_are_exact(mesh: Mesh, load: Load) -> None:
    """Analytics counted each value and each event once; learning heard of each selection once."""
    async with mesh.rest() as client:

        async def values() -> int:
            answer = (await client.get("/api/v1/analytics/metrics/kill_test")).raise_for_status().json()
            return int(answer["total"]["count"])

        async def heard() -> int:
            answer = (await client.get("/api/v1/analytics/overview")).raise_for_status().json()
            return sum(int(each["count"]) for each in answer["events"] if each["type"] == "provider.selected")

        async def learned() -> int:
            answer = (await client.get("/api/v1/training/overview", params={"userId": load.user})).raise_for_status().json()
            return sum(int(each["selections"]) for each in answer["providersByDomain"])

        await eventually(values, lambda count: count == len(load.promised.metric_events), 60)
        await eventually(heard, lambda count: count == len(load.promised.selections), 60)
        await eventually(learned, lambda count: count == len(load.promised.selections), 60)
