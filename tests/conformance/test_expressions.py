"""Filters in CEL, on every way: for readers, followers and subscriptions; what an expression fails on is parked."""

from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1.subscription_pb2 import EventFilter, Subscription

from tests.conformance.asking import dead_letters, follow_positions, read_all, refused, start
from tests.integration.bus_bench import BusBench, Puller, event, number_of

SMALL = EventFilter(cel="data.pid < 3 && subject.startsWith('a')")


async def test_an_expression_chooses_events(bus: BusBench) -> None:
    """Over the envelope and the event's own message, for readers and followers alike."""
    await bus.publish(event(1, subject="a"), event(2, subject="b"), event(3, subject="a"), event(2, subject="a"))
    assert [number_of(one) for one in await read_all(bus, filter=SMALL)] == [1, 2]
    call = bus.stub.Follow(pb.FollowRequest(start=start(beginning=True), filter=SMALL))
    assert await follow_positions(call, 2) == [1, 4]
    call.cancel()


async def test_what_an_expression_fails_on_is_parked_with_the_reason(bus: BusBench) -> None:
    """A subscription loses nothing: the event is a dead letter, and the others go on."""
    await bus.subscribe(filter=EventFilter(cel="data.pid == 2"))
    await bus.publish(event(1), event(9, kind="stopped"), event(2))
    puller = await Puller(bus.stub).open()
    assert await puller.take(1) == [(3, 1)]
    (letter,) = await dead_letters(bus, 1)
    assert (letter.position, letter.reason) == (2, "filter_failed")
    assert letter.last_error


async def test_an_expression_that_does_not_compile_is_refused(bus: BusBench) -> None:
    """INVALID_ARGUMENT names the field."""
    wrong = Subscription(name="reader", filter=EventFilter(cel="data."))
    told = await refused(bus.stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=wrong)))
    assert told.code == "INVALID_ARGUMENT"
    assert told.fields[0].endswith("cel")
