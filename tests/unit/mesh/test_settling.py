"""What a member tells the bus of what it has settled, and when: gathered where nothing waits for it, else at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2

from mesh import subscribe
from mesh.clock import SystemClock
from mesh.deliveries import Nack
from mesh.subscribe import Subscription
from tests.support.waiting import until

PATIENCE = 60.0


class Bus:
    """A bus and its call in one: delivers what the test says, and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[pb.PullRequest] = []
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def CreateSubscription(self, request: object) -> None:
        """Makes nothing."""

    def Pull(self) -> "Bus":
        """The stream."""
        return self

    async def write(self, request: pb.PullRequest) -> None:
        """A member speaks; who leaves is let go."""
        self.told.append(request)
        if request.leave:
            self.answers.put_nowait(grpc.aio.EOF)

    async def read(self) -> Any:
        """The next answer."""
        return await self.answers.get()

    def cancel(self) -> None:
        """The end."""

    def deliver(self, positions: Sequence[int], token: int = 7) -> None:
        """Delivers events."""
        response = pb.PullResponse(positions=positions, attempts=[1] * len(positions), fencing_token=token)
        for _ in positions:
            response.events.add()
        self.answers.put_nowait(response)

    def said(self) -> list[tuple[int, list[int], list[int], int]]:
        """Each message after the opening: up to, named, given back, credit."""
        return [
            (each.ack_up_to, list(each.ack), [nack.position for nack in each.nacks], each.credit_events) for each in self.told[1:]
        ]


@asynccontextmanager
async def joined(
    monkeypatch: pytest.MonkeyPatch, positions: Sequence[int], **parts: Any
) -> AsyncIterator[tuple[Bus, Subscription]]:
    """A member that holds some events. What gathers does so for ever, or for so long as the test says."""
    monkeypatch.setattr(subscribe, "_GATHER_SECONDS", parts.pop("gather", PATIENCE))
    bus = Bus()
    definition = subscription_pb2.Subscription(name="s", max_in_flight=40, **parts)
    async with Subscription(cast(Any, bus), definition, SystemClock()) as member:
        bus.deliver(positions)
        async with asyncio.timeout(PATIENCE):
            await anext(member.batches())
        yield bus, member


async def test_what_is_settled_one_by_one_is_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one message, with the credit of all."""
    async with joined(monkeypatch, [1, 2, 3, 4], gather=0.0) as (bus, member):
        for position in (1, 2, 3):
            await member.settle([position])
        assert bus.said() == []
        await until(lambda: len(bus.said()) > 0)
        assert bus.said() == [(3, [], [], 3)]


async def test_who_leaves_tells_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before he goes."""
    async with joined(monkeypatch, [1, 2, 3]) as (bus, member):
        await member.settle([2])
        await member.settle([3])
    assert bus.said()[:1] == [(0, [2, 3], [], 2)]
    assert bus.told[-1].leave


async def test_a_quarter_of_the_credit_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bus could run out of it."""
    async with joined(monkeypatch, range(1, 31)) as (bus, member):
        for position in range(1, 11):
            await member.settle([position])
        assert bus.said() == []
        await member.settle([11])
        assert bus.said() == [(11, [], [], 11)]
        await member.settle(range(12, 31))
        assert bus.said()[1:] == [(30, [], [], 19)]


async def test_where_the_order_matters_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next event of the subject does, for this one's acknowledgement."""
    async with joined(monkeypatch, [1, 2], order_by_subject=True) as (bus, member):
        await member.settle([1])
        await member.settle([2])
        assert bus.said() == [(1, [], [], 1), (2, [], [], 1)]


async def test_what_is_given_back_is_told_at_once_with_all_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is to be tried again."""
    async with joined(monkeypatch, [1, 2, 3]) as (bus, member):
        await member.settle([1])
        await member.settle([], [Nack(2)])
        assert bus.said() == [(1, [], [2], 2)]


async def test_what_a_new_token_overtakes_is_not_acknowledged_but_its_credit_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is delivered again under the new one."""
    async with joined(monkeypatch, [1, 2, 3]) as (bus, member):
        await member.settle([1])
        bus.deliver([1, 2], token=8)
        async with asyncio.timeout(PATIENCE):
            await anext(member.batches())
        assert bus.said() == [(0, [], [], 3)]
        await member.settle([1])
        await member.settle([2])
    assert bus.said()[1] == (2, [], [], 2)
    assert bus.told[2].fencing_token == 8
