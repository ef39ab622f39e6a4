"""Dead letters, on every way: exactly one per event, listed, shown, given out again once, dropped; kept over a restart."""

import asyncio

from google.protobuf import duration_pb2
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1.subscription_pb2 import Subscription

from tests.conformance.asking import dead_letters, next_answer, refused, start
from tests.integration.bus_bench import BusBench, Puller, event, number_of


async def parked(bus: BusBench, count: int) -> Puller:
    """A subscription whose events were all parked."""
    await bus.subscribe()
    await bus.publish(*(event(number, subject=f"s/{number}") for number in range(1, count + 1)))
    puller = await Puller(bus.stub).open()
    await puller.take(count)
    await puller.say(nacks=[pb.Nack(position=position, park=True, error="no") for position in range(1, count + 1)])
    await dead_letters(bus, count)
    return puller


async def test_deliveries_used_up_make_one_dead_letter(bus: BusBench) -> None:
    """With attempts and the last error; it holds up nothing and survives a restart."""
    await bus.subscribe(max_deliveries=2, order_by_subject=True)
    await bus.publish(event(1), event(2))
    puller = await Puller(bus.stub).open()
    for attempt in (1, 2):
        assert await puller.take(1) == [(1, attempt)]
        await puller.say(nacks=[pb.Nack(position=1, error=f"try {attempt}")])
    assert await puller.take(1) == [(2, 1)]
    await puller.say(ack=[2])
    await bus.settled(2)
    await bus.bench.restart()
    (letter,) = await dead_letters(bus, 1)
    assert (letter.position, letter.reason, letter.attempts, letter.last_error) == (1, "max_deliveries", 2, "try 2")
    assert number_of(letter.event) == 1
    assert (await bus.standing()).dead_letters == 1


async def test_park_makes_a_dead_letter_at_once(bus: BusBench) -> None:
    """And the event counts as settled."""
    await parked(bus, 1)
    get = pb.GetDeadLetterRequest(subscription="reader", position=1)
    letter = (await bus.stub.GetDeadLetter(get)).dead_letter
    assert (letter.reason, letter.attempts, letter.last_error, letter.event.position) == ("parked", 1, "no", 1)
    assert (await bus.settled(1)).ack_floor == 1


async def test_redrive_gives_each_out_again_once(bus: BusBench) -> None:
    """With fresh attempts; asking again finds nothing, also after a restart."""
    await parked(bus, 3)
    request = pb.RedriveDeadLettersRequest(subscription="reader", positions=[2])
    assert (await bus.stub.RedriveDeadLetters(request)).redriven == 1
    assert (await bus.stub.RedriveDeadLetters(request)).redriven == 0
    await bus.bench.restart()
    assert (await bus.stub.RedriveDeadLetters(request)).redriven == 0
    again = await Puller(bus.stub).open()
    assert await again.take(1) == [(2, 1)]
    await again.say(ack=[2])
    await next_answer(again.call, lambda each: each.acks_committed == 1)
    await bus.bench.restart()
    assert [letter.position for letter in await dead_letters(bus, 2)] == [1, 3]


async def test_redrive_all_gives_all_out(bus: BusBench) -> None:
    """And one that fails again is one dead letter again."""
    puller = await parked(bus, 2)
    request = pb.RedriveDeadLettersRequest(subscription="reader", all=True)
    assert (await bus.stub.RedriveDeadLetters(request)).redriven == 2
    assert await puller.take(2) == [(1, 1), (2, 1)]
    await puller.say(ack=[1], nacks=[pb.Nack(position=2, park=True, error="again")])
    (letter,) = await dead_letters(bus, 1)
    assert (letter.position, letter.last_error) == (2, "again")


async def test_drop_forgets(bus: BusBench) -> None:
    """Some or all; what is dropped is not found, also after a restart."""
    await parked(bus, 3)
    some = pb.DropDeadLettersRequest(subscription="reader", positions=[1, 9])
    assert (await bus.stub.DropDeadLetters(some)).dropped == 1
    await bus.bench.restart()
    assert [letter.position for letter in await dead_letters(bus, 2)] == [2, 3]
    assert (await bus.stub.DropDeadLetters(pb.DropDeadLettersRequest(subscription="reader", all=True))).dropped == 2
    told = await refused(bus.stub.GetDeadLetter(pb.GetDeadLetterRequest(subscription="reader", position=2)))
    assert told.code == "NOT_FOUND"


async def test_redrive_and_drop_must_name_some(bus: BusBench) -> None:
    """Nothing chosen is INVALID_ARGUMENT, not everything."""
    await bus.subscribe()
    for call in (
        bus.stub.RedriveDeadLetters(pb.RedriveDeadLettersRequest(subscription="reader")),
        bus.stub.DropDeadLetters(pb.DropDeadLettersRequest(subscription="reader")),
    ):
        told = await refused(call)
        assert (told.code, told.fields) == ("INVALID_ARGUMENT", ["positions"])


