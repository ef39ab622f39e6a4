"""A provider service whose availability is watched: its registry, what calls tell of it, and what its callers see."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status
from msgspec.structs import replace
from tooloo.provider.v1 import health_pb2, provider_pb2
from tooloo.provider.v1 import provider_service_pb2 as provider_api
from tooloo.provider.v1.availability_service_pb2_grpc import AvailabilityServiceStub
from tooloo.provider.v1.provider_events_pb2 import ProviderHealthChanged, ProviderPriorityChanged
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from mesh import testing
from mesh.clock import ManualClock
from mesh.db import Transaction
from services.provider import query_store
from services.provider.__main__ import build
from services.provider.availability import Availability, Outcome
from services.provider.failure import Failure, FailureKind
from services.provider.fallback import Candidate, Target
from services.provider.flows import availability
from services.provider.flows import known as knowledge
from services.provider.flows.known import Known
from services.provider.labels import EVERYTHING
from services.provider.query import Query, State
from services.provider.settings import ProviderSettings

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.provider.v1.availability_service_pb2_grpc import AvailabilityServiceAsyncStub
    from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceAsyncStub

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)
REGISTRY = """
[tiers]
good = { quality = 0.9, tokens_per_second = 100 }
fair = { quality = 0.7, tokens_per_second = 100 }
plain = { quality = 0.5, tokens_per_second = 100 }
[providers.acme]
models.big = { tier = "good", context_window = 8000, price = { input = "1", output = "1" } }
models.mid = { tier = "plain", context_window = 8000, price = { input = "1", output = "1" } }
models.small = { tier = "plain", context_window = 8000, price = { input = "1", output = "1" } }
[providers.brim]
models.gift = { tier = "fair", context_window = 8000, price = { input = "1", output = "1" } }
"""
BIG, MID, SMALL, GIFT = Target("acme", "big"), Target("acme", "mid"), Target("acme", "small"), Target("brim", "gift")
KEYS = {"acme": ("k1", "k2"), "brim": ("k3",)}
AVAILABLE, DEGRADED, UNAVAILABLE = (
    provider_pb2.PROVIDER_STATE_AVAILABLE,
    provider_pb2.PROVIDER_STATE_DEGRADED,
    provider_pb2.PROVIDER_STATE_UNAVAILABLE,
)
NORMAL, TRIAL, OUT = health_pb2.PRIORITY_NORMAL, health_pb2.PRIORITY_TRIAL, health_pb2.PRIORITY_OUT


def environment(folder: Path) -> dict[str, str]:
    """Settings with a registry of four models; nobody sweeps but the test."""
    (folder / "providers.toml").write_text(REGISTRY)
    (folder / "prices.json").write_text(json.dumps({"providers": {}}))
    return {
        "TOOLOO_PROVIDER_REGISTRY_FILE": str(folder / "providers.toml"),
        "TOOLOO_PROVIDER_PRICES_FILE": str(folder / "prices.json"),
        "TOOLOO_PROVIDER_DEFAULT_BUDGET": "",
        "TOOLOO_PROVIDER_REQUIRE_KEY": "never",
        "TOOLOO_PROVIDER_AVAILABILITY_SWEEP": "1h",
    }


class House:
    """A replica with what its calls do, and a caller of it."""

    def __init__(self, bench: testing.Bench, clock: ManualClock) -> None:
        self.bench = bench
        self.clock = clock

    @property
    def known(self) -> Known:
        """The registry, with keys that nobody had to seal."""
        known = knowledge.read(self.bench.host.settings_of(ProviderSettings), {})
        object.__setattr__(known, "keys_of", lambda provider_id: KEYS.get(provider_id, ()))
        return known

    @property
    def stub(self) -> AvailabilityServiceAsyncStub:
        """The calls about availability."""
        return AvailabilityServiceStub(self.bench.channel)

    @property
    def provider(self) -> ProviderServiceAsyncStub:
        """The provider service's other calls."""
        return ProviderServiceStub(self.bench.channel)

    async def note(self, *outcomes: Outcome, call_id: str = "") -> None:
        """A settlement with these attempts; the query of that id, if it runs, has ended."""

        async def work(tx: Transaction) -> None:
            await availability.note(self.bench.host, tx, self.known, call_id, outcomes)
            if query := await query_store.get(tx, call_id):
                await query_store.put(tx, replace(query, state=State.COMPLETED))

        await self.bench.host.db.write(work)

    async def seen(self) -> Availability:
        """What can be used now."""
        return await self.bench.host.db.read(lambda tx: availability.read(self.bench.host, tx, self.known))

    async def enter(self, call_id: str, *candidates: Candidate) -> list[tuple[str, tuple[str, ...]]]:
        """A query begins: the models that it may try, with keys."""

        async def work(tx: Transaction) -> tuple[Candidate, ...]:
            seen = await availability.read(self.bench.host, tx, self.known)
            usable = await availability.enter(tx, seen, call_id, candidates)
            for first in usable[:1]:
                running = Query(call_id, seen.now, EVERYTHING, *first.target, call_id, until=seen.now + timedelta(minutes=5))
                await (query_store.put if await query_store.get(tx, call_id) else query_store.insert)(tx, running)
            return usable

        return [(item.target.model, item.keys) for item in await self.bench.host.db.write(work)]

    async def sweep(self, seconds: float = 0) -> None:
        """Time passes, then it is looked what that changed."""
        self.clock.advance(seconds * SECOND)
        await availability.sweep(self.bench.host, self.known)

    async def health(self) -> list[tuple[str, int]]:
        """(subject, state) of each provider.health.changed so far."""
        return [(subject, data.state) for subject, data in await self._told(ProviderHealthChanged())]

    async def priorities(self) -> list[tuple[str, int, int]]:
        """(subject, priority, cause) of each provider.priority.changed so far."""
        return [(subject, data.priority, data.cause) for subject, data in await self._told(ProviderPriorityChanged())]

    async def _told(self, kind: Any) -> list[tuple[str, Any]]:
        found = []
        for event in await self.bench.told():
            data = type(kind)()
            if event.data.Unpack(data):
                found.append((event.subject, data))
        return found

    async def status(self, provider_id: str = "acme") -> provider_pb2.Provider:
        """A provider as GetProviderStatus shows it."""
        request = provider_api.GetProviderStatusRequest(provider_id=provider_id)
        return (await self.provider.GetProviderStatus(request)).providers[0]

    async def select(self) -> tuple[str, list[str]]:
        """The best model of a selection, and those that are out because they are not available."""
        answer = await self.provider.SelectProvider(provider_api.SelectProviderRequest(high_quality=True))
        out = provider_pb2.EXCLUSION_REASON_UNAVAILABLE
        return answer.model, sorted(item.model for item in answer.candidates if item.exclusion == out)


def failed(target: Target = BIG, kind: FailureKind = FailureKind.SERVER_ERROR, key: str = "k1", **more: Any) -> Outcome:
    """An attempt that failed."""
    return Outcome(target, key, Failure(kind, "no", **more))


def succeeded(target: Target = BIG, key: str = "k1") -> Outcome:
    """An attempt that took two seconds, half a second to its first token."""
    return Outcome(target, key, None, 2 * SECOND, SECOND / 2, 100)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    info = ErrorInfo()
    status = rpc_status.from_call(cast(Any, raised.value))
    assert status is not None
    assert status.details[0].Unpack(info)
    return raised.value.code(), info.reason


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """One running replica."""
    clock = ManualClock(START)
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=environment(tmp_path)) as bench:
        yield House(bench, clock)
