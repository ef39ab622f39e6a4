"""Following the log live, on every way: starts, order, heartbeats with head and progress, resuming, draining."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf import duration_pb2, timestamp_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2

from tests.conformance.asking import follow_positions, next_answer, refused, start
from tests.conformance.ways import RunBus
from tests.integration.bus_bench import PATIENCE, BusBench, event, number_of

BEAT = duration_pb2.Duration(nanos=50_000_000)
STOPPED = subscription_pb2.EventFilter(types=["service.stopped"])


def follow(bus: BusBench, **request: Any) -> Any:
    """A follower with short heartbeats."""
    return bus.stub.Follow(pb.FollowRequest(heartbeat=BEAT, **request))


async def test_a_follower_from_a_position_gets_the_past_then_the_present(bus: BusBench) -> None:
    """Without a gap between what stood and what comes."""
    await bus.publish(event(1), event(2), event(3))
    call = follow(bus, start=start(after_position=1))
    assert await follow_positions(call, 2) == [2, 3]
    await bus.publish(event(4))
    assert await follow_positions(call, 1) == [4]


async def test_a_follower_from_the_beginning_gets_everything(bus: BusBench) -> None:
    """The oldest event comes first."""
    await bus.publish(event(1), event(2))
    assert await follow_positions(follow(bus, start=start(beginning=True)), 2) == [1, 2]


async def test_a_follower_from_now_gets_only_what_comes(bus: BusBench) -> None:
    """No start means now: the moment when its first answer leaves."""
    await bus.publish(event(1))
    call = follow(bus)
    opening = await next_answer(call, lambda _: True)
    assert (len(opening.events), opening.progress_position, opening.head_position) == (0, 1, 1)
    await bus.publish(event(2))
    assert await follow_positions(call, 1) == [2]


async def test_a_follower_from_a_time_begins_with_what_was_stored_then(bus: BusBench) -> None:
    """The time of storing decides."""
    await bus.publish(event(1))
    await asyncio.sleep(0.01)
    between = timestamp_pb2.Timestamp()
    between.FromDatetime(datetime.now(UTC))
    await asyncio.sleep(0.01)
    await bus.publish(event(2))
    assert await follow_positions(follow(bus, start=start(time=between)), 1) == [2]


async def test_silence_is_filled_with_heartbeats(bus: BusBench) -> None:
    """A sign of life tells head and progress, and no lag at the head."""
    await bus.publish(event(1))
    call = follow(bus, start=start(beginning=True))
    await follow_positions(call, 1)
    beat = await next_answer(call, lambda each: not each.events)
    assert (beat.progress_position, beat.head_position, beat.first_position) == (1, 1, 0)


async def test_a_filter_that_matches_nothing_still_moves_the_bookmark(bus: BusBench) -> None:
    """Heartbeats say that nothing below is still to come."""
    await bus.publish(event(1), event(2))
    call = follow(bus, start=start(beginning=True), filter=STOPPED)
    beat = await next_answer(call, lambda each: each.progress_position == 2)
    assert (len(beat.events), beat.head_position) == (0, 2)
    await bus.publish(event(3))
    await next_answer(call, lambda each: each.progress_position == 3)


async def test_a_filtered_follower_tells_where_its_events_stand(bus: BusBench) -> None:
    """Offsets give the position of each event that is not contiguous."""
    await bus.publish(event(1, kind="stopped"), event(2), event(3, kind="stopped"))
    assert await follow_positions(follow(bus, start=start(beginning=True), filter=STOPPED), 2) == [1, 3]


async def test_positions_are_stamped_when_asked_for(bus: BusBench) -> None:
    """Every event then carries its own."""
    await bus.publish(event(1), event(2))
    call = follow(bus, start=start(beginning=True), stamp_positions=True)
    answer = await next_answer(call, lambda each: len(each.events) == 2)
    assert [(one.position, number_of(one)) for one in answer.events] == [(1, 1), (2, 2)]


async def test_coming_back_with_the_last_progress_misses_nothing(bus: BusBench) -> None:
    """Also over a restart of the bus."""
    await bus.publish(event(1), event(2))
    call = follow(bus, start=start(beginning=True))
    progress = (await next_answer(call, lambda each: bool(each.events))).progress_position
    call.cancel()
    await bus.publish(event(3))
    await bus.bench.restart()
    await bus.publish(event(4))
    positions = await follow_positions(follow(bus, start=start(after_position=progress)), 4 - progress)
    assert positions == list(range(progress + 1, 5))


async def test_a_slow_follower_reads_from_the_log(run_bus: RunBus) -> None:
    """With almost no memory for recent events it still gets every one in order."""
    async with run_bus({"TOOLOO_BUS_RECENT_BYTES": "1", "TOOLOO_BUS_READ_BYTES": "1024"}) as bus:
        call = follow(bus, start=start(beginning=True))
        for _ in range(10):
            await bus.publish(*(event(number) for number in range(20)))
        assert await follow_positions(call, 200) == list(range(1, 201))


async def test_an_event_larger_than_a_read_is_delivered(run_bus: RunBus) -> None:
    """Limits of reading never stop a reader."""
    async with run_bus(
        {"TOOLOO_BUS_RECENT_BYTES": "1", "TOOLOO_BUS_READ_BYTES": "1024", "TOOLOO_BUS_MESSAGE_BYTES": "1024"}
    ) as bus:
        large = {f"a{number}": "x" * 250 for number in range(16)}
        await bus.publish(event(1), event(2, **large), event(3, **large), event(4))
        await bus.publish(event(5))
        await bus.bench.restart()
        assert await follow_positions(follow(bus, start=start(beginning=True)), 5) == [1, 2, 3, 4, 5]


async def test_draining_tells_a_follower_to_come_back(bus: BusBench) -> None:
    """UNAVAILABLE, with the reason."""
    call = follow(bus)
    await next_answer(call, lambda _: True)
    await bus.bench.drain()
    told = await refused(read_to_the_end(call))
    assert (told.code, told.reason) == ("UNAVAILABLE", "NOT_READY")


async def read_to_the_end(call: Any) -> None:
    """Reads until the stream ends."""
    async with asyncio.timeout(PATIENCE):
        while await call.read() is not grpc.aio.EOF:
            pass
