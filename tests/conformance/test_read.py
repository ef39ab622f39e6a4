"""Reading the log, on every way: the same bytes, pages, times, filters, and the range that stands."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf import timestamp_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2

from tests.conformance.asking import moment, next_answer, read_all, refused, start
from tests.conformance.ways import RunBus
from tests.integration.bus_bench import PATIENCE, BusBench, event, number_of

# the far end of what the contract allows
_FUTURE = 4_000_000_000


async def test_what_was_published_is_read_back(bus: BusBench) -> None:
    """Unchanged, in order, each with its position, also after a restart."""
    sent = [event(number, subject=f"s/{number} ä.*>\u3000\x85\u2028", user="ada") for number in range(4)]
    sent.append(event(4, subject="\N{PILE OF POO}" * 512))
    await bus.publish(*sent)
    for _ in ("at once", "after a restart"):
        found = await read_all(bus)
        assert [one.position for one in found] == [1, 2, 3, 4, 5]
        for one in found:
            one.position = 0
        assert found == sent
        await bus.bench.restart()


async def test_pages_hold_each_event_once(bus: BusBench) -> None:
    """A page holds what was asked for, and its token leads to the next."""
    await bus.publish(*(event(number) for number in range(1, 6)))
    assert [number_of(one) for one in await read_all(bus, page_size=2)] == [1, 2, 3, 4, 5]
    page = await bus.stub.ReadEvents(pb.ReadEventsRequest(page_size=2))
    assert (len(page.events), page.progress_position, page.head_position) == (2, 2, 5)


async def test_another_querys_token_is_refused(bus: BusBench) -> None:
    """A page token belongs to the query that gave it."""
    await bus.publish(event(1), event(2))
    token = (await bus.stub.ReadEvents(pb.ReadEventsRequest(page_size=1))).next_page_token
    other = pb.ReadEventsRequest(page_token=token, filter=subscription_pb2.EventFilter(types=["service.*"]))
    told = await refused(bus.stub.ReadEvents(other))
    assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN", ["page_token"])


async def test_a_time_finds_the_first_event_stored_then(bus: BusBench) -> None:
    """from_time goes by the time of storing; the future finds nothing."""
    await bus.publish(event(1))
    await asyncio.sleep(0.01)
    between = timestamp_pb2.Timestamp()
    between.FromDatetime(datetime.now(UTC))
    await asyncio.sleep(0.01)
    await bus.publish(event(2))
    assert [number_of(one) for one in await read_all(bus, from_time=between)] == [2]
    assert [number_of(one) for one in await read_all(bus, from_time=moment(0))] == [1, 2]
    assert await read_all(bus, from_time=moment(_FUTURE)) == []


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"types": ["service.*"]}, [1, 2, 3]),
        ({"types": ["*"]}, [1, 2, 3]),
        ({"types": ["service.stopped"]}, [3]),
        ({"types": ["budget.*"]}, []),
        ({"sources": ["learning"]}, []),
        ({"sources": ["system"]}, [1, 2, 3]),
        ({"subject_prefix": "a/"}, [1, 3]),
        ({"attributes": {"user": "ada"}}, [1]),
        ({"types": ["service.started"], "subject_prefix": "a/"}, [1]),
    ],
)
async def test_a_filter_gives_exactly_what_it_names(bus: BusBench, parts: dict[str, Any], expected: list[int]) -> None:
    """Types with a star, sources, subject prefix and attributes; together they all must match."""
    await bus.publish(event(1, subject="a/1", user="ada"), event(2, subject="b/1"), event(3, subject="a/2", kind="stopped"))
    assert [number_of(one) for one in await read_all(bus, filter=subscription_pb2.EventFilter(**parts))] == expected


async def test_a_read_that_finds_nothing_still_moves_its_bookmark(bus: BusBench) -> None:
    """progress_position says how far was looked."""
    await bus.publish(event(1), event(2))
    nothing = pb.ReadEventsRequest(filter=subscription_pb2.EventFilter(types=["budget.*"]))
    answer = await bus.stub.ReadEvents(nothing)
    assert (len(answer.events), answer.progress_position, answer.head_position) == (0, 2, 2)


async def test_past_the_end_is_out_of_range(bus: BusBench) -> None:
    """For a read and a follower alike; the refusal names the range that stands."""
    await bus.publish(event(1), event(2))
    for call in (
        bus.stub.ReadEvents(pb.ReadEventsRequest(after_position=3)),
        bus.stub.Follow(pb.FollowRequest(start=start(after_position=3))).read(),
    ):
        told = await refused(call)
        assert (told.code, told.reason, told.metadata) == ("OUT_OF_RANGE", "OUT_OF_RANGE", {"first": "1", "head": "2"})


async def test_before_what_is_kept_is_out_of_range(run_bus: RunBus) -> None:
    """After retention a start in what is gone is refused with what stands; zero is the beginning of what is kept."""
    settings = {"TOOLOO_BUS_RETENTION_BYTES": "1", "TOOLOO_BUS_UPKEEP_INTERVAL": "20ms"}
    async with run_bus(settings) as bus:
        for number in (1, 2, 3):
            await bus.publish(event(number))
        first = await first_position(bus, 3)
        told = await refused(bus.stub.ReadEvents(pb.ReadEventsRequest(after_position=1)))
        assert (told.code, told.metadata) == ("OUT_OF_RANGE", {"first": str(first), "head": "3"})
        assert all(one.position >= first for one in await read_all(bus))


async def test_retention_keeps_what_a_subscription_has_not_settled(run_bus: RunBus) -> None:
    """And positions go on from where they were, also when nothing is kept."""
    settings = {"TOOLOO_BUS_RETENTION_BYTES": "1", "TOOLOO_BUS_UPKEEP_INTERVAL": "20ms"}
    async with run_bus(settings) as bus:
        await bus.subscribe("holder")
        for number in (1, 2, 3):
            await bus.publish(event(number))
        assert [number_of(one) for one in await read_all(bus)] == [1, 2, 3]
        await bus.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="holder"))
        await first_position(bus, 3)
        await bus.bench.restart()
        call = bus.stub.Follow(pb.FollowRequest(start=start(beginning=True)))
        assert (await next_answer(call, lambda each: each.progress_position > 0)).progress_position == 3
        assert await bus.publish(event(4)) == [4]


async def first_position(bus: BusBench, beyond: int) -> int:
    """Waits until positions below `beyond` are gone; gives the first one that would be kept."""
    async with asyncio.timeout(PATIENCE):
        while True:
            stats = await bus.stub.GetBusStats(pb.GetBusStatsRequest())
            if stats.first_position >= beyond or stats.first_position == 0:
                return stats.first_position or stats.head_position + 1
            await asyncio.sleep(0.01)
