"""The registry at run time and the keys: every call and refusal, two processes on one file, what is sealed and what is shown."""

import base64
import os
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from google.type.money_pb2 import Money
from grpc_status import rpc_status
from tooloo.provider.v1 import provider_service_pb2 as provider_api
from tooloo.provider.v1 import registry_service_pb2 as api
from tooloo.provider.v1 import reservation_service_pb2 as reservations
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from tooloo.provider.v1.registry_service_pb2_grpc import RegistryServiceStub
from tooloo.provider.v1.reservation_service_pb2_grpc import ReservationServiceStub

from mesh import boot, testing
from mesh.clock import ManualClock
from mesh.db import Database
from mesh.ids import new_id
from services.provider.__main__ import build
from services.provider.flows import known
from services.provider.flows.keyring import Keyring
from services.provider.settings import ProviderSettings

START = datetime(2026, 11, 25, 10, tzinfo=UTC)
REGISTRY = """
[tiers]
good = { quality = 0.8, tokens_per_second = 100 }
[providers.acme]
base_url = "https://acme.example/v1"
key_environment = ["ACME_TEST_KEY"]
models = { big = { tier = "good", context_window = 1000, price = { input = "1", output = "2" } } }
"""
Key = api.ProviderKey


def settings(folder: Path, **more: str) -> dict[str, str]:
    """Where the registry file is, and whatever else a test sets."""
    file = folder / "registry.toml"
    file.write_text(REGISTRY)
    return {"TOOLOO_PROVIDER_REGISTRY_FILE": str(file), **more}


@pytest.fixture
async def clock() -> ManualClock:
    """The service's clock."""
    return ManualClock(START)


@pytest.fixture
async def service(tmp_path: Path, clock: ManualClock) -> AsyncIterator[testing.Bench]:
    """A running service."""
    async with testing.running("provider", build, tmp_path / "data", clock=clock, settings=settings(tmp_path)) as bench:
        yield bench


def registry(service: testing.Bench) -> Any:
    """The calls under test."""
    return RegistryServiceStub(service.channel)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and words of a refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    info = ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return caught.value.code(), info.reason, status.message


def definition(provider_id: str = "mine", **fields: Any) -> api.ProviderDefinition:
    """A provider as a caller writes it."""
    return api.ProviderDefinition(**{"provider_id": provider_id, "base_url": "https://mine.example/v1", **fields})


def model(name: str = "m", provider_id: str = "mine", **fields: Any) -> api.ModelDefinition:
    """A model as a caller writes it."""
    given = {"quality": 0.7, "tokens_per_second": 50, "context_window": 4096, **fields}
    return api.ModelDefinition(provider_id=provider_id, model=name, **given)


async def shown(service: testing.Bench) -> dict[str, list[str]]:
    """Providers and models as the seed's status call shows them: what every other part of the service sees."""
    stub: Any = ProviderServiceStub(service.channel)
    status = await stub.GetProviderStatus(provider_api.GetProviderStatusRequest())
    return {provider.provider_id: [entry.model for entry in provider.models] for provider in status.providers}


async def test_a_provider_and_its_models_come_change_and_go(service: testing.Bench) -> None:
    """What is registered is seen at once by the rest of the service, survives a restart, and is gone when it is deleted."""
    calls = registry(service)
    rate = api.ModelRates(
        input_per_million=Money(currency_code="USD", units=1), output_per_million=Money(currency_code="USD", units=2)
    )
    made = await calls.RegisterProvider(api.RegisterProviderRequest(provider=definition(region="eu", headers={"x-team": "a"})))
    assert (made.provider.region, dict(made.provider.headers), made.provider.changed_here) == ("eu", {"x-team": "a"}, True)
    await calls.RegisterModel(api.RegisterModelRequest(model=model(price=rate, upstream="m-2026")))
    assert await shown(service) == {"acme": ["big"], "mine": ["m"]}
    await service.restart()
    calls = registry(service)
    assert await shown(service) == {"acme": ["big"], "mine": ["m"]}
    [listed] = (await calls.ListModels(api.ListModelsRequest(provider_id="mine"))).models
    assert (listed.upstream, listed.region, listed.price.output_per_million.units, listed.price_known) == ("m-2026", "eu", 2, True)
    await calls.UpdateProvider(api.UpdateProviderRequest(provider=definition(region="us")))
    await calls.UpdateModel(api.UpdateModelRequest(model=model(quality=0.1)))
    [listed] = (await calls.ListModels(api.ListModelsRequest(provider_id="mine"))).models
    assert (listed.region, listed.quality, listed.price_known) == ("us", 0.1, False)
    await calls.DeleteModel(api.DeleteModelRequest(provider_id="mine", model="m"))
    assert await shown(service) == {"acme": ["big"], "mine": []}
    await calls.DeleteProvider(api.DeleteProviderRequest(provider_id="mine"))
    assert await shown(service) == {"acme": ["big"]}