async def test_dead_letters_come_in_pages(bus: BusBench) -> None:
    """Each once, oldest first."""
    await parked(bus, 5)
    found: list[int] = []
    token = ""
    while True:
        request = pb.ListDeadLettersRequest(subscription="reader", page_size=2, page_token=token)
        page = await bus.stub.ListDeadLetters(request)
        found.extend(letter.position for letter in page.dead_letters)
        token = page.next_page_token
        if not token:
            break
    assert found == [1, 2, 3, 4, 5]


async def test_discarded_dead_letters_are_not_kept(bus: BusBench) -> None:
    """The event is settled and gone."""
    await bus.subscribe(discard_dead_letters=True, max_deliveries=1)
    await bus.publish(event(1))
    puller = await Puller(bus.stub).open()
    await puller.take(1)
    await puller.say(nacks=[pb.Nack(position=1)])
    assert (await bus.settled(1)).dead_letters == 0


async def test_dead_letters_stay_over_a_seek(bus: BusBench) -> None:
    """Moving back gives the event out again; failing again it is still one dead letter."""
    puller = await parked(bus, 1)
    await bus.stub.SeekSubscription(pb.SeekSubscriptionRequest(name="reader", start=start(beginning=True)))
    assert len(await dead_letters(bus, 1)) == 1
    assert await puller.take(1) == [(1, 1)]
    await puller.say(nacks=[pb.Nack(position=1, park=True, error="again")])
    await bus.settled(1)
    (letter,) = await dead_letters(bus, 1)
    assert letter.last_error == "again"


async def test_a_deleted_subscription_takes_its_dead_letters_along(bus: BusBench) -> None:
    """Another one of the same name has none, also after a restart."""
    await parked(bus, 2)
    await bus.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="reader"))
    await bus.subscribe()
    await dead_letters(bus, 0)
    await bus.bench.restart()
    await dead_letters(bus, 0)


async def test_deadlines_that_pass_use_up_deliveries(bus: BusBench) -> None:
    """A member that never answers leads to one dead letter too, and holds up nothing."""
    await bus.subscribe(max_deliveries=2, ack_deadline=duration_pb2.Duration(nanos=50_000_000))
    await bus.publish(event(1))
    puller = await Puller(bus.stub).open()
    assert await puller.take(2) == [(1, 1), (1, 2)]
    (letter,) = await dead_letters(bus, 1)
    assert (letter.reason, letter.attempts) == ("max_deliveries", 2)
    await bus.settled(1)


async def test_streams_that_break_use_up_deliveries(bus: BusBench) -> None:
    """Each broken stream counts as one delivery of what it held, no more."""
    await bus.subscribe(max_deliveries=2)
    await bus.publish(event(1))
    for attempt in (1, 2):
        puller = await Puller(bus.stub).open()
        assert await puller.take(1) == [(1, attempt)]
        puller.call.cancel()
    (letter,) = await dead_letters(bus, 1)
    assert (letter.reason, letter.attempts) == ("max_deliveries", 2)
    await bus.settled(1)


async def test_redrives_at_once_give_each_out_once(bus: BusBench) -> None:
    """Whoever asks, and beside a drop: each is given out by one, or dropped."""
    puller = await parked(bus, 5)
    every = pb.RedriveDeadLettersRequest(subscription="reader", all=True)
    twice = pb.RedriveDeadLettersRequest(subscription="reader", positions=[1, 1])
    some = pb.DropDeadLettersRequest(subscription="reader", positions=[2, 2])
    answers = await asyncio.gather(
        bus.stub.RedriveDeadLetters(twice), bus.stub.DropDeadLetters(some), *(bus.stub.RedriveDeadLetters(every) for _ in range(4))
    )
    redriven = sum(answer.redriven for answer in answers if isinstance(answer, pb.RedriveDeadLettersResponse))
    dropped = sum(answer.dropped for answer in answers if isinstance(answer, pb.DropDeadLettersResponse))
    assert redriven + dropped == 5
    again = await puller.take(redriven)
    assert {1, 3, 4, 5} <= {position for position, _ in again} <= {1, 2, 3, 4, 5}
    assert [attempt for _, attempt in again] == [1] * redriven
    await dead_letters(bus, 0)
    assert (await bus.standing()).in_flight == redriven


