"""The provider service as its callers meet it: real server, real SQLite file, every call, every refusal, restarts and repeats."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, QuotaFailure
from google.type.money_pb2 import Money
from grpc_status import rpc_status
from tooloo.event.v1.event_pb2 import Event
from tooloo.learning.v1.learning_events_pb2 import CoachFeedbackGiven
from tooloo.provider.v1 import provider_pb2
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1.budget_pb2 import Budget, BudgetScope, BudgetWindow
from tooloo.provider.v1.provider_events_pb2 import BudgetThresholdExceeded, ProviderHealthChanged, ProviderSelected
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from mesh import testing
from mesh.clock import ManualClock
from mesh.ids import new_id
from services.provider import money
from services.provider.__main__ import build

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceAsyncStub

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
ACME = """
[tiers]
good = { quality = 0.8, tokens_per_second = 100 }
plain = { quality = 0.5, tokens_per_second = 100 }
[providers.acme]
key_environment = ["ACME_KEY"]
models = { big = { tier = "good" }, small = { tier = "plain" } }
[providers.brim]
key_environment = ["BRIM_KEY"]
models = { gift = { tier = "plain", context_window = 2000, price = { input = "0", output = "0" } } }
"""
PRICES = {"providers": {"acme": {
    "big": {"input": "2", "output": "10", "cached_input": "0.5", "context_window": 100000},
    "small": {"input": "0.5", "output": "1", "context_window": 100000},
}}}  # fmt: skip
Report = api.GetBudgetReportRequest
Track = api.TrackBudgetRequest


def usd(text: str) -> Money:
    """An amount of the ledger's currency."""
    units, nanos = money.to_parts(money.parse(text))
    return Money(currency_code="USD", units=units, nanos=nanos)


def since(seconds: int, **fields: Any) -> api.GetBudgetReportRequest:
    """A report request; its field `from` is a word of Python."""
    request = Report(**fields)
    getattr(request, "from").FromSeconds(seconds)
    return request


def nanos(amount: Money) -> int:
    """Nano units of an amount."""
    return money.from_parts(amount.units, amount.nanos)


class Caller:
    """The service under test with short names for its calls."""

    def __init__(self, bench: testing.Bench, clock: ManualClock) -> None:
        self.bench = bench
        self.clock = clock

    @property
    def stub(self) -> ProviderServiceAsyncStub:
        """The generated client, on the channel of the present boot."""
        return ProviderServiceStub(self.bench.channel)

    async def spend(self, cost: str, user: str = "ada", model: str = "big", provider: str = "acme") -> api.TrackBudgetResponse:
        """Tracks a call of a given cost."""
        return await self.stub.TrackBudget(Track(provider_id=provider, model=model, user_id=user, cost=usd(cost)))

    async def limit(self, limit: str, budget_id: str = "b", *, deny: bool = False, **fields: Any) -> api.SetBudgetResponse:
        """Sets a budget."""
        mode = Budget.MODE_DENY if deny else Budget.MODE_NOTIFY
        budget = Budget(budget_id=budget_id, limit=usd(limit), mode=mode)
        budget.MergeFrom(Budget(**fields))
        return await self.stub.SetBudget(api.SetBudgetRequest(budget=budget))

    async def events(self, event_type: str) -> list[Event]:
        """Everything told of one type."""
        return [event for event in await self.bench.told() if event.type == event_type]

    async def alerts(self) -> list[tuple[str, int]]:
        """(budget, threshold) of every alert told so far."""
        found = []
        for event in await self.events("budget.threshold_exceeded"):
            data = BudgetThresholdExceeded()
            assert event.data.Unpack(data)
            found.append((data.budget_id, data.threshold))
        return found


async def refusal(call: Any) -> tuple[grpc.StatusCode, ErrorInfo, grpc.aio.AioRpcError]:
    """Code and ErrorInfo of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    status = rpc_status.from_call(raised.value)
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return raised.value.code(), info, raised.value


def edit(settings: dict[str, str], registry: str) -> None:
    """Writes the registry file anew."""
    Path(settings["TOOLOO_PROVIDER_REGISTRY_FILE"]).write_text(registry)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A registry of two made-up providers, no keys, no default budget, whatever this machine's environment holds."""
    (tmp_path / "providers.toml").write_text(ACME)
    (tmp_path / "prices.json").write_text(json.dumps(PRICES))
    for name in ("ACME_KEY", "BRIM_KEY"):
        monkeypatch.delenv(name, raising=False)
    return {
        "TOOLOO_PROVIDER_REGISTRY_FILE": str(tmp_path / "providers.toml"),
        "TOOLOO_PROVIDER_PRICES_FILE": str(tmp_path / "prices.json"),
        "TOOLOO_PROVIDER_DEFAULT_BUDGET": "",
    }


