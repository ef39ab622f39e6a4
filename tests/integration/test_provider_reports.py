"""Reports by any label and stretch of time, what routing saved, tables that spreadsheets may open, and the month's forecast."""

from __future__ import annotations

import csv
import io
import random
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import report_service_pb2 as reports
from tooloo.provider.v1 import reservation_service_pb2 as own
from tooloo.provider.v1.report_service_pb2_grpc import ReportServiceStub

from mesh import testing
from mesh.clock import ManualClock
from services.provider import money
from services.provider.__main__ import build
from tests.integration.provider_bench import Track, nanos, refusal, settings, usd
from tests.integration.reservations_bench import START, Caller, caller

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.provider.v1.report_service_pb2_grpc import ReportServiceAsyncStub

__all__ = ["caller", "settings"]
Report = api.GetBudgetReportRequest


def stub(caller: Caller) -> ReportServiceAsyncStub:  # a fixture that is imported
    """Client of the reports."""
    return ReportServiceStub(caller.bench.channel)


async def spend(caller: Caller, cost: str, **labels: str) -> None:  # as above
    """Tracks a call."""
    await caller.provider.TrackBudget(Track(provider_id="acme", model="big", cost=usd(cost), labels=labels))


@pytest.mark.parametrize("group_by", ["team", "user", "key", "provider", "model", "hour", "day", "month"])
async def test_every_grouping_and_filter_adds_up(caller: Caller, group_by: str) -> None:  # as above
    """Random usage: rows over all pages are what was spent with the filter's labels, what has no label or no model among them."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    tracked = []
    for _ in range(60):
        caller.clock.advance(timedelta(minutes=chance.randrange(2000)))
        labels = {name: chance.choice("ab") for name in ("team", "user", "key", "tag") if chance.random() < 0.7}
        cost = f"{chance.randrange(10**10)}e-9"
        if chance.random() < 0.3:
            # reserved and settled by somebody else, who need not say who answered
            await caller.settle((await caller.reserve("1", labels=labels)).reservation_id, cost)
        else:
            await spend(caller, cost, **labels)
        tracked.append((labels, money.parse(cost)))
    for wanted in ({}, {"team": "a"}, {"team": "a", "key": "b", "user": "a"}):
        rows, token = [], ""
        while True:
            request = Report(group_by=group_by, page_size=2, page_token=token, time_zone="America/St_Johns")
            request.labels.extend(f"{name}={value}" for name, value in wanted.items())
            getattr(request, "from").FromDatetime(START)
            request.to.FromDatetime(caller.clock.now() + timedelta(seconds=1))
            answer = await caller.provider.GetBudgetReport(request)
            rows += list(answer.rows)
            token = answer.next_page_token
            if not token:
                break
        expected = [(labels, cost) for labels, cost in tracked if wanted.items() <= labels.items()]
        assert sum(nanos(row.cost) for row in rows) == nanos(answer.total.cost) == sum(cost for _, cost in expected)
        assert sum(row.calls for row in rows) == answer.total.calls == len(expected)
        assert len({row.key for row in rows}) == len(rows)
        if group_by in ("team", "user", "key"):
            assert {row.key for row in rows} == {labels.get(group_by, "") for labels, _ in expected}


async def test_the_hour_that_comes_twice_is_two_rows(caller: Caller) -> None:  # as above
    """Berlin, end of October: two hours from two to three, told apart by their offset, in order of time, each on its page."""
    request = Report(group_by="hour", time_zone="Europe/Berlin", page_size=1)
    caller.clock.advance(timedelta(days=338) - (START - START.replace(hour=0)))
    assert caller.clock.now().date().isoformat() == "2027-10-26"
    caller.clock.advance(timedelta(days=5))
    await spend(caller, "1")
    caller.clock.advance(timedelta(minutes=30))
    await spend(caller, "2")
    caller.clock.advance(timedelta(hours=1))
    await spend(caller, "4")
    first = await caller.provider.GetBudgetReport(request)
    request.page_token = first.next_page_token
    second = await caller.provider.GetBudgetReport(request)
    keys = [(row.key, row.cost) for page in (first, second) for row in page.rows]
    assert keys == [("2027-10-31T02:00+02:00", usd("3")), ("2027-10-31T02:00+01:00", usd("4"))]
    assert first.rows[0].start.ToDatetime(UTC) == second.rows[0].start.ToDatetime(UTC) - timedelta(hours=1)
    assert second.next_page_token == ""


async def test_what_routing_saved_is_told_of_calls_it_is_known_of(caller: Caller) -> None:  # as above
    """Three settled calls, of two the best model's cost is known: saved is their difference, also when the best was cheaper."""
    for cost, best in (("0.2", "1"), ("0.5", "0.4"), ("9", None)):
        held = await caller.reserve("1", provider_id="acme", model="small")
        request = own.SettleRequest(reservation_id=held.reservation_id, cost=usd(cost))
        if best is not None:
            request.best_cost.CopyFrom(usd(best))
        await caller.reservations.Settle(request)
    answer = await caller.provider.GetBudgetReport(Report(group_by="model"))
    for row in (answer.rows[0], answer.total):
        assert (nanos(row.saved), row.compared_calls, row.calls) == (money.parse("0.7"), 2, 3)


async def test_a_table_is_exact_and_harmless(caller: Caller) -> None:  # as above
    """RFC 4180 with a line of names and nine decimals; no cell can begin a formula."""
    await spend(caller, "0.1", team="red")
    await spend(caller, "0.000000001")
    body = await stub(caller).GetBudgetReportCsv(reports.GetBudgetReportCsvRequest(group_by="team"))
    assert body.content_type.startswith("text/csv")
    assert b"\r\n" in body.data
    rows = list(csv.reader(io.StringIO(body.data.decode())))
    assert rows[0][:5] == ["team", "cost_usd", "input_tokens", "output_tokens", "calls"]
    assert [row[:2] for row in rows[1:]] == [["", "0.000000001"], ["red", "0.100000000"]]


async def test_a_table_has_a_longest(tmp_path: Path, settings: dict[str, str]) -> None:
    """More rows than the setting allows are refused, and what to do is said."""
    settings["TOOLOO_PROVIDER_MAX_CSV_ROWS"] = "1"
    clock = ManualClock(START)
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=settings) as bench:
        one = Caller(bench, clock)
        await spend(one, "1", team="red")
        await spend(one, "1", team="blue")
        code, info, _ = await refusal(stub(one).GetBudgetReportCsv(reports.GetBudgetReportCsvRequest(group_by="team")))
        assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")


async def test_a_month_is_forecast_from_its_ledger(caller: Caller) -> None:  # as above
    """A dollar a day since three weeks: thirty at the end of November; another team's usage does not count."""
    caller.clock.advance(-timedelta(days=22, hours=9))
    for _ in range(23):
        await spend(caller, "1", team="red")
        await spend(caller, "5", team="blue")
        caller.clock.advance(timedelta(days=1))
    answer = await stub(caller).GetBudgetForecast(reports.GetBudgetForecastRequest(labels=["team=red"]))
    assert answer.period_end.ToDatetime(UTC).day == 1
    assert answer.spent == usd("22")
    assert nanos(answer.low) <= nanos(answer.expected) <= nanos(answer.high)
    assert nanos(answer.expected) == pytest.approx(nanos(usd("30")), rel=0.03)
    empty: Any = await stub(caller).GetBudgetForecast(reports.GetBudgetForecastRequest(labels=["team=none"]))
    assert (empty.expected, empty.high, empty.days) == (usd("0"), usd("0"), 0)
