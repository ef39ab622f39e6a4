"""Provider: usage that is tracked, reservations that are settled, released or left to expire; the books balance to the nano."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money
from tooloo.learning.v1.learning_events_pb2 import CoachFeedbackGiven
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import reservation_service_pb2 as pb
from tooloo.provider.v1.budget_pb2 import Budget, BudgetWindow
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from tooloo.provider.v1.reservation_service_pb2_grpc import ReservationServiceStub

from mesh.outbox import Fact
from services.provider import money
from tests.robustness.matrix.scenario import Scenario

if TYPE_CHECKING:
    # exists for type checkers only
    from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceAsyncStub


_BUDGET = "matrix"
_COST = 1_234_567
_SET_ASIDE = 7_654_321
_SOON = Duration(nanos=300_000_000)


class Work(Scenario):
    """Spenders, and a coach who scores what was answered."""

    spent = 0
    scored = 0

    async def open(self, stack: AsyncExitStack) -> Mapping[str, str]:
        """Without the default budget."""
        return {"TOOLOO_PROVIDER_DEFAULT_BUDGET": "", "TOOLOO_PROVIDER_RESERVATION_SWEEP": "50ms"}

    async def prepare(self) -> None:
        """One budget over everything, for ever."""
        budget = Budget(budget_id=_BUDGET, limit=Money(currency_code="USD", units=1000), mode=Budget.MODE_DENY)
        budget.window.kind = BudgetWindow.KIND_LIFETIME
        await self.stand.caller.call(self._stub.SetBudget, api.SetBudgetRequest(budget=budget, request_id=self.request_id()))

    async def work(self, number: int) -> None:
        """Usage, and a reservation of which this number says what becomes of it."""
        call, reservations = self.stand.caller.call, ReservationServiceStub(self.stand.caller.channel)
        track = api.TrackBudgetRequest(provider_id="acme", model="big", cost=_usd(_COST), request_id=self.request_id())
        await call(self._stub.TrackBudget, track)
        self.spent += _COST
        reserve = pb.ReserveRequest(amount=_usd(_SET_ASIDE), ttl=_SOON, request_id=self.request_id())
        name = (await call(reservations.Reserve, reserve)).reservation.reservation_id
        if number % 3 == 0:
            settle = pb.SettleRequest(reservation_id=name, provider_id="acme", model="big", cost=_usd(_COST))
            settle.request_id = self.request_id()
            await call(reservations.Settle, settle)
            self.spent += _COST
        elif number % 3 == 1:
            extend = pb.ExtendRequest(reservation_id=name, amount=_usd(1), ttl=_SOON, request_id=self.request_id())
            await call(reservations.Extend, extend)

    def fact(self, number: int) -> tuple[str, Fact]:
        """A coach scored an answer."""
        self.scored += 1
        message = CoachFeedbackGiven(user_id="ada", domain="python", score=0.5, provider_id="acme", model="big")
        return "learning", Fact(message, f"rounds/{number}")

    async def read(self) -> None:
        """How the budget stands."""
        await self._stub.GetBudget(api.GetBudgetRequest(budget_id=_BUDGET), timeout=60)

    async def ticks(self) -> int:
        """Reservations whose end was noticed."""
        return len(await self.stand.told("budget.reservation.expired"))

    async def broken(self) -> str:
        """Spent is what was acknowledged, and in the ledger; nothing is held for a call that is over."""
        standing = (await self._stub.GetBudget(api.GetBudgetRequest(budget_id=_BUDGET), wait_for_ready=True)).standing
        if _nanos(standing.spent) != self.spent:
            return f"{_nanos(standing.spent)} spent, not {self.spent}"
        ((ledger,),) = self.stand.rows("SELECT sum(cost_units * 1000000000 + cost_nanos) FROM usage")
        if ledger != self.spent:
            return f"{ledger} in the ledger, not {self.spent}"
        if _nanos(standing.reserved):
            return f"{_nanos(standing.reserved)} are still held"
        ((scores,),) = self.stand.rows("SELECT coalesce(sum(scores), 0) FROM feedback")
        return "" if scores == self.scored else f"{scores} scores counted, not {self.scored}"

    @property
    def _stub(self) -> ProviderServiceAsyncStub:
        return ProviderServiceStub(self.stand.caller.channel)


def _usd(nanos: int) -> Money:
    units, rest = money.to_parts(nanos)
    return Money(currency_code="USD", units=units, nanos=rest)


def _nanos(amount: Money) -> int:
    return money.from_parts(amount.units, amount.nanos)
