"""What a member may not do, and what an operator's change must not do, on every way: leases, credit, delays and filters hold."""

import asyncio

from google.protobuf import duration_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1.subscription_pb2 import EventFilter, Subscription

from tests.conformance.asking import LONG, SOON, dead_letters, next_answer
from tests.integration.bus_bench import PATIENCE, BusBench, Puller, event
from tests.support.events import sized


async def taken(bus: BusBench, count: int) -> Puller:
    """A member that holds so many events, each of a subject of its own."""
    await bus.subscribe()
    await bus.publish(*(event(number, subject=f"s/{number}") for number in range(1, count + 1)))
    puller = await Puller(bus.stub).open()
    await puller.take(count)
    return puller


async def narrow(bus: BusBench) -> None:
    """From here on the subscription wants no event that stands."""
    narrower = Subscription(name="reader", filter=EventFilter(types=["service.stopped"]))
    await bus.stub.UpdateSubscription(pb.UpdateSubscriptionRequest(name="reader", subscription=narrower))


async def test_another_members_token_settles_nothing(bus: BusBench) -> None:
    """A lease is its stream's, also when somebody else names its token: every position is refused."""
    holder = await taken(bus, 3)
    other = await Puller(bus.stub).open()
    await other.call.write(
        pb.PullRequest(
            fencing_token=holder.token, ack=[1], extend=[3], nacks=[pb.Nack(position=2, park=True, error="no")], ack_up_to=3
        )
    )
    told = await next_answer(other.call, lambda each: bool(each.refused_acks))
    assert sorted(told.refused_acks) == [1, 2, 3]
    shown = await bus.standing()
    assert (shown.ack_floor, shown.in_flight, shown.dead_letters) == (0, 3, 0)


async def test_credit_in_bytes_holds_with_an_order_and_for_what_comes_again(bus: BusBench) -> None:
    """One byte is enough for one delivery, and what was kept back is no delivery of it."""
    await bus.subscribe(order_by_subject=True)
    await bus.publish(*(event(number, subject=f"s/{number}") for number in range(1, 4)))
    call = bus.stub.Pull()
    await call.write(pb.PullRequest(subscription="reader", credit_events=100, credit_bytes=1))
    for position in (1, 2, 3):
        answer = await next_answer(call, lambda each: bool(each.positions))
        assert (list(answer.positions), list(answer.attempts)) == ([position], [1])
        assert (await bus.standing()).in_flight == 1
        await call.write(pb.PullRequest(ack=[position], credit_bytes=pb.PullResponse(events=answer.events).ByteSize()))


async def test_a_nack_waits_as_long_as_it_says_over_a_restart(bus: BusBench) -> None:
    """And over another definition: longer than any backoff, for the member asked for it."""
    puller = await taken(bus, 2)
    await puller.say(nacks=[pb.Nack(position=1, retry_after=LONG)], ack=[2])
    await next_answer(puller.call, lambda each: each.acks_committed == 1)
    await bus.bench.restart()
    update = pb.UpdateSubscriptionRequest(name="reader", subscription=Subscription(name="reader", max_deliveries=7))
    await bus.stub.UpdateSubscription(update)
    again = await Puller(bus.stub).open()
    await bus.publish(event(3))
    assert await again.take(1) == [(3, 1)]
    # a heartbeat instead of the event, as long as the backoff many times
    assert list((await again.answer()).positions) == []


async def test_a_retry_that_is_not_wanted_any_more_never_comes(bus: BusBench) -> None:
    """Not after a restart either: the filter is what it is now."""
    puller = await taken(bus, 2)
    soon = duration_pb2.Duration(nanos=200_000_000)
    await puller.say(nacks=[pb.Nack(position=1, retry_after=soon)], ack=[2])
    await next_answer(puller.call, lambda each: each.acks_committed == 1)
    await narrow(bus)
    await bus.publish(event(3, kind="stopped"))
    assert await puller.take(1) == [(3, 1)]
    await puller.say(ack=[3])
    await bus.settled(3)
    await bus.bench.restart()
    again = await Puller(bus.stub).open()
    for _ in range(4):
        assert list((await again.answer()).positions) == []


async def test_a_dead_letter_is_given_out_again_whatever_the_filter_says_now(bus: BusBench) -> None:
    """Also when the subscription is paused and has not come to its event again."""
    puller = await taken(bus, 2)
    await puller.say(nacks=[pb.Nack(position=2, park=True)])
    await dead_letters(bus, 1)
    await bus.stub.PauseSubscription(pb.PauseSubscriptionRequest(name="reader"))
    await narrow(bus)
    redriven = await bus.stub.RedriveDeadLetters(pb.RedriveDeadLettersRequest(subscription="reader", all=True))
    assert redriven.redriven == 1
    await bus.stub.ResumeSubscription(pb.ResumeSubscriptionRequest(name="reader"))
    async with asyncio.timeout(PATIENCE):
        assert await puller.take(1) == [(2, 1)]


