"""Filters with an expression in CEL through the server: subscriptions, followers, readers and event streams."""

from pathlib import Path

import grpc
import pytest
from tooloo.bus.v1 import bus_service_pb2 as pb
from tooloo.bus.v1 import subscription_pb2

from mesh.reconnect import refusal_of
from tests.integration.bus_asking import next_with_events, read_all, read_sse, refused
from tests.integration.bus_bench import BusBench, Puller, event, number_of, running_bus
from tests.integration.test_bus_subscriptions import dead_letters

# only service.started has a pid, so this fails on service.stopped
ODD = "data.pid % 2 == 1"


def cel(text: str, **parts: object) -> subscription_pb2.EventFilter:
    """A filter with this expression."""
    return subscription_pb2.EventFilter(cel=text, **parts)  # type: ignore[arg-type]  # passed on


async def publish_mixed(bus: BusBench) -> None:
    """Three started with one stopped among them, at positions 1 to 4."""
    await bus.publish(event(1), event(2), event(9, kind="stopped"), event(3))


async def test_a_subscription_gets_what_its_expression_wants_and_parks_what_it_fails_on(tmp_path: Path) -> None:
    """The letter has the reason and the error, no delivery was used up, and the floor passes it; it survives a restart."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe(filter=cel(ODD))
        await publish_mixed(bus)
        puller = await Puller(bus.stub).open()
        assert await puller.take(2) == [(1, 1), (4, 1)]
        await puller.say(ack=[1, 4])
        await bus.settled(4)
        (letter,) = await dead_letters(bus, 1)
        assert (letter.position, letter.reason, letter.attempts, number_of(letter.event)) == (3, "filter_failed", 0, 9)
        assert "no_such_field : pid" in letter.last_error
        await bus.bench.restart()
        assert len(await dead_letters(bus, 1)) == 1
        assert (await bus.standing()).ack_floor == 4


async def test_a_letter_that_the_filter_failed_on_can_be_redriven(tmp_path: Path) -> None:
    """Then it is delivered: whoever redrives wants to see it."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe(filter=cel(ODD))
        await publish_mixed(bus)
        puller = await Puller(bus.stub).open()
        assert await puller.take(2) == [(1, 1), (4, 1)]
        await dead_letters(bus, 1)
        assert (await bus.stub.RedriveDeadLetters(pb.RedriveDeadLettersRequest(subscription="reader", all=True))).redriven == 1
        assert await puller.take(1) == [(3, 1)]
        await dead_letters(bus, 0)


async def test_cheap_parts_keep_the_expression_from_failing(tmp_path: Path) -> None:
    """An event of another type is never shown to it."""
    async with running_bus(tmp_path) as bus:
        await bus.subscribe(filter=cel(ODD, types=["service.started"]))
        await publish_mixed(bus)
        puller = await Puller(bus.stub).open()
        assert await puller.take(2) == [(1, 1), (4, 1)]
        await puller.say(ack_up_to=4)
        await bus.settled(4)
        await dead_letters(bus, 0)


async def test_readers_followers_and_event_streams_pass_a_failure_over(tmp_path: Path) -> None:
    """All three want the same events; positions and the bookmark are right."""
    async with running_bus(tmp_path) as bus:
        await publish_mixed(bus)
        assert [one.position for one in await read_all(bus, filter=cel(f"{ODD} && position > 0"))] == [1, 4]
        start = subscription_pb2.StartAt(beginning=True)
        answer = await next_with_events(bus.stub.Follow(pb.FollowRequest(start=start, filter=cel(ODD))))
        assert (answer.first_position, list(answer.offsets), answer.progress_position) == (1, [0, 3], 4)
        found = await read_sse(bus, 4, from_beginning=True, cel=ODD)
        assert [one["id"] for one in found] == ["1", "4"]


@pytest.mark.parametrize("text", ["nope == 1", "1 +", "position"])
async def test_what_does_not_compile_is_refused_by_field(tmp_path: Path, text: str) -> None:
    """Wherever a filter can be given, before anything is made."""
    async with running_bus(tmp_path) as bus:
        wanted = subscription_pb2.Subscription(name="reader", filter=cel(text))
        create = bus.stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=wanted))
        assert await refused(create) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["subscription.filter.cel"])
        await bus.subscribe()
        update = bus.stub.UpdateSubscription(pb.UpdateSubscriptionRequest(name="reader", subscription=wanted))
        assert (await refused(update))[2] == ["subscription.filter.cel"]
        assert (await refused(bus.stub.ReadEvents(pb.ReadEventsRequest(filter=cel(text)))))[2] == ["filter.cel"]
        assert (await refused(bus.stub.Follow(pb.FollowRequest(filter=cel(text))).read()))[2] == ["filter.cel"]
        assert (await refused(bus.stub.FollowSse(pb.FollowSseRequest(cel=text)).read()))[2] == ["cel"]
        assert (await bus.standing()).filter.cel == ""


async def test_the_refusal_says_where_the_expression_is_wrong(tmp_path: Path) -> None:
    """The compiler's message, with line and column."""
    async with running_bus(tmp_path) as bus:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bus.stub.ReadEvents(pb.ReadEventsRequest(filter=cel("true && nope")))
        assert "filter.cel: line 1, column 9: undeclared reference to 'nope'" in refusal_of(caught.value).message
