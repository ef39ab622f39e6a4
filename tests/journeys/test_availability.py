"""Availability through the door: an operator takes a model out of rotation, it is offered no more, and that is told."""

from tests.journeys.steps import get, kill_and_await, post, told
from tests.support.mesh import Mesh

PLACE = {"providerId": "openai", "model": "gpt-5-mini"}


async def test_a_drained_model_stays_out_over_a_crash_until_it_is_restored(mesh: Mesh) -> None:
    """Listed with the reason, out of selection, told; the same after a kill; restored it is back."""
    async with mesh.rest() as client:
        drained = await post(client, "availability/drain", {**PLACE, "reason": "upgrade"})
        assert drained["entry"]["priority"] == "PRIORITY_OUT"
        await kill_and_await(mesh, "provider")
        (entry,) = [
            one
            for one in (await get(client, "availability", providerId="openai", onlyTroubled="true"))["entries"]
            if one["model"] == PLACE["model"]
        ]
        assert (entry["cause"], entry["reason"]) == ("UNAVAILABLE_CAUSE_OPERATOR", "taken out of rotation: upgrade")
        selected = await post(client, "providers/select", {"query": "hello"})
        (out,) = [one for one in selected["candidates"] if one["model"] == PLACE["model"]]
        assert out["exclusion"] == "EXCLUSION_REASON_UNAVAILABLE"
        restored = await post(client, "availability/restore", PLACE)
        assert restored["entry"]["priority"] == "PRIORITY_NORMAL"
        events = await told(mesh, "provider.priority.changed", 2, model=PLACE["model"])
        assert [event["data"]["priority"] for event in events] == ["PRIORITY_OUT", "PRIORITY_NORMAL"]
        chain = {"chainId": "cheap", "general": [PLACE]}
        await post(client, "fallbacks/set", {"chain": chain})
        assert (await get(client, "fallbacks/cheap"))["chain"]["general"][0]["model"] == PLACE["model"]
