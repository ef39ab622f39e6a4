"""Spending: each threshold of a budget is told exactly once, whoever spends at the same time and whatever restarts in between."""

import asyncio
from typing import Any

from tooloo.provider.v1.provider_service_pb2 import GetBudgetRequest
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from tests.journeys.steps import get, kill_and_await, post, told
from tests.support.mesh import Mesh

USER = "ada.spends"
BUDGET = "ada-spends"
USD = {"currencyCode": "USD", "units": "0"}
SPEND = {"providerId": "openai", "model": "gpt-5-mini", "inputTokens": 1000, "outputTokens": 100, "userId": USER}


def _five_cents() -> dict[str, Any]:
    return {**SPEND, "cost": {**USD, "nanos": 50_000_000}}


async def test_each_threshold_is_told_once(mesh: Mesh) -> None:
    """Twenty concurrent calls spend a budget exactly; 50 and 100 percent are told once each, and never again after a crash."""
    budget = {
        "budgetId": BUDGET,
        "scope": {"userId": USER},
        "limit": {"currencyCode": "USD", "units": "1"},
        "thresholds": [50, 100],
    }
    async with mesh.rest() as client:
        await post(client, "budget/set", {"budget": {**budget, "mode": "MODE_DENY"}})
        await asyncio.gather(*(post(client, "budget/track", _five_cents()) for _ in range(20)))
        await told(mesh, "budget.threshold_exceeded", 2, budgetId=BUDGET)

        await kill_and_await(mesh, "provider")
        later = await asyncio.gather(*(post(client, "budget/track", _five_cents()) for _ in range(5)))
        assert {tuple(_standing(answer)["toldThresholds"]) for answer in later} == {(50, 100)}
        # the outbox keeps its order, so a second alert would stand before this event
        await post(client, "providers/select", {"query": "after", "userId": f"{USER}.marker"})
        await told(mesh, "provider.selected", userId=f"{USER}.marker")
        alerts = await told(mesh, "budget.threshold_exceeded", 2, budgetId=BUDGET)
        assert [alert["data"]["threshold"] for alert in alerts] == [50, 100]
        assert alerts[0]["data"]["spent"] == {**USD, "nanos": 500_000_000}
        assert alerts[1]["data"]["spent"] == {"currencyCode": "USD", "units": "1", "nanos": 0}

        refused = await client.post("/api/v1/providers/select", json={"query": "more", "userId": USER})
        assert (refused.status_code, refused.json()["details"][0]["reason"]) == (429, "NO_CANDIDATE")
        (row,) = (await get(client, "budget/report", userId=USER, groupBy="model"))["rows"]
        assert (row["key"], row["calls"], row["cost"]["units"], row["cost"]["nanos"]) == (
            "openai/gpt-5-mini",
            "25",
            "1",
            250_000_000,
        )

    async with mesh.channel("provider") as own_port:
        standing = (await ProviderServiceStub(own_port).GetBudget(GetBudgetRequest(budget_id=BUDGET))).standing
    assert (standing.spent.units, standing.spent.nanos) == (1, 250_000_000)
    assert (standing.remaining.units, standing.remaining.nanos) == (0, 0)


def _standing(answer: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in answer["budgets"] if each["budget"]["budgetId"] == BUDGET)


async def test_a_call_without_a_cost_is_priced_by_the_list(mesh: Mesh) -> None:
    """Tokens times list price, rounded up to a nano unit; the report adds up what the answers said."""
    user = "grace.spends"
    usage = {"inputTokens": 1234, "outputTokens": 567, "userId": user}
    async with mesh.rest() as client:
        (openai,) = (await get(client, "providers/status", providerId="openai"))["providers"]
        price = next(model["price"] for model in openai["models"] if model["model"] == "gpt-5-mini")
        answer = await post(client, "budget/track", {"providerId": "openai", "model": "gpt-5-mini", **usage})
        assert answer["costSource"] == "COST_SOURCE_LIST_PRICE"
        millionths = 1234 * _nanos(price["inputPerMillion"]) + 567 * _nanos(price["outputPerMillion"])
        assert _nanos(answer["cost"]) == -(-millionths // 1_000_000)
        assert (await get(client, "budget/report", userId=user))["total"]["cost"] == answer["cost"]


def _nanos(money: dict[str, Any]) -> int:
    return int(money["units"]) * 1_000_000_000 + int(money["nanos"])
