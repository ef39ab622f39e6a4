"""The provider service with short names for what reserves, settles and limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc.error_details_pb2 import QuotaFailure, RetryInfo
from grpc_status import rpc_status
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import reservation_service_pb2 as own
from tooloo.provider.v1.budget_pb2 import Budget, BudgetStanding
from tooloo.provider.v1.burst_service_pb2_grpc import BurstServiceStub
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from tooloo.provider.v1.reservation_service_pb2_grpc import ReservationServiceStub

from mesh import testing
from mesh.clock import ManualClock
from services.provider.__main__ import build
from tests.integration.provider_bench import usd

if TYPE_CHECKING:
    # exist for type checkers only
    from tooloo.provider.v1.burst_service_pb2_grpc import BurstServiceAsyncStub
    from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceAsyncStub
    from tooloo.provider.v1.reservation_service_pb2_grpc import ReservationServiceAsyncStub
START = datetime(2026, 11, 22, 10, tzinfo=UTC)
State = own.Reservation
Track = api.TrackBudgetRequest


class Caller:
    """The service under test with short names for its calls."""

    def __init__(self, bench: testing.Bench, clock: ManualClock) -> None:
        self.bench = bench
        self.clock = clock

    @property
    def reservations(self) -> ReservationServiceAsyncStub:
        """Client of the present boot."""
        return ReservationServiceStub(self.bench.channel)

    @property
    def provider(self) -> ProviderServiceAsyncStub:
        """Client of the present boot."""
        return ProviderServiceStub(self.bench.channel)

    @property
    def bursts(self) -> BurstServiceAsyncStub:
        """Client of the present boot."""
        return BurstServiceStub(self.bench.channel)

    async def limit(self, amount: str, budget_id: str = "b", **fields: Any) -> BudgetStanding:
        """Sets a budget that denies, unless it says otherwise."""
        budget = Budget(budget_id=budget_id, limit=usd(amount), mode=fields.pop("mode", Budget.MODE_DENY), **fields)
        return (await self.provider.SetBudget(api.SetBudgetRequest(budget=budget))).standing

    async def standing(self, budget_id: str = "b", holder: str = "") -> BudgetStanding:
        """How a budget stands."""
        return (await self.provider.GetBudget(api.GetBudgetRequest(budget_id=budget_id, holder=holder))).standing

    async def reserve(self, amount: str, **fields: Any) -> own.Reservation:
        """Reserves an amount."""
        return (await self.reservations.Reserve(own.ReserveRequest(amount=usd(amount), **fields))).reservation

    async def settle(self, reservation_id: str, cost: str, **fields: Any) -> own.SettleResponse:
        """Settles with a cost."""
        return await self.reservations.Settle(own.SettleRequest(reservation_id=reservation_id, cost=usd(cost), **fields))

    async def told(self, event_type: str) -> int:
        """How many events of a type were told."""
        return sum(event.type == event_type for event in await self.bench.told())

    async def expire(self) -> None:
        """Lets everything expire that is due: the service itself looks at real time, this test owns it."""
        from services.provider.flows import known, sweeping  # noqa: PLC0415 # only here
        from services.provider.settings import ProviderSettings  # noqa: PLC0415 # only here

        await sweeping.expire_due(self.bench.host, known.read(self.bench.host.settings_of(ProviderSettings), {}))


@pytest.fixture
async def caller(tmp_path: Path, settings: dict[str, str]) -> AsyncIterator[Caller]:  # a fixture that is imported
    """The running service; its own sweep does not come round, so that tests say when reservations expire."""
    clock = ManualClock(START)
    settings["TOOLOO_PROVIDER_RESERVATION_SWEEP"] = "1h"
    async with testing.running("provider", build, tmp_path / "var", clock=clock, settings=settings) as bench:
        yield Caller(bench, clock)


def details(error: grpc.aio.AioRpcError) -> tuple[list[str], timedelta | None]:
    """Subjects of the QuotaFailure and the delay of the RetryInfo of a refusal."""
    quota, retry, found = QuotaFailure(), RetryInfo(), None
    for detail in rpc_status.from_call(error).details:
        if detail.Unpack(retry):
            found = retry.retry_delay.ToTimedelta()
        detail.Unpack(quota)
    return [violation.subject for violation in quota.violations], found
