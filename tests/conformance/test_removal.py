"""Events that leave the log while their neighbours stay, on every way: erased, compacted away, expired by count and by type."""

import asyncio
import time

from google.protobuf import duration_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb

from tests.conformance.asking import dead_letters, follow_positions, next_answer, read_all, refused, start
from tests.conformance.ways import RunBus
from tests.integration.bus_bench import PATIENCE, BusBench, Puller, event, number_of

QUICK = {"TOOLOO_BUS_UPKEEP_INTERVAL": "20ms"}
ALL_LETTERS = pb.RedriveDeadLettersRequest(subscription="reader", all=True)


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


async def test_erase_takes_what_waits_for_another_delivery_along(bus: BusBench) -> None:
    """A redriven dead letter and a nacked event of the subject never come again, and hold up nothing; also after a restart."""
    await bus.subscribe()
    await bus.publish(event(1, subject="a"), event(2, subject="b"), event(3, subject="a"))
    puller = await Puller(bus.stub).open()
    await puller.take(3)
    await bus.stub.PauseSubscription(pb.PauseSubscriptionRequest(name="reader"))
    await puller.say(nacks=[*(pb.Nack(position=position, park=True) for position in (1, 2)), pb.Nack(position=3)])
    await dead_letters(bus, 2)
    assert (await bus.stub.RedriveDeadLetters(ALL_LETTERS)).redriven == 2
    await erase(bus, "a")
    await bus.stub.ResumeSubscription(pb.ResumeSubscriptionRequest(name="reader"))
    await bus.publish(event(4, subject="c"))
    assert sorted(await puller.take(2)) == [(2, 1), (4, 1)]
    await bus.bench.restart()
    again = await Puller(bus.stub).open()
    assert sorted(position for position, _ in await again.take(2)) == [2, 4]
    await again.say(ack=[2, 4])
    await bus.settled(4)
    shown = await bus.standing()
    assert (shown.dead_letters, shown.in_flight, shown.backlog) == (0, 0, 0)


async def test_what_is_erased_lets_the_next_of_its_subject_go_on(bus: BusBench) -> None:
    """Where order by subject holds: once the one that is out is settled."""
    await bus.subscribe(order_by_subject=True)
    await bus.publish(*(event(number, subject="a") for number in (1, 2, 3)))
    puller = await Puller(bus.stub).open()
    assert await puller.take(1) == [(1, 1)]
    await erase(bus, "a")
    await bus.publish(event(4, subject="a"))
    await puller.say(ack=[1])
    assert await puller.take(1) == [(4, 1)]
    await puller.say(ack=[4])
    await bus.settled(4)


async def test_an_erased_subject_begins_anew(bus: BusBench) -> None:
    """Its version is 0 again, its ids stay known, and what comes later counts as ever, also after a restart."""
    first = event(1, subject="a")
    await bus.publish(first, event(2, subject="b"))
    await erase(bus, "a")
    anew = pb.PublishRequest(events=[event(3, subject="a")], expected_versions={"a": 0})
    assert list((await bus.stub.Publish(anew)).positions) == [3]
    assert await bus.publish(first) == [1]
    assert await positions(bus) == [2, 3]
    await bus.bench.restart()
    told = await refused(bus.stub.Publish(pb.PublishRequest(events=[event(4, subject="a")], expected_versions={"a": 0})))
    assert (told.code, told.metadata["a"]) == ("ABORTED", "3")


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


async def test_readers_pass_over_what_was_compacted_away(bus: BusBench) -> None:
    """From before it, from where it stood, and as a subscription; versions stand."""
    await bus.publish(event(1, subject="a"), event(2, subject="b"), event(3, subject="a"))
    assert (await bus.stub.CompactLog(pb.CompactLogRequest(types=["*"]))).removed == 1
    for after in (0, 1):
        call = bus.stub.Follow(pb.FollowRequest(start=start(after_position=after)))
        assert await follow_positions(call, 2) == [2, 3]
        call.cancel()
    await bus.subscribe()
    puller = await Puller(bus.stub).open()
    assert await puller.take(2) == [(2, 1), (3, 1)]
    await puller.say(ack=[2, 3])
    await bus.settled(3)
    told = await refused(bus.stub.Publish(pb.PublishRequest(events=[event(4, subject="a")], expected_versions={"a": 1})))
    assert (told.code, told.metadata["a"]) == ("ABORTED", "3")


async def test_compaction_comes_by_itself_for_the_types_of_the_settings(run_bus: RunBus) -> None:
    """After the age of the settings; other types stay."""
    settings = {**QUICK, "TOOLOO_BUS_COMPACT_TYPES": "service.started", "TOOLOO_BUS_COMPACT_AFTER": "1ms"}
    async with run_bus(settings) as bus:
        await bus.publish(event(1), event(2), event(3, kind="stopped"), event(4, kind="stopped"))
        assert await kept(bus, [2, 3, 4])


async def test_a_dead_letter_outlives_its_event(run_bus: RunBus) -> None:
    """Retention deletes the event; the letter has it whole, gives it out again over restarts, and is a letter again."""
    async with run_bus({**QUICK, "TOOLOO_BUS_RETENTION_COUNT": "1"}) as bus:
        await bus.subscribe()
        await bus.publish(event(1, subject="a"))
        await bus.publish(event(2, subject="b"))
        puller = await Puller(bus.stub).open()
        await puller.take(2)
        await puller.say(ack=[2], nacks=[pb.Nack(position=1, park=True)])
        await dead_letters(bus, 1)
        assert await kept(bus, [2])
        await bus.stub.PauseSubscription(pb.PauseSubscriptionRequest(name="reader"))
        assert (await bus.stub.RedriveDeadLetters(ALL_LETTERS)).redriven == 1
        # it is no part of the log: moving the subscription leaves it alone
        await bus.stub.SeekSubscription(pb.SeekSubscriptionRequest(name="reader", start=start(after_position=2)))
        await bus.bench.restart()
        await bus.stub.ResumeSubscription(pb.ResumeSubscriptionRequest(name="reader"))
        again = await Puller(bus.stub).open()
        answer = await next_answer(again.call, lambda each: bool(each.positions))
        assert (list(answer.positions), number_of(answer.events[0])) == ([1], 1)
        await again.say(nacks=[pb.Nack(position=1, park=True, error="again")])
        (letter,) = await dead_letters(bus, 1)
        assert (letter.last_error, number_of(letter.event)) == ("again", 1)