async def test_dead_letters_are_each_subscriptions_own(bus: BusBench) -> None:
    """What one drops or redrives is the other's still, also after a restart."""
    for name in ("one", "two"):
        await bus.subscribe(name)
    await bus.publish(event(1))
    for name in ("one", "two"):
        puller = await Puller(bus.stub, name).open()
        await puller.take(1)
        await puller.say(nacks=[pb.Nack(position=1, park=True, error=name)])
        await dead_letters(bus, 1, name)
    assert (await bus.stub.DropDeadLetters(pb.DropDeadLettersRequest(subscription="one", all=True))).dropped == 1
    assert (await bus.stub.RedriveDeadLetters(pb.RedriveDeadLettersRequest(subscription="one", all=True))).redriven == 0
    await bus.bench.restart()
    await dead_letters(bus, 0, "one")
    assert [letter.last_error for letter in await dead_letters(bus, 1, "two")] == ["two"]


async def test_an_update_keeps_dead_letters(bus: BusBench) -> None:
    """Also when from here on none are kept any more."""
    await parked(bus, 2)
    wanted = Subscription(name="reader", discard_dead_letters=True)
    await bus.stub.UpdateSubscription(pb.UpdateSubscriptionRequest(name="reader", subscription=wanted))
    await bus.bench.restart()
    await dead_letters(bus, 2)
    assert (await bus.standing()).dead_letters == 2


async def test_dead_letters_of_an_unknown_subscription_are_not_found(bus: BusBench) -> None:
    """Whatever is asked of them."""
    for call in (
        bus.stub.ListDeadLetters(pb.ListDeadLettersRequest(subscription="none")),
        bus.stub.GetDeadLetter(pb.GetDeadLetterRequest(subscription="none", position=1)),
        bus.stub.RedriveDeadLetters(pb.RedriveDeadLettersRequest(subscription="none", all=True)),
        bus.stub.DropDeadLetters(pb.DropDeadLettersRequest(subscription="none", all=True)),
    ):
        assert (await refused(call)).code == "NOT_FOUND"


async def test_a_redriven_event_is_given_out_wherever_the_subscription_is_moved(bus: BusBench) -> None:
    """A seek over it takes nothing from it, also over a restart; a seek to before it gives it out once."""
    await parked(bus, 2)
    await bus.stub.PauseSubscription(pb.PauseSubscriptionRequest(name="reader"))
    every = pb.RedriveDeadLettersRequest(subscription="reader", all=True)
    assert (await bus.stub.RedriveDeadLetters(every)).redriven == 2
    for after in (0, 2, 1):
        await bus.stub.SeekSubscription(pb.SeekSubscriptionRequest(name="reader", start=start(after_position=after)))
    await bus.bench.restart()
    await bus.publish(event(3))
    await bus.stub.ResumeSubscription(pb.ResumeSubscriptionRequest(name="reader"))
    puller = await Puller(bus.stub).open()
    assert sorted(await puller.take(3)) == [(1, 1), (2, 1), (3, 1)]
    await puller.say(ack=[1, 2, 3])
    await bus.settled(3)
    assert (await bus.standing()).in_flight == 0


async def test_more_dead_letters_than_one_write_holds_are_redriven_once_each(bus: BusBench) -> None:
    """None is a letter any more, all are out, and all are dealt out again after a restart."""
    await bus.subscribe()
    count = 400
    await bus.publish(*(event(number, subject=f"s/{number}") for number in range(1, count + 1)))
    puller = await Puller(bus.stub, credit=2 * count).open()
    await puller.take(count)
    await puller.say(nacks=[pb.Nack(position=position, park=True) for position in range(1, count + 1)])
    await bus.settled(count)
    request = pb.RedriveDeadLettersRequest(subscription="reader", all=True)
    assert (await bus.stub.RedriveDeadLetters(request)).redriven == count
    assert sorted(await puller.take(count)) == [(position, 1) for position in range(1, count + 1)]
    await bus.bench.restart()
    await dead_letters(bus, 0)
    again = await Puller(bus.stub, credit=count).open()
    assert sorted(position for position, _ in await again.take(count)) == list(range(1, count + 1))


async def test_a_redriven_event_that_is_out_is_no_letter(bus: BusBench) -> None:
    """There is nothing to drop; a broken stream gives it back, and a subscription made anew knows nothing of it."""
    puller = await parked(bus, 1)
    await bus.stub.RedriveDeadLetters(pb.RedriveDeadLettersRequest(subscription="reader", all=True))
    assert (await bus.stub.DropDeadLetters(pb.DropDeadLettersRequest(subscription="reader", all=True))).dropped == 0
    assert await puller.take(1) == [(1, 1)]
    puller.call.cancel()
    assert await (await Puller(bus.stub).open()).take(1) == [(1, 2)]
    await bus.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name="reader"))
    await bus.subscribe()
    assert await (await Puller(bus.stub).open()).take(1) == [(1, 1)]