@pytest.fixture
async def caller(tmp_path: Path, settings: dict[str, str]) -> AsyncIterator[Caller]:
    """The running service."""
    clock = ManualClock(START)
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=settings) as bench:
        yield Caller(bench, clock)


async def test_status_shows_states_prices_and_where_figures_come_from(caller: Caller) -> None:
    """A provider without a key says so; prices are exact; quality and speed are called priors until something was seen."""
    answer = await caller.stub.GetProviderStatus(api.GetProviderStatusRequest())
    acme, brim = answer.providers
    assert (acme.provider_id, acme.state) == ("acme", provider_pb2.PROVIDER_STATE_NOT_CONFIGURED)
    assert "ACME_KEY" in acme.state_reason
    assert [model.model for model in acme.models] == ["big", "small"]
    assert acme.models[0].price.cached_input_per_million == usd("0.5")
    assert acme.models[0].quality_source == acme.models[0].speed_source == provider_pb2.FIGURE_SOURCE_PRIOR
    assert brim.models[0].free
    one = await caller.stub.GetProviderStatus(api.GetProviderStatusRequest(provider_id="brim"))
    assert [provider.provider_id for provider in one.providers] == ["brim"]
    code, info, _ = await refusal(caller.stub.GetProviderStatus(api.GetProviderStatusRequest(provider_id="nobody")))
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")


async def test_a_selection_explains_itself_is_kept_and_told(caller: Caller) -> None:
    """The choice, its exact estimate, every candidate's parts; the event and the stored selection say the same."""
    request = api.SelectProviderRequest(query="x" * 35, focus_area="python", estimated_tokens=500, user_id="ada")
    answer = await caller.stub.SelectProvider(request)
    assert {(item.provider_id, item.model) for item in answer.candidates} == {("acme", "big"), ("acme", "small"), ("brim", "gift")}
    assert (answer.candidates[0].provider_id, answer.candidates[0].model) == (answer.provider_id, answer.model)
    big = next(item for item in answer.candidates if item.model == "big")
    assert nanos(big.estimated_cost) == (10 * 2 + 490 * 10) * 1000
    parts = [getattr(big.parts, name) for name in ("cost", "quality", "speed", "uptime")]
    assert big.score == pytest.approx(sum(part.value * part.weight for part in parts) / sum(part.weight for part in parts))
    kept = await caller.stub.GetSelection(api.GetSelectionRequest(selection_id=answer.selection_id))
    assert (kept.model, kept.user_id, kept.estimated_tokens) == (answer.model, "ada", 500)
    (event,) = await caller.events("provider.selected")
    told = ProviderSelected()
    assert event.data.Unpack(told)
    assert event.subject == f"users/ada/selections/{answer.selection_id}"
    assert (told.selection_id, told.model, told.focus_area, told.estimated_cost, told.strategy) == (
        answer.selection_id, answer.model, "python", answer.estimated_cost, provider_pb2.STRATEGY_BALANCED,
    )  # fmt: skip


async def test_free_first_and_high_quality_choose_differently(caller: Caller) -> None:
    """With preferFree it takes the free model, with highQuality the best one."""
    free = await caller.stub.SelectProvider(api.SelectProviderRequest(prefer_free=True))
    best = await caller.stub.SelectProvider(api.SelectProviderRequest(high_quality=True))
    both = await caller.stub.SelectProvider(api.SelectProviderRequest(prefer_free=True, high_quality=True))
    assert (free.model, best.model, both.model) == ("gift", "big", "gift")
    assert both.strategy == provider_pb2.STRATEGY_FREE_FIRST_HIGH_QUALITY


async def test_a_request_too_long_for_every_model_is_refused(caller: Caller) -> None:
    """FAILED_PRECONDITION with NO_CANDIDATE and the commonest reason; nothing is told."""
    code, info, _ = await refusal(caller.stub.SelectProvider(api.SelectProviderRequest(estimated_tokens=100_001)))
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_CANDIDATE")
    assert info.metadata["commonest_exclusion"] == "CONTEXT_WINDOW"
    assert await caller.bench.told() == []


