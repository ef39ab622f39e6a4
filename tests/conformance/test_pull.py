"""Pulling a subscription, on every way: credit, acks, nacks, leases, groups and order; all of it kept over a restart."""

import asyncio
from collections.abc import Callable
from typing import Any

from google.protobuf import duration_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1.subscription_pb2 import EventFilter

from tests.conformance.asking import LONG, SOON, next_answer
from tests.integration.bus_bench import PATIENCE, BusBench, Puller, event


async def filled(bus: BusBench, count: int, **definition: Any) -> None:
    """A subscription from the beginning, and events of a subject each."""
    await bus.subscribe(**definition)
    await bus.publish(*(event(number, subject=f"s/{number}") for number in range(1, count + 1)))


async def test_no_more_events_are_sent_than_credit_was_given(bus: BusBench) -> None:
    """Credit adds up; without any the stream only beats."""
    await filled(bus, 6)
    puller = await Puller(bus.stub, credit=2).open()
    assert await puller.take(2) == [(1, 1), (2, 1)]
    assert list((await puller.answer()).positions) == []
    await puller.say(credit_events=3)
    assert await puller.take(3) == [(3, 1), (4, 1), (5, 1)]


async def test_credit_counts_bytes_when_it_is_given_in_bytes(bus: BusBench) -> None:
    """One byte is enough for one delivery; more comes with more credit."""
    await bus.subscribe(max_in_flight=1)
    await bus.publish(event(1, subject="a"), event(2, subject="b"))
    call = bus.stub.Pull()
    await call.write(pb.PullRequest(subscription="reader", credit_events=10, credit_bytes=1))
    first = await next_answer(call, lambda each: bool(each.positions))
    assert list(first.positions) == [1]
    await call.write(pb.PullRequest(fencing_token=first.fencing_token, ack=[1]))
    assert not (await next_answer(call, lambda each: each.ack_floor == 1)).positions
    await call.write(pb.PullRequest(fencing_token=first.fencing_token, credit_bytes=1000))
    assert list((await next_answer(call, lambda each: bool(each.positions))).positions) == [2]


async def test_selective_acks_hold_the_floor_at_the_gap(bus: BusBench) -> None:
    """The floor is what is settled without a gap, and a restart gives only the rest."""
    await filled(bus, 4)
    puller = await Puller(bus.stub).open()
    await puller.take(4)
    await puller.say(ack=[1, 2, 4])
    assert (await bus.settled(2)).ack_floor == 2
    await next_answer(puller.call, lambda each: each.acks_committed == 3)
    await bus.bench.restart()
    assert await (await Puller(bus.stub).open()).take(1) == [(3, 1)]


async def test_a_cumulative_ack_settles_all_the_stream_held_up_to_it(bus: BusBench) -> None:
    """Not what it was never sent."""
    await filled(bus, 4)
    puller = await Puller(bus.stub, credit=3).open()
    await puller.take(3)
    await puller.say(ack_up_to=9)
    assert (await bus.settled(3)).ack_floor == 3


async def test_what_does_not_match_never_holds_the_floor(bus: BusBench) -> None:
    """Only matching events are delivered; the floor passes the others."""
    await bus.subscribe(filter=EventFilter(types=["service.stopped"], subject_prefix="a/"))
    await bus.publish(event(1), event(2, subject="a/1", kind="stopped"), event(3), event(4, subject="a/2", kind="stopped"))
    puller = await Puller(bus.stub).open()
    assert await puller.take(2) == [(2, 1), (4, 1)]
    await puller.say(ack=[2])
    assert (await bus.settled(3)).ack_floor == 3


async def test_a_nack_with_a_delay_comes_again_after_it(bus: BusBench) -> None:
    """As another delivery; the count is kept over a restart."""
    await filled(bus, 2)
    puller = await Puller(bus.stub).open()
    await puller.take(2)
    await puller.say(ack=[2], nacks=[pb.Nack(position=1, retry_after=SOON)])
    assert await puller.take(1) == [(1, 2)]
    await puller.say(nacks=[pb.Nack(position=1, retry_after=SOON)])
    assert await puller.take(1) == [(1, 3)]
    await bus.bench.restart()
    again = await Puller(bus.stub).open()
    # the third delivery ended with the bus itself, so it does not count
    assert await again.take(1) == [(1, 3)]


async def test_a_nack_waits_as_long_as_it_says(bus: BusBench) -> None:
    """A long delay keeps the event back while others go on, also over a restart."""
    await filled(bus, 2)
    puller = await Puller(bus.stub).open()
    await puller.take(2)
    await puller.say(nacks=[pb.Nack(position=1, retry_after=LONG), pb.Nack(position=2, retry_after=SOON)])
    assert await puller.take(1) == [(2, 2)]