async def test_retention_by_age_leaves_the_young(run_bus: RunBus) -> None:
    """An event is kept until it is as old as the settings say; positions go on."""
    async with run_bus({**QUICK, "TOOLOO_BUS_RETENTION_AGE": "200ms"}) as bus:
        began = time.monotonic()
        await bus.publish(event(1))
        assert await kept(bus, [])
        # no sooner than this; how much later is the machine's affair
        assert time.monotonic() - began >= 0.2
        assert await bus.publish(event(2)) == [2]


async def test_retention_by_bytes_keeps_about_as_many(run_bus: RunBus) -> None:
    """The oldest go until what is left takes no more than that; a stream goes by the mean size."""
    async with run_bus({**QUICK, "TOOLOO_BUS_RETENTION_BYTES": "20000"}) as bus:
        padding = {f"pad{letter}": "x" * 250 for letter in "abcdefgh"}
        for number in range(1, 21):
            await bus.publish(event(number, **padding))
        async with asyncio.timeout(PATIENCE):
            while True:
                left = await positions(bus)
                if len(left) <= 10:
                    break
                await asyncio.sleep(0.01)
        assert len(left) >= 5
        assert left == list(range(left[0], 21))


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


async def test_a_version_outlives_its_event(run_bus: RunBus) -> None:
    """Retention deletes the event, the bus starts anew: the position is known still, and an erase ends that."""
    async with run_bus({"TOOLOO_BUS_RETENTION_COUNT": "1", **QUICK}) as bus:
        await bus.publish(event(1, subject="a.*"))
        await bus.publish(event(2, subject="b"))
        assert await kept(bus, [2])
        await bus.bench.restart()
        assert await version_of(bus, "a.*") == 1
        await erase(bus, "a.*")
        await bus.bench.restart()
        assert await version_of(bus, "a.*") == 0


async def test_a_version_never_falls(run_bus: RunBus) -> None:
    """The newest event of a subject expires for its type; what is older of another type stands, and goes later."""
    types = {"TOOLOO_BUS_RETENTION_TYPES": "service.stopped=1ms"}
    async with run_bus({**types, **QUICK}) as bus:
        await bus.publish(event(1, subject="a"), event(2, subject="a", kind="stopped"))
        assert await kept(bus, [1])
        await bus.bench.restart()
        assert await version_of(bus, "a") == 2
    async with run_bus({"TOOLOO_BUS_RETENTION_COUNT": "1", **QUICK}) as bus:
        await bus.publish(event(3, subject="b"))
        assert await kept(bus, [3])
        await bus.bench.restart()
        assert await version_of(bus, "a") == 2


async def test_ids_outlive_their_events(run_bus: RunBus) -> None:
    """Whatever took the event (retention, its type, compaction, erase): a repeat gets its first position, also after a restart."""
    settings = {"TOOLOO_BUS_RETENTION_TYPES": "service.stopped=1ms", **QUICK}
    gone = [event(1, subject="a"), event(2, subject="b", kind="stopped"), event(3, subject="c"), event(4, subject="d")]
    async with run_bus(settings) as bus:
        await bus.publish(*gone)
        await bus.publish(event(5, subject="c"))
        await erase(bus, "a")
        await bus.stub.CompactLog(pb.CompactLogRequest(types=["*"]))
        assert await kept(bus, [4, 5])
    async with run_bus({"TOOLOO_BUS_RETENTION_COUNT": "1", **QUICK}) as bus:
        assert await kept(bus, [5])
        await bus.bench.restart()
        answer = await bus.stub.Publish(pb.PublishRequest(events=gone))
        assert (list(answer.positions), answer.duplicates) == ([1, 2, 3, 4], 4)


async def version_of(bus: BusBench, subject: str) -> int:
    """The version that a publish is told of which expects another one."""
    other = pb.PublishRequest(events=[event(9, subject=subject)], expected_versions={subject: 99})
    return int((await refused(bus.stub.Publish(other))).metadata[subject])


async def kept(bus: BusBench, expected: list[int]) -> bool:
    """Waits until just these positions are kept."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if await positions(bus) == expected:
                return True
            await asyncio.sleep(0.01)


async def test_an_erase_beside_publishes_takes_its_subject_alone(bus: BusBench) -> None:
    """Of what is published together the other subject stays whole, is delivered, and the floor passes what is gone."""
    await bus.subscribe()
    count = 30

    async def publish() -> None:
        for number in range(count):
            await bus.publish(event(number, subject="a"), event(number, subject="b"))

    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(publish())
        while not publishing.done():
            await erase(bus, "a")
    await erase(bus, "a")
    left = await read_all(bus)
    assert [(one.subject, number_of(one)) for one in left] == [("b", number) for number in range(count)]
    puller = await Puller(bus.stub).open()
    assert [position for position, _ in await puller.take(count)] == [one.position for one in left]
    await puller.say(ack=[one.position for one in left])
    await bus.settled(2 * count)
