"""The easy client, on every way: publish, subscribe and follow with everything underneath."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mesh.follow import BusClient
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