async def test_a_nack_without_a_delay_follows_the_backoff(bus: BusBench) -> None:
    """The subscription's own waits apply, and the last one repeats."""
    await filled(bus, 1, backoff=[SOON])
    puller = await Puller(bus.stub).open()
    for attempt in (1, 2, 3):
        assert await puller.take(1) == [(1, attempt)]
        await puller.say(nacks=[pb.Nack(position=1)])


async def test_a_deadline_that_passes_gives_the_event_to_another(bus: BusBench, leap: Callable[[float], None]) -> None:
    """Unless the lease is extended."""
    await bus.subscribe(ack_deadline=duration_pb2.Duration(seconds=60))
    await bus.publish(event(1, subject="a"), event(2, subject="b"), event(3, subject="c"))
    puller = await Puller(bus.stub).open()
    assert await puller.take(3) == [(1, 1), (2, 1), (3, 1)]
    leap(40)
    # the answer to the acknowledgement tells that the extension was heard, too
    await puller.say(extend=[2], ack=[3])
    await next_answer(puller.call, lambda each: each.acks_committed == 1)
    leap(40)
    assert await puller.take(1) == [(1, 2)]


async def test_a_broken_stream_gives_its_events_back_at_once(bus: BusBench) -> None:
    """As another delivery, to whoever is there."""
    await bus.subscribe(ack_deadline=LONG)
    await bus.publish(event(1))
    first = await Puller(bus.stub).open()
    assert await first.take(1) == [(1, 1)]
    second = await Puller(bus.stub).open()
    first.call.cancel()
    assert await second.take(1) == [(1, 2)]


async def test_an_ack_of_a_lost_lease_is_refused_by_position(bus: BusBench) -> None:
    """A lease belongs to its stream: another stream's token settles nothing."""
    await bus.subscribe(ack_deadline=LONG)
    await bus.publish(event(1))
    first = await Puller(bus.stub).open()
    await first.take(1)
    second = await Puller(bus.stub).open()
    first.call.cancel()
    await second.take(1)
    await second.call.write(pb.PullRequest(fencing_token=first.token, ack=[1]))
    answer = await next_answer(second.call, lambda each: bool(each.refused_acks))
    assert list(answer.refused_acks) == [1]
    assert (await bus.standing()).ack_floor == 0


async def test_leaving_in_good_order_uses_up_no_attempt(bus: BusBench) -> None:
    """The stream ends when the acks are on disk; the rest goes back uncounted."""
    await filled(bus, 2)
    first = await Puller(bus.stub).open()
    await first.take(2)
    await first.say(ack=[1], leave=True)
    last = await next_answer(first.call, lambda each: each.acks_committed == 1)
    assert last.ack_floor == 1
    assert await (await Puller(bus.stub).open()).take(1) == [(2, 1)]


async def test_members_share_the_work_without_overlap(bus: BusBench) -> None:
    """Every event goes to exactly one of a group, and each member gets some."""
    await bus.subscribe()
    members = [await Puller(bus.stub, credit=50).open() for _ in range(2)]
    await bus.publish(*(event(number, subject=f"s/{number}") for number in range(100)))
    shares = await asyncio.gather(*(member.take(50) for member in members))
    assert sorted(position for share in shares for position, _ in share) == list(range(1, 101))


async def test_order_by_subject_holds_in_a_group(bus: BusBench) -> None:
    """An event waits for the one before of its subject, whoever has that; other subjects go on."""
    await bus.subscribe(order_by_subject=True)
    await bus.publish(event(1, subject="a"), event(2, subject="a"), event(3, subject="b"))
    one = await Puller(bus.stub, credit=1).open()
    assert await one.take(1) == [(1, 1)]
    two = await Puller(bus.stub).open()
    assert await two.take(1) == [(3, 1)]
    await one.say(ack=[1])
    assert await two.take(1) == [(2, 1)]


async def test_order_by_subject_holds_over_a_retry_and_a_restart(bus: BusBench) -> None:
    """The later one waits until the earlier one is settled."""
    await bus.subscribe(order_by_subject=True)
    await bus.publish(event(1, subject="a"), event(2, subject="a"))
    one = await Puller(bus.stub).open()
    await one.take(1)
    await one.say(nacks=[pb.Nack(position=1, retry_after=SOON)])
    assert await one.take(1) == [(1, 2)]
    await bus.bench.restart()
    again = await Puller(bus.stub).open()
    assert await again.take(1) == [(1, 2)]
    await again.say(ack=[1])
    assert await again.take(1) == [(2, 1)]