def priced(dollars: int) -> api.ModelDefinition:
    """A model whose input and output cost so many dollars for a million tokens."""
    each = Money(currency_code="USD", units=dollars)
    return model(price=api.ModelRates(input_per_million=each, output_per_million=each))


async def test_a_price_counts_from_when_it_is_set(service: testing.Bench) -> None:
    """Reserved, extended and settled right after a change, with no other call between that would have looked."""
    calls, own = registry(service), ReservationServiceStub(service.channel)
    await calls.RegisterProvider(api.RegisterProviderRequest(provider=definition()))
    await calls.RegisterModel(api.RegisterModelRequest(model=priced(1)))
    wish = reservations.ReserveRequest(provider_id="mine", model="m", input_tokens=1000, output_tokens=1000)
    first = (await own.Reserve(wish)).reservation
    assert first.amount.nanos == 2_000_000
    await calls.UpdateModel(api.UpdateModelRequest(model=priced(10)))
    assert (await own.Reserve(wish)).reservation.amount.nanos == 20_000_000
    await calls.UpdateModel(api.UpdateModelRequest(model=priced(100)))
    more = reservations.ExtendRequest(reservation_id=first.reservation_id, output_tokens=1000)
    assert (await own.Extend(more)).reservation.amount.nanos == 102_000_000
    await calls.UpdateModel(api.UpdateModelRequest(model=priced(7)))
    used = reservations.SettleRequest(reservation_id=first.reservation_id, input_tokens=1000, output_tokens=1000)
    assert (await own.Settle(used)).reservation.cost.nanos == 14_000_000


async def test_what_the_file_says_can_be_hidden_and_comes_back_new(service: testing.Bench) -> None:
    """A provider of the file that is deleted stays deleted over a restart; registered again it has no old models."""
    calls = registry(service)
    await calls.DeleteProvider(api.DeleteProviderRequest(provider_id="acme"))
    await service.restart()
    calls = registry(service)
    assert await shown(service) == {}
    await calls.RegisterProvider(api.RegisterProviderRequest(provider=definition("acme")))
    assert await shown(service) == {"acme": []}
    await calls.RegisterModel(api.RegisterModelRequest(model=model("big", "acme")))
    assert await shown(service) == {"acme": ["big"]}


async def test_switching_off_and_on(service: testing.Bench) -> None:
    """A switch keeps the definition, the file's or one of our own; a provider takes its models along."""
    calls = registry(service)
    await calls.SetModelEnabled(api.SetModelEnabledRequest(provider_id="acme", model="big", enabled=False))
    [entry] = (await calls.ListModels(api.ListModelsRequest())).models
    assert (entry.disabled, entry.context_window, entry.price.input_per_million.units) == (True, 1000, 1)
    await calls.SetModelEnabled(api.SetModelEnabledRequest(provider_id="acme", model="big", enabled=True))
    await calls.SetProviderEnabled(api.SetProviderEnabledRequest(provider_id="acme", enabled=False))
    [entry] = (await calls.ListModels(api.ListModelsRequest())).models
    [provider] = (await calls.ListProviders(api.ListProvidersRequest())).providers
    assert (entry.disabled, provider.disabled, provider.base_url) == (True, True, "https://acme.example/v1")
    select: Any = ProviderServiceStub(service.channel)
    assert (await refusal(select.SelectProvider(provider_api.SelectProviderRequest(query="x"))))[1] == "NO_CANDIDATE"
    await calls.SetProviderEnabled(api.SetProviderEnabledRequest(provider_id="acme", enabled=True))
    assert (await select.SelectProvider(provider_api.SelectProviderRequest(query="x"))).model == "big"