async def test_with_one_key_providers_without_are_out(
    tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto`: no key at all is advice over all of them, one key restricts to what can be called."""
    monkeypatch.setenv("BRIM_KEY", "secret")
    async with testing.running("provider", build, tmp_path / "var", clock=ManualClock(START), settings=settings) as bench:
        stub = ProviderServiceStub(bench.channel)
        answer = await stub.SelectProvider(api.SelectProviderRequest(high_quality=True))
        assert answer.model == "gift"
        out = {item.model: item.exclusion for item in answer.candidates if item.exclusion}
        assert out == dict.fromkeys(("big", "small"), provider_pb2.EXCLUSION_REASON_NOT_CONFIGURED)
        status = await stub.GetProviderStatus(api.GetProviderStatusRequest(provider_id="brim"))
        assert status.providers[0].state == provider_pb2.PROVIDER_STATE_AVAILABLE
        assert "secret" not in str(status)


async def test_cost_comes_from_the_list_unless_it_is_given(caller: Caller) -> None:
    """List price with cached input charged once, a given cost as it is, and the answer says which."""
    listed = await caller.stub.TrackBudget(
        Track(provider_id="acme", model="big", input_tokens=1000, cached_input_tokens=400, output_tokens=100)
    )
    assert nanos(listed.cost) == (600 * 2000 + 400 * 500 + 100 * 10_000)
    assert listed.cost_source == api.TrackBudgetResponse.COST_SOURCE_LIST_PRICE
    given = await caller.spend("0.123456789")
    assert (given.cost, given.cost_source) == (usd("0.123456789"), api.TrackBudgetResponse.COST_SOURCE_GIVEN)
    unknown = await caller.spend("1", model="never-heard-of", provider="elsewhere")
    assert unknown.cost == usd("1")


async def test_an_unknown_price_is_refused_and_never_counted_as_zero(caller: Caller) -> None:
    """FAILED_PRECONDITION with UNKNOWN_PRICE, naming the model; the ledger stays as it was."""
    code, info, _ = await refusal(caller.stub.TrackBudget(Track(provider_id="acme", model="other", input_tokens=5)))
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UNKNOWN_PRICE")
    assert dict(info.metadata) == {"provider_id": "acme", "model": "other"}
    report = await caller.stub.GetBudgetReport(Report())
    assert report.total.calls == 0


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Track(provider_id="acme", model="big", cost=Money(currency_code="EUR", units=1)), "cost.currency_code"),
        (Track(provider_id="acme", model="big", cost=Money(currency_code="USD", units=-1)), "cost"),
        (Track(provider_id="acme", model="big", cost=Money(currency_code="USD", nanos=10**9)), "cost"),
        (Track(provider_id="Acme", model="big"), "provider_id"),
        (Track(provider_id="acme", model="a\x00b"), "model"),
        (Track(provider_id="acme", model="big", input_tokens=-1), "input_tokens"),
        (Track(provider_id="acme", model="big", cached_input_tokens=1), "cached_input_tokens"),
        (Track(provider_id="acme", model="big", latency=Duration(seconds=-1)), "latency"),
        (Track(provider_id="acme", model="big", outcome=9), "outcome"),  # type: ignore[arg-type]  # what a newer client may send
    ],
)
async def test_tracking_names_the_field_that_is_wrong(caller: Caller, request_: api.TrackBudgetRequest, field: str) -> None:
    """INVALID_ARGUMENT with the field's path."""
    code, info, error = await refusal(caller.stub.TrackBudget(request_))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    bad = BadRequest()
    assert any(detail.Unpack(bad) for detail in rpc_status.from_call(error).details)
    assert bad.field_violations[0].field == field


async def test_an_unknown_selection_is_refused_everywhere(caller: Caller) -> None:
    """NOT_FOUND for reading it and for tracking usage of it."""
    for call in (
        caller.stub.GetSelection(api.GetSelectionRequest(selection_id=new_id())),
        caller.stub.TrackBudget(Track(provider_id="acme", model="big", selection_id=new_id())),
    ):
        code, _, _ = await refusal(call)
        assert code == grpc.StatusCode.NOT_FOUND


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


async def test_the_same_request_id_records_once(caller: Caller) -> None:
    """The first answer comes again and nothing is counted twice; another request under that id is refused."""
    await caller.limit("1", thresholds=[50])
    request = Track(provider_id="acme", model="big", cost=usd("0.6"), request_id=new_id())
    first = await caller.stub.TrackBudget(request)
    await caller.bench.restart()
    assert await caller.stub.TrackBudget(request) == first
    assert (await caller.stub.GetBudgetReport(Report())).total.calls == 1
    assert len(await caller.alerts()) == 1
    request.cost.CopyFrom(usd("0.7"))
    code, info, _ = await refusal(caller.stub.TrackBudget(request))
    assert (code, info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    wish = api.SelectProviderRequest(request_id=new_id())
    assert await caller.stub.SelectProvider(wish) == await caller.stub.SelectProvider(wish)
    assert len(await caller.events("provider.selected")) == 1


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


async def test_coach_feedback_moves_the_quality_of_that_domain_once(caller: Caller) -> None:
    """Ten low scores in python halve what is expected of the model there; other domains keep the prior; a repeat counts once."""
    for _ in range(10):
        given = CoachFeedbackGiven(user_id="ada", domain="Python", score=0.2, provider_id="acme", model="big")
        event_id = new_id()
        assert await caller.bench.hear(given, event_id=event_id)
        assert not await caller.bench.hear(given, event_id=event_id)
    await caller.bench.hear(CoachFeedbackGiven(user_id="ada", domain="python", score=1.0))
    # anyone may publish what is no score
    for score in (math.nan, math.inf, -1.0, 1e308):
        await caller.bench.hear(CoachFeedbackGiven(domain="python", score=score, provider_id="acme", model="big"))
    quality = {}
    for area in ("python", "music"):
        answer = await caller.stub.SelectProvider(api.SelectProviderRequest(focus_area=area))
        quality[area] = next(item.parts.quality.value for item in answer.candidates if item.model == "big")
    assert quality == pytest.approx({"python": (0.8 * 10 + 2) / 20, "music": 0.8})
    status = await caller.stub.GetProviderStatus(api.GetProviderStatusRequest(provider_id="acme"))
    assert status.providers[0].models[0].quality_source == provider_pb2.FIGURE_SOURCE_OBSERVED


async def test_failures_in_a_row_degrade_a_provider_and_a_success_heals_it(caller: Caller) -> None:
    """Each change is told once; uptime falls; speed is learnt from the latency of the success."""
    failed = Track(provider_id="acme", model="big", outcome=Track.OUTCOME_FAILURE)
    for _ in range(4):
        await caller.stub.TrackBudget(failed)
    status = (await caller.stub.GetProviderStatus(api.GetProviderStatusRequest(provider_id="acme"))).providers[0]
    assert status.state == provider_pb2.PROVIDER_STATE_DEGRADED
    assert status.state_time.ToDatetime(tzinfo=UTC) == START
    assert (status.models[0].outcomes, status.models[0].uptime < 0.99, status.models[1].uptime) == (4, True, 0.99)
    success = Track(provider_id="acme", model="big", output_tokens=600, outcome=Track.OUTCOME_SUCCESS, latency=Duration(seconds=2))
    await caller.stub.TrackBudget(success)
    status = (await caller.stub.GetProviderStatus(api.GetProviderStatusRequest(provider_id="acme"))).providers[0]
    assert status.models[0].tokens_per_second == 300
    changes = []
    for event in await caller.events("provider.health.changed"):
        data = ProviderHealthChanged()
        assert event.data.Unpack(data)
        changes.append((data.previous_state, data.state))
    degraded, keyless = provider_pb2.PROVIDER_STATE_DEGRADED, provider_pb2.PROVIDER_STATE_NOT_CONFIGURED
    assert changes == [(keyless, degraded), (degraded, keyless)]


async def until_unavailable(stub: ProviderServiceAsyncStub, provider_id: str) -> None:
    """Asks for the state until the service has looked again."""
    async with asyncio.timeout(10):
        while True:
            status = await stub.GetProviderStatus(api.GetProviderStatusRequest(provider_id=provider_id))
            if status.providers[0].state == provider_pb2.PROVIDER_STATE_UNAVAILABLE:
                return


async def test_a_local_provider_is_offered_only_while_it_answers(tmp_path: Path, settings: dict[str, str]) -> None:
    """Something listens: available and free; it goes: unavailable and out. Each change is told."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    local = f'[providers.here]\nlocal = true\naddress = "127.0.0.1:{port}"\n'
    models = 'models = { mine = { tier = "good", context_window = 1000 } }\n'
    edit(settings, ACME + local + models)
    settings["TOOLOO_PROVIDER_LOOK_INTERVAL"] = "10ms"
    async with testing.running("provider", build, tmp_path / "var", clock=ManualClock(START), settings=settings) as bench:
        wish = api.SelectProviderRequest(prefer_free=True, high_quality=True)
        first = await ProviderServiceStub(bench.channel).SelectProvider(wish)
        server.close()
        await server.wait_closed()
        await until_unavailable(ProviderServiceStub(bench.channel), "here")
        second = await ProviderServiceStub(bench.channel).SelectProvider(wish)
        assert (first.model, second.model) == ("mine", "gift")
        (out,) = [item for item in second.candidates if item.exclusion]
        assert (out.model, out.exclusion) == ("mine", provider_pb2.EXCLUSION_REASON_UNAVAILABLE)
        told = [event for event in await bench.told() if event.type == "provider.health.changed"]
        assert [event.subject for event in told] == ["providers/here", "providers/here"]


@pytest.mark.parametrize("group_by", ["provider", "model", "day"])
async def test_every_grouping_adds_up_to_the_ledger(caller: Caller, group_by: str) -> None:
    """Random usage over days and users: rows over all pages are the sum of what was tracked, and so is the total."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    tracked = []
    for _ in range(60):
        caller.clock.advance(timedelta(minutes=chance.randrange(600)))
        cost = f"{chance.randrange(10**10)}e-9"
        user, provider, model = chance.choice(["ada", "bob"]), chance.choice(["acme", "brim", "c"]), chance.choice(["m", "n/o"])
        await caller.spend(cost, user=user, provider=provider, model=model)
        tracked.append((user, money.parse(cost)))
    caller.clock.advance(timedelta(seconds=1))
    for user in ("", "ada"):
        rows, token, pages = [], "", 0
        while pages == 0 or token:
            request = Report(group_by=group_by, user_id=user, page_size=2, page_token=token, time_zone="Asia/Kathmandu")
            request.to.FromDatetime(caller.clock.now())
            getattr(request, "from").FromDatetime(START)
            answer = await caller.stub.GetBudgetReport(request)
            rows += list(answer.rows)
            token, pages = answer.next_page_token, pages + 1
        expected = [cost for owner, cost in tracked if user in ("", owner)]
        keys = [row.key for row in rows]
        assert keys == sorted(set(keys))
        assert sum(nanos(row.cost) for row in rows) == nanos(answer.total.cost) == sum(expected)
        assert sum(row.calls for row in rows) == answer.total.calls == len(expected)


async def test_a_report_covers_exactly_its_span(caller: Caller) -> None:
    """`from` is in, `to` is out; without them it is the last thirty days."""
    for cost in ("1", "2", "4"):
        await caller.spend(cost)
        caller.clock.advance(timedelta(hours=1))
    request = Report()
    getattr(request, "from").FromDatetime(START + timedelta(hours=1))
    request.to.FromDatetime(START + timedelta(hours=2))
    assert (await caller.stub.GetBudgetReport(request)).total.cost == usd("2")
    caller.clock.advance(timedelta(days=30) - timedelta(hours=1, minutes=30))
    assert (await caller.stub.GetBudgetReport(Report())).total.cost == usd("4")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (since(10, to=Timestamp(seconds=10)), "from"),
        (since(0), "from"),
        (Report(time_zone="Mars/Olympus"), "time_zone"),
        (Report(page_token="nonsense"), "page_token"),
        (Report(group_by="Month"), "group_by"),
        (Report(labels=["team"]), "labels[0]"),
        (Report(labels=["user=bob"], user_id="ada"), "labels"),
        (Report(to=Timestamp(seconds=253402300799)), "to"),
        (Report(to=Timestamp(seconds=10, nanos=-5)), "to"),
    ],
)
async def test_a_report_names_the_field_that_is_wrong(caller: Caller, request_: api.GetBudgetReportRequest, field: str) -> None:
    """Empty and too long spans, unknown zones, tokens and groupings, times out of range."""
    code, info, _ = await refusal(caller.stub.GetBudgetReport(request_))
    assert (code, info.metadata["fields"]) == (grpc.StatusCode.INVALID_ARGUMENT, field)


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
