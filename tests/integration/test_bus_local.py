"""The bus in the caller's own process: on a file, in memory, one call after the other without a hop."""

import asyncio
from pathlib import Path

from tooloo.bus.v1 import bus_service_pb2 as pb

from bus.local import open_bus
from tests.integration.bus_bench import PATIENCE, event, number_of
from tests.integration.test_bus_client import Listening


async def test_a_log_in_memory_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """DURABILITY_MEMORY, and another one begins empty."""
    for _ in range(2):
        async with open_bus() as bus:
            answer = await bus.stub.Publish(pb.PublishRequest(events=[event(1)]))
            assert answer.durability == pb.PublishResponse.DURABILITY_MEMORY
            assert list(answer.positions) == [1]


async def test_a_log_on_a_file_is_there_again(tmp_path: Path) -> None:
    """DURABILITY_FSYNC, by path or by name."""
    async with open_bus(tmp_path / "events.db") as bus:
        assert await bus.publish([event(1)]) == [1]
    async with open_bus(str(tmp_path / "events.db")) as bus:
        answer = await bus.stub.Publish(pb.PublishRequest(events=[event(2)]))
        assert (list(answer.positions), answer.durability) == ([2], pb.PublishResponse.DURABILITY_FSYNC)


async def test_publish_subscribe_and_follow_work_as_over_grpc(tmp_path: Path) -> None:
    """The same client, the same promises."""
    async with asyncio.timeout(PATIENCE), open_bus() as bus:
        await bus.publish([event(number) for number in range(1, 4)])
        async with bus.subscription("reader") as events:
            found = []
            async for one in events:
                found.append(number_of(one))
                if len(found) == 3:
                    break
        assert found == [1, 2, 3]
        async for one in bus.follow(after_position=2):
            assert one.position == 3
            break


async def test_closing_ends_a_follower_that_would_never_end() -> None:
    """The block ends although somebody still follows."""
    async with asyncio.timeout(PATIENCE):
        async with open_bus() as bus:
            call = bus.stub.Follow(pb.FollowRequest())
            await call.read()
        assert call.done()


async def test_a_bus_that_is_left_ends_whoever_still_listens() -> None:
    """Other tasks that iterate when the block ends are told; without that they would wait for ever."""
    async with open_bus() as bus:
        listening = Listening(bus)
        await listening.both_hear()
    await listening.both_end()
