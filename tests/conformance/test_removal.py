"""Events that leave the log while their neighbours stay, on every way: erased, compacted away, expired by count and by type."""

import asyncio

from google.protobuf import duration_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb

from tests.conformance.asking import dead_letters, follow_positions, read_all, refused, start
from tests.conformance.ways import RunBus
from tests.integration.bus_bench import PATIENCE, BusBench, Puller, event


async def positions(bus: BusBench) -> list[int]:
    """Where the events that are kept stand."""
    return [one.position for one in await read_all(bus)]


async def erase(bus: BusBench, subject: str) -> int:
    """Erases a subject; gives the number of events."""
    return (await bus.stub.EraseSubject(pb.EraseSubjectRequest(subject=subject))).erased


async def test_erase_takes_every_event_of_a_subject(bus: BusBench) -> None:
    """Of every type, exactly that subject; positions of the others stay, asking again changes nothing."""
    await bus.publish(event(1, subject="a.*"), event(2, subject="a.* b"), event(3, subject="a.*", kind="stopped"), event(4))
    assert await erase(bus, "a.*") == 2
    assert await positions(bus) == [2, 4]
    assert await erase(bus, "a.*") == 0
    await bus.bench.restart()
    assert await positions(bus) == [2, 4]
    assert await bus.publish(event(5)) == [5]


async def test_what_is_erased_is_not_delivered_and_holds_up_nothing(bus: BusBench) -> None:
    """Followers and subscriptions pass over it."""
    await bus.subscribe()
    await bus.publish(event(1, subject="a"), event(2, subject="b"), event(3, subject="a"))
    await erase(bus, "a")
    call = bus.stub.Follow(pb.FollowRequest(start=start(beginning=True)))
    assert await follow_positions(call, 1) == [2]
    call.cancel()
    puller = await Puller(bus.stub).open()
    assert await puller.take(1) == [(2, 1)]
    await puller.say(ack=[2])
    await bus.settled(3)


async def test_erase_takes_dead_letters_along(bus: BusBench) -> None:
    """What a subscription keeps of the subject goes too, redriven or not."""
    await bus.subscribe()
    await bus.publish(event(1, subject="a"), event(2, subject="b"), event(3, subject="a"))
    puller = await Puller(bus.stub).open()
    await puller.take(3)
    await puller.say(nacks=[pb.Nack(position=position, park=True) for position in (1, 2, 3)])
    await dead_letters(bus, 3)
    await erase(bus, "a")
    assert [letter.position for letter in await dead_letters(bus, 1)] == [2]
    await bus.bench.restart()
    assert [letter.position for letter in await dead_letters(bus, 1)] == [2]


async def test_compaction_keeps_the_newest_of_each_type_and_subject(bus: BusBench) -> None:
    """Only of the types named."""
    await bus.publish(event(1, subject="a"), event(2, subject="b"), event(3, subject="a"), event(4, subject="a", kind="stopped"))
    await bus.publish(event(5, subject="a", kind="stopped"), event(6, subject="a"))
    answer = await bus.stub.CompactLog(pb.CompactLogRequest(types=["service.started"]))
    assert answer.removed == 2
    assert await positions(bus) == [2, 4, 5, 6]
    await bus.bench.restart()
    assert await positions(bus) == [2, 4, 5, 6]


async def test_compaction_leaves_what_is_young_or_not_settled(bus: BusBench) -> None:
    """min_age counts from now; a subscription's unsettled events stay."""
    await bus.publish(event(1, subject="a"), event(2, subject="a"))
    young = pb.CompactLogRequest(types=["*"], min_age=duration_pb2.Duration(seconds=3600))
    assert (await bus.stub.CompactLog(young)).removed == 0
    await bus.subscribe()
    assert (await bus.stub.CompactLog(pb.CompactLogRequest(types=["*"]))).removed == 0
    assert await positions(bus) == [1, 2]


async def test_retention_by_count_keeps_the_newest(run_bus: RunBus) -> None:
    """The oldest go first."""
    async with run_bus({"TOOLOO_BUS_RETENTION_COUNT": "2", "TOOLOO_BUS_UPKEEP_INTERVAL": "20ms"}) as bus:
        for number in range(1, 5):
            await bus.publish(event(number))
        assert await kept(bus, [3, 4])


async def test_retention_by_type_leaves_the_others(run_bus: RunBus) -> None:
    """Only the type named expires."""
    settings = {"TOOLOO_BUS_RETENTION_TYPES": "service.stopped=1ms", "TOOLOO_BUS_UPKEEP_INTERVAL": "20ms"}
    async with run_bus(settings) as bus:
        await bus.publish(event(1), event(2, kind="stopped"), event(3))
        assert await kept(bus, [1, 3])


async def test_a_version_outlives_its_event_where_the_table_of_ways_says_so(run_bus: RunBus, way: str) -> None:
    """Retention deletes the event, the bus starts anew: a file knows its position still, a stream has nothing left of it."""
    async with run_bus({"TOOLOO_BUS_RETENTION_COUNT": "1", "TOOLOO_BUS_UPKEEP_INTERVAL": "20ms"}) as bus:
        await bus.publish(event(1, subject="a"))
        await bus.publish(event(2, subject="b"))
        assert await kept(bus, [2])
        await bus.bench.restart()
        other = pb.PublishRequest(events=[event(3, subject="a")], expected_versions={"a": 9})
        told = await refused(bus.stub.Publish(other))
        assert (told.code, told.metadata["a"]) == ("ABORTED", "0" if way == "gRPC on JetStream" else "1")


async def kept(bus: BusBench, expected: list[int]) -> bool:
    """Waits until just these positions are kept."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if await positions(bus) == expected:
                return True
            await asyncio.sleep(0.01)
