"""Money is set aside, spent, told and shown over REST through the real door, as docs/how-to/budgets.md says."""

import csv
import io

import httpx

from tests.support.mesh import Mesh

TEAM = {"labels": {"team": "blue-reservations"}}
SPAN = {"groupBy": "team", "labels": "team=blue-reservations"}


async def post(door: httpx.AsyncClient, path: str, body: dict[str, object]) -> httpx.Response:
    """A call with a body."""
    return await door.post(f"/api/v1/{path}", json=body)


async def test_money_is_set_aside_spent_and_shown(mesh: Mesh) -> None:
    """A budget by label, a reservation, a refusal with its Retry-After, a settlement, report, table, forecast."""
    async with mesh.rest() as door:
        limit = {"currencyCode": "USD", "units": "1"}
        budget = {"budgetId": "blue-day", "limit": limit, "mode": "MODE_DENY", "scope": TEAM, "window": {"period": "PERIOD_DAY"}}
        assert (await post(door, "budget/set", {"budget": budget})).status_code == 200
        wanted = {"providerId": "openai", "model": "gpt-5-mini", "inputTokens": 1000, **TEAM}
        held = (await post(door, "budget/reserve", {**wanted, "amount": {"currencyCode": "USD", "nanos": 600000000}})).json()
        refused = await post(door, "budget/reserve", {**wanted, "amount": {"currencyCode": "USD", "nanos": 500000000}})
        assert refused.status_code == 429
        details = {item["@type"].rsplit(".", 1)[1]: item for item in refused.json()["details"]}
        assert details["ErrorInfo"]["reason"] == "BUDGET_SPENT"
        assert details["QuotaFailure"]["violations"][0]["subject"] == "budget/blue-day"
        assert "RetryInfo" in details
        reservation_id = held["reservation"]["reservationId"]
        settled = await post(door, "budget/settle", {"reservationId": reservation_id, "inputTokens": 1000, "outputTokens": 200})
        assert settled.json()["reservation"]["cost"] == {"currencyCode": "USD", "units": "0", "nanos": 650000}
        report = (await door.get("/api/v1/budget/report", params=SPAN)).json()
        assert [(row["key"], row["cost"]["nanos"]) for row in report["rows"]] == [("blue-reservations", 650000)]
        table = await door.get("/api/v1/budget/report.csv", params=SPAN)
        assert table.headers["content-type"].startswith("text/csv")
        assert list(csv.reader(io.StringIO(table.text)))[1][:2] == ["blue-reservations", "0.000650000"]
        forecast = await door.get("/api/v1/budget/forecast", params={"labels": "team=blue-reservations"})
        assert forecast.json()["spent"]["nanos"] == 650000
        policy = {"policyId": "blue", "measure": "MEASURE_REQUESTS", "rate": "1", "period": "3600s", "scope": TEAM}
        assert (await post(door, "burst/set", {"policy": policy})).status_code == 200
        first, second = [await post(door, "budget/reserve", wanted) for _ in range(2)]
        assert (first.status_code, second.status_code) == (200, 429)
        assert (await door.get("/api/v1/estimates", params={"providerId": "openai"})).json()["estimates"]