async def test_refusals(service: testing.Bench) -> None:
    """Unknown, there already, and what could not be called or would make the registry unsound."""
    calls = registry(service)
    code = grpc.StatusCode
    register, add = calls.RegisterProvider, calls.RegisterModel
    assert (await refusal(register(api.RegisterProviderRequest(provider=definition("acme")))))[0] is code.ALREADY_EXISTS
    assert (await refusal(calls.UpdateProvider(api.UpdateProviderRequest(provider=definition()))))[0] is code.NOT_FOUND
    assert (await refusal(calls.DeleteProvider(api.DeleteProviderRequest(provider_id="mine"))))[0] is code.NOT_FOUND
    assert (await refusal(add(api.RegisterModelRequest(model=model()))))[0] is code.NOT_FOUND
    assert (await refusal(add(api.RegisterModelRequest(model=model("big", "acme")))))[0] is code.ALREADY_EXISTS
    bad = [
        "ftp://x",
        "https://user:pass@x",
        "https://x?key=1",
        "nonsense",
        "https://x y",
        "https://[::1",
        "http://x:99999",
        "http://169.254.169.254",
        "http://[fe80::1]",
    ]
    for url in bad:
        found = await refusal(register(api.RegisterProviderRequest(provider=definition(base_url=url))))
        assert (found[0], "base_url" in found[2]) == (code.INVALID_ARGUMENT, True), url
    unknown = await refusal(add(api.RegisterModelRequest(model=model("m", "acme", context_window=0))))
    assert (unknown[0], "context_window" in unknown[2]) == (code.INVALID_ARGUMENT, True)
    assert await shown(service) == {"acme": ["big"]}


async def test_the_same_request_again_changes_nothing(service: testing.Bench) -> None:
    """By request_id, for registering and for keys."""
    calls, request_id = registry(service), new_id()
    for _ in range(2):
        await calls.RegisterProvider(api.RegisterProviderRequest(provider=definition(), request_id=request_id))
    keys = [
        await calls.AddProviderKey(api.AddProviderKeyRequest(provider_id="mine", secret="s" * 20, request_id=new_id_of))
        for new_id_of in [request_id] * 2
    ]
    assert keys[0] == keys[1]
    assert len((await calls.ListProviderKeys(api.ListProviderKeysRequest())).keys) == 1


async def test_lists_page(service: testing.Bench) -> None:
    """Every entry once, in order, by pages of two."""
    calls = registry(service)
    for number in range(5):
        await calls.RegisterProvider(api.RegisterProviderRequest(provider=definition(f"p{number}")))
    names, token = [], ""
    while True:
        answer = await calls.ListProviders(api.ListProvidersRequest(page_size=2, page_token=token))
        names += [provider.provider_id for provider in answer.providers]
        token = answer.next_page_token
        if not token:
            break
    assert names == ["acme", "p0", "p1", "p2", "p3", "p4"]


async def test_another_process_sees_a_change_at_its_next_transaction(service: testing.Bench, tmp_path: Path) -> None:
    """Two replicas on one file: what one registers and which keys it adds, the other knows."""
    path = service.host.db.path
    chosen = ProviderSettings.load(settings(tmp_path))
    other = known.read(chosen, {})
    schema = boot.SERVICES_FOLDER / "provider" / "schema"
    database = await Database.open(path, [("provider", schema)], service.host.settings)
    try:
        await database.read(other.look)
        before = other.registry
        await database.read(other.look)
        assert other.registry is before, "nothing changed, so nothing is read again"
        await registry(service).RegisterProvider(api.RegisterProviderRequest(provider=definition()))
        await registry(service).AddProviderKey(api.AddProviderKeyRequest(provider_id="mine", secret="s" * 20))
        await database.read(other.look)
        assert set(other.registry.providers) == {"acme", "mine"}
        assert other.with_key == {"mine"}
    finally:
        await database.close()


