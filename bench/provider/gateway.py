"""A gateway before the provider service, as those have it that bring their own: it reserves, calls, tops up, settles."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from tooloo.provider.v1 import reservation_service_pb2 as own
from tooloo.provider.v1.reservation_service_pb2_grpc import ReservationServiceStub

from bench.provider.customers import BURST, IN_PRICE, INPUT, MOST, OUT_PRICE, TTL, Customer
from bench.provider.replicas import Process
from mesh.ids import new_id
from mesh.reconnect import is_final, refusal_of
from services.provider import money, wire

T = TypeVar("T")
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED)
FULL = "DISK_FULL"


class Gateway:
    """A gateway before the provider service: it reserves, calls a model that is only imagined, and settles."""

    def __init__(self, processes: Sequence[Process], chance: random.Random, *, worst_case: bool) -> None:
        self.processes = processes
        self.chance = chance
        self.worst_case = worst_case
        self.calls = 0
        # why those were refused that were asked for once only
        self.refused: Counter[str] = Counter()

    async def insist(self, call: Callable[[Process], Coroutine[Any, Any, T]], seconds: float = 60) -> T:
        """Asks one replica after the other until one answers; the same request_id makes it one call."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await call(self.chance.choice(self.processes))
                except grpc.aio.AioRpcError as error:
                    if not _passes(error):
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
                answer = await _reserve(self.chance.choice(self.processes), request)
            else:
                answer = await self.insist(lambda process: _reserve(process, request))
        except grpc.aio.AioRpcError as error:
            if once:
                self.refused[_reason(error)] += 1
            elif error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return None
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

    async def burst(self, customer: Customer, length: Callable[[random.Random], int], **how: Any) -> int:
        """Twenty calls at the same time; how many were admitted."""
        return sum(await asyncio.gather(*(self.call(customer, length(self.chance), **how) for _ in range(BURST))))


async def _reserve(process: Process, request: own.ReserveRequest) -> own.ReserveResponse:
    return await ReservationServiceStub(process.channel).Reserve(request)


async def _extend(process: Process, request: own.ExtendRequest) -> own.ExtendResponse:
    return await ReservationServiceStub(process.channel).Extend(request)


async def _settle(process: Process, request: own.SettleRequest) -> own.SettleResponse:
    return await ReservationServiceStub(process.channel).Settle(request)


def _nanos(reservation: own.Reservation) -> int:
    return money.from_parts(reservation.amount.units, reservation.amount.nanos)


def _passes(error: grpc.aio.AioRpcError) -> bool:
    """Whether it may go well later: a process or the store is away, or the disk is full and the refusal says to try again."""
    return error.code() in _PASSING or (_reason(error) == FULL and not is_final(error))


def _reason(error: grpc.aio.AioRpcError) -> str:
    """The reason that the refusal names."""
    return next((detail.reason for detail in refusal_of(error).details if isinstance(detail, ErrorInfo)), "")
