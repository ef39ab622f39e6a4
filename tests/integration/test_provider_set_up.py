"""What operators set up is what the next call meets: registry, prices, weights, ratings, and what a name had before."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import availability_service_pb2 as availability_api
from tooloo.provider.v1 import health_pb2, provider_pb2, selection_pb2
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import registry_service_pb2 as registry_api
from tooloo.provider.v1 import reservation_service_pb2 as reservation_api
from tooloo.provider.v1 import selection_service_pb2 as selection_api
from tooloo.provider.v1.availability_service_pb2_grpc import AvailabilityServiceStub
from tooloo.provider.v1.budget_pb2 import BudgetWindow
from tooloo.provider.v1.registry_service_pb2_grpc import RegistryServiceStub
from tooloo.provider.v1.reservation_service_pb2_grpc import ReservationServiceStub
from tooloo.provider.v1.selection_service_pb2_grpc import SelectionServiceStub

from mesh import testing
from mesh.clock import ManualClock
from services.provider.__main__ import build
from services.provider.flows import conditions, known
from services.provider.flows.advising import Advisor
from services.provider.settings import ProviderSettings
from tests.integration.completing_bench import desk_on, fails, says
from tests.integration.provider_bench import ACME, PRICES, START, Caller, caller, edit, nanos, refusal, settings, usd
from tests.integration.reservations_bench import details

__all__ = ["caller", "settings"]

HOUR = timedelta(hours=1)
Select = api.SelectProviderRequest


def rates(price: str) -> registry_api.ModelRates:
    """A price a million tokens of both kinds."""
    return registry_api.ModelRates(input_per_million=usd(price), output_per_million=usd(price))


async def register(bench: testing.Bench, name: str = "new", price: str = "1") -> None:
    """Registers a model of acme."""
    model = registry_api.ModelDefinition(
        provider_id="acme", model=name, quality=0.7, tokens_per_second=50, context_window=9000, price=rates(price)
    )
    await RegistryServiceStub(bench.channel).RegisterModel(registry_api.RegisterModelRequest(model=model))


async def alias(bench: testing.Bench, **weights: float) -> None:
    """Sets the alias "smart" to models of acme."""
    targets = [selection_pb2.Share(provider_id="acme", model=name, weight=weight) for name, weight in weights.items()]
    request = selection_api.SetAliasRequest(alias=selection_pb2.Alias(alias="smart", targets=targets))
    await SelectionServiceStub(bench.channel).SetAlias(request)


async def test_what_was_registered_is_known_to_the_next_call(caller: Caller) -> None:
    """A model that was registered a moment ago can be a target, be drained, be listed, and has its price when money is reserved."""
    await register(caller.bench)
    await alias(caller.bench, new=1)
    assert (await caller.stub.SelectProvider(Select(query="hi", alias="smart"))).model == "new"


async def test_a_model_is_drained_as_soon_as_it_is_registered(caller: Caller) -> None:
    """No other call has to come between."""
    await register(caller.bench)
    stub = AvailabilityServiceStub(caller.bench.channel)
    request = availability_api.DrainAvailabilityRequest(provider_id="acme", model="new", reason="not yet")
    assert (await stub.DrainAvailability(request)).entry.priority == health_pb2.PRIORITY_OUT


async def test_a_new_price_counts_at_once(caller: Caller) -> None:
    """What is reserved, added and settled is priced as of the moment, not as of the last look at the registry."""
    stub = ReservationServiceStub(caller.bench.channel)
    await register(caller.bench, price="1")
    ask = reservation_api.ReserveRequest(provider_id="acme", model="new", input_tokens=1000, output_tokens=1000)
    held = (await stub.Reserve(ask)).reservation
    assert nanos(held.amount) == 2_000_000
    model = registry_api.ModelDefinition(
        provider_id="acme", model="new", quality=0.7, tokens_per_second=50, context_window=9000, price=rates("3")
    )
    await RegistryServiceStub(caller.bench.channel).UpdateModel(registry_api.UpdateModelRequest(model=model))
    more = await stub.Extend(reservation_api.ExtendRequest(reservation_id=held.reservation_id, output_tokens=1000))
    assert nanos(more.reservation.amount) == 2_000_000 + 3_000_000
    assert more.reservation.output_tokens == 2000
    found = await stub.GetReservation(reservation_api.GetReservationRequest(reservation_id=held.reservation_id))
    assert found.reservation == more.reservation
    settle = reservation_api.SettleRequest(reservation_id=held.reservation_id, input_tokens=1000, output_tokens=1000)
    assert nanos((await stub.Settle(settle)).reservation.cost) == 6_000_000


async def test_a_session_leaves_a_target_whose_weight_is_0(caller: Caller) -> None:
    """A canary that is taken back gets no calls, also not those of the sessions that began with it; alone it still answers."""
    await alias(caller.bench, small=1)
    ask = Select(query="hi", alias="smart", session_id="s")
    assert (await caller.stub.SelectProvider(ask)).model == "small"
    await alias(caller.bench, small=0, big=1)
    assert (await caller.stub.SelectProvider(ask)).model == "big"
    stub = AvailabilityServiceStub(caller.bench.channel)
    await stub.DrainAvailability(availability_api.DrainAvailabilityRequest(provider_id="acme", model="big", reason="x"))
    assert (await caller.stub.SelectProvider(ask)).model == "small"


async def test_what_was_noted_of_a_provider_goes_with_it(caller: Caller) -> None:
    """Deleted and registered anew it is no longer drained, and nothing of the old one's calls is told of it."""
    calls, stub = RegistryServiceStub(caller.bench.channel), AvailabilityServiceStub(caller.bench.channel)
    await caller.stub.TrackBudget(
        api.TrackBudgetRequest(provider_id="acme", model="big", cost=usd("1"), outcome=api.TrackBudgetRequest.OUTCOME_FAILURE)
    )
    for model in ("", "big"):
        await stub.DrainAvailability(availability_api.DrainAvailabilityRequest(provider_id="acme", model=model, reason="broken"))
    await calls.DeleteProvider(registry_api.DeleteProviderRequest(provider_id="acme"))
    definition = registry_api.ProviderDefinition(provider_id="acme", base_url="https://acme.example/v1")
    await calls.RegisterProvider(registry_api.RegisterProviderRequest(provider=definition))
    await register(caller.bench, "big")
    entries = (await stub.ListAvailability(availability_api.ListAvailabilityRequest(provider_id="acme"))).entries
    assert [(entry.model, entry.priority, entry.failures_in_row) for entry in entries] == [
        ("", health_pb2.PRIORITY_NORMAL, 0), ("big", health_pb2.PRIORITY_NORMAL, 0),
    ]  # fmt: skip
    [shown] = (await caller.stub.GetProviderStatus(api.GetProviderStatusRequest(provider_id="acme"))).providers
    assert shown.models[0].outcomes == 0