async def test_keys_are_weighted_rotated_and_never_shown(service: testing.Bench, clock: ManualClock) -> None:
    """Shares of calls by weight, one of weight 0 last, one that ended not at all; lists show the last four characters."""
    calls = registry(service)
    ids = {}
    for name, weight in (("heavy", 3), ("light", 1), ("reserve", 0)):
        request = api.AddProviderKeyRequest(provider_id="acme", secret=f"secret-of-the-{name}", display_name=name, weight=weight)
        ids[name] = (await calls.AddProviderKey(request)).key.key_id
    listed = (await calls.ListProviderKeys(api.ListProviderKeysRequest(provider_id="acme"))).keys
    assert {(key.display_name, key.hint, key.weight, key.state) for key in listed} == {
        ("heavy", "eavy", 3, Key.STATE_ACTIVE), ("light", "ight", 1, Key.STATE_ACTIVE), ("reserve", "erve", 0, Key.STATE_RESERVE),
    }  # fmt: skip
    keyring = await Keyring.open(service.host, known.read(service.host.settings_of(ProviderSettings), {}))

    async def orders() -> list[tuple[str, ...]]:
        async def work(tx: Any) -> list[tuple[str, ...]]:
            return [tuple(key.secret for key in await keyring.keys_of(tx, "acme", str(seed))) for seed in range(2000)]

        return await service.host.db.read(work)

    found = await orders()
    assert found == await orders(), "the same seed gives the same order"
    firsts = Counter(order[0] for order in found)
    assert 1380 < firsts["secret-of-the-heavy"] < 1620, firsts
    assert {order[2] for order in found} == {"secret-of-the-reserve"}
    end = Timestamp()
    end.FromDatetime(START + timedelta(hours=1))
    await calls.UpdateProviderKey(api.UpdateProviderKeyRequest(key_id=ids["heavy"], end_time=end))
    clock.advance(timedelta(hours=2))
    assert {order[0] for order in await orders()} == {"secret-of-the-light"}
    listed = (await calls.ListProviderKeys(api.ListProviderKeysRequest())).keys
    assert {key.display_name for key in listed if key.state == Key.STATE_ENDED} == {"heavy"}
    await calls.DeleteProviderKey(api.DeleteProviderKeyRequest(key_id=ids["light"]))
    assert set(await orders()) == {("secret-of-the-reserve",)}
    assert (await refusal(calls.DeleteProviderKey(api.DeleteProviderKeyRequest(key_id=ids["light"]))))[
        0
    ] is grpc.StatusCode.NOT_FOUND


async def test_keys_live_through_a_change_of_the_encryption_key(tmp_path: Path) -> None:
    """From the key file to one of the settings, then to another: opened with the old one, sealed anew; else unreadable."""
    first, second = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    steps: list[tuple[dict[str, str], int]] = [
        ({}, Key.STATE_ACTIVE),
        ({"TOOLOO_PROVIDER_ENCRYPTION_KEY": first}, Key.STATE_ACTIVE),
        ({"TOOLOO_PROVIDER_ENCRYPTION_KEY": second, "TOOLOO_PROVIDER_ENCRYPTION_OLD_KEYS": first}, Key.STATE_ACTIVE),
        ({"TOOLOO_PROVIDER_ENCRYPTION_KEY": second}, Key.STATE_ACTIVE),
        ({"TOOLOO_PROVIDER_ENCRYPTION_KEY": first}, Key.STATE_UNREADABLE),
    ]
    for number, (more, state) in enumerate(steps):
        async with testing.running("provider", build, tmp_path / "data", settings=settings(tmp_path, **more)) as service:
            if number == 0:
                await registry(service).AddProviderKey(api.AddProviderKeyRequest(provider_id="acme", secret="s" * 20))
            [key] = (await registry(service).ListProviderKeys(api.ListProviderKeysRequest())).keys
            assert key.state == state, number


async def test_a_key_of_the_environment_works_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed as `environment`, and is one of the keys that calls use."""
    monkeypatch.setenv("ACME_TEST_KEY", "key-of-the-environment")
    async with testing.running("provider", build, tmp_path / "data", settings=settings(tmp_path)) as service:
        [key] = (await registry(service).ListProviderKeys(api.ListProviderKeysRequest())).keys
        assert (key.key_id, key.hint, key.weight) == ("environment", "ment", 1)
        knows = known.read(service.host.settings_of(ProviderSettings), os.environ)
        keyring = await Keyring.open(service.host, knows)
        [opened] = await service.host.db.read(lambda tx: keyring.keys_of(tx, "acme", "x"))
        assert (opened.key_id, opened.secret) == ("environment", "key-of-the-environment")
        assert "key-of-the-environment" not in repr(opened)


async def test_a_key_of_the_environment_goes_with_its_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call uses it any more once its provider is deleted, so it is not listed either; with a new one of that id it is back."""
    monkeypatch.setenv("ACME_TEST_KEY", "key-of-the-environment")
    async with testing.running("provider", build, tmp_path / "data", settings=settings(tmp_path)) as service:
        calls, everything = registry(service), api.ListProviderKeysRequest()
        await calls.DeleteProvider(api.DeleteProviderRequest(provider_id="acme"))
        assert not (await calls.ListProviderKeys(everything)).keys
        assert not (await calls.ListProviderKeys(api.ListProviderKeysRequest(provider_id="acme"))).keys
        again = api.ProviderDefinition(provider_id="acme", base_url="https://acme.example/v1")
        await calls.RegisterProvider(api.RegisterProviderRequest(provider=again))
        assert [key.key_id for key in (await calls.ListProviderKeys(everything)).keys] == ["environment"]
