"""The provider service as its callers meet it: states, selection, prices, health, reports; refusals and repeats."""

from __future__ import annotations

import asyncio
import math
import random
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest
from google.type.money_pb2 import Money
from grpc_status import rpc_status
from tooloo.learning.v1.learning_events_pb2 import CoachFeedbackGiven
from tooloo.provider.v1 import provider_pb2
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1.provider_events_pb2 import ProviderHealthChanged, ProviderSelected
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from mesh import testing
from mesh.clock import ManualClock
from mesh.ids import new_id
from services.provider import money
from services.provider.__main__ import build
from tests.integration.provider_bench import (
    ACME,
    START,
    Caller,
    Report,
    Track,
    caller,
    edit,
    nanos,
    refusal,
    settings,
    since,
    usd,
)

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceAsyncStub

__all__ = ["caller", "settings"]


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


async def test_a_domain_under_another_name(caller: Caller) -> None:
    """What was learned under the domain's id counts for who selects by an alias, also what was earned while that was a topic."""

    async def quality(area: str) -> float:
        answer = await caller.stub.SelectProvider(api.SelectProviderRequest(focus_area=area))
        return next(item.parts.quality.value for item in answer.candidates if item.model == "big")

    async def hear(domain: str, score: float, *aliases: str) -> None:
        given = CoachFeedbackGiven(domain=domain, score=score, provider_id="acme", model="big", domain_aliases=aliases)
        await caller.bench.hear(given)

    await hear("maths", 0.0)
    await hear("mathematics", 1.0, "maths", "high-school-algebra", "mathematics")
    both = (0.8 * 10 + 1) / 12
    for area in ("Mathematics", "maths", "High_School / Algebra"):
        assert await quality(area) == pytest.approx(both), area
    assert await quality("music") == 0.8
    # the curriculum has changed: it is a domain of its own now
    await hear("maths", 1.0)
    assert await quality("maths") == pytest.approx((0.8 * 10 + 1) / 11)
    await hear("mathematics", 1.0)
    assert await quality("high school algebra") == 0.8


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
    async with asyncio.timeout(60):
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