async def models(bench: testing.Bench) -> dict[str, registry_api.ModelDefinition]:
    """The models of acme as they are listed, by name."""
    listed = await RegistryServiceStub(bench.channel).ListModels(registry_api.ListModelsRequest(provider_id="acme"))
    return {model.model: model for model in listed.models}


async def test_what_is_read_changed_and_put_back_keeps_the_rest(tmp_path: Path, settings: dict[str, str]) -> None:
    """Long inputs stay as dear as the list says although a message has no place for that; what the file switched off stays off."""
    long = {"input": "2", "output": "10", "context_window": 900000, "tiers": [{"above": 1000, "input": "4", "output": "20"}]}
    Path(settings["TOOLOO_PROVIDER_PRICES_FILE"]).write_text(json.dumps({"providers": {"acme": {"big": long, "small": long}}}))
    edit(settings, ACME.replace('small = { tier = "plain" }', 'small = { tier = "plain", enabled = false }'))
    async with testing.running("provider", build, tmp_path / "var", settings=settings) as bench:
        calls = RegistryServiceStub(bench.channel)
        for model in (await models(bench)).values():
            model.quality = 0.3
            await calls.UpdateModel(registry_api.UpdateModelRequest(model=model))
        after = await models(bench)
        assert {name: (model.quality, model.disabled) for name, model in after.items()} == {
            "big": (0.3, False),
            "small": (0.3, True),
        }
        ask = reservation_api.ReserveRequest(provider_id="acme", model="big", input_tokens=2000, output_tokens=1000, dry_run=True)
        stub = ReservationServiceStub(bench.channel)
        assert nanos((await stub.Reserve(ask)).reservation.amount) == 28_000_000
        # whoever gives another price means all of it
        after["big"].price.CopyFrom(rates("1"))
        await calls.UpdateModel(registry_api.UpdateModelRequest(model=after["big"]))
        assert nanos((await stub.Reserve(ask)).reservation.amount) == 3_000_000


async def test_a_provider_shows_its_speed_when_it_is_switched(caller: Caller) -> None:
    """The answer to switching it is the provider as the list has it, so that it can be changed and put back."""
    calls = RegistryServiceStub(caller.bench.channel)
    definition = registry_api.ProviderDefinition(provider_id="acme", base_url="https://acme.example/v1", tokens_per_second=42)
    await calls.UpdateProvider(registry_api.UpdateProviderRequest(provider=definition))
    switched = await calls.SetProviderEnabled(registry_api.SetProviderEnabledRequest(provider_id="acme", enabled=False))
    assert (switched.provider.tokens_per_second, switched.provider.disabled) == (42, True)


