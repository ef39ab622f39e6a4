"""A thousand calls of $0.10 at the same time against $5.00, over one process and over two on one file: fifty may pass."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.type.money_pb2 import Money
from tooloo.provider.v1 import provider_service_pb2 as api
from tooloo.provider.v1 import reservation_service_pb2 as own
from tooloo.provider.v1.budget_pb2 import Budget
from tooloo.provider.v1.provider_service_pb2_grpc import ProviderServiceStub
from tooloo.provider.v1.reservation_service_pb2_grpc import ReservationServiceStub

from bench.provider.replicas import Process, replicas

PRICE = Money(currency_code="USD", nanos=100_000_000)
LIMIT = Money(currency_code="USD", units=5)
FITS = 50
Admit = Callable[[Process, int], Awaitable[bool]]


@dataclass(frozen=True)
class Row:
    """How many calls one way let through."""

    way: str
    replicas: int
    calls: int
    admitted: int
    seconds: float


async def by_reservation(process: Process, number: int) -> bool:
    """Reserves; what is reserved is what passes."""
    try:
        await ReservationServiceStub(process.channel).Reserve(own.ReserveRequest(amount=PRICE))
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    return True


async def by_check_then_track(process: Process, number: int) -> bool:
    """Looks at what is spent, calls, and adds what it cost afterwards: how gateways do that keep only a counter of spending."""
    stub = ProviderServiceStub(process.channel)
    if not (await stub.CheckBudget(api.CheckBudgetRequest(cost=PRICE))).allowed:
        return False
    await asyncio.sleep(0.02)
    await stub.TrackBudget(api.TrackBudgetRequest(provider_id="openai", model="gpt-5-mini", cost=PRICE))
    return True


WAYS: dict[str, Admit] = {"reserve": by_reservation, "check, call, then track": by_check_then_track}


async def measure(way: str, count: int, calls: int) -> Row:
    """One way over so many replicas, on a new file."""
    with tempfile.TemporaryDirectory(prefix="tooloo-bench-") as folder:
        async with replicas(count, Path(folder)) as processes:
            budget = Budget(budget_id="five", limit=LIMIT, mode=Budget.MODE_DENY)
            await ProviderServiceStub(processes[0].channel).SetBudget(api.SetBudgetRequest(budget=budget))
            begin = time.perf_counter()
            passed = await asyncio.gather(*(WAYS[way](processes[number % count], number) for number in range(calls)))
            return Row(way, count, calls, sum(passed), time.perf_counter() - begin)


async def rows(calls: int = 1000) -> list[Row]:
    """Every way, over one and over two replicas."""
    return [await measure(way, count, calls) for way in WAYS for count in (1, 2)]


def show(found: list[Row]) -> bool:
    """Prints the table; gives whether reservations admitted exactly what fits."""
    print(f"{'way':26} {'replicas':>8} {'calls':>6} {'admitted':>9} {'of what fits':>13} {'seconds':>8}")
    for row in found:
        print(f"{row.way:26} {row.replicas:8} {row.calls:6} {row.admitted:9} {row.admitted / FITS:12.2f}x {row.seconds:8.1f}")
    return all(row.admitted == FITS for row in found if row.way == "reserve")
