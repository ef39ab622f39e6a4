"""Budgets as callers meet them: thresholds told once, periods, limits that are raised or deny, and what cannot be set."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import QuotaFailure
from google.type.money_pb2 import Money
from grpc_status import rpc_status
from tooloo.event.v1.event_pb2 import Event
from tooloo.provider.v1 import provider_pb2
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1.budget_pb2 import Budget, BudgetScope, BudgetWindow
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from mesh import testing
from mesh.clock import ManualClock
from mesh.ids import new_id
from services.provider import money
from services.provider.__main__ import build
from tests.integration.provider_bench import (
    START,
    Caller,
    Report,
    Track,
    caller,
    nanos,
    refusal,
    settings,
    usd,
)

__all__ = ["caller", "settings"]


async def test_each_threshold_is_told_once_over_jumps_repeats_and_restarts(caller: Caller) -> None:
    """A call that jumps two thresholds tells both; spending on, and restarting, tells none of them again."""
    await caller.limit("10", scope=BudgetScope(user_id="ada"))
    await caller.spend("4.99")
    assert await caller.alerts() == []
    answer = await caller.spend("3.01")
    assert list(answer.budgets[0].told_thresholds) == [50, 80]
    await caller.bench.restart()
    await caller.spend("1")
    await caller.spend("100", user="bob")
    assert await caller.alerts() == [("b", 50), ("b", 80)]
    await caller.spend("1")
    await caller.bench.restart()
    await caller.spend("50")
    assert await caller.alerts() == [("b", 50), ("b", 80), ("b", 100)]


async def test_calls_at_the_same_time_tell_each_threshold_once(caller: Caller) -> None:
    """A hundred concurrent calls over three budgets: every alert once, and no cent of the sums is lost."""
    await caller.limit("5", "everything")
    await caller.limit("5", "ada", scope=BudgetScope(user_id="ada"))
    await caller.limit("5", "big", scope=BudgetScope(provider_id="acme", model="big"))
    await asyncio.gather(*(caller.spend("0.10", user=user, model="big") for user in ("ada", "bob") for _ in range(50)))
    assert sorted(await caller.alerts()) == sorted(itertools.product(("everything", "ada", "big"), (50, 80, 100)))
    listed = await caller.stub.ListBudgets(api.ListBudgetsRequest())
    spent = {standing.budget.budget_id: nanos(standing.spent) for standing in listed.budgets}
    assert spent == {"everything": nanos(usd("10")), "ada": nanos(usd("5")), "big": nanos(usd("10"))}


async def test_a_new_period_starts_from_zero_and_tells_again(caller: Caller) -> None:
    """A day in Berlin ends at 23:00 UTC in November: one minute before counts to this day, one after to the next."""
    await caller.limit("1", window=BudgetWindow(period=BudgetWindow.PERIOD_DAY, time_zone="Europe/Berlin"), thresholds=[100])
    caller.clock.advance(timedelta(hours=12, minutes=59))
    first = await caller.spend("1")
    assert first.budgets[0].period_end.ToDatetime(tzinfo=UTC) == datetime(2026, 11, 22, 23, tzinfo=UTC)
    caller.clock.advance(timedelta(minutes=2))
    second = await caller.spend("0.5")
    assert (second.budgets[0].spent, list(second.budgets[0].told_thresholds)) == (usd("0.5"), [])
    await caller.spend("0.5")
    assert await caller.alerts() == [("b", 100), ("b", 100)]


async def test_a_budget_counts_what_was_spent_before_it_was_set(caller: Caller) -> None:
    """From the ledger, in its scope and period only; a threshold reached already is told at once."""
    await caller.spend("3")
    await caller.spend("5", user="bob")
    standing = (await caller.limit("5", scope=BudgetScope(user_id="ada"))).standing
    assert (standing.spent, standing.remaining, list(standing.told_thresholds)) == (usd("3"), usd("2"), [50])
    assert await caller.alerts() == [("b", 50)]
    widened = (await caller.limit("20")).standing
    assert (widened.spent, list(widened.told_thresholds)) == (usd("8"), [])


async def test_a_raised_limit_rearms_thresholds_and_the_same_limit_does_not(caller: Caller) -> None:
    """Setting it unchanged tells nothing; raised, what is no longer reached is told when it is reached again."""
    await caller.limit("10", thresholds=[50])
    await caller.spend("6")
    await caller.limit("10", thresholds=[50])
    assert len(await caller.alerts()) == 1
    await caller.limit("100", thresholds=[50])
    await caller.spend("4")
    assert len(await caller.alerts()) == 1
    await caller.spend("40")
    assert len(await caller.alerts()) == 2


async def test_a_spent_denying_budget_takes_its_scope_out_of_selection(caller: Caller) -> None:
    """First the models it covers, with the reason; when all are covered the call is refused with RESOURCE_EXHAUSTED."""
    await caller.limit("1", "acme", deny=True, scope=BudgetScope(provider_id="acme"))
    await caller.spend("1")
    answer = await caller.stub.SelectProvider(api.SelectProviderRequest(user_id="ada", high_quality=True))
    assert answer.model == "gift"
    out = [item for item in answer.candidates if item.exclusion == provider_pb2.EXCLUSION_REASON_BUDGET_SPENT]
    assert [item.model for item in out] == ["big", "small"]
    assert "budget acme" in out[0].exclusion_detail
    await caller.limit("0.5", "ada", deny=True, scope=BudgetScope(user_id="ada"))
    code, info, error = await refusal(caller.stub.SelectProvider(api.SelectProviderRequest(user_id="ada")))
    assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_CANDIDATE")
    assert info.metadata["commonest_exclusion"] == "BUDGET_SPENT"
    assert any(detail.Is(QuotaFailure.DESCRIPTOR) for detail in rpc_status.from_call(error).details)
    bob = await caller.stub.SelectProvider(api.SelectProviderRequest(user_id="bob"))
    assert bob.model == "gift"


async def test_a_denying_budget_holds_back_what_no_longer_fits(caller: Caller) -> None:
    """CheckBudget and selection look at spent plus cost, not only at spent; a notifying budget denies nothing."""
    await caller.limit("1", "hard", deny=True)
    await caller.limit("0.01", "soft")
    await caller.spend("0.995")
    check = await caller.stub.CheckBudget(api.CheckBudgetRequest(provider_id="acme", model="big", cost=usd("0.005")))
    assert (check.allowed, len(check.budgets)) == (True, 2)
    check = await caller.stub.CheckBudget(api.CheckBudgetRequest(provider_id="acme", model="big", cost=usd("0.005000001")))
    assert (check.allowed, list(check.denied_by)) == (False, ["hard"])
    answer = await caller.stub.SelectProvider(api.SelectProviderRequest(estimated_tokens=1000, high_quality=True))
    assert {item.model for item in answer.candidates if item.exclusion} == {"big"}


async def test_its_own_alert_makes_selection_thriftier_once(caller: Caller) -> None:
    """Heard at 80 % cost counts twice; the same event again changes nothing; a raised limit takes it back, late alerts included."""
    wish = api.SelectProviderRequest(estimated_tokens=500)
    await caller.limit("10", thresholds=[80])
    await caller.spend("8")
    assert (await caller.stub.SelectProvider(wish)).cost_weight_factor == 1.0
    (alert,) = await caller.events("budget.threshold_exceeded")
    assert await caller.bench.hear_event(alert)
    assert not await caller.bench.hear_event(alert)
    await caller.bench.restart()
    tight = await caller.stub.SelectProvider(wish)
    assert tight.cost_weight_factor == 2.0
    assert tight.candidates[0].parts.cost.weight == 60.0
    await caller.limit("100", thresholds=[80])
    assert (await caller.stub.SelectProvider(wish)).cost_weight_factor == 1.0
    late = Event()
    late.CopyFrom(alert)
    late.id = new_id()
    assert await caller.bench.hear_event(late)
    assert (await caller.stub.SelectProvider(wish)).cost_weight_factor == 1.0


async def test_a_limit_that_is_raised_a_little_keeps_what_still_is_reached(caller: Caller) -> None:
    """At 100 % cost counts four times; with a limit of which 80 % are spent it counts twice, as if 100 had not been heard of."""
    wish = api.SelectProviderRequest(estimated_tokens=500)
    await caller.limit("10")
    await caller.spend("10")
    for alert in await caller.events("budget.threshold_exceeded"):
        await caller.bench.hear_event(alert)
    assert (await caller.stub.SelectProvider(wish)).cost_weight_factor == 4.0
    await caller.limit("12")
    assert (await caller.stub.SelectProvider(wish)).cost_weight_factor == 2.0
    await caller.limit("15")
    assert (await caller.stub.SelectProvider(wish)).cost_weight_factor == 1.0


async def test_pressure_on_one_provider_turns_to_another(caller: Caller) -> None:
    """A budget of one provider that runs low makes only its models look dearer."""
    await caller.limit("10", thresholds=[100], scope=BudgetScope(provider_id="acme"))
    before = await caller.stub.SelectProvider(api.SelectProviderRequest())
    await caller.spend("10")
    for alert in await caller.events("budget.threshold_exceeded"):
        await caller.bench.hear_event(alert)
    after = await caller.stub.SelectProvider(api.SelectProviderRequest())
    cheapness = [{item.model: item.parts.cost.value for item in answer.candidates} for answer in (before, after)]
    assert cheapness[1]["big"] < cheapness[0]["big"]
    assert cheapness[1]["gift"] == cheapness[0]["gift"]
    assert after.cost_weight_factor == 1.0


async def test_budgets_are_made_read_listed_and_deleted(caller: Caller) -> None:
    """The life of a budget; its id is given when none is; lists page by id; what is gone is NOT_FOUND."""
    made = (await caller.limit("1", "")).standing.budget
    assert made.budget_id
    assert (list(made.thresholds), made.window.time_zone, made.create_time.ToDatetime(tzinfo=UTC)) == ([50, 80, 100], "UTC", START)
    for name in ("x", "y"):
        await caller.limit("1", name, scope=BudgetScope(user_id="ada"))
    first = await caller.stub.ListBudgets(api.ListBudgetsRequest(page_size=2))
    second = await caller.stub.ListBudgets(api.ListBudgetsRequest(page_size=2, page_token=first.next_page_token))
    ids = [standing.budget.budget_id for page in (first, second) for standing in page.budgets]
    assert (ids, second.next_page_token) == ([made.budget_id, "x", "y"], "")
    mine = await caller.stub.ListBudgets(api.ListBudgetsRequest(user_id="ada"))
    assert [standing.budget.budget_id for standing in mine.budgets] == ["x", "y"]
    delete = api.DeleteBudgetRequest(budget_id="x", request_id=new_id())
    await caller.stub.DeleteBudget(delete)
    await caller.stub.DeleteBudget(delete)
    for call in (
        caller.stub.GetBudget(api.GetBudgetRequest(budget_id="x")),
        caller.stub.DeleteBudget(api.DeleteBudgetRequest(budget_id="x")),
    ):
        code, _, _ = await refusal(call)
        assert code == grpc.StatusCode.NOT_FOUND
    assert (await caller.stub.GetBudget(api.GetBudgetRequest(budget_id="y"))).standing.budget.limit == usd("1")


@pytest.mark.parametrize(
    ("budget", "field"),
    [
        (Budget(limit=Money(currency_code="USD")), "budget.limit"),
        (Budget(limit=usd("1"), thresholds=[50, 50]), "budget.thresholds"),
        (Budget(limit=usd("1"), thresholds=[0]), "budget.thresholds[0]"),
        (Budget(limit=usd("1"), budget_id="B"), "budget.budget_id"),
        (Budget(limit=usd("1"), window=BudgetWindow(time_zone="Europe/Nowhere")), "budget.window.time_zone"),
        (Budget(limit=Money(currency_code="EUR", units=1)), "budget.limit.currency_code"),
        (Budget(), "budget.limit"),
    ],
)
async def test_setting_a_budget_names_the_field_that_is_wrong(caller: Caller, budget: Budget, field: str) -> None:
    """INVALID_ARGUMENT for amounts, thresholds, names, zones and currencies that cannot be."""
    code, info, _ = await refusal(caller.stub.SetBudget(api.SetBudgetRequest(budget=budget)))
    assert (code, info.metadata["fields"]) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_there_is_a_limit_on_budgets(tmp_path: Path, settings: dict[str, str]) -> None:
    """RESOURCE_EXHAUSTED names the setting; replacing one is still possible."""
    settings["TOOLOO_PROVIDER_MAX_BUDGETS"] = "1"
    clock = ManualClock(START)
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=settings) as bench:
        caller = Caller(bench, clock)
        await caller.limit("1")
        await caller.limit("2")
        code, info, _ = await refusal(caller.limit("1", "another"))
        assert (code, info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")


async def test_the_default_budget_comes_once(tmp_path: Path, settings: dict[str, str]) -> None:
    """A new installation has it; after someone deleted it, it does not come back."""
    settings["TOOLOO_PROVIDER_DEFAULT_BUDGET"] = "20"
    async with testing.running("provider", build, tmp_path / "var", clock=ManualClock(START), settings=settings) as bench:
        stub = ProviderServiceStub(bench.channel)
        standing = (await stub.GetBudget(api.GetBudgetRequest(budget_id="default"))).standing
        assert (standing.budget.limit, standing.budget.mode) == (usd("20"), Budget.MODE_NOTIFY)
        await stub.DeleteBudget(api.DeleteBudgetRequest(budget_id="default"))
        await bench.restart()
        assert not (await ProviderServiceStub(bench.channel).ListBudgets(api.ListBudgetsRequest())).budgets


async def test_the_largest_amounts_do_not_break_sums(caller: Caller) -> None:
    """The counter of a budget stands still at what 64 bits hold; the report still adds up."""
    await caller.limit("1")
    for _ in range(3):
        await caller.stub.TrackBudget(
            Track(provider_id="x", model="x", cost=usd("99999.999999999"), input_tokens=10**8, output_tokens=10**8)
        )
    report = await caller.stub.GetBudgetReport(Report())
    assert nanos(report.total.cost) == 3 * money.parse("99999.999999999")