async def test_a_model_that_the_price_list_knows_no_more(tmp_path: Path, settings: dict[str, str]) -> None:
    """Registered without a context window, which the list knew: with a list that does not it alone is out until it says its own."""
    async with testing.running("provider", build, tmp_path / "var", settings=settings) as bench:
        calls = RegistryServiceStub(bench.channel)
        await calls.DeleteModel(registry_api.DeleteModelRequest(provider_id="acme", model="big"))
        model = registry_api.ModelDefinition(provider_id="acme", model="big", quality=0.9, tokens_per_second=50)
        await calls.RegisterModel(registry_api.RegisterModelRequest(model=model))
        await register(bench)
        edit(settings, ACME.replace('big = { tier = "good" }, ', ""))
        known_still = {"acme": {"small": PRICES["providers"]["acme"]["small"]}}
        Path(settings["TOOLOO_PROVIDER_PRICES_FILE"]).write_text(json.dumps({"providers": known_still}))
        await bench.restart()
        calls = RegistryServiceStub(bench.channel)
        assert sorted(await models(bench)) == ["new", "small"]
        await register(bench, "newer")
        model.context_window = 100
        await calls.RegisterModel(registry_api.RegisterModelRequest(model=model))
        assert sorted(await models(bench)) == ["big", "new", "newer", "small"]


async def test_a_rating_counts_for_who_answered(tmp_path: Path) -> None:
    """The model that was chosen failed and another one answered: thumbs up or down are about the answer."""
    async with desk_on(tmp_path) as desk:
        desk.far.script["big"] = [fails(404)]
        account = (await desk.ask("auto")).account
        assert account.model == "mid"
        request = selection_api.RateSelectionRequest(selection_id=account.query_id, thumbs_up=False)
        rated = await SelectionServiceStub(desk.bench.channel).RateSelection(request)
        assert (rated.provider_id, rated.model) == ("brim", "mid")


async def test_a_wrong_name_or_address_that_is_set_right(tmp_path: Path) -> None:
    """A model that its provider did not know, and a provider that failed, are asked again as soon as they are called otherwise."""
    async with desk_on(tmp_path, breaker_in_row="1", retries_server_error="0") as desk:
        calls = RegistryServiceStub(desk.bench.channel)
        desk.far.script["big"] = [fails(404)]
        assert (await desk.ask("auto")).account.model == "mid"
        model = (await models(desk.bench))["big"]
        model.quality = 0.95
        await calls.UpdateModel(registry_api.UpdateModelRequest(model=model))
        assert (await desk.ask("auto")).account.model == "mid"
        model.upstream = "big-2026"
        await calls.UpdateModel(registry_api.UpdateModelRequest(model=model))
        desk.far.script["big-2026"] = [says(), fails(500)]
        assert (await desk.ask("auto")).account.model == "big"
        assert (await desk.ask("auto")).account.model == "mid"
        definition = registry_api.ProviderDefinition(provider_id="acme", base_url=f"{desk.far.url}/v2")
        await calls.UpdateProvider(registry_api.UpdateProviderRequest(provider=definition))
        assert (await desk.ask("auto")).account.model == "big"


async def test_a_prior_that_is_changed_moves_what_was_learned(caller: Caller) -> None:
    """A model with outcomes is expected to do as they say, drawn towards what the registry says now."""
    host, stub = caller.bench.host, SelectionServiceStub(caller.bench.channel)
    selection = await caller.stub.SelectProvider(Select(query="hi", strategy=provider_pb2.STRATEGY_BEST))
    await stub.RateSelection(selection_api.RateSelectionRequest(selection_id=selection.selection_id, score=0.5))
    knows = known.read(host.settings_of(ProviderSettings), {})
    advisor = Advisor(host, knows)
    assert await advisor.refresh()
    before = advisor.learned["acme", "big"].quality
    model = (await models(caller.bench))["big"]
    model.quality = 0.1
    await RegistryServiceStub(caller.bench.channel).UpdateModel(registry_api.UpdateModelRequest(model=model))
    await host.db.read(knows.look)
    assert await advisor.refresh()
    assert advisor.learned["acme", "big"].quality < 0.2 < before
    assert not await advisor.refresh()
    await advisor.close()


