"""The provider service with two made-up providers: short names for its calls, for amounts and for refusals."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.type.money_pb2 import Money
from grpc_status import rpc_status
from tooloo.event.v1.event_pb2 import Event
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1.budget_pb2 import Budget
from tooloo.provider.v1.provider_events_pb2 import BudgetThresholdExceeded
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from mesh import testing
from mesh.clock import ManualClock
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