async def test_what_is_erased_while_it_is_out_leaves_no_dead_letter(bus: BusBench) -> None:
    """Though the member that holds it parks it."""
    puller = await taken(bus, 2)
    await bus.stub.EraseSubject(pb.EraseSubjectRequest(subject="s/1"))
    await puller.say(nacks=[pb.Nack(position=position, park=True, error="no") for position in (1, 2)])
    await bus.settled(2)
    assert [letter.position for letter in await dead_letters(bus, 1)] == [2]


async def test_dead_letters_of_large_events_come_in_pages_that_fit(bus: BusBench) -> None:
    """Into a message, whatever their number; each once, and one larger than a page by itself."""
    await bus.subscribe()
    sizes = [200_000, 200_000, 200_000, 10, 200_000]
    for number, size in enumerate(sizes, 1):
        await bus.publish(sized(number, size, f"s/{number}"))
    puller = await Puller(bus.stub).open()
    await puller.take(len(sizes))
    await puller.say(nacks=[pb.Nack(position=number, park=True) for number in range(1, len(sizes) + 1)])
    await bus.settled(len(sizes))
    pages: list[list[int]] = []
    token = ""
    while token or not pages:
        page = await bus.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription="reader", page_token=token))
        pages.append([letter.position for letter in page.dead_letters])
        token = page.next_page_token
    assert pages == [[1, 2], [3, 4, 5]]


async def test_a_dead_letter_of_the_largest_event_is_whole(bus: BusBench) -> None:
    """Listed, shown and given out again, with the whole error of its last delivery, over a restart; many together."""
    await bus.subscribe(max_deliveries=2)
    largest, count, error = 250_000, 8, "\N{PILE OF POO}" * 2048
    everything = range(1, count + 1)
    for number in everything:
        await bus.publish(sized(number, largest, f"s/{number}"))
    puller = await Puller(bus.stub).open()
    for attempt in (1, 2):
        assert sorted(await puller.take(count)) == [(number, attempt) for number in everything]
        for number in everything:
            await puller.say(nacks=[pb.Nack(position=number, error=error, retry_after=SOON)])
    await bus.settled(count)
    await bus.bench.restart()
    shown = await bus.stub.GetDeadLetter(pb.GetDeadLetterRequest(subscription="reader", position=count))
    listed = await bus.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription="reader", page_size=1))
    for letter in (shown.dead_letter, listed.dead_letters[0]):
        assert (letter.attempts, letter.last_error) == (2, error)
        assert letter.event.ByteSize() > largest
    assert (await bus.stub.RedriveDeadLetters(pb.RedriveDeadLettersRequest(subscription="reader", all=True))).redriven == count
    await bus.bench.restart()
    again = await Puller(bus.stub).open()
    assert sorted(await again.take(count)) == [(number, 1) for number in everything]
    await again.say(ack=list(everything))
    await bus.settled(count)
    assert (await bus.standing()).dead_letters == 0


async def test_a_token_of_before_a_restart_settles_nothing(bus: BusBench) -> None:
    """No token is ever given twice: a late ack is refused by every later start."""
    before = await taken(bus, 2)
    await bus.bench.restart()
    puller = await Puller(bus.stub).open()
    await puller.take(2)
    assert puller.token > before.token
    await puller.say(fencing_token=before.token, ack=[1, 2])
    told = await next_answer(puller.call, lambda each: bool(each.refused_acks))
    assert sorted(told.refused_acks) == [1, 2]
    assert (await bus.standing()).ack_floor == 0


async def test_what_was_never_delivered_cannot_be_answered(bus: BusBench) -> None:
    """Acknowledged, given back or extended: each position is refused, and stays unsettled."""
    await bus.subscribe()
    await bus.publish(event(1), event(2))
    puller = await Puller(bus.stub, credit=1).open()
    assert await puller.take(1) == [(1, 1)]
    await puller.say(ack=[2, 99], nacks=[pb.Nack(position=50, park=True)], extend=[51])
    told = await next_answer(puller.call, lambda each: bool(each.refused_acks))
    assert sorted(told.refused_acks) == [2, 50, 51, 99]
    shown = await bus.standing()
    assert (shown.ack_floor, shown.dead_letters) == (0, 0)


async def test_a_paused_stream_still_beats(bus: BusBench) -> None:
    """With the head and how far behind it is, and no event."""
    await bus.subscribe()
    puller = await Puller(bus.stub).open()
    await bus.stub.PauseSubscription(pb.PauseSubscriptionRequest(name="reader"))
    await bus.publish(event(1))
    for _ in range(2):
        beat = await next_answer(puller.call, lambda each: each.head_position == 1)
        assert (list(beat.positions), beat.lag_events) == ([], 1)