async def test_more_money_in_a_window_that_is_over_is_refused_for_good(caller: Caller) -> None:
    """A call counts in the window in which it began: when that is over, waiting gives it no more room, and no wait is named."""
    await caller.limit("1", deny=True, window=BudgetWindow(period=BudgetWindow.PERIOD_DAY))
    stub = ReservationServiceStub(caller.bench.channel)
    ask = reservation_api.ReserveRequest(provider_id="acme", model="big", amount=usd("0.9"), ttl=Duration(seconds=86400))
    held = (await stub.Reserve(ask)).reservation
    caller.clock.advance(20 * HOUR)
    more = reservation_api.ExtendRequest(reservation_id=held.reservation_id, amount=usd("0.2"))
    code, info, error = await refusal(stub.Extend(more))
    assert (code, info.metadata["budgets"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "b")
    assert details(error) == (["budget/b"], None)
    assert "the window that ended at 2026-11-23T00:00:00+00:00" in (error.details() or "")


async def test_a_report_goes_on_when_its_first_rows_are_out(caller: Caller) -> None:
    """The span ends now unless it is given: between two pages its oldest hour may leave it, and all other rows still come."""
    for _ in range(3):
        await caller.spend("1")
        caller.clock.advance(HOUR)
    request = api.GetBudgetReportRequest(group_by="hour", page_size=1)
    caller.clock.advance(timedelta(days=30) - 3 * HOUR - timedelta(minutes=1))
    first = await caller.stub.GetBudgetReport(request)
    caller.clock.advance(timedelta(minutes=15))
    request.page_token = first.next_page_token
    second = await caller.stub.GetBudgetReport(request)
    assert [row.key for row in (*first.rows, *second.rows)] == ["2026-11-22T10:00+00:00", "2026-11-22T11:00+00:00"]
    assert second.next_page_token


async def test_a_local_provider_is_offered_as_soon_as_it_is_registered(caller: Caller) -> None:
    """Its address is where it is called, unless it says another; whether something answers there is looked at once."""
    calls, stub = RegistryServiceStub(caller.bench.channel), caller.stub
    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        definition = registry_api.ProviderDefinition(provider_id="near", local=True, base_url=url)
        await calls.RegisterProvider(registry_api.RegisterProviderRequest(provider=definition))
        model = registry_api.ModelDefinition(provider_id="near", model="mine", quality=1, tokens_per_second=50, context_window=9000)
        await calls.RegisterModel(registry_api.RegisterModelRequest(model=model))
        ask = Select(query="hi", strategy=provider_pb2.STRATEGY_BEST)
        assert (await stub.SelectProvider(ask)).model == "mine"
    definition.base_url = "http://127.0.0.1:1"
    await calls.UpdateProvider(registry_api.UpdateProviderRequest(provider=definition))
    assert (await stub.SelectProvider(ask)).model == "big"


async def test_a_provider_that_goes_while_it_is_looked_at(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at local providers takes a while; one that is deleted meanwhile does not end it."""
    calls = RegistryServiceStub(caller.bench.channel)
    definition = registry_api.ProviderDefinition(
        provider_id="near", local=True, address="127.0.0.1:1", dialect=registry_api.DIALECT_OLLAMA
    )
    await calls.RegisterProvider(registry_api.RegisterProviderRequest(provider=definition))
    host = caller.bench.host
    knows = known.read(host.settings_of(ProviderSettings), {})

    async def answers(address: str, timeout: timedelta) -> bool:
        await calls.DeleteProvider(registry_api.DeleteProviderRequest(provider_id="near"))
        return True

    monkeypatch.setattr(conditions, "answers", answers)
    await conditions.look(host, knows)
    assert "near" not in knows.registry.providers


async def test_a_store_that_is_away_when_something_is_to_be_told(
    tmp_path: Path, settings: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """While another process holds its lock the end of an operator's word cannot be told: it is told later, and nothing ends."""
    clock = ManualClock(START)
    quick = {**settings, "TOOLOO_BUSY_TIMEOUT": "50ms", "TOOLOO_PROVIDER_AVAILABILITY_SWEEP": "20ms"}
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=quick) as bench:
        request = availability_api.DrainAvailabilityRequest(provider_id="acme", reason="upgrade")
        request.until.FromDatetime(START + HOUR)
        await AvailabilityServiceStub(bench.channel).DrainAvailability(request)
        lock = sqlite3.connect(tmp_path / "var" / "provider" / "provider.db", isolation_level=None, timeout=30)
        lock.execute("BEGIN IMMEDIATE")
        clock.advance(HOUR)
        async with asyncio.timeout(60):
            while "work in the background waits" not in caplog.text:  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.01)
            assert await told(bench) == 1
            lock.close()
            while await told(bench) < 2:  # noqa: ASYNC110 - nor has the outbox
                await asyncio.sleep(0.01)


async def told(bench: testing.Bench) -> int:
    """How many changes of a place in the order were told."""
    return sum(event.type == "provider.priority.changed" for event in await bench.told())