async def test_no_more_are_out_than_the_subscription_allows(bus: BusBench) -> None:
    """max_in_flight counts over all members, whatever their credit."""
    await filled(bus, 4, max_in_flight=2)
    one = await Puller(bus.stub).open()
    assert await one.take(2) == [(1, 1), (2, 1)]
    assert list((await one.answer()).positions) == []
    await one.say(ack=[1])
    assert await one.take(1) == [(3, 1)]


async def test_silence_tells_floor_head_and_lag(bus: BusBench) -> None:
    """A heartbeat shows how far behind the subscription is."""
    await filled(bus, 2)
    puller = await Puller(bus.stub, credit=1).open()
    await puller.take(1)
    beat = await next_answer(puller.call, lambda each: not each.positions)
    assert (beat.ack_floor, beat.head_position) == (0, 2)
    assert beat.lag.ToTimedelta().total_seconds() >= 0


async def test_a_cumulative_ack_leaves_a_redelivery_alone(bus: BusBench) -> None:
    """The member says it before it can know that one came again, the newest one too; by name it is settled."""
    await filled(bus, 3, order_by_subject=False)
    puller = await Puller(bus.stub).open()
    await puller.take(3)
    await puller.say(nacks=[pb.Nack(position=position, retry_after=duration_pb2.Duration()) for position in (2, 3)])
    again: list[tuple[int, int]] = []
    while len(again) < 2:
        # said as long as both are on their way
        await puller.say(ack_up_to=3)
        again += await puller.take(1)
    assert sorted(again) == [(2, 2), (3, 2)]
    standing = await bus.settled(1)
    assert (standing.ack_floor, standing.in_flight) == (1, 2)
    await puller.say(ack=[2, 3])
    await bus.settled(3)


async def test_a_cumulative_ack_leaves_alone_what_waited_for_its_subject(bus: BusBench) -> None:
    """It was sent behind a higher one."""
    await bus.subscribe(order_by_subject=True)
    await bus.publish(event(1, subject="a"), event(2, subject="a"), event(3, subject="b"))
    puller = await Puller(bus.stub).open()
    assert await puller.take(2) == [(1, 1), (3, 1)]
    await puller.say(ack=[1])
    await puller.say(ack_up_to=3)
    assert await puller.take(1) == [(2, 1)]
    await next_answer(puller.call, lambda each: each.acks_committed == 2)
    assert (await bus.standing()).ack_floor == 1
    await puller.say(ack=[2])
    await bus.settled(3)


async def test_two_members_that_nack_and_acknowledge_up_to_a_position_lose_nothing(bus: BusBench) -> None:
    """What one gives back the other may get behind higher ones: each is handled once by whoever acknowledged it, in the end all."""
    await filled(bus, 60, order_by_subject=False)
    handled: dict[int, int] = {}

    async def member(every: int) -> None:
        puller = await Puller(bus.stub, credit=5).open()
        newest = 0
        while len(handled) < 60:
            response = await puller.answer()
            nacked, late = [], []
            for position, attempt in zip(response.positions, response.attempts, strict=True):
                if attempt == 1 and position % every == 0:
                    nacked.append(pb.Nack(position=position, retry_after=SOON))
                    continue
                handled[position] = handled.get(position, 0) + 1
                if position <= newest:
                    late.append(position)
            if response.positions:
                newest = max(newest, *response.positions)
                await puller.say(nacks=nacked, ack=late, ack_up_to=newest, credit_events=len(response.positions))
        puller.call.cancel()

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(member(2), member(3))
    await bus.settled(60)
    assert handled == dict.fromkeys(range(1, 61), 1)


async def test_an_event_at_a_time_goes_to_the_members_in_turn(bus: BusBench) -> None:
    """Also when each is dealt out the moment it is stored: who comes first does not get them all."""
    await bus.subscribe(order_by_subject=False)
    pullers = [await Puller(bus.stub).open() for _ in range(3)]
    got = [asyncio.create_task(puller.take(4)) for puller in pullers]
    for number in range(12):
        await bus.publish(event(number, subject=f"s/{number}"))
    async with asyncio.timeout(PATIENCE):
        parts = await asyncio.gather(*got)
    assert sorted(one for part in parts for one in part) == [(position, 1) for position in range(1, 13)]


async def test_the_floor_passes_where_a_small_credit_cut_what_was_read(bus: BusBench) -> None:
    """Between two wanted events lie others; the first goes out alone, for lack of credit."""
    await bus.subscribe(order_by_subject=False, filter=EventFilter(types=["service.stopped"]))
    await bus.publish(*(event(number, kind="started" if number % 3 else "stopped") for number in range(9)))
    puller = await Puller(bus.stub, credit=1).open()
    for position in (1, 4, 7):
        assert await puller.take(1) == [(position, 1)]
        await puller.say(ack=[position], credit_events=1)
    assert (await bus.settled(9)).backlog == 0
