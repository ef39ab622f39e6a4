"""Keys as operators set them up: one that ends, the last one, one of the environment, and what stands in without any."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from tooloo.provider.v1 import chat_pb2, provider_pb2
from tooloo.provider.v1 import completion_service_pb2 as completion_api
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import registry_service_pb2 as registry_api
from tooloo.provider.v1.completion_service_pb2_grpc import CompletionServiceStub
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from tooloo.provider.v1.registry_service_pb2_grpc import RegistryServiceStub

from mesh import testing
from mesh.clock import ManualClock
from services.provider.__main__ import build
from services.provider.availability import Outcome
from services.provider.failure import Failure, FailureKind
from services.provider.fallback import Target
from services.provider.flows import availability, known
from services.provider.keys import ENVIRONMENT
from services.provider.settings import ProviderSettings
from tests.integration.provider_bench import ACME, START, Caller, caller, edit, refusal, settings

__all__ = ["caller", "settings"]

ECHO = """
[providers.local]
dialect = "echo"
local = true
models = { echo = { quality = 0.0, tokens_per_second = 1000, context_window = 100000 } }
"""
HOUR = timedelta(hours=1)
Select = api.SelectProviderRequest


async def add_key(caller: Caller, provider_id: str, ends: timedelta | None = None) -> str:
    """Adds a key, which ends after a while."""
    request = registry_api.AddProviderKeyRequest(provider_id=provider_id, secret="k" * 20)
    if ends is not None:
        request.end_time.FromDatetime(caller.clock.now() + ends)
    return (await RegistryServiceStub(caller.bench.channel).AddProviderKey(request)).key.key_id


async def test_a_key_that_ended_is_no_key(caller: Caller) -> None:
    """Its provider is not configured, and out of selection, from the moment at which it ends; a new key puts it back."""
    await add_key(caller, "acme", HOUR)
    await add_key(caller, "brim")
    ask = Select(query="hi", strategy=provider_pb2.STRATEGY_BEST)
    assert (await caller.stub.SelectProvider(ask)).model == "big"
    caller.clock.advance(HOUR)
    chosen = await caller.stub.SelectProvider(ask)
    why = {candidate.model: candidate.exclusion for candidate in chosen.candidates}
    assert (chosen.model, why["big"]) == ("gift", provider_pb2.EXCLUSION_REASON_NOT_CONFIGURED)
    status = await caller.stub.GetProviderStatus(api.GetProviderStatusRequest(provider_id="acme"))
    assert status.providers[0].state == provider_pb2.PROVIDER_STATE_NOT_CONFIGURED
    await add_key(caller, "acme")
    assert (await caller.stub.SelectProvider(ask)).model == "big"


async def test_the_last_key_that_ended_makes_no_new_installation(tmp_path: Path, settings: dict[str, str]) -> None:
    """Nobody can be called, which is said: the echo does not stand in, and providers that never had a key are out as before."""
    edit(settings, ACME + ECHO)
    clock = ManualClock(START)
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=settings) as bench:
        await add_key(Caller(bench, clock), "acme", HOUR)
        clock.advance(HOUR)
        code, info, _ = await refusal(ProviderServiceStub(bench.channel).SelectProvider(Select(query="hi")))
        assert (code, info.metadata["commonest_exclusion"]) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED")
        message = chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, text="hello")
        ask = completion_api.CompleteRequest(messages=[message])
        code, info, _ = await refusal(CompletionServiceStub(bench.channel).Complete(ask))
        assert (code, info.metadata["commonest_exclusion"]) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_CONFIGURED")


async def test_a_wrong_key_of_the_environment_that_is_set_right(
    tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was refused rests over restarts; one that takes its place in the environment has nothing to do with that."""
    monkeypatch.setenv("BRIM_KEY", "right")
    monkeypatch.setenv("ACME_KEY", "wrong")
    async with testing.running("provider", build, tmp_path / "var", clock=ManualClock(START), settings=settings) as bench:
        knows = known.read(bench.host.settings_of(ProviderSettings), os.environ)
        refused = Outcome(Target("acme", "big"), ENVIRONMENT, Failure(FailureKind.UNAUTHENTICATED))
        await bench.host.db.write(lambda tx: availability.note(bench.host, tx, knows, "", [refused]))
        ask = Select(query="hi", strategy=provider_pb2.STRATEGY_BEST)
        await bench.restart()
        assert (await ProviderServiceStub(bench.channel).SelectProvider(ask)).model == "gift"
        monkeypatch.setenv("ACME_KEY", "also right")
        await bench.restart()
        assert (await ProviderServiceStub(bench.channel).SelectProvider(ask)).model == "big"


async def test_the_echo_stands_in_when_the_only_provider_with_a_key_is_gone(
    tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of the environment whose provider was deleted configures nothing."""
    monkeypatch.setenv("ACME_KEY", "k" * 20)
    edit(settings, ACME + ECHO)
    async with testing.running("provider", build, tmp_path / "var", settings=settings) as bench:
        await RegistryServiceStub(bench.channel).DeleteProvider(registry_api.DeleteProviderRequest(provider_id="acme"))
        message = chat_pb2.ChatMessage(role=chat_pb2.ROLE_USER, text="hello")
        answer = await CompletionServiceStub(bench.channel).Complete(completion_api.CompleteRequest(messages=[message]))
        assert answer.account.model == "echo"
