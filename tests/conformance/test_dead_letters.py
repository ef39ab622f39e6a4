"""Dead letters, on every way: exactly one per event, listed, shown, given out again once, dropped; kept over a restart."""

from tooloo.bus.v1 import bus_service_pb2 as pb

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
