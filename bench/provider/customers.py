"""The shape of the public stress of spend limits: customers with a budget each, and how long the answers to them are."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1.budget_pb2 import Budget, BudgetScope, BudgetWindow
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub

from services.provider import money, wire

BURST, INPUT, MOST = 20, 500, 4096
# list price of openai/gpt-5-mini: nano dollars a token
IN_PRICE, OUT_PRICE = 250, 2000
MEAN_OUTPUT = 400
TTL = Duration(seconds=8)
# a burst of twenty usual calls takes less than two thirds of it
LIMIT = BURST * (INPUT * IN_PRICE + MEAN_OUTPUT * OUT_PRICE) * 3 // 2
T = TypeVar("T")


@dataclass
class Customer:
    """What this program itself knows of a customer."""

    name: str
    spent: int = 0
    # what settlements spent beyond what was held for them at that moment
    overrun: int = 0
    # calls whose process was killed before it could settle: they spent nothing that anybody was told
    lost: int = 0


def usual(chance: random.Random) -> int:
    """Output tokens of a usual answer: skewed, 400 in the mean."""
    return min(int(chance.lognormvariate(5.85, 0.53)) + 1, MOST)


def oversized(chance: random.Random) -> int:
    """One answer in five is as long as it may be."""
    return MOST if chance.random() < 0.2 else usual(chance)


async def budget(channel: grpc.aio.Channel, customer: str, limit: int) -> None:
    """Gives a customer a budget that denies, for as long as this program runs."""
    one = Budget(
        budget_id=customer,
        limit=wire.to_money(limit),
        mode=Budget.MODE_DENY,
        scope=BudgetScope(labels={"customer": customer}),
        window=BudgetWindow(kind=BudgetWindow.KIND_LIFETIME),
    )
    await ProviderServiceStub(channel).SetBudget(api.SetBudgetRequest(budget=one))


async def warm_up(call: Callable[[Customer, int], Coroutine[Any, Any, object]], chance: random.Random, calls: int = 200) -> None:
    """Lets the service see usual answers: the model is not new."""
    await in_groups([call(Customer("warm"), usual(chance)) for _ in range(calls)], 20)


async def open_accounts(channel: grpc.aio.Channel, count: int) -> list[Customer]:
    """So many customers with their budgets, and one whose budget never ends, to warm up with."""
    known = [Customer(f"c{number}") for number in range(count)]
    for customer in known:
        await budget(channel, customer.name, LIMIT)
    await budget(channel, "warm", 10**12)
    return known


async def in_groups(jobs: list[Coroutine[Any, Any, T]], size: int) -> list[T]:
    """All of them, so many at a time."""
    found: list[T] = []
    for begin in range(0, len(jobs), size):
        found += await asyncio.gather(*jobs[begin : begin + size])
    return found


@dataclass(frozen=True)
class Audit:
    """What the service says of the customers' budgets, held against what this program knows; money in nano dollars."""

    overshoot: int = 0
    # the true overrun of settlements, which no gateway can know before they come
    overrun: int = 0
    # what was spent beyond a limit and beyond that
    beyond: int = 0
    ledger: int = 0
    spent: int = 0
    still_reserved: int = 0

    @property
    def right(self) -> bool:
        """Nothing is spent beyond true overruns, the ledger is what was settled, nothing is held any more."""
        return self.beyond == 0 and self.ledger == self.spent and self.still_reserved == 0


async def audit(channel: grpc.aio.Channel, known: Sequence[Customer]) -> Audit:
    """Asks for every customer's budget."""
    overshoot = beyond = ledger = still = 0
    for customer in known:
        request = api.GetBudgetRequest(budget_id=customer.name)
        standing = (await ProviderServiceStub(channel).GetBudget(request)).standing
        spent = _nanos(standing.spent)
        over = max(spent - LIMIT, 0)
        overshoot, ledger, still = overshoot + over, ledger + spent, still + _nanos(standing.reserved)
        beyond += max(over - customer.overrun, 0)
    overrun, told = sum(customer.overrun for customer in known), sum(customer.spent for customer in known)
    return Audit(overshoot, overrun, beyond, ledger, told, still)


def _nanos(amount: Money) -> int:
    return money.from_parts(amount.units, amount.nanos)
