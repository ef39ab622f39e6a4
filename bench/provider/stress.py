"""The public stress of spend limits: many customers, bursts of 20, oversized answers, a store that is away, kill -9.

After the shape of a public test of a gateway's spend limits (LiteLLM, discussion 50438, October 2026), whose safe settings let
four of twenty calls of a burst through. A customer has a budget that denies. Calls are made as a gateway would: reserve, call,
top up while the answer is streamed, settle. Two ways to reserve are compared: what was learned of the model's answers, and the
worst case (max_output_tokens), which is what a gateway without estimates must hold to be safe. Two replicas share one file.
"""

import asyncio
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import reservation_service_pb2 as own
from tooloo.provider.v1.budget_pb2 import Budget, BudgetScope, BudgetWindow
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from tooloo.provider.v1.reservation_service_pb2_grpc import ReservationServiceStub

from bench.provider.replicas import Process, replicas
from mesh.ids import new_id
from services.provider import money, wire

BURST, INPUT, MOST = 20, 500, 4096
# list price of openai/gpt-5-mini: nano dollars a token
IN_PRICE, OUT_PRICE = 250, 2000
MEAN_OUTPUT = 400
TTL = Duration(seconds=8)
# a burst of twenty usual calls takes less than two thirds of it
LIMIT = BURST * (INPUT * IN_PRICE + MEAN_OUTPUT * OUT_PRICE) * 3 // 2
T = TypeVar("T")
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED)


@dataclass
class Customer:
    """What this program itself knows of a customer."""

    name: str
    spent: int = 0
    # what settlements spent beyond what was held for them at that moment
    overrun: int = 0
    admitted: list[int] = field(default_factory=list)
    # calls whose process was killed before it could settle: they spent nothing that anybody was told
    lost: int = 0


@dataclass
class Outcome:
    """What one way came to."""

    way: str
    affordable: list[int]
    calls: int
    admitted: int
    overshoot: int
    overrun: int
    beyond: int
    ledger: int
    spent: int
    outage_admitted: int
    lost: int
    still_reserved: int
    seconds: float


