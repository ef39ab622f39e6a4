"""The provider service with three made-up models: short names for what selects, and for what selects otherwise."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from tooloo.provider.v1 import provider_pb2
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import selection_pb2 as named
from tooloo.provider.v1 import selection_service_pb2 as selections
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from tooloo.provider.v1.selection_service_pb2_grpc import SelectionServiceStub

from mesh import testing
from mesh.clock import ManualClock
from services.provider.__main__ import build

if TYPE_CHECKING:
    # these exist for type checkers only
    from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceAsyncStub
    from tooloo.provider.v1.selection_service_pb2_grpc import SelectionServiceAsyncStub

START = datetime(2026, 11, 25, 10, tzinfo=UTC)
REGISTRY = """
[tiers]
good = { quality = 0.8, tokens_per_second = 50 }
plain = { quality = 0.6, tokens_per_second = 100 }
[providers.acme]
key_environment = ["ACME_KEY"]
region = "eu"
data_policy = "zero_retention"
models = { big = { tier = "good", capabilities = ["tools"] }, small = { tier = "plain" } }
[providers.brim]
key_environment = ["BRIM_KEY"]
models = { quick = { tier = "plain", tokens_per_second = 300, context_window = 2000 } }
"""
PRICES = {"providers": {
    "acme": {
        "big": {"input": "2", "output": "10", "cached_input": "0.2", "context_window": 100000},
        "small": {"input": "0.5", "output": "1", "cached_input": "0.05", "context_window": 100000},
    },
    "brim": {"quick": {"input": "1", "output": "2"}},
}}  # fmt: skip
Select = api.SelectProviderRequest
OUT = provider_pb2.ExclusionReason


class Caller:
    """The service under test."""

    def __init__(self, bench: testing.Bench, clock: ManualClock) -> None:
        self.bench, self.clock = bench, clock

    @property
    def providers(self) -> ProviderServiceAsyncStub:
        """The calls of ProviderService."""
        return ProviderServiceStub(self.bench.channel)

    @property
    def selections(self) -> SelectionServiceAsyncStub:
        """The calls of SelectionService."""
        return SelectionServiceStub(self.bench.channel)

    async def select(self, **fields: Any) -> api.SelectProviderResponse:
        """Selects."""
        return await self.providers.SelectProvider(Select(**fields))

    async def policy(self, **fields: Any) -> named.SelectionPolicy:
        """Sets a policy."""
        request = selections.SetSelectionPolicyRequest(policy=named.SelectionPolicy(policy_id="p", **fields))
        return (await self.selections.SetSelectionPolicy(request)).policy

    async def alias(self, **weights: float) -> named.Alias:
        """Sets the alias "smart" to models of acme."""
        targets = [named.Share(provider_id="acme", model=model, weight=weight) for model, weight in weights.items()]
        return (await self.selections.SetAlias(selections.SetAliasRequest(alias=named.Alias(alias="smart", targets=targets)))).alias


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """A registry of three models, no embedding model, a learner that looks at once and does not explore."""
    (tmp_path / "providers.toml").write_text(REGISTRY)
    (tmp_path / "prices.json").write_text(json.dumps(PRICES))
    return {
        "TOOLOO_PROVIDER_REGISTRY_FILE": str(tmp_path / "providers.toml"),
        "TOOLOO_PROVIDER_PRICES_FILE": str(tmp_path / "prices.json"),
        "TOOLOO_PROVIDER_DEFAULT_BUDGET": "",
        "TOOLOO_PROVIDER_REQUIRE_KEY": "never",
        "TOOLOO_PROVIDER_EMBEDDING_FOLDER": str(tmp_path / "none"),
        "TOOLOO_PROVIDER_LEARNED_REFRESH": "10ms",
        "TOOLOO_PROVIDER_LEARNED_EXPLORATION": "0",
    }


@pytest.fixture
async def caller(tmp_path: Path, settings: dict[str, str]) -> AsyncIterator[Caller]:
    """The running service."""
    clock = ManualClock(START)
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=settings) as bench:
        yield Caller(bench, clock)


async def refused(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return caught.value.code(), info.reason
