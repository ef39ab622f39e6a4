"""The easy client, on every way: publish, subscribe and follow with everything underneath."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from tooloo.bus.v1 import bus_service_pb2 as pb

from mesh.deliveries import Nack
from mesh.follow import BusClient
from tests.conformance.asking import start
from tests.integration.bus_bench import PATIENCE, BusBench, event, number_of


@asynccontextmanager
async def client_of(bus: BusBench) -> AsyncIterator[BusClient]:
    """A client on the bench's channel."""
    client = BusClient(channel=bus.bench.channel)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def test_concurrent_publishes_of_one_client_are_all_acknowledged(bus: BusBench) -> None:
    """Each caller gets the position of its own event."""
    async with client_of(bus) as client:
        positions = await asyncio.gather(*(client.publish([event(number)]) for number in range(50)))
        assert sorted(position for (position,) in positions) == list(range(1, 51))


async def test_iteration_acknowledges_what_was_handled(bus: BusBench) -> None:
    """A member that comes again gets only what is left."""
    async with client_of(bus) as client:
        await client.publish([event(number) for number in range(1, 6)])
        async with client.subscription("reader") as events:
            async for one in events:
                if number_of(one) == 4:
                    break
        await bus.settled(3)
        async with asyncio.timeout(PATIENCE), client.subscription("reader") as events:
            async for one in events:
                assert number_of(one) == 4
                break


async def test_following_gives_the_past_and_the_present(bus: BusBench) -> None:
    """Without a gap and without a repeat."""
    async with client_of(bus) as client:
        await client.publish([event(1), event(2)])
        found = []
        async with asyncio.timeout(PATIENCE):
            async for one in client.follow(after_position=0):
                found.append(one.position)
                if len(found) == 2:
                    await client.publish([event(3)])
                if len(found) == 3:
                    break
        assert found == [1, 2, 3]


async def test_a_seek_takes_no_credit_from_a_member(bus: BusBench) -> None:
    """What it held is void and comes again, all of it, also when that was as much as it may hold."""
    async with client_of(bus) as client:
        await client.publish([event(number, subject=f"s/{number}") for number in range(1, 7)])
        async with asyncio.timeout(PATIENCE), client.subscription("reader", order_by_subject=False, max_in_flight=3) as member:
            batches = member.batches()
            for _ in range(3):
                held: list[int] = []
                while len(held) < 3:
                    held += [delivery.position for delivery in await anext(batches)]
                assert held == [1, 2, 3]
                await bus.stub.SeekSubscription(pb.SeekSubscriptionRequest(name="reader", start=start(beginning=True)))
            found: list[int] = []
            while len(found) < 6:
                batch = [delivery.position for delivery in await anext(batches)]
                found += batch
                await member.settle(batch)
            assert found == [1, 2, 3, 4, 5, 6]


async def test_what_comes_again_is_acknowledged_beside_what_is_newer(bus: BusBench) -> None:
    """The easy client settles the newer one first: the one that came again is settled by its own answer alone."""
    async with client_of(bus) as client:
        await client.publish([event(1, subject="a")])
        async with asyncio.timeout(PATIENCE), client.subscription("reader", order_by_subject=False) as member:
            batches = member.batches()
            assert [delivery.position for delivery in await anext(batches)] == [1]
            await member.settle([], [Nack(1, timedelta(0))])
            (again,) = await anext(batches)
            assert (again.position, again.attempt) == (1, 2)
            await client.publish([event(2, subject="b")])
            assert [delivery.position for delivery in await anext(batches)] == [2]
            await member.settle([2])
            standing = await bus.settled(0)
            while standing.backlog > 1:
                standing = await bus.standing()
            assert (standing.ack_floor, standing.in_flight) == (0, 1)
            await member.settle([1])
            await bus.settled(2)