class Gateway:
    """A gateway before the provider service: it reserves, calls a model that is only imagined, and settles."""

    def __init__(self, processes: list[Process], chance: random.Random, *, worst_case: bool) -> None:
        self.processes = processes
        self.chance = chance
        self.worst_case = worst_case
        self.calls = 0
        self.killing = asyncio.Event()

    async def insist(self, call: Callable[[Process], Coroutine[Any, Any, T]], seconds: float = 60) -> T:
        """Asks one replica after the other until one answers; the same request_id makes it one call."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await call(self.chance.choice(self.processes))
                except grpc.aio.AioRpcError as error:
                    if error.code() not in _PASSING:
                        raise
                except grpc.aio.UsageError:
                    pass
                await asyncio.sleep(0.05)

    async def reserve(self, customer: str, *, once: bool) -> own.Reservation | None:
        """The reservation; None when budgets deny it, or, asked once only, when nobody can answer."""
        request = own.ReserveRequest(
            provider_id="openai",
            model="gpt-5-mini",
            labels={"customer": customer},
            input_tokens=INPUT,
            output_tokens=MOST if self.worst_case else 0,
            max_output_tokens=MOST,
            ttl=TTL,
            request_id=new_id(),
        )
        self.calls += 1
        try:
            if once:
                answer = await ReservationServiceStub(self.chance.choice(self.processes).channel).Reserve(request)
            else:
                answer = await self.insist(lambda process: _reserve(process, request))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED or (once and error.code() in _PASSING):
                return None
            raise
        return answer.reservation

    async def call(self, customer: Customer, output: int, *, once: bool = False, dies: float = 0.0) -> bool:
        """One call that gives so many output tokens; whether it was admitted. With a chance of `dies` it is never settled."""
        held = await self.reserve(customer.name, once=once)
        if held is None:
            return False
        await asyncio.sleep(self.chance.uniform(0.005, 0.05))
        amount, streamed = _nanos(held), self.chance.random() < 0.5
        cost = INPUT * IN_PRICE + output * OUT_PRICE
        if streamed and cost > amount:
            # a streamed answer goes on only as far as the budget does
            topped = await self.top_up(held.reservation_id, cost - amount)
            output = output if topped else (amount - INPUT * IN_PRICE) // OUT_PRICE
            amount = cost if topped else amount
            cost = INPUT * IN_PRICE + output * OUT_PRICE
        if self.chance.random() < dies:
            customer.lost += 1
            return True
        await self.settle(customer, held.reservation_id, output, cost, amount)
        return True

    async def top_up(self, reservation_id: str, amount: int) -> bool:
        """Whether the reservation could be given so much more."""
        request = own.ExtendRequest(reservation_id=reservation_id, amount=wire.to_money(amount), ttl=TTL, request_id=new_id())
        try:
            await self.insist(lambda process: _extend(process, request))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return False
        return True

    async def settle(self, customer: Customer, reservation_id: str, output: int, cost: int, held: int) -> None:
        """Tells what was used, until it is recorded; late when the store or a process was away for long."""
        request = own.SettleRequest(
            reservation_id=reservation_id, input_tokens=INPUT, output_tokens=output, cost=wire.to_money(cost), request_id=new_id()
        )
        settled = await self.insist(lambda process: _settle(process, request))
        customer.spent += cost
        customer.overrun += max(cost - (0 if settled.reservation.late else held), 0)


async def _reserve(process: Process, request: own.ReserveRequest) -> own.ReserveResponse:
    return await ReservationServiceStub(process.channel).Reserve(request)


async def _extend(process: Process, request: own.ExtendRequest) -> own.ExtendResponse:
    return await ReservationServiceStub(process.channel).Extend(request)


async def _settle(process: Process, request: own.SettleRequest) -> own.SettleResponse:
    return await ReservationServiceStub(process.channel).Settle(request)


def _nanos(reservation: own.Reservation) -> int:
    return money.from_parts(reservation.amount.units, reservation.amount.nanos)


def usual(chance: random.Random) -> int:
    """Output tokens of a usual answer: skewed, 400 in the mean."""
    return min(int(chance.lognormvariate(5.85, 0.53)) + 1, MOST)


def oversized(chance: random.Random) -> int:
    """One answer in five is as long as it may be."""
    return MOST if chance.random() < 0.2 else usual(chance)


async def budget(process: Process, customer: str, limit: int) -> None:
    """Gives a customer a budget that denies, for as long as this program runs."""
    one = Budget(
        budget_id=customer,
        limit=wire.to_money(limit),
        mode=Budget.MODE_DENY,
        scope=BudgetScope(labels={"customer": customer}),
        window=BudgetWindow(kind=BudgetWindow.KIND_LIFETIME),
    )
    await ProviderServiceStub(process.channel).SetBudget(api.SetBudgetRequest(budget=one))


async def in_groups(jobs: list[Coroutine[Any, Any, T]], size: int) -> list[T]:
    """All of them, so many at a time."""
    found: list[T] = []
    for begin in range(0, len(jobs), size):
        found += await asyncio.gather(*jobs[begin : begin + size])
    return found


async def burst(gateway: Gateway, customer: Customer, length: Callable[[random.Random], int], **how: Any) -> int:
    """Twenty calls at the same time; how many were admitted."""
    return sum(await asyncio.gather(*(gateway.call(customer, length(gateway.chance), **how) for _ in range(BURST))))


async def measure(*, worst_case: bool, customers: int, seed: int, outage: float) -> Outcome:
    """The whole stress in one way, on a new file."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tooloo-bench-") as folder:
        async with replicas(2, Path(folder), {"TOOLOO_BUSY_TIMEOUT": "500ms"}) as processes:
            gateway = Gateway(processes, random.Random(seed), worst_case=worst_case)
            known = [Customer(f"c{number}") for number in range(customers)]
            for customer in [*known, Customer("warm")]:
                await budget(processes[0], customer.name, LIMIT if customer.name != "warm" else 10**12)
            # the model is not new: its answers were seen before
            await in_groups([gateway.call(Customer("warm"), usual(gateway.chance)) for _ in range(200)], 20)
            affordable = await in_groups([burst(gateway, customer, usual) for customer in known], 10)
            await in_groups([burst(gateway, customer, oversized) for customer in known], 10)
            during = await _without_store(gateway, known, Path(folder), outage)
            await _with_kills(gateway, known)
            return await _count(gateway, known, affordable, during, begin, Path(folder))


async def _without_store(gateway: Gateway, known: list[Customer], folder: Path, seconds: float) -> int:
    """Somebody else holds the store's write lock; bursts that come meanwhile are asked once. Gives how many were let through."""
    path = folder / "provider" / "provider.db"

    async def hold() -> None:
        with sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False) as lock:
            await asyncio.to_thread(lock.execute, "BEGIN IMMEDIATE")
            locked.set()
            await asyncio.sleep(seconds)
            lock.execute("ROLLBACK")
        lock.close()

    locked = asyncio.Event()
    holding = asyncio.create_task(hold())
    await locked.wait()
    some = known[: max(len(known) // 10, 1)]
    let_through = [await burst(gateway, customer, usual, once=True) for customer in some[:3]]
    await holding
    # those whose request was waiting when the lock went are admitted in order; it comes back for everybody
    await in_groups([burst(gateway, customer, oversized) for customer in some], 10)
    return sum(let_through)


async def _with_kills(gateway: Gateway, known: list[Customer]) -> None:
    """Bursts go on while first one and then the other process is killed and comes back; some gateways die with their calls."""

    async def kills() -> None:
        for process in gateway.processes:
            await asyncio.sleep(0.3)
            await process.kill()
            await process.start()

    killing = asyncio.create_task(kills())
    await in_groups([burst(gateway, customer, oversized, dies=0.05) for customer in known], 10)
    await killing


async def _count(
    gateway: Gateway, known: list[Customer], affordable: list[int], during: int, begin: float, folder: Path
) -> Outcome:
    """Waits until what nobody settles has expired, and holds what this program knows against what the service says."""
    await asyncio.sleep(TTL.seconds + 2)
    overshoot = overrun = beyond = ledger = still = 0
    for customer in known:
        request = api.GetBudgetRequest(budget_id=customer.name)
        standing = (await ProviderServiceStub(gateway.processes[0].channel).GetBudget(request)).standing
        spent = money.from_parts(standing.spent.units, standing.spent.nanos)
        over = max(spent - LIMIT, 0)
        overshoot, overrun = overshoot + over, overrun + customer.overrun
        beyond += max(over - customer.overrun, 0)
        ledger += spent
        still += standing.reserved.units * money.NANOS + standing.reserved.nanos
    with sqlite3.connect(folder / "provider" / "provider.db") as file:
        admitted = int(file.execute("SELECT COUNT(*) FROM reservation").fetchone()[0])
    file.close()
    return Outcome(
        "worst case" if gateway.worst_case else "learned estimate",
        affordable,
        gateway.calls,
        admitted,
        overshoot,
        overrun,
        beyond,
        ledger,
        sum(customer.spent for customer in known),
        during,
        sum(customer.lost for customer in known),
        still,
        time.perf_counter() - begin,
    )


async def rows(customers: int = 250, seed: int = 50438, outage: float = 3.0) -> list[Outcome]:
    """Both ways, with the same seed."""
    return [await measure(worst_case=worst_case, customers=customers, seed=seed, outage=outage) for worst_case in (False, True)]


def show(found: list[Outcome]) -> bool:
    """Prints the table; gives whether what was learned meets the bar."""
    names = (
        "burst of 20: least",
        "mean",
        "calls",
        "admitted",
        "over cap $",
        "true overrun $",
        "beyond it $",
        "ledger right",
        "lost",
        "left",
    )
    print(f"{'reserved':17}" + "".join(f"{name:>20}" if number == 0 else f"{name:>15}" for number, name in enumerate(names)))
    for row in found:
        figures = (
            f"{sum(row.affordable) / len(row.affordable):.1f}",
            row.calls,
            row.admitted,
            money.show(row.overshoot),
            money.show(row.overrun),
            money.show(row.beyond),
            "yes" if row.ledger == row.spent else f"no: {money.show(row.ledger - row.spent)}",
            row.lost,
            money.show(row.still_reserved),
        )
        print(f"{row.way:17}{min(row.affordable):20}" + "".join(f"{figure!s:>15}" for figure in figures))
    ours = found[0]
    seconds = sum(row.seconds for row in found)
    print(f"{ours.outage_admitted} calls that came while the store was away were admitted when it was back; {seconds:.0f} s")
    right = all(row.beyond == 0 and row.ledger == row.spent and row.still_reserved == 0 for row in found)
    return right and min(ours.affordable) >= 18
